//! The question: which interface it speaks if the path did not tell, and the parameters that it sets.

use serde_json::{Number, Value};

use super::api::{Api, Call};
use super::facts::Fact;
use super::names;
use super::sieve::{Sieve, Wanted};
use super::text::cut;

/// Bytes of a name or an id.
const NAME: usize = 512;
/// Bytes of a number or a word.
const WORD: usize = 64;

/// All members of any interface's question that matter.
pub(super) const WANTED: &[Wanted] = &[
    ("model", NAME),
    ("modelId", NAME),
    ("stream", WORD),
    ("max_tokens", WORD),
    ("max_completion_tokens", WORD),
    ("max_output_tokens", WORD),
    ("max_tokens_to_sample", WORD),
    ("temperature", WORD),
    ("top_p", WORD),
    ("top_k", WORD),
    ("frequency_penalty", WORD),
    ("presence_penalty", WORD),
    ("seed", WORD),
    ("n", WORD),
    ("dimensions", WORD),
    ("encoding_format", WORD),
    ("previous_response_id", NAME),
    ("conversation", NAME),
    ("response_format.type", WORD),
    ("text.format.type", WORD),
    ("generationConfig", 4096),
    ("request.generationConfig", 4096),
    ("inferenceConfig", 4096),
    ("messages", 0),
    ("message", 0),
    ("input", 0),
    ("prompt", 0),
    ("contents", 0),
    ("request.contents", 0),
    ("inputText", 0),
    ("textGenerationConfig", 0),
    ("anthropic_version", WORD),
    ("jsonrpc", WORD),
    ("method", NAME),
    ("id", NAME),
    ("params.name", NAME),
    ("params.uri", NAME),
    ("params.protocolVersion", WORD),
];

/// The interface of a question whose path did not tell.
pub(super) fn shape(said: &Sieve, call: &Call) -> Option<Api> {
    let has = |name: &str| said.has(name);
    if has("jsonrpc") {
        return is_mcp(said, call).then_some(Api::Mcp);
    }
    if has("contents") || has("request.contents") {
        return Some(Api::Gemini);
    }
    said.text("model")?;
    match (has("messages"), has("input")) {
        (true, _) if call.field("anthropic-version").is_some() || has("anthropic_version") => {
            Some(Api::AnthropicMessages)
        }
        (true, _) => Some(Api::OpenAiChat),
        (_, true) if has("encoding_format") || has("dimensions") => Some(Api::OpenAiEmbeddings),
        (_, true) => Some(Api::OpenAiResponses),
        _ => None,
    }
}

/// Whether the question is one to a model, as its path says.
pub(super) fn fits(said: &Sieve, api: Api, call: &Call) -> bool {
    let has = |name: &str| said.has(name);
    match api {
        Api::Mcp => is_mcp(said, call),
        Api::Gemini => has("contents") || has("request.contents"),
        Api::BedrockConverse => has("messages"),
        Api::BedrockInvoke => has("anthropic_version") || has("messages") || has("inputText") || has("prompt"),
        Api::OpenAiChat => has("model") && (has("messages") || has("prompt")),
        Api::OpenAiResponses | Api::OpenAiEmbeddings => has("model") && has("input"),
        Api::AnthropicMessages => has("messages") && (has("model") || has("anthropic_version")),
        Api::CohereChat => has("model") && (has("messages") || has("message")),
        Api::Ollama => has("model") && (has("messages") || has("prompt")),
    }
}

/// Whether a JSON-RPC message is one of MCP's: a field says so, or a method that no other protocol has. Others (A2A, language
/// servers, blockchains) speak JSON-RPC, too.
fn is_mcp(said: &Sieve, call: &Call) -> bool {
    if said.text("jsonrpc").as_deref() != Some("2.0") || !said.has("method") {
        return false;
    }
    let method = said.text("method").unwrap_or_default();
    let fields = ["mcp-protocol-version", "mcp-session-id", "mcp-method"];
    fields.iter().any(|name| call.field(name).is_some())
        || MCP_METHODS.contains(&method.as_str())
        // Its versions are dates. Other protocols with such a call have numbers.
        || (method == "initialize" && said.text("params.protocolVersion").is_some())
}

/// Methods that only MCP has.
const MCP_METHODS: [&str; 21] = [
    "tools/list",
    "tools/call",
    "resources/list",
    "resources/read",
    "resources/templates/list",
    "resources/subscribe",
    "resources/unsubscribe",
    "prompts/list",
    "prompts/get",
    "completion/complete",
    "logging/setLevel",
    "sampling/createMessage",
    "elicitation/create",
    "roots/list",
    "notifications/initialized",
    "notifications/cancelled",
    "notifications/progress",
    "notifications/roots/list_changed",
    "notifications/tools/list_changed",
    "notifications/resources/list_changed",
    "notifications/prompts/list_changed",
];

/// What is done, as far as the question and the path tell.
pub(super) fn operation(
    said: Option<&Sieve>,
    api: Api,
    call: &Call,
    by_path: Option<&'static str>,
) -> Option<&'static str> {
    let has = |name: &str| said.is_some_and(|said| said.has(name));
    match api {
        // Mistral's agents are asked at the path of text completions.
        Api::OpenAiChat if by_path.is_none() || has("messages") => api.operation(),
        Api::OpenAiChat => by_path.filter(|_| has("prompt")),
        // All of Amazon's models are invoked so: those that embed, rank and draw as well.
        Api::BedrockInvoke => {
            let model = call.model.as_deref().unwrap_or_default();
            let asks = ["messages", "message", "prompt", "textGenerationConfig", "anthropic_version"]
                .iter()
                .any(|name| has(name));
            match model {
                _ if model.contains("embed") => Api::OpenAiEmbeddings.operation(),
                _ if ["stability.", "image", "rerank"].iter().any(|other| model.contains(other)) => None,
                _ => api.operation().filter(|_| asks),
            }
        }
        _ => by_path.or(api.operation()),
    }
}

/// What the question says.
pub(super) fn facts(said: &Sieve, api: Api, call: &Call) -> Vec<(&'static str, Fact)> {
    let mut facts = Vec::new();
    let mut tell = |name, fact: Option<Fact>| facts.extend(fact.map(|fact| (name, fact)));
    if api == Api::Mcp {
        mcp(said, call, &mut tell);
        return facts;
    }
    let text = |name: &str| said.text(name).map(|text| Fact::Text(cut(text, NAME)));
    tell(
        names::REQUEST_MODEL,
        call.model.clone().map(|model| Fact::Text(cut(model, NAME))).or_else(|| text("model")),
    );
    let streamed = said.get("stream").and_then(|stream| stream.as_bool());
    // Ollama streams unless it is asked not to.
    let unsaid =
        api != Api::OpenAiEmbeddings && said.is_whole() && said.raw("stream").is_none_or(|raw| raw == "null");
    let unsaid = unsaid.then_some(api == Api::Ollama);
    let stream = call.stream.or(streamed).or(unsaid);
    tell(names::REQUEST_STREAM, stream.map(Fact::Flag));
    let config =
        ["generationConfig", "request.generationConfig", "inferenceConfig"].iter().find_map(|name| said.get(name));
    for (name, members, inside) in PARAMETERS {
        let outside = members.iter().find_map(|member| number(said.get(member)));
        let inside = || inside.iter().find_map(|member| number(config.as_ref()?.get(member).cloned()));
        tell(name, outside.or_else(inside).map(Fact::Number));
    }
    if number(said.get("n")).and_then(|n| n.as_u64()) != Some(1) {
        tell(names::REQUEST_CHOICES, number(said.get("n")).map(Fact::Number));
    }
    tell(names::REQUEST_ENCODING, text("encoding_format"));
    let output = said.text("response_format.type").or_else(|| said.text("text.format.type"));
    tell(
        names::OUTPUT_TYPE,
        output.map(|form| Fact::Text(if form.starts_with("json") { "json".to_owned() } else { form })),
    );
    tell(names::REQUEST_PREVIOUS, text("previous_response_id"));
    let conversation = said.get("conversation").and_then(|of| match of {
        Value::String(id) => Some(id),
        of => of["id"].as_str().map(str::to_owned),
    });
    tell(names::CONVERSATION, conversation.map(|id| Fact::Text(cut(id, NAME))));
    facts
}

/// A parameter: its name in events, in questions, and in the objects that Google and Amazon put it into.
type Parameter = (&'static str, &'static [&'static str], &'static [&'static str]);

const PARAMETERS: [Parameter; 8] = [
    (
        names::REQUEST_MAX_TOKENS,
        &["max_completion_tokens", "max_output_tokens", "max_tokens", "max_tokens_to_sample"],
        &["maxOutputTokens", "maxTokens"],
    ),
    (names::REQUEST_TEMPERATURE, &["temperature"], &["temperature"]),
    (names::REQUEST_TOP_P, &["top_p"], &["topP"]),
    (names::REQUEST_TOP_K, &["top_k"], &["topK"]),
    (names::REQUEST_FREQUENCY_PENALTY, &["frequency_penalty"], &["frequencyPenalty"]),
    (names::REQUEST_PRESENCE_PENALTY, &["presence_penalty"], &["presencePenalty"]),
    (names::REQUEST_SEED, &["seed"], &["seed"]),
    (names::EMBEDDING_DIMENSIONS, &["dimensions"], &[]),
];

fn number(value: Option<Value>) -> Option<Number> {
    match value? {
        Value::Number(number) => Some(number),
        _ => None,
    }
}

/// What a message of MCP's says; its fields say the same in part, for those who cannot read bodies.
fn mcp(said: &Sieve, call: &Call, tell: &mut impl FnMut(&'static str, Option<Fact>)) {
    let text = |name: &str| said.text(name);
    let method = text("method").or_else(|| call.field("mcp-method"));
    let calls_tool = method.as_deref() == Some("tools/call");
    tell(names::MCP_METHOD, method.map(Fact::Text));
    if calls_tool {
        tell(names::OPERATION, Some(Fact::Text("execute_tool".to_owned())));
        tell(names::TOOL, text("params.name").or_else(|| call.field("mcp-name")).map(Fact::Text));
    }
    tell(names::MCP_RESOURCE, text("params.uri").map(Fact::Text));
    let version = call.field("mcp-protocol-version").or_else(|| text("params.protocolVersion"));
    tell(names::MCP_VERSION, version.map(Fact::Text));
    tell(names::MCP_SESSION, call.field("mcp-session-id").map(Fact::Text));
    let id = said.get("id").map(|id| id.as_str().map_or_else(|| id.to_string(), str::to_owned));
    tell(names::JSONRPC_ID, id.map(Fact::Text));
}
