//! OpenAI's chat completions, text completions and embeddings, as many others speak them, too.

use serde_json::Value;

use super::answer::Kind;
use super::reading::Reading;
use super::sieve::{Sieve, Wanted};
use super::usage::Tokens;

/// Of an answer, whole or a piece of it.
pub(super) const WANTED: &[Wanted] = &[
    ("id", 512),
    ("model", 512),
    ("choices", 512 << 10),
    ("usage", 8 << 10),
    ("x_groq.usage", 8 << 10),
    ("error", 4 << 10),
];

/// Of an answer with embeddings, whose numbers nobody wants.
pub(super) const WANTED_OF_EMBEDDINGS: &[Wanted] =
    &[("model", 512), ("usage", 8 << 10), ("error", 4 << 10), ("data", 0)];

/// What stands where a stream's last piece would.
const DONE: &[u8] = b"[DONE]";

/// A piece of a stream, or a whole answer.
pub(super) fn read(reading: &mut Reading, said: &Sieve) {
    if said.start().starts_with(DONE) {
        return reading.close();
    }
    reading.fail_with(said.get("error").as_ref());
    reading.id(said.text("id"));
    reading.model(said.text("model"));
    let choices = said.get("choices");
    for choice in choices.as_ref().and_then(Value::as_array).into_iter().flatten() {
        let index = choice["index"].as_u64().unwrap_or(0);
        for message in [&choice["delta"], &choice["message"]] {
            words(reading, index, message);
        }
        reading.say(Kind::Text, index, choice["text"].as_str().unwrap_or_default());
        if let Some(reason) = choice["finish_reason"].as_str() {
            reading.finish(index, reason);
        }
    }
    reading.usage(said.get("usage").or_else(|| said.get("x_groq.usage")), Tokens::openai);
    // The last piece of a stream counts all; some count in every piece, which says nothing until the end.
    if choices.as_ref().and_then(Value::as_array).is_some_and(Vec::is_empty) && said.get("usage").is_some() {
        reading.usage_is_final();
    }
}

fn words(reading: &mut Reading, index: u64, message: &Value) {
    for name in ["reasoning_content", "reasoning"] {
        reading.say(Kind::Reasoning, index, message[name].as_str().unwrap_or_default());
    }
    for name in ["content", "refusal"] {
        match &message[name] {
            Value::String(text) => reading.say(Kind::Text, index, text),
            Value::Array(parts) => {
                for part in parts {
                    reading.say(Kind::Text, index, part["text"].as_str().unwrap_or_default());
                }
            }
            _ => {}
        }
    }
    let calls = message["tool_calls"].as_array().into_iter().flatten().enumerate();
    for (place, call) in calls {
        let key = index << 16 | call["index"].as_u64().unwrap_or(place as u64);
        let function = if call["function"].is_object() { &call["function"] } else { &call["custom"] };
        tool(reading, key, function);
    }
    tool(reading, index << 16 | 0xFFFF, &message["function_call"]);
}

fn tool(reading: &mut Reading, key: u64, function: &Value) {
    if let Some(name) = function["name"].as_str() {
        reading.tool(key, name);
    }
    for name in ["arguments", "input"] {
        reading.say(Kind::Tool, key, function[name].as_str().unwrap_or_default());
    }
}
