//! Cohere's chat: one object, or a stream of events, in its second version and its first.

use serde_json::Value;

use super::answer::Kind;
use super::reading::Reading;
use super::sieve::{Sieve, Wanted};
use super::usage::Tokens;

/// Of an event, or of a whole answer.
pub(super) const WANTED: &[Wanted] = &[
    ("type", 64),
    ("event_type", 64),
    ("index", 32),
    ("id", 512),
    ("generation_id", 512),
    ("delta", 256 << 10),
    ("message", 512 << 10),
    ("finish_reason", 64),
    ("usage", 8 << 10),
    ("text", 256 << 10),
    ("meta", 8 << 10),
    ("response.meta", 8 << 10),
    ("response.generation_id", 512),
    ("is_finished", 16),
];

/// An event, or a whole answer.
pub(super) fn read(reading: &mut Reading, said: &Sieve) {
    if said.has("event_type") || said.has("is_finished") {
        return first_version(reading, said);
    }
    let index = said.get("index").and_then(|index| index.as_u64()).unwrap_or(0);
    let delta = said.get("delta").unwrap_or_default();
    let kind = said.text("type").unwrap_or_default();
    if EVENTS.contains(&kind.as_str()) {
        reading.confirm();
    }
    match kind.as_str() {
        "message-start" => reading.id(said.text("id")),
        "content-start" | "content-delta" => content(reading, index, &delta["message"]["content"]),
        "tool-plan-delta" => {
            reading.say(Kind::Reasoning, 0, delta["message"]["tool_plan"].as_str().unwrap_or_default());
        }
        "tool-call-start" | "tool-call-delta" => call(reading, index, &delta["message"]["tool_calls"]),
        "message-end" => {
            reading.usage(Some(delta["usage"].clone()), Tokens::cohere);
            if let Some(reason) = delta["finish_reason"].as_str() {
                reading.finish(0, reason);
            }
            reading.fail_with(Some(&delta["error"]));
            reading.close();
        }
        _ => whole(reading, said),
    }
}

/// The events of a stream that are looked at.
const EVENTS: [&str; 7] = [
    "message-start",
    "content-start",
    "content-delta",
    "tool-plan-delta",
    "tool-call-start",
    "tool-call-delta",
    "message-end",
];

fn content(reading: &mut Reading, index: u64, content: &Value) {
    reading.say(Kind::Text, index, content["text"].as_str().unwrap_or_default());
    reading.say(Kind::Reasoning, index, content["thinking"].as_str().unwrap_or_default());
}

fn call(reading: &mut Reading, index: u64, call: &Value) {
    reading.tool(index, call["function"]["name"].as_str().unwrap_or_default());
    reading.say(Kind::Tool, index, call["function"]["arguments"].as_str().unwrap_or_default());
}

fn whole(reading: &mut Reading, said: &Sieve) {
    let members = |value: &Value| value.as_array().cloned().unwrap_or_default();
    match said.get("message") {
        Some(message) if message.is_object() => {
            // Any chat may have a message in its answer.
            if message["role"] == "assistant" && said.has("finish_reason") {
                reading.confirm();
            }
            for (index, part) in (0u64..).zip(members(&message["content"])) {
                content(reading, index, &part);
            }
            for (index, tool) in (0u64..).zip(members(&message["tool_calls"])) {
                call(reading, index, &tool);
            }
        }
        _ if said.has("text") && said.has("meta") && said.has("generation_id") => {
            reading.confirm();
            reading.say(Kind::Text, 0, &said.text("text").unwrap_or_default());
        }
        _ => return,
    }
    reading.id(said.text("id").or_else(|| said.text("generation_id")));
    if let Some(reason) = said.text("finish_reason") {
        reading.finish(0, &reason);
    }
    reading.usage(said.get("usage").or_else(|| said.get("meta")), Tokens::cohere);
}

/// An event of the first version's stream.
fn first_version(reading: &mut Reading, said: &Sieve) {
    if said.has("event_type") && said.has("is_finished") {
        reading.confirm();
    }
    reading.id(said.text("generation_id"));
    match said.text("event_type").unwrap_or_default().as_str() {
        "text-generation" => reading.say(Kind::Text, 0, &said.text("text").unwrap_or_default()),
        "stream-end" => {
            reading.id(said.text("response.generation_id"));
            reading.usage(said.get("response.meta"), Tokens::cohere);
            if let Some(reason) = said.text("finish_reason") {
                reading.finish(0, &reason);
            }
            reading.close();
        }
        _ => {}
    }
}
