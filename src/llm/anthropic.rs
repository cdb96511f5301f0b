//! Anthropic's Messages: one object, or a stream of named events.

use std::borrow::Cow;

use serde::Deserialize;
use serde::de::IgnoredAny;
use serde_json::Value;

use super::answer::Kind;
use super::reading::Reading;
use super::sieve::{Sieve, Wanted};
use super::usage::Tokens;

/// The members of an event, or of a whole answer, that are read.
pub(super) const WANTED: &[Wanted] = &[
    ("type", 64),
    ("message.id", 512),
    ("message.model", 512),
    ("message.usage", 8 << 10),
    ("index", 32),
    ("content_block", 64 << 10),
    ("delta", 256 << 10),
    ("error", 4 << 10),
    ("id", 512),
    ("model", 512),
    ("stop_reason", 64),
    ("usage", 8 << 10),
    ("content", 512 << 10),
    ("amazon-bedrock-invocationMetrics", 2048),
];

/// Reads an event, or a whole answer.
pub(super) fn read(reading: &mut Reading, members: &Sieve) {
    let index = members.raw("index").and_then(|index| index.parse().ok()).unwrap_or(0);
    let kind = members.text("type").unwrap_or_default();
    if kind == "message" || kind.starts_with("message_") || kind.starts_with("content_block_") {
        reading.confirm();
    }
    match kind.as_str() {
        "message_start" => {
            reading.id(members.text("message.id"));
            reading.model(members.text("message.model"));
            // The output count is only a start value, and the input may be updated at the end.
            reading.usage(members.get("message.usage"), Tokens::anthropic);
            reading.output_is_begun();
        }
        "content_block_start" => {
            if let Some(part) = members.get("content_block") {
                block(reading, index, &part, true);
            }
        }
        "content_block_delta" => {
            if let Some(delta) = members.raw("delta").and_then(|raw| serde_json::from_str::<Delta<'_>>(raw).ok()) {
                delta.add_to(reading, index);
            }
        }
        "message_delta" => {
            reading.usage(members.get("usage"), Tokens::anthropic);
            if let Some(reason) = members.get("delta").as_ref().and_then(|delta| delta["stop_reason"].as_str()) {
                reading.finish(0, reason);
            }
        }
        "message_stop" => {
            if let Some(metrics) = members.get("amazon-bedrock-invocationMetrics") {
                reading.count(Tokens::invocation(&metrics));
            }
            reading.close();
        }
        "message" => {
            reading.id(members.text("id"));
            reading.model(members.text("model"));
            for (place, part) in
                (0u64..).zip(members.get("content").as_ref().and_then(Value::as_array).into_iter().flatten())
            {
                block(reading, place, part, false);
            }
            if let Some(reason) = members.text("stop_reason") {
                reading.finish(0, &reason);
            }
            reading.usage(members.get("usage"), Tokens::anthropic);
            reading.close();
        }
        "error" => reading.fail_with(members.get("error").as_ref()),
        _ => {}
    }
}

/// Reads a block of an answer: a whole one, or one that `begins` and whose tool input usually follows.
fn block(reading: &mut Reading, index: u64, block: &Value, begins: bool) {
    match block["type"].as_str().unwrap_or_default() {
        "text" => reading.append(Kind::Text, index, block["text"].as_str().unwrap_or_default()),
        "thinking" => reading.append(Kind::Reasoning, index, block["thinking"].as_str().unwrap_or_default()),
        "tool_use" | "server_tool_use" | "mcp_tool_use" => {
            reading.tool(index, &block["id"], block["name"].as_str().unwrap_or_default());
            match &block["input"] {
                // Some servers send the whole input at the beginning.
                Value::Object(input) if begins && !input.is_empty() => {
                    reading.begin(Kind::Tool, index, &block["input"].to_string());
                }
                Value::Object(_) if !begins => reading.append(Kind::Tool, index, &block["input"].to_string()),
                _ => {}
            }
        }
        _ => {}
    }
}

/// A piece of a block: hundreds of them come in a stream.
#[derive(Deserialize)]
struct Delta<'a> {
    #[serde(borrow, rename = "type", default)]
    kind: Member<'a>,
    #[serde(borrow, default)]
    text: Member<'a>,
    #[serde(borrow, default)]
    thinking: Member<'a>,
    #[serde(borrow, default)]
    partial_json: Member<'a>,
}

/// A member that should be a string. Other values count as an empty one.
#[derive(Deserialize)]
#[serde(untagged)]
enum Member<'a> {
    Text(#[serde(borrow)] Cow<'a, str>),
    Other(IgnoredAny),
}

impl Default for Member<'_> {
    fn default() -> Self {
        Self::Other(IgnoredAny)
    }
}

impl Member<'_> {
    fn text(&self) -> &str {
        match self {
            Self::Text(text) => text,
            Self::Other(_) => "",
        }
    }
}

impl Delta<'_> {
    fn add_to(&self, reading: &mut Reading, index: u64) {
        match self.kind.text() {
            "text_delta" => reading.append(Kind::Text, index, self.text.text()),
            "thinking_delta" => reading.append(Kind::Reasoning, index, self.thinking.text()),
            "input_json_delta" => reading.append(Kind::Tool, index, self.partial_json.text()),
            _ => {}
        }
    }
}
