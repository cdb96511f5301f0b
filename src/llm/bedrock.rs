//! Amazon Bedrock: Converse, with one format for all models, and InvokeModel, with each model's own format.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::Value;

use super::answer::Kind;
use super::reading::Reading;
use super::sieve::{Sieve, Wanted};
use super::usage::Tokens;
use super::{anthropic, frames};

/// The members of a Converse answer, or of an event of its stream, that are read.
pub(super) const WANTED: &[Wanted] = &[
    ("output.message.content", 512 << 10),
    ("stopReason", 64),
    ("usage", 8 << 10),
    ("contentBlockIndex", 32),
    ("start", 4 << 10),
    ("delta", 256 << 10),
    ("message", 2048),
];

/// The members of a piece of InvokeModel's stream that are read.
pub(super) const WANTED_OF_CHUNK: &[Wanted] = &[("bytes", 512 << 10), ("message", 2048)];

/// The members of an InvokeModel answer that are read: Claude's format, or that of Converse, which Amazon's own models
/// use.
pub(super) const WANTED_OF_MODEL: &[Wanted] = &[
    ("type", 64),
    ("id", 512),
    ("model", 512),
    ("stop_reason", 64),
    ("usage", 8 << 10),
    ("content", 512 << 10),
    ("output.message.content", 512 << 10),
    ("stopReason", 64),
];

/// Reads an event of Converse's stream.
pub(super) fn event(reading: &mut Reading, frame: &frames::Frame<'_>, members: &Sieve) {
    if is_failure(reading, frame, members) {
        return;
    }
    reading.confirm();
    let index = members.get("contentBlockIndex").and_then(|index| index.as_u64()).unwrap_or(0);
    match frame.name {
        "contentBlockStart" => {
            let start = members.get("start").unwrap_or_default();
            if let Some(name) = start["toolUse"]["name"].as_str() {
                reading.tool(index, &start["toolUse"]["toolUseId"], name);
            }
        }
        "contentBlockDelta" => {
            let delta = members.get("delta").unwrap_or_default();
            reading.append(Kind::Text, index, delta["text"].as_str().unwrap_or_default());
            reading.append(Kind::Reasoning, index, delta["reasoningContent"]["text"].as_str().unwrap_or_default());
            reading.append(Kind::Tool, index, delta["toolUse"]["input"].as_str().unwrap_or_default());
        }
        "messageStop" => {
            if let Some(reason) = members.text("stopReason") {
                reading.finish(0, &reason);
            }
        }
        // This event comes last.
        "metadata" => {
            reading.usage(members.get("usage"), Tokens::converse);
            if reading.has_finished() {
                reading.close();
            }
        }
        _ => {}
    }
}

/// Reads a whole answer of Converse, or of a model with the same format.
pub(super) fn whole(reading: &mut Reading, members: &Sieve) {
    let content = members.get("output.message.content");
    if members.has("output.message.content") || members.has("stopReason") {
        reading.confirm();
    }
    for (index, part) in (0u64..).zip(content.as_ref().and_then(Value::as_array).into_iter().flatten()) {
        reading.append(Kind::Text, index, part["text"].as_str().unwrap_or_default());
        let thought = &part["reasoningContent"]["reasoningText"]["text"];
        reading.append(Kind::Reasoning, index, thought.as_str().unwrap_or_default());
        if let Some(name) = part["toolUse"]["name"].as_str() {
            reading.tool(index, &part["toolUse"]["toolUseId"], name);
            if part["toolUse"]["input"].is_object() {
                reading.append(Kind::Tool, index, &part["toolUse"]["input"].to_string());
            }
        }
    }
    if let Some(reason) = members.text("stopReason") {
        reading.finish(0, &reason);
    }
    reading.usage(members.get("usage"), Tokens::converse);
    reading.close();
}

/// Reads a whole answer of InvokeModel.
pub(super) fn model(reading: &mut Reading, members: &Sieve) {
    match members.text("type").as_deref() {
        Some("message") => anthropic::read(reading, members),
        _ if members.has("output.message.content") => whole(reading, members),
        // An unknown format. Amazon's token counts are in the header fields of the response.
        _ => reading.close(),
    }
}

/// Reads a piece of InvokeModel's stream: the model's own event, in base64.
pub(super) fn chunk(reading: &mut Reading, frame: &frames::Frame<'_>, members: &Sieve) {
    if is_failure(reading, frame, members) {
        return;
    }
    let Some(event) = members.text("bytes").and_then(|bytes| STANDARD.decode(bytes).ok()) else { return };
    let mut inner = Sieve::new(anthropic::WANTED);
    inner.read(&event);
    if !inner.is_whole() {
        return;
    }
    anthropic::read(reading, &inner);
    // For every model, the last piece has Amazon's token counts.
    if let Some(metrics) = inner.get("amazon-bedrock-invocationMetrics") {
        reading.count(Tokens::invocation(&metrics));
        reading.confirm();
        reading.close();
    }
}

fn is_failure(reading: &mut Reading, frame: &frames::Frame<'_>, members: &Sieve) -> bool {
    if frame.kind == "event" || frame.kind.is_empty() {
        return false;
    }
    let message = members.text("message").unwrap_or_else(|| frame.message.to_owned());
    reading.fail("stream_error", frame.name, &message);
    true
}
