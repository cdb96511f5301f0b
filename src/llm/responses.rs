//! OpenAI's responses: one object, a stream of named events, or the same events as messages of a WebSocket.

use serde_json::Value;

use super::answer::Kind;
use super::reading::Reading;
use super::sieve::{Sieve, Wanted};
use super::usage::Tokens;

/// Of an event, or of a whole answer.
pub(super) const WANTED: &[Wanted] = &[
    ("type", 128),
    ("object", 64),
    ("output_index", 32),
    ("content_index", 32),
    ("summary_index", 32),
    ("delta", 256 << 10),
    ("item", 256 << 10),
    ("error", 4 << 10),
    ("code", 256),
    ("message", 2048),
    ("response.id", 512),
    ("response.model", 512),
    ("response.status", 64),
    ("response.usage", 8 << 10),
    ("response.error", 4 << 10),
    ("response.incomplete_details", 1024),
    ("response.conversation", 1024),
    ("id", 512),
    ("model", 512),
    ("status", 64),
    ("usage", 8 << 10),
    ("incomplete_details", 1024),
    ("conversation", 1024),
    ("output", 512 << 10),
];

/// An event, or a whole answer.
pub(super) fn read(reading: &mut Reading, said: &Sieve) {
    let kind = said.text("type").unwrap_or_default();
    let number = |name: &str| said.get(name).and_then(|number| number.as_u64()).unwrap_or(0);
    let key = number("output_index") << 16 | (number("content_index") + number("summary_index"));
    let delta = || said.text("delta").unwrap_or_default();
    match kind.as_str() {
        "response.output_text.delta" | "response.refusal.delta" => reading.say(Kind::Text, key, &delta()),
        "response.reasoning_text.delta" | "response.reasoning_summary_text.delta" => {
            reading.say(Kind::Reasoning, key, &delta());
        }
        "response.function_call_arguments.delta" | "response.custom_tool_call_input.delta" => {
            reading.say(Kind::Tool, number("output_index"), &delta());
        }
        "response.output_item.added" => {
            if let Some(name) = said.get("item").as_ref().and_then(tool) {
                reading.tool(number("output_index"), name);
            }
        }
        "response.created" | "response.in_progress" | "response.queued" => head(reading, said, "response."),
        "response.completed" | "response.incomplete" | "response.failed" | "response.cancelled" | "response.done" => {
            end(reading, said, "response.", kind.trim_start_matches("response."));
        }
        "error" => {
            let error = said.get("error");
            match &error {
                Some(Value::Object(_)) => reading.fail_with(error.as_ref()),
                _ => reading.fail(
                    "stream_error",
                    &said.text("code").unwrap_or_default(),
                    &said.text("message").unwrap_or_default(),
                ),
            }
        }
        "" => whole(reading, said),
        _ => {}
    }
}

fn head(reading: &mut Reading, said: &Sieve, at: &str) {
    reading.id(said.text(&format!("{at}id")));
    reading.model(said.text(&format!("{at}model")));
    let conversation = said.get(&format!("{at}conversation"));
    if let Some(id) = conversation.as_ref().and_then(|of| of["id"].as_str()) {
        reading.tell(super::names::CONVERSATION, super::facts::Fact::Text(id.to_owned()));
    }
}

/// It has ended, or a whole answer tells how it stands. `as_called`: how, by the name of the event.
fn end(reading: &mut Reading, said: &Sieve, at: &str, as_called: &str) {
    head(reading, said, at);
    reading.usage(said.get(&format!("{at}usage")), Tokens::openai);
    let status = said.text(&format!("{at}status")).unwrap_or_else(|| as_called.to_owned());
    let why = said.get(&format!("{at}incomplete_details"));
    let why = why.as_ref().and_then(|why| why["reason"].as_str());
    match status.as_str() {
        "" | "in_progress" | "queued" => return,
        "failed" => {
            let error = said.get(&format!("{at}error"));
            let of = |name: &str| error.as_ref().and_then(|error| error[name].as_str()).unwrap_or_default();
            reading.fail("response_failed", of("code"), of("message"));
            reading.finish(0, &status);
        }
        _ => reading.finish(0, why.unwrap_or(&status)),
    }
    reading.usage_is_final();
    reading.close();
}

fn whole(reading: &mut Reading, said: &Sieve) {
    let Some(error) = said.get("error").filter(|_| said.text("object").is_none()) else {
        end(reading, said, "", "");
        let output = said.get("output");
        for (index, item) in output.as_ref().and_then(Value::as_array).into_iter().flatten().enumerate() {
            self::item(reading, index as u64, item);
        }
        return;
    };
    reading.fail_with(Some(&error));
}

/// One item of a whole answer.
fn item(reading: &mut Reading, index: u64, item: &Value) {
    let parts = |name: &str| item[name].as_array().cloned().unwrap_or_default();
    for (place, part) in (0u64..).zip(parts("content")) {
        let kind = if item["type"] == "reasoning" { Kind::Reasoning } else { Kind::Text };
        for name in ["text", "refusal"] {
            reading.say(kind, index << 16 | place, part[name].as_str().unwrap_or_default());
        }
    }
    for (place, part) in (0u64..).zip(parts("summary")) {
        reading.say(Kind::Reasoning, index << 16 | place, part["text"].as_str().unwrap_or_default());
    }
    if let Some(name) = tool(item) {
        reading.tool(index, name);
        for name in ["arguments", "input"] {
            reading.say(Kind::Tool, index, item[name].as_str().unwrap_or_default());
        }
    }
}

/// The tool that an item calls: one of the agent's by its name, one of the provider's by its kind.
fn tool(item: &Value) -> Option<&str> {
    let kind = item["type"].as_str()?.strip_suffix("_call")?;
    item["name"].as_str().or(Some(kind))
}
