//! What lists, sums and prices read of a model call: its properties, as the store keeps them beside the event.

use std::sync::LazyLock;

use memchr::memmem::Finder;
use serde_json::{Map, Value};

use super::names;

/// The properties of an event that describe a model call: those with OpenTelemetry's names for generative AI (all still in
/// "development") and MCP, and the cost. An unknown one is absent, never 0.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Llm(Map<String, Value>);

impl Llm {
    /// Parses the store's column. `None`: not a model call.
    pub fn parse(column: &str) -> Option<Self> {
        (!column.is_empty()).then(|| serde_json::from_str(column).ok().map(Self)).flatten()
    }

    /// From all properties of an event. `None`: not a model call.
    pub fn of(properties: &Map<String, Value>) -> Option<Self> {
        let known = properties
            .iter()
            .filter(|(name, value)| !value.is_null() && (is_about_models(name) || is_of_agent(name)));
        let known: Map<String, Value> = known.map(|(name, value)| (name.clone(), value.clone())).collect();
        // An agent makes other calls, too.
        let is_model_call = known.keys().any(|name| !is_of_agent(name));
        is_model_call.then_some(Self(known))
    }

    /// The store's column for an existing event. Empty: not a model call.
    pub fn of_event(json: &[u8]) -> String {
        let event: Value = serde_json::from_slice(json).unwrap_or_default();
        event["custom_properties"].as_object().and_then(Self::of).map(Self::column).unwrap_or_default()
    }

    /// From the JSON of an event's member `custom_properties`, with its name.
    pub(crate) fn of_member(member: &[u8]) -> Option<Self> {
        Self::in_member(member, "")
    }

    /// The same while the member has no closing brace yet.
    pub(crate) fn of_open_member(member: &[u8]) -> Option<Self> {
        Self::in_member(member, "}")
    }

    /// From a member that is an object once `end` is appended.
    fn in_member(member: &[u8], end: &str) -> Option<Self> {
        // A quick check, because most calls are not model calls.
        if !MARKS.iter().any(|mark| mark.find(member).is_some()) {
            return None;
        }
        let object = member.iter().position(|byte| *byte == b'{').and_then(|at| member.get(at..))?;
        Self::of(&serde_json::from_slice(&[object, end.as_bytes()].concat()).unwrap_or_default())
    }

    /// The store's column.
    pub(crate) fn column(self) -> String {
        Value::Object(self.0).to_string()
    }

    /// Whether a model is called. Calls over MCP are to tools.
    pub fn is_model_call(&self) -> bool {
        self.text(names::API) != Some("mcp") && self.mcp_method().is_none()
    }

    /// The model that answered, or else the requested one.
    pub fn model(&self) -> Option<&str> {
        self.text(names::RESPONSE_MODEL).or_else(|| self.text(names::REQUEST_MODEL))
    }

    /// The provider.
    pub fn provider(&self) -> Option<&str> {
        self.text(names::PROVIDER)
    }

    /// The operation: `chat`, `embeddings`, `execute_tool`, ….
    pub fn operation(&self) -> Option<&str> {
        self.text(names::OPERATION)
    }

    /// The tool that is called over MCP.
    pub fn tool(&self) -> Option<&str> {
        self.text(names::TOOL)
    }

    /// The method that is called over MCP.
    pub fn mcp_method(&self) -> Option<&str> {
        self.text(names::MCP_METHOD)
    }

    /// Input tokens, including cached ones.
    pub fn input_tokens(&self) -> Option<u64> {
        self.0.get(names::INPUT_TOKENS)?.as_u64()
    }

    /// Output tokens.
    pub fn output_tokens(&self) -> Option<u64> {
        self.0.get(names::OUTPUT_TOKENS)?.as_u64()
    }

    /// Input tokens read from a cache.
    pub fn cache_read_tokens(&self) -> Option<u64> {
        self.0.get(names::CACHE_READ_TOKENS)?.as_u64()
    }

    /// Input tokens written to a cache.
    pub fn cache_write_tokens(&self) -> Option<u64> {
        self.0.get(names::CACHE_WRITE_TOKENS)?.as_u64()
    }

    /// How the provider says that it bills the call.
    pub fn service_tier(&self) -> Option<&str> {
        self.text(names::SERVICE_TIER)
    }

    /// The currency of the cost.
    pub fn currency(&self) -> Option<&str> {
        self.text(names::COST_CURRENCY)
    }

    /// The cost, by a price table.
    pub fn cost(&self) -> Option<f64> {
        self.0.get(names::COST)?.as_f64()
    }

    /// Time to the first chunk of the answer, in milliseconds.
    pub fn first_chunk_ms(&self) -> Option<f64> {
        Some(self.0.get(names::TIME_TO_FIRST_CHUNK)?.as_f64()? * 1_000.0)
    }

    /// Time to first token, of text or of a tool call, in milliseconds.
    pub fn first_token_ms(&self) -> Option<f64> {
        Some(self.0.get(names::TIME_TO_FIRST_TOKEN)?.as_f64()? * 1_000.0)
    }

    /// Output tokens per second, between the first and the last.
    pub fn tokens_per_second(&self) -> Option<f64> {
        self.0.get(names::TOKENS_PER_SECOND)?.as_f64()
    }

    /// The stop reason.
    pub fn finish(&self) -> Option<&str> {
        self.text(names::FINISH_REASONS)
    }

    /// The called tools.
    pub fn tool_calls(&self) -> Option<&str> {
        self.text(names::TOOL_CALLS)
    }

    /// The agent, by what it says of itself.
    pub fn agent(&self) -> Option<&str> {
        self.text(names::AGENT_NAME)
    }

    /// The agent's own id of its session.
    pub fn session(&self) -> Option<&str> {
        self.text(names::SESSION)
    }

    /// The agent's own id of the sub-agent.
    pub fn agent_id(&self) -> Option<&str> {
        self.text(names::AGENT_ID)
    }

    /// The agent's own id of the thread.
    pub fn thread(&self) -> Option<&str> {
        self.text(names::AGENT_THREAD)
    }

    /// The agent's own id of the turn.
    pub fn turn(&self) -> Option<&str> {
        self.text(names::AGENT_TURN)
    }

    /// All properties by name.
    pub fn facts(&self) -> &Map<String, Value> {
        &self.0
    }

    fn text(&self, name: &str) -> Option<&str> {
        self.0.get(name)?.as_str().filter(|text| !text.is_empty())
    }
}

/// Texts of which at least one occurs in the properties of a model call.
static MARKS: LazyLock<[Finder<'static>; 3]> =
    LazyLock::new(|| ["\"gen_ai.", "\"mcp.", "\"otas_proxy.llm."].map(Finder::new));

fn is_of_agent(name: &str) -> bool {
    names::OF_AGENTS.contains(&name)
}

fn is_about_models(name: &str) -> bool {
    names::SPACES.iter().any(|space| name.starts_with(space))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn properties_of_a_model_call_are_kept_and_absent_ones_stay_absent() {
        let open = concat!(
            r#","custom_properties":{"server.address":"api.test","gen_ai.request.model":"m-1","#,
            r#""gen_ai.usage.input_tokens":12,"gen_ai.usage.output_tokens":null"#
        );
        let column = Llm::of_member(format!("{open}}}").as_bytes()).unwrap().column();
        assert_eq!(Llm::of_open_member(open.as_bytes()).unwrap().column(), column);
        assert_eq!(column, r#"{"gen_ai.request.model":"m-1","gen_ai.usage.input_tokens":12}"#);
        let llm = Llm::parse(&column).unwrap();
        assert_eq!(
            (llm.model(), llm.input_tokens(), llm.output_tokens(), llm.cost()),
            (Some("m-1"), Some(12), None, None)
        );
    }

    #[test]
    fn other_calls_are_not_model_calls() {
        assert_eq!(Llm::of_member(br#"{"custom_properties":{"server.address":"api.test"}"#), None);
        assert_eq!((Llm::parse(""), Llm::parse("[half")), (None, None));
    }

    #[test]
    fn the_model_that_answered_comes_first() {
        let facts =
            json!({ "gen_ai.request.model": "m", "gen_ai.response.model": "m-2026", "otas_proxy.llm.cost": 0.25 });
        let llm = Llm::of(facts.as_object().unwrap()).unwrap();
        assert_eq!((llm.model(), llm.cost()), (Some("m-2026"), Some(0.25)));
    }
}
