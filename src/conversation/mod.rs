//! A stored model call as people read it: system prompt, tools, messages and the answer, in one form for all interfaces. Pure, and
//! nothing fails: of a body that is cut or damaged, what is there is read, and the result says so.
//!
//! ```text
//!  event::Stored
//!    |- json       the JSON of a request, also if it is cut
//!    |- values     the JSON values of a response: one object, an event stream, lines, an array
//!    |    |- anthropic, chat, responses, gemini, converse    what the members of an interface mean
//!    v
//!  Conversation
//!    |- changes    what differs between two calls, and why the prompt cache was missed
//! ```

mod anthropic;
mod changes;
mod chat;
mod converse;
mod gemini;
mod json;
mod responses;
#[cfg(test)]
mod tests;
mod values;

use std::hash::{DefaultHasher, Hash, Hasher};

use serde_json::{Map, Value};

pub use self::changes::{Changes, Difference, Parameter, cache_miss_reason, changes, first_difference};
use crate::event::{Content, Side, Stored};
use crate::llm::names;

/// A model call.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Conversation {
    /// What was sent.
    pub request: Request,
    /// What the model answered.
    pub answer: Answer,
}

/// The request of a model call.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Request {
    /// The system prompt.
    pub system: Vec<Block>,
    /// The tools that the model may call.
    pub tools: Vec<Tool>,
    /// The messages so far.
    pub messages: Vec<Message>,
    /// All other members by name, such as `model` and `max_tokens`, without those that only name the caller.
    pub parameters: Map<String, Value>,
    /// Whether the messages go on from those that the provider has stored, which are not sent again.
    pub goes_on: bool,
    /// Whether some of it is missing: it was cut, or could not be read.
    pub is_cut: bool,
}

/// The answer of a model.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Answer {
    /// What the model said, thought and called, in order.
    pub blocks: Vec<Block>,
    /// Why it stopped, in the provider's words.
    pub stop_reason: Option<String>,
    /// The provider's error message.
    pub error: Option<String>,
    /// Whether some of it is missing: it broke off, was cut, or could not be read.
    pub is_cut: bool,
}

/// A tool that the model may call.
#[derive(Debug, Clone, PartialEq)]
pub struct Tool {
    /// Its name. For a tool of the provider: its type.
    pub name: String,
    /// Its definition as it was sent, without marks for the cache.
    pub definition: Value,
}

/// A message.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Message {
    /// `user`, `assistant`, `tool`, … `model` of Gemini is `assistant`.
    pub role: String,
    /// Its content.
    pub blocks: Vec<Block>,
}

/// A part of a message.
#[derive(Debug, Clone, PartialEq)]
pub enum Block {
    /// Text.
    Text(String),
    /// What the model thought.
    Thinking(String),
    /// The model calls a tool.
    ToolCall {
        /// The id that the result will name. May be empty.
        id: String,
        /// The tool.
        name: String,
        /// Its arguments, usually JSON.
        arguments: String,
    },
    /// The result of a tool.
    ToolResult {
        /// The id of the call. May be empty.
        id: String,
        /// The result.
        content: Vec<Block>,
        /// Whether it is an error. `None`: the interface does not say.
        is_error: Option<bool>,
    },
    /// An image, a file or a sound. Its data is not kept.
    Media {
        /// Its media type, or its address.
        what: String,
        /// A hash of its data, for comparisons within one process.
        data: u64,
    },
    /// Any other part.
    Other {
        /// Its type.
        kind: String,
        /// Its JSON.
        json: String,
    },
}

/// The readers of an interface.
struct Interface {
    /// Reads a whole request.
    request: fn(&Value, &mut Request),
    /// Reads the values of a response, which are one whole answer or the pieces of one.
    answer: fn(&[Value], &mut Answer),
}

impl Conversation {
    /// Reads a stored event. `None`: it is not a call to a model that converses.
    pub fn of(event: &Stored) -> Option<Self> {
        let llm = event.llm()?;
        let api = llm.facts().get(names::API).and_then(Value::as_str).unwrap_or_default();
        let (request, is_whole) = match event.body(Side::Request) {
            Content::Text(text) => json::parse(text),
            Content::Empty => (Value::Null, event.bytes(Side::Request) == 0),
            Content::Bytes(_) => (Value::Null, false),
        };
        let request = json::without_cache_marks(inner(request));
        let interface = interface(api, &request)?;
        let mut conversation = Self::default();
        (interface.request)(&request, &mut conversation.request);
        conversation.request.goes_on =
            ["previous_response_id", "conversation"].iter().any(|name| !request[*name].is_null());
        conversation.request.is_cut = !is_whole;
        conversation.answer = answer(event, interface);
        Some(conversation)
    }
}

/// What a WebSocket or Google's code assistant wraps a request into.
fn inner(request: Value) -> Value {
    let wrapped = match &request["type"] {
        Value::String(kind) if kind == "response.create" => "response",
        _ => "request",
    };
    let Value::Object(mut outer) = request else { return request };
    match outer.remove(wrapped) {
        Some(Value::Object(mut members)) => {
            // The model stands outside.
            members.extend(outer.remove_entry("model"));
            Value::Object(members)
        }
        Some(other) => {
            outer.insert(wrapped.to_owned(), other);
            Value::Object(outer)
        }
        None => Value::Object(outer),
    }
}

/// The interface by its name in events, or else by the form of the request.
fn interface(api: &str, request: &Value) -> Option<&'static Interface> {
    let has = |name: &str| !request[name].is_null();
    let is_claudes = || has("anthropic_version") || (has("system") && has("messages"));
    match api {
        "anthropic.messages" => Some(&anthropic::INTERFACE),
        "openai.responses" | "openai.realtime" => Some(&responses::INTERFACE),
        "gemini" => Some(&gemini::INTERFACE),
        "bedrock.converse" => Some(&converse::INTERFACE),
        "openai.chat" | "ollama" | "cohere.chat" => Some(&chat::INTERFACE),
        "openai.embeddings" | "mcp" => None,
        _ if has("contents") => Some(&gemini::INTERFACE),
        _ if has("messages") && is_claudes() => Some(&anthropic::INTERFACE),
        _ if has("messages") || has("prompt") => Some(&chat::INTERFACE),
        _ if has("input") => Some(&responses::INTERFACE),
        _ => None,
    }
}

fn answer(event: &Stored, interface: &Interface) -> Answer {
    let mut answer = Answer::default();
    let (values, is_whole) = match event.body(Side::Response) {
        Content::Text(text) => values::of(text),
        Content::Empty => (Vec::new(), event.bytes(Side::Response) == 0),
        Content::Bytes(_) => (Vec::new(), false),
    };
    (interface.answer)(&values, &mut answer);
    let facts = &event.metadata()["llm"];
    answer.is_cut = !is_whole || facts["complete"] == false;
    if answer.error.is_none() {
        answer.error = values.iter().find_map(error);
    }
    // Binary streams are not stored as text. The proxy has read them while they passed.
    if let (true, Some(text)) = (answer.blocks.is_empty(), facts["text"].as_str().filter(|text| !text.is_empty())) {
        answer.blocks.push(Block::Text(text.to_owned()));
    }
    answer
}

/// The error message in a value of a response.
fn error(value: &Value) -> Option<String> {
    let error = [&value["error"], &value["response"]["error"]].into_iter().find(|error| !error.is_null())?;
    let message = error["message"].as_str().or(error.as_str()).or(value["message"].as_str())?;
    Some(message.to_owned()).filter(|message| !message.is_empty())
}

impl Request {
    /// Takes all members as parameters but these.
    fn take_parameters(&mut self, request: &Value, content: &[&str]) {
        /// Members that only say who calls, or how the answer is sent.
        const OF_CALLS: [&str; 8] = [
            "client_metadata",
            "metadata",
            "previous_response_id",
            "prompt_cache_key",
            "session_id",
            "stream",
            "type",
            "user",
        ];
        let members = request.as_object().into_iter().flatten();
        let others =
            members.filter(|(name, _)| !content.contains(&name.as_str()) && !OF_CALLS.contains(&name.as_str()));
        self.parameters = others.map(|(name, value)| (name.clone(), value.clone())).collect();
    }
}

impl Tool {
    /// From its definition. In OpenAI's chat interface, `function` holds the name.
    fn of(definition: &Value) -> Self {
        let names = [&definition["function"]["name"], &definition["name"], &definition["type"]];
        let name = names.into_iter().find_map(Value::as_str).unwrap_or_default();
        Self { name: name.to_owned(), definition: definition.clone() }
    }
}

impl Block {
    fn other(json: &Value) -> Self {
        Self::Other { kind: text(&json["type"]), json: json.to_string() }
    }

    /// A part with data: of this type or address, with this data.
    fn media(what: &str, data: &Value) -> Self {
        let mut hasher = DefaultHasher::new();
        data.to_string().hash(&mut hasher);
        Self::Media { what: what.to_owned(), data: hasher.finish() }
    }

    /// The text that it holds, if it is text.
    pub fn text(&self) -> Option<&str> {
        match self {
            Self::Text(text) | Self::Thinking(text) => Some(text),
            _ => None,
        }
    }

    /// Whether two parts mean the same. White space around texts does not count.
    fn is_like(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Text(one), Self::Text(other)) | (Self::Thinking(one), Self::Thinking(other)) => {
                one.trim() == other.trim()
            }
            (
                Self::ToolResult { id, content, is_error },
                Self::ToolResult { id: other_id, content: other_content, is_error: other_error },
            ) => id == other_id && is_error == other_error && are_like(content, other_content),
            _ => self == other,
        }
    }

    /// Whether it is the block by which Claude Code marks each call with a new number. It is no part of the prompt.
    fn is_mark_of_claude(&self) -> bool {
        /// Longer blocks are prompts.
        const MARK_MAX_BYTES: usize = 1024;
        let is_mark = |text: &str| text.len() <= MARK_MAX_BYTES && text.contains("cch=");
        matches!(self, Self::Text(text) if is_mark(text))
    }
}

/// Whether two lists of parts mean the same.
fn are_like(one: &[Block], other: &[Block]) -> bool {
    one.len() == other.len() && one.iter().zip(other).all(|(one, other)| one.is_like(other))
}

/// Adds text to the last part if that is text of the same kind, or else as a new part.
fn append(blocks: &mut Vec<Block>, part: Block) {
    match (blocks.last_mut(), part) {
        (Some(Block::Text(known)), Block::Text(more)) => known.push_str(&more),
        (Some(Block::Thinking(known)), Block::Thinking(more)) => known.push_str(&more),
        (_, part) => blocks.push(part),
    }
}

/// A text, or nothing.
fn text(value: &Value) -> String {
    value.as_str().unwrap_or_default().to_owned()
}

/// The elements of an array, or none.
fn elements(value: &Value) -> &[Value] {
    value.as_array().map(Vec::as_slice).unwrap_or_default()
}

/// Content that is a text or a list of parts.
fn content(value: &Value, part: fn(&Value) -> Option<Block>) -> Vec<Block> {
    match value {
        Value::String(text) if text.is_empty() => Vec::new(),
        Value::String(text) => vec![Block::Text(text.clone())],
        Value::Array(parts) => parts.iter().filter_map(part).collect(),
        Value::Null => Vec::new(),
        other => part(other).into_iter().collect(),
    }
}

/// JSON as text; a text as it is. Arguments of tools come as both.
fn as_written(value: &Value) -> String {
    match value {
        Value::Null => String::new(),
        Value::String(text) => text.clone(),
        other => other.to_string(),
    }
}
