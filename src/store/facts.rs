//! What sums, orders and the list of runs need of a call, in a compact form.

use std::borrow::Cow;
use std::collections::HashSet;
use std::sync::Arc;

use serde::Deserialize;

use crate::llm::Llm;

/// A call in a pass over all calls.
#[derive(Debug, Clone)]
pub struct Entry {
    /// The event's row.
    pub id: i64,
    /// The session's row.
    pub session: i64,
    /// When the request arrived, in Unix milliseconds.
    pub started_at_ms: i64,
    /// The latency of the call.
    pub latency_ms: f64,
    /// The response's status code; 0 if there was none.
    pub status_code: u16,
    /// It has an error.
    pub failed: bool,
    /// `None`: it is not a call to a model or a tool.
    pub facts: Option<Arc<Facts>>,
    /// Host and path, if they were asked for.
    pub target: Option<Box<str>>,
}

impl Entry {
    /// When the call ended, in Unix milliseconds.
    pub fn ended_at_ms(&self) -> i64 {
        self.started_at_ms.saturating_add(self.latency_ms.max(0.0) as i64)
    }
}

/// What sums, orders and the list of runs need of a model call's facts. An unknown one is absent, never 0.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Facts {
    /// A model is called. Calls over MCP are to tools.
    pub is_model_call: bool,
    /// Input tokens, including cached ones.
    pub input_tokens: Option<u64>,
    /// Input tokens read from a cache.
    pub cached_tokens: Option<u64>,
    /// Input tokens written to a cache.
    pub written_tokens: Option<u64>,
    /// Output tokens.
    pub output_tokens: Option<u64>,
    /// The cost, by a price table.
    pub cost: Option<f64>,
    /// The currency of the cost.
    pub currency: Option<Arc<str>>,
    /// The model that answered, or else the requested one.
    pub model: Option<Arc<str>>,
    /// The agent, by what it says of itself.
    pub agent: Option<Arc<str>>,
    /// The agent's own id of its session.
    pub session: Option<Arc<str>>,
}

/// The column's members that are needed: the names are those of `llm::names`.
#[derive(Deserialize)]
struct Column<'a> {
    #[serde(borrow, rename = "otas_proxy.llm.api")]
    api: Option<Cow<'a, str>>,
    #[serde(borrow, rename = "mcp.method.name")]
    mcp_method: Option<Cow<'a, str>>,
    #[serde(rename = "gen_ai.usage.input_tokens")]
    input_tokens: Option<u64>,
    #[serde(rename = "gen_ai.usage.cache_read.input_tokens")]
    cached_tokens: Option<u64>,
    #[serde(rename = "gen_ai.usage.cache_write.input_tokens")]
    written_tokens: Option<u64>,
    #[serde(rename = "gen_ai.usage.output_tokens")]
    output_tokens: Option<u64>,
    #[serde(rename = "otas_proxy.llm.cost")]
    cost: Option<f64>,
    #[serde(borrow, rename = "otas_proxy.llm.cost.currency")]
    currency: Option<Cow<'a, str>>,
    #[serde(borrow, rename = "gen_ai.response.model")]
    response_model: Option<Cow<'a, str>>,
    #[serde(borrow, rename = "gen_ai.request.model")]
    request_model: Option<Cow<'a, str>>,
    #[serde(borrow, rename = "gen_ai.agent.name")]
    agent: Option<Cow<'a, str>>,
    #[serde(borrow, rename = "session.id")]
    session: Option<Cow<'a, str>>,
}

/// Texts that many calls have, such as names of models: each is held once.
#[derive(Default)]
pub(super) struct Texts(HashSet<Arc<str>>);

impl Texts {
    fn share(&mut self, text: Option<&str>) -> Option<Arc<str>> {
        let text = text.filter(|text| !text.is_empty())?;
        if let Some(known) = self.0.get(text) {
            return Some(known.clone());
        }
        let new: Arc<str> = text.into();
        self.0.insert(new.clone());
        Some(new)
    }
}

impl Facts {
    /// From the store's column. `None`: it is not a call to a model or a tool.
    pub(super) fn of(column: &str, texts: &mut Texts) -> Option<Self> {
        if column.is_empty() {
            return None;
        }
        // A member of an odd type: the slow way reads the others.
        let Ok(column) = serde_json::from_str::<Column<'_>>(column) else {
            return Llm::parse(column).map(|llm| Self::of_llm(&llm, texts));
        };
        let is_there = |text: &&str| !text.is_empty();
        let model = column.response_model.as_deref().filter(is_there).or(column.request_model.as_deref());
        Some(Self {
            is_model_call: column.api.as_deref() != Some("mcp")
                && column.mcp_method.as_deref().filter(is_there).is_none(),
            input_tokens: column.input_tokens,
            cached_tokens: column.cached_tokens,
            written_tokens: column.written_tokens,
            output_tokens: column.output_tokens,
            cost: column.cost,
            currency: texts.share(column.currency.as_deref()),
            model: texts.share(model),
            agent: texts.share(column.agent.as_deref()),
            session: texts.share(column.session.as_deref()),
        })
    }

    fn of_llm(llm: &Llm, texts: &mut Texts) -> Self {
        Self {
            is_model_call: llm.is_model_call(),
            input_tokens: llm.input_tokens(),
            cached_tokens: llm.cache_read_tokens(),
            written_tokens: llm.cache_write_tokens(),
            output_tokens: llm.output_tokens(),
            cost: llm.cost(),
            currency: texts.share(llm.currency()),
            model: texts.share(llm.model()),
            agent: texts.share(llm.agent()),
            session: texts.share(llm.session()),
        }
    }

    /// Input and output tokens together. `None`: none are known.
    pub fn tokens(&self) -> Option<u64> {
        self.input_tokens.or(self.output_tokens)?;
        Some(self.input_tokens.unwrap_or_default().saturating_add(self.output_tokens.unwrap_or_default()))
    }

    /// The cost with its currency, which may be empty.
    pub fn money(&self) -> Option<(&str, f64)> {
        Some((self.currency.as_deref().unwrap_or_default(), self.cost?))
    }

    /// The share of the input that was read from the provider's cache, from 0 to 1.
    pub fn cached_share(&self) -> Option<f64> {
        let input = self.input_tokens.filter(|input| *input > 0)?;
        Some(self.cached_tokens? as f64 / input as f64)
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::llm::names;

    #[test]
    fn the_quick_way_reads_what_the_slow_way_reads() {
        let model = json!({
            names::REQUEST_MODEL: "m", names::RESPONSE_MODEL: "m-2026", names::INPUT_TOKENS: 12, names::CACHE_READ_TOKENS: 7,
            names::CACHE_WRITE_TOKENS: 2, names::OUTPUT_TOKENS: 3, names::COST: 0.5, names::COST_CURRENCY: "USD",
            names::AGENT_NAME: "claude", names::SESSION: "0b9f \"5d4e\"", "gen_ai.other": [1, 2],
        });
        let columns = [
            model,
            json!({ names::REQUEST_MODEL: "m", names::RESPONSE_MODEL: "", names::AGENT_NAME: "" }),
            json!({ names::API: "mcp", "gen_ai.tool.name": "search" }),
            json!({ names::MCP_METHOD: "tools/list" }),
            json!({ names::INPUT_TOKENS: "odd", names::OUTPUT_TOKENS: 3, names::RESPONSE_MODEL: "m" }),
        ];
        let mut texts = Texts::default();
        for column in columns.map(|column| column.to_string()) {
            let (quick, slow) = (Facts::of(&column, &mut texts), Llm::parse(&column).unwrap());
            assert_eq!(quick, Some(Facts::of_llm(&slow, &mut texts)), "{column}");
        }
        assert_eq!((Facts::of("", &mut texts), Facts::of("not JSON", &mut texts)), (None, None));
        let [one, other] = ["a", "a"].map(|text| texts.share(Some(text)).unwrap());
        assert!(Arc::ptr_eq(&one, &other));
    }
}
