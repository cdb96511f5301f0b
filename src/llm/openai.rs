//! OpenAI's Chat Completions, text completions and Embeddings, which many other servers speak, too.

use serde_json::Value;

use super::answer::Kind;
use super::calls::Mention;
use super::reading::Reading;
use super::sieve::{Sieve, Wanted};
use super::usage::Tokens;

/// The members of an answer, or a piece of it, that are read.
pub(super) const WANTED: &[Wanted] = &[
    ("object", 64),
    ("id", 512),
    ("model", 512),
    ("choices", 512 << 10),
    ("usage", 8 << 10),
    ("x_groq.usage", 8 << 10),
    ("service_tier", 64),
    ("error", 4 << 10),
];

/// The members of an answer with embeddings that are read. The vectors are skipped.
pub(super) const WANTED_OF_EMBEDDINGS: &[Wanted] =
    &[("object", 64), ("model", 512), ("usage", 8 << 10), ("error", 4 << 10), ("data", 0)];

/// Reads a piece of a stream, or a whole answer.
pub(super) fn read(reading: &mut Reading, members: &Sieve) {
    if members.has("choices") || members.has("data") {
        reading.confirm();
    }
    reading.fail_with(members.get("error").as_ref());
    reading.id(members.text("id"));
    reading.model(members.text("model"));
    reading.service_tier(members.text("service_tier"));
    // Some servers repeat the whole answer at the end of a stream.
    let whole = reading.streamed && members.text("object").as_deref() == Some("chat.completion");
    let choices = members.get("choices");
    for (place, choice) in (0u64..).zip(choices.as_ref().and_then(Value::as_array).into_iter().flatten()) {
        let index = choice["index"].as_u64().unwrap_or(place);
        message(reading, index, &choice["delta"], whole);
        message(reading, index, &choice["message"], true);
        reading.append(Kind::Text, index, choice["text"].as_str().unwrap_or_default());
        if let Some(reason) = choice["finish_reason"].as_str().filter(|reason| !reason.is_empty()) {
            reading.finish(index, reason);
        }
        // Moonshot reports usage in the choice. With several choices there is no total.
        match (index, choice["usage"].is_object()) {
            (0, true) => reading.usage(Some(choice["usage"].clone()), Tokens::openai),
            (_, true) => reading.usage_lost(),
            _ => {}
        }
    }
    reading.usage(members.get("x_groq.usage"), Tokens::openai);
    reading.usage(members.get("usage"), Tokens::openai);
}

/// Reads the message of a choice. `whole`: a complete message, pieces of which may have come before.
fn message(reading: &mut Reading, index: u64, message: &Value, whole: bool) {
    if !(whole && reading.answer().has(Kind::Reasoning, index)) {
        for name in ["reasoning_content", "reasoning"] {
            reading.append(Kind::Reasoning, index, message[name].as_str().unwrap_or_default());
        }
    }
    // Some servers send a message that grows from piece to piece.
    if let (true, Some(text)) = (whole && reading.streamed, message["content"].as_str()) {
        reading.append_whole(Kind::Text, index, text);
    } else if !(whole && reading.answer().has(Kind::Text, index)) {
        for name in ["content", "refusal"] {
            match &message[name] {
                Value::String(text) => reading.append(Kind::Text, index, text),
                Value::Array(parts) => {
                    for part in parts {
                        reading.append(Kind::Text, index, part["text"].as_str().unwrap_or_default());
                    }
                }
                _ => {}
            }
        }
    }
    if whole && reading.answer().any(Kind::Tool, |key| key >> 16 == index) {
        return;
    }
    let calls = message["tool_calls"].as_array().map(Vec::as_slice).unwrap_or_default();
    for (place, call) in (0u64..).zip(calls) {
        let function = if call["function"].is_object() { &call["function"] } else { &call["custom"] };
        let several = whole || calls.len() > 1;
        let place = call["index"].as_u64().or(several.then_some(place));
        tool(reading, (index, place), call["id"].as_str().unwrap_or_default(), function);
    }
    tool(reading, (index, Some(FUNCTION_CALL)), "", &message["function_call"]);
}

/// The index of the call in the old API, which allowed only one.
const FUNCTION_CALL: u64 = 0xFFFF;

fn tool(reading: &mut Reading, (choice, index): (u64, Option<u64>), id: &str, function: &Value) {
    if !function.is_object() {
        return;
    }
    let arguments = ["arguments", "input"].iter().find_map(|name| match &function[*name] {
        Value::String(text) => Some(text.clone()),
        // Some servers send an object instead of its JSON text.
        Value::Object(_) => Some(function[*name].to_string()),
        _ => None,
    });
    let name = function["name"].as_str().unwrap_or_default();
    reading.tool_piece(&Mention { choice, index, id, name }, &arguments.unwrap_or_default());
}
