//! Cohere's Chat: one object, or a stream of events, in versions 2 and 1.

use serde_json::Value;

use super::answer::Kind;
use super::reading::Reading;
use super::sieve::{Sieve, Wanted};
use super::usage::Tokens;

/// The members of an event, or of a whole answer, that are read.
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

/// Reads an event, or a whole answer.
pub(super) fn read(reading: &mut Reading, members: &Sieve) {
    if members.has("event_type") || members.has("is_finished") {
        return first_version(reading, members);
    }
    let index = members.get("index").and_then(|index| index.as_u64()).unwrap_or(0);
    let delta = members.get("delta").unwrap_or_default();
    let kind = members.text("type").unwrap_or_default();
    if EVENTS.contains(&kind.as_str()) {
        reading.confirm();
    }
    match kind.as_str() {
        "message-start" => reading.id(members.text("id")),
        "content-start" | "content-delta" => content(reading, index, &delta["message"]["content"]),
        "tool-plan-delta" => {
            reading.append(Kind::Reasoning, 0, delta["message"]["tool_plan"].as_str().unwrap_or_default());
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
        _ => whole(reading, members),
    }
}

/// The events of a stream that are read.
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
    reading.append(Kind::Text, index, content["text"].as_str().unwrap_or_default());
    reading.append(Kind::Reasoning, index, content["thinking"].as_str().unwrap_or_default());
}

fn call(reading: &mut Reading, index: u64, call: &Value) {
    reading.tool(index, &call["id"], call["function"]["name"].as_str().unwrap_or_default());
    reading.append(Kind::Tool, index, call["function"]["arguments"].as_str().unwrap_or_default());
}

fn whole(reading: &mut Reading, members: &Sieve) {
    let list = |value: &Value| value.as_array().cloned().unwrap_or_default();
    match members.get("message") {
        Some(message) if message.is_object() => {
            // Other chat services also have a `message` in their answers.
            if message["role"] == "assistant" && members.has("finish_reason") {
                reading.confirm();
            }
            reading.append(Kind::Reasoning, 0, message["tool_plan"].as_str().unwrap_or_default());
            for (index, part) in (0u64..).zip(list(&message["content"])) {
                content(reading, index, &part);
            }
            for (index, tool) in (0u64..).zip(list(&message["tool_calls"])) {
                call(reading, index, &tool);
            }
        }
        _ if members.has("text") && members.has("meta") && members.has("generation_id") => {
            reading.confirm();
            reading.append(Kind::Text, 0, &members.text("text").unwrap_or_default());
        }
        _ => return,
    }
    reading.id(members.text("id").or_else(|| members.text("generation_id")));
    if let Some(reason) = members.text("finish_reason") {
        reading.finish(0, &reason);
    }
    reading.usage(members.get("usage").or_else(|| members.get("meta")), Tokens::cohere);
}

/// Reads an event of version 1.
fn first_version(reading: &mut Reading, members: &Sieve) {
    if members.has("event_type") && members.has("is_finished") {
        reading.confirm();
    }
    reading.id(members.text("generation_id"));
    match members.text("event_type").unwrap_or_default().as_str() {
        "text-generation" => reading.append(Kind::Text, 0, &members.text("text").unwrap_or_default()),
        "stream-end" => {
            reading.id(members.text("response.generation_id"));
            reading.usage(members.get("response.meta"), Tokens::cohere);
            if let Some(reason) = members.text("finish_reason") {
                reading.finish(0, &reason);
            }
            reading.close();
        }
        _ => {}
    }
}
