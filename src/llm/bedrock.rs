//! Amazon Bedrock: Converse, which is the same for all models, and InvokeModel, which has each model's own form.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::Value;

use super::answer::Kind;
use super::reading::Reading;
use super::sieve::{Sieve, Wanted};
use super::usage::Tokens;
use super::{anthropic, frames};

/// Of a whole answer of Converse, or of an event of its stream.
pub(super) const WANTED: &[Wanted] = &[
    ("output.message.content", 512 << 10),
    ("stopReason", 64),
    ("usage", 8 << 10),
    ("contentBlockIndex", 32),
    ("start", 4 << 10),
    ("delta", 256 << 10),
    ("message", 2048),
];

/// Of a piece of InvokeModel's stream.
pub(super) const WANTED_OF_CHUNK: &[Wanted] = &[("bytes", 512 << 10), ("message", 2048)];

/// Of a whole answer of InvokeModel: Claude's form, or that of Converse, which Amazon's own models have.
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

/// An event of Converse's stream.
pub(super) fn event(reading: &mut Reading, frame: &frames::Frame<'_>, said: &Sieve) {
    if is_failure(reading, frame, said) {
        return;
    }
    reading.confirm();
    let index = said.get("contentBlockIndex").and_then(|index| index.as_u64()).unwrap_or(0);
    match frame.name {
        "contentBlockStart" => {
            if let Some(name) = said.get("start").as_ref().and_then(|start| start["toolUse"]["name"].as_str()) {
                reading.tool(index, name);
            }
        }
        "contentBlockDelta" => {
            let delta = said.get("delta").unwrap_or_default();
            reading.say(Kind::Text, index, delta["text"].as_str().unwrap_or_default());
            reading.say(Kind::Reasoning, index, delta["reasoningContent"]["text"].as_str().unwrap_or_default());
            reading.say(Kind::Tool, index, delta["toolUse"]["input"].as_str().unwrap_or_default());
        }
        "messageStop" => {
            if let Some(reason) = said.text("stopReason") {
                reading.finish(0, &reason);
            }
        }
        // It comes last.
        "metadata" => {
            reading.usage(said.get("usage"), Tokens::converse);
            if reading.has_finished() {
                reading.close();
            }
        }
        _ => {}
    }
}

/// A whole answer of Converse, or of a model that answers like it.
pub(super) fn whole(reading: &mut Reading, said: &Sieve) {
    let content = said.get("output.message.content");
    if said.has("output.message.content") || said.has("stopReason") {
        reading.confirm();
    }
    for (index, part) in (0u64..).zip(content.as_ref().and_then(Value::as_array).into_iter().flatten()) {
        reading.say(Kind::Text, index, part["text"].as_str().unwrap_or_default());
        let thought = &part["reasoningContent"]["reasoningText"]["text"];
        reading.say(Kind::Reasoning, index, thought.as_str().unwrap_or_default());
        if let Some(name) = part["toolUse"]["name"].as_str() {
            reading.tool(index, name);
            if part["toolUse"]["input"].is_object() {
                reading.say(Kind::Tool, index, &part["toolUse"]["input"].to_string());
            }
        }
    }
    if let Some(reason) = said.text("stopReason") {
        reading.finish(0, &reason);
    }
    reading.usage(said.get("usage"), Tokens::converse);
    reading.close();
}

/// A whole answer of InvokeModel.
pub(super) fn model(reading: &mut Reading, said: &Sieve) {
    match said.text("type").as_deref() {
        Some("message") => anthropic::read(reading, said),
        _ if said.has("output.message.content") => whole(reading, said),
        // A form that we do not know: what Amazon counts stands in the fields of the answer.
        _ => reading.close(),
    }
}

/// A piece of InvokeModel's stream: the model's own event, in base64.
pub(super) fn chunk(reading: &mut Reading, frame: &frames::Frame<'_>, said: &Sieve) {
    if is_failure(reading, frame, said) {
        return;
    }
    let Some(event) = said.text("bytes").and_then(|bytes| STANDARD.decode(bytes).ok()) else { return };
    let mut inner = Sieve::new(anthropic::WANTED);
    inner.read(&event);
    if !inner.is_whole() {
        return;
    }
    anthropic::read(reading, &inner);
    // Whatever the model, the last piece has what Amazon counted.
    if let Some(metrics) = inner.get("amazon-bedrock-invocationMetrics") {
        reading.count(Tokens::invocation(&metrics));
        reading.confirm();
        reading.close();
    }
}

fn is_failure(reading: &mut Reading, frame: &frames::Frame<'_>, said: &Sieve) -> bool {
    if frame.kind == "event" || frame.kind.is_empty() {
        return false;
    }
    let message = said.text("message").unwrap_or_else(|| frame.message.to_owned());
    reading.fail("stream_error", frame.name, &message);
    true
}
