//! The request: its API if the path does not show it, and its parameters.

use serde_json::{Number, Value};

use super::api::{Api, Call};
use super::facts::Fact;
use super::names;
use super::sieve::{Sieve, Wanted};
use super::text::cut;
use crate::agents::MEMBERS;

/// The longest name or id.
const NAME: usize = 512;
/// The longest number or keyword.
const WORD: usize = 64;

/// The members of a request, of any API, that are read.
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
    ("generate", WORD),
    MEMBERS[0],
    MEMBERS[1],
    MEMBERS[2],
    MEMBERS[3],
    MEMBERS[4],
    MEMBERS[5],
];

/// The API of a request, by its members.
pub(super) fn shape(members: &Sieve, call: &Call) -> Option<Api> {
    let has = |name: &str| members.has(name);
    if has("jsonrpc") {
        return is_mcp(members, call).then_some(Api::Mcp);
    }
    if has("contents") || has("request.contents") {
        return Some(Api::Gemini);
    }
    members.text("model")?;
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

/// Whether the request matches this API.
pub(super) fn fits(members: &Sieve, api: Api, call: &Call) -> bool {
    let has = |name: &str| members.has(name);
    match api {
        Api::Mcp => is_mcp(members, call),
        Api::Gemini => has("contents") || has("request.contents"),
        Api::BedrockConverse => has("messages"),
        Api::BedrockInvoke => has("anthropic_version") || has("messages") || has("inputText") || has("prompt"),
        Api::OpenAiChat => has("model") && (has("messages") || has("prompt")),
        Api::OpenAiResponses | Api::OpenAiEmbeddings => has("model") && has("input"),
        // A turn says only that the model shall speak.
        Api::OpenAiRealtime => has("type"),
        Api::AnthropicMessages => has("messages") && (has("model") || has("anthropic_version")),
        Api::CohereChat => has("model") && (has("messages") || has("message")),
        Api::Ollama => has("model") && (has("messages") || has("prompt")),
    }
}

/// Whether the request asks for no answer: Codex only warms the connection up.
pub(super) fn only_warms_up(members: &Sieve) -> bool {
    members.get("generate") == Some(Value::Bool(false))
}

/// The members in which agents name themselves.
pub(super) fn claims(members: &Sieve) -> Vec<(&'static str, Value)> {
    MEMBERS.iter().filter_map(|(name, _)| Some((*name, members.get(name)?))).collect()
}

/// Whether a JSON-RPC message belongs to MCP: by a header field, or by a method that no other protocol has. Other
/// protocols use JSON-RPC, too (A2A, language servers, blockchains).
fn is_mcp(members: &Sieve, call: &Call) -> bool {
    if members.text("jsonrpc").as_deref() != Some("2.0") || !members.has("method") {
        return false;
    }
    let method = members.text("method").unwrap_or_default();
    let fields = ["mcp-protocol-version", "mcp-session-id", "mcp-method"];
    fields.iter().any(|name| call.field(name).is_some())
        || MCP_METHODS.contains(&method.as_str())
        // Versions of MCP are texts (dates). Other protocols with such a call have numbers.
        || (method == "initialize" && members.text("params.protocolVersion").is_some())
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

/// The operation, as far as the request and the path show it.
pub(super) fn operation(
    members: Option<&Sieve>,
    api: Api,
    call: &Call,
    by_path: Option<&'static str>,
) -> Option<&'static str> {
    let has = |name: &str| members.is_some_and(|members| members.has(name));
    match api {
        // Mistral's agents use the path of text completions.
        Api::OpenAiChat if by_path.is_none() || has("messages") => api.operation(),
        Api::OpenAiChat => by_path.filter(|_| has("prompt")),
        // All of Amazon's models are invoked like this, including those that embed, rank and draw.
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

/// The facts of the request.
pub(super) fn facts(members: &Sieve, api: Api, call: &Call) -> Vec<(&'static str, Fact)> {
    let mut facts = Vec::new();
    let mut add = |name, fact: Option<Fact>| facts.extend(fact.map(|fact| (name, fact)));
    if api == Api::Mcp {
        mcp(members, call, &mut add);
        return facts;
    }
    let text = |name: &str| members.text(name).map(|text| Fact::Text(cut(text, NAME)));
    add(names::REQUEST_MODEL, call.model.clone().map(|model| Fact::Text(cut(model, NAME))).or_else(|| text("model")));
    let streamed = members.get("stream").and_then(|stream| stream.as_bool());
    // Ollama streams by default, the others do not.
    let by_default =
        api != Api::OpenAiEmbeddings && members.is_whole() && members.raw("stream").is_none_or(|raw| raw == "null");
    let by_default = by_default.then_some(api == Api::Ollama);
    let stream = call.stream.or(streamed).or(by_default);
    add(names::REQUEST_STREAM, stream.map(Fact::Flag));
    let config =
        ["generationConfig", "request.generationConfig", "inferenceConfig"].iter().find_map(|name| members.get(name));
    for (name, outside, inside) in PARAMETERS {
        let outside = outside.iter().find_map(|member| number(members.get(member)));
        let inside = || inside.iter().find_map(|member| number(config.as_ref()?.get(member).cloned()));
        add(name, outside.or_else(inside).map(Fact::Number));
    }
    if number(members.get("n")).and_then(|n| n.as_u64()) != Some(1) {
        add(names::REQUEST_CHOICES, number(members.get("n")).map(Fact::Number));
    }
    add(names::REQUEST_ENCODING, text("encoding_format"));
    let output = members.text("response_format.type").or_else(|| members.text("text.format.type"));
    add(
        names::OUTPUT_TYPE,
        output.map(|form| Fact::Text(if form.starts_with("json") { "json".to_owned() } else { form })),
    );
    add(names::REQUEST_PREVIOUS, text("previous_response_id"));
    let conversation = members.get("conversation").and_then(|of| match of {
        Value::String(id) => Some(id),
        of => of["id"].as_str().map(str::to_owned),
    });
    add(names::CONVERSATION, conversation.map(|id| Fact::Text(cut(id, NAME))));
    facts
}

/// A parameter: its name in events, its names in requests, and its names in the config objects of Google and Amazon.
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

/// The facts of an MCP message. Its header fields repeat some of them.
fn mcp(members: &Sieve, call: &Call, add: &mut impl FnMut(&'static str, Option<Fact>)) {
    let text = |name: &str| members.text(name);
    let method = text("method").or_else(|| call.field("mcp-method"));
    let calls_tool = method.as_deref() == Some("tools/call");
    add(names::MCP_METHOD, method.map(Fact::Text));
    if calls_tool {
        add(names::OPERATION, Some(Fact::Text("execute_tool".to_owned())));
        add(names::TOOL, text("params.name").or_else(|| call.field("mcp-name")).map(Fact::Text));
    }
    add(names::MCP_RESOURCE, text("params.uri").map(Fact::Text));
    let version = call.field("mcp-protocol-version").or_else(|| text("params.protocolVersion"));
    add(names::MCP_VERSION, version.map(Fact::Text));
    add(names::MCP_SESSION, call.field("mcp-session-id").map(Fact::Text));
    let id = members.get("id").map(|id| id.as_str().map_or_else(|| id.to_string(), str::to_owned));
    add(names::JSONRPC_ID, id.map(Fact::Text));
}
