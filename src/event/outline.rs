//! What lists of calls show beside an event's own columns: its phases, how it passed, what it says of a model. It is kept
//! with the event in two columns of the store, so that no list has to read whole events.

use std::time::Duration;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::json::Json;
use super::metadata::{blind_name, hundredths};
use crate::capture::{Exchange, Kind};
use crate::llm::names;

/// How a call passed. Of an event that no call stands behind (a gap, say) all is empty.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Outline {
    /// `http`, `https`, or `tcp` for a tunnel whose content is unknown.
    pub scheme: String,
    /// Whether it is a request that was read, not a tunnel.
    #[serde(skip_serializing_if = "is_false")]
    pub read: bool,
    /// Why it was relayed unread, as in `metadata.blind`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub blind: Option<String>,
    /// Something of it is not in the event: bytes of a body that were not kept, or what did not fit.
    #[serde(skip_serializing_if = "is_false")]
    pub cut: bool,
    /// How long each phase took.
    pub ms: Phases,
}

/// A call's phases in milliseconds, as `metadata.timings` has them. One that did not happen is `None`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Phases {
    /// Name resolution.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub dns: Option<f64>,
    /// TCP connect.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub connect: Option<f64>,
    /// TLS handshake with the origin.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tls: Option<f64>,
    /// From the request's head being forwarded to the last byte of its body.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub send: Option<f64>,
    /// From the request's head being forwarded to the response's head.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub wait: Option<f64>,
    /// From the response's head to the last byte of its body.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub receive: Option<f64>,
}

impl Outline {
    /// As the column holds it; an empty one has nothing to say.
    pub fn parse(column: &str) -> Self {
        serde_json::from_str(column).unwrap_or_default()
    }

    /// The column of an exchange's event. `cut`: the event lacks something that was captured.
    pub(super) fn column(exchange: &Exchange, cut: bool) -> String {
        let timings = &exchange.timings;
        let ms = |step: Option<Duration>| step.map(|step| hundredths(step) as f64 / 100.0);
        let bodies = [Some(&exchange.request.body), exchange.response.as_ref().map(|response| &response.body)];
        let outline = Self {
            scheme: exchange.origin.scheme.to_owned(),
            read: exchange.kind == Kind::Http,
            blind: exchange.blind.map(|blind| blind_name(blind).to_owned()),
            cut: cut
                || (exchange.blind.is_none() && bodies.into_iter().flatten().any(|body| body.omitted_bytes() > 0)),
            ms: Phases {
                dns: ms(timings.dns),
                connect: ms(timings.connect),
                tls: ms(timings.tls),
                send: ms(timings.send),
                wait: ms(timings.wait),
                receive: ms(timings.receive),
            },
        };
        serde_json::to_string(&outline).unwrap_or_default()
    }
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde asks for it so")]
fn is_false(flag: &bool) -> bool {
    !flag
}

/// What an event says of a model's work: its properties with OpenTelemetry's names for generative AI (all of them still
/// "development" there) and MCP, and its cost. What is not known is absent, never 0.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Llm(Map<String, Value>);

impl Llm {
    /// As the column holds it; `None` when the call was not one to a model.
    pub fn parse(column: &str) -> Option<Self> {
        (!column.is_empty()).then(|| serde_json::from_str(column).ok().map(Self)).flatten()
    }

    /// What a list of properties says of a model, if it says anything.
    pub fn of(properties: &Map<String, Value>) -> Option<Self> {
        let ours = properties.iter().filter(|(name, value)| is_about_models(name) && !value.is_null());
        let ours: Map<String, Value> = ours.map(|(name, value)| (name.clone(), value.clone())).collect();
        (!ours.is_empty()).then_some(Self(ours))
    }

    /// The column of an event that was written before; empty if it says nothing of a model.
    pub fn of_event(json: &[u8]) -> String {
        let event: Value = serde_json::from_slice(json).unwrap_or_default();
        event["custom_properties"].as_object().and_then(Self::of).map(Self::column).unwrap_or_default()
    }

    /// What the properties of an event say: the member that was written since byte `from`.
    pub(super) fn written(json: &Json, from: usize) -> Option<Self> {
        Self::in_member(json.since(from), "")
    }

    /// The same while the member is not closed yet.
    pub(super) fn so_far(json: &Json, from: usize) -> Option<Self> {
        Self::in_member(json.since(from), "}")
    }

    /// From a member that is an object, once `end` is put behind it.
    fn in_member(member: &[u8], end: &str) -> Option<Self> {
        // Nearly all calls say nothing of it.
        if !MARKS.iter().any(|mark| memchr::memmem::find(member, mark.as_bytes()).is_some()) {
            return None;
        }
        let object = member.iter().position(|byte| *byte == b'{').and_then(|at| member.get(at..))?;
        Self::of(&serde_json::from_slice(&[object, end.as_bytes()].concat()).unwrap_or_default())
    }

    /// As the column holds it.
    pub(super) fn column(self) -> String {
        Value::Object(self.0).to_string()
    }

    /// The model that answered, or else the one that was asked for.
    pub fn model(&self) -> Option<&str> {
        self.text(names::RESPONSE_MODEL).or_else(|| self.text(names::REQUEST_MODEL))
    }

    /// Whose it is.
    pub fn provider(&self) -> Option<&str> {
        self.text(names::PROVIDER)
    }

    /// What was done: `chat`, `embeddings`, `execute_tool`, ….
    pub fn operation(&self) -> Option<&str> {
        self.text(names::OPERATION)
    }

    /// Tokens that went in, cached ones among them.
    pub fn input_tokens(&self) -> Option<u64> {
        self.0.get(names::INPUT_TOKENS)?.as_u64()
    }

    /// Tokens that came out.
    pub fn output_tokens(&self) -> Option<u64> {
        self.0.get(names::OUTPUT_TOKENS)?.as_u64()
    }

    /// Of the input tokens, those that were read from a cache.
    pub fn cache_read_tokens(&self) -> Option<u64> {
        self.0.get(names::CACHE_READ_TOKENS)?.as_u64()
    }

    /// Of the input tokens, those that were written to a cache.
    pub fn cache_write_tokens(&self) -> Option<u64> {
        self.0.get(names::CACHE_WRITE_TOKENS)?.as_u64()
    }

    /// What it cost, by the user's own table of prices.
    pub fn cost(&self) -> Option<f64> {
        self.0.get(names::COST)?.as_f64()
    }

    /// Time to the first piece of the answer, in milliseconds.
    pub fn first_chunk_ms(&self) -> Option<f64> {
        Some(self.0.get(names::TIME_TO_FIRST_CHUNK)?.as_f64()? * 1_000.0)
    }

    /// Time to the first token, of text or of a tool call, in milliseconds.
    pub fn first_token_ms(&self) -> Option<f64> {
        Some(self.0.get(names::TIME_TO_FIRST_TOKEN)?.as_f64()? * 1_000.0)
    }

    /// Output tokens a second, between the first and the last.
    pub fn tokens_per_second(&self) -> Option<f64> {
        self.0.get(names::TOKENS_PER_SECOND)?.as_f64()
    }

    /// Why the model stopped.
    pub fn finish(&self) -> Option<&str> {
        self.text(names::FINISH_REASONS)
    }

    /// The tools that it called.
    pub fn tool_calls(&self) -> Option<&str> {
        self.text(names::TOOL_CALLS)
    }

    /// All that is known, by name.
    pub fn facts(&self) -> &Map<String, Value> {
        &self.0
    }

    fn text(&self, name: &str) -> Option<&str> {
        self.0.get(name)?.as_str().filter(|text| !text.is_empty())
    }
}

/// What stands in the properties of such a call.
const MARKS: [&str; 3] = ["\"gen_ai.", "\"mcp.", "\"otas_proxy.llm."];

fn is_about_models(name: &str) -> bool {
    names::SPACES.iter().any(|space| name.starts_with(space))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn what_properties_say_of_a_model_is_kept_and_absent_is_absent() {
        let mut json = Json::object(0);
        json.string("path", "/");
        let from = json.len();
        json.open("custom_properties");
        json.string("server.address", "api.test");
        json.string("gen_ai.request.model", "m-1");
        json.number("gen_ai.usage.input_tokens", 12);
        json.null("gen_ai.usage.output_tokens");
        json.close();
        let column = Llm::written(&json, from).unwrap().column();
        assert_eq!(column, r#"{"gen_ai.request.model":"m-1","gen_ai.usage.input_tokens":12}"#);
        let llm = Llm::parse(&column).unwrap();
        assert_eq!(
            (llm.model(), llm.input_tokens(), llm.output_tokens(), llm.cost()),
            (Some("m-1"), Some(12), None, None)
        );
    }

    #[test]
    fn other_calls_say_nothing_of_models() {
        let mut json = Json::object(0);
        json.open("custom_properties");
        json.string("server.address", "api.test");
        json.close();
        assert_eq!(Llm::written(&json, 0), None);
        assert_eq!((Llm::parse(""), Llm::parse("[half")), (None, None));
    }

    #[test]
    fn the_model_that_answered_counts() {
        let facts =
            json!({ "gen_ai.request.model": "m", "gen_ai.response.model": "m-2026", "otas_proxy.llm.cost": 0.25 });
        let llm = Llm::of(facts.as_object().unwrap()).unwrap();
        assert_eq!((llm.model(), llm.cost()), (Some("m-2026"), Some(0.25)));
    }

    #[test]
    fn an_outline_is_read_as_it_was_written() {
        let outline = Outline {
            scheme: "https".into(),
            read: true,
            blind: None,
            cut: true,
            ms: Phases { wait: Some(1.25), ..Phases::default() },
        };
        let column = serde_json::to_string(&outline).unwrap();
        assert_eq!(column, r#"{"scheme":"https","read":true,"cut":true,"ms":{"wait":1.25}}"#);
        assert_eq!(Outline::parse(&column), outline);
        assert_eq!(Outline::parse(""), Outline::default());
    }
}
