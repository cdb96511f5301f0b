//! OpenAI's Responses: one object, a stream of named events, or the same events as messages of a WebSocket. Realtime has nearly the
//! same events.

use serde_json::Value;

use super::answer::Kind;
use super::reading::Reading;
use super::sieve::{Sieve, Wanted};
use super::usage::Tokens;
use super::{limits, refusal};

/// The members of an event, or of a whole answer, that are read.
pub(super) const WANTED: &[Wanted] = &[
    ("type", 128),
    ("object", 64),
    ("output_index", 32),
    ("content_index", 32),
    ("summary_index", 32),
    ("delta", 256 << 10),
    ("item", 256 << 10),
    ("name", 512),
    ("arguments", 256 << 10),
    ("error", 4 << 10),
    ("code", 256),
    ("message", 2048),
    ("response.id", 512),
    ("response.model", 512),
    ("response.status", 64),
    ("response.usage", 8 << 10),
    ("response.service_tier", 64),
    ("response.error", 4 << 10),
    ("response.incomplete_details", 1024),
    ("response.conversation", 1024),
    ("response.output", 512 << 10),
    ("id", 512),
    ("model", 512),
    ("status", 64),
    ("usage", 8 << 10),
    ("service_tier", 64),
    ("incomplete_details", 1024),
    ("conversation", 1024),
    ("output", 512 << 10),
    ("rate_limits", 8 << 10),
    ("metered_limit_name", 256),
    ("limit_name", 256),
];

/// Reads an event, or a whole answer.
pub(super) fn read(reading: &mut Reading, members: &Sieve) {
    let kind = members.text("type").unwrap_or_default();
    if kind.starts_with("response.") || members.text("object").as_deref() == Some("response") {
        reading.confirm();
    }
    let number = |name: &str| members.get(name).and_then(|number| number.as_u64()).unwrap_or(0);
    let key = number("output_index") << 16 | (number("content_index") + number("summary_index"));
    let delta = || members.text("delta").unwrap_or_default();
    match kind.as_str() {
        "response.output_text.delta"
        | "response.refusal.delta"
        | "response.text.delta"
        | "response.output_audio_transcript.delta"
        | "response.audio_transcript.delta" => reading.append(Kind::Text, key, &delta()),
        "response.reasoning_text.delta" | "response.reasoning_summary_text.delta" => {
            reading.append(Kind::Reasoning, key, &delta());
        }
        "response.function_call_arguments.delta" | "response.custom_tool_call_input.delta" => {
            reading.append(Kind::Tool, number("output_index"), &delta());
        }
        "response.output_item.added" => {
            if let Some(item) = members.get("item")
                && let Some(name) = tool(&item)
            {
                reading.tool(number("output_index"), &item["call_id"], name);
            }
        }
        // Some servers send no pieces before it.
        "response.output_item.done" => {
            if let Some(item) = members.get("item") {
                self::item(reading, number("output_index"), &item);
            }
        }
        "response.function_call_arguments.done" if !reading.answer().has(Kind::Tool, number("output_index")) => {
            if let Some(name) = members.text("name") {
                reading.tool(number("output_index"), &Value::Null, &name);
            }
            reading.append(Kind::Tool, number("output_index"), &members.text("arguments").unwrap_or_default());
        }
        "response.created" | "response.in_progress" | "response.queued" => head(reading, members, "response."),
        "response.completed" | "response.incomplete" | "response.failed" | "response.cancelled" | "response.done" => {
            if reading.answer().is_empty() {
                items(reading, members.get("response.output").as_ref());
            }
            end(reading, members, "response.", kind.trim_start_matches("response."));
        }
        "error" => {
            let error = members.get("error");
            match &error {
                Some(Value::Object(_)) => reading.fail_with(error.as_ref()),
                _ => reading.fail(
                    "stream_error",
                    &members.text("code").unwrap_or_default(),
                    &members.text("message").unwrap_or_default(),
                ),
            }
        }
        "codex.rate_limits" => {
            let name = members.text("metered_limit_name").or_else(|| members.text("limit_name")).unwrap_or_default();
            reading.limits(limits::of_codex(&members.get("rate_limits").unwrap_or_default(), &name));
        }
        "rate_limits.updated" => {
            reading.limits(limits::of_realtime(&members.get("rate_limits").unwrap_or_default()));
        }
        "" => whole(reading, members),
        _ => {}
    }
}

fn head(reading: &mut Reading, members: &Sieve, at: &str) {
    reading.id(members.text(&format!("{at}id")));
    reading.model(members.text(&format!("{at}model")));
    let conversation = members.get(&format!("{at}conversation"));
    if let Some(id) = conversation.as_ref().and_then(|of| of["id"].as_str()) {
        reading.add_fact(super::names::CONVERSATION, super::facts::Fact::Text(id.to_owned()));
    }
}

/// Reads the end of an answer, or the state of a whole one. `as_called`: the status by the name of the event.
fn end(reading: &mut Reading, members: &Sieve, at: &str, as_called: &str) {
    head(reading, members, at);
    // At the beginning it is the one that was asked for.
    reading.service_tier(members.text(&format!("{at}service_tier")));
    reading.usage(members.get(&format!("{at}usage")), Tokens::openai);
    // The name of the event decides, because some servers leave the status as it was at the beginning.
    let pending = |status: &String| matches!(status.as_str(), "" | "in_progress" | "queued");
    let status = members.text(&format!("{at}status")).filter(|status| as_called.is_empty() || !pending(status));
    let status = status.unwrap_or_else(|| as_called.to_owned());
    let why = members.get(&format!("{at}incomplete_details"));
    let why = why.as_ref().and_then(|why| why["reason"].as_str());
    match status.as_str() {
        "" | "in_progress" | "queued" => return,
        "failed" => {
            let error = members.get(&format!("{at}error"));
            let of = |name: &str| error.as_ref().and_then(|error| error[name].as_str()).unwrap_or_default();
            reading.fail("response_failed", of("code"), of("message"));
            reading.finish(0, &status);
        }
        _ => reading.finish(0, why.unwrap_or(&status)),
    }
    reading.usage_is_final();
    reading.close();
}

fn whole(reading: &mut Reading, members: &Sieve) {
    let error = members.get("error").filter(|_| members.text("object").is_none());
    if let Some(error) = error.filter(|error| refusal::parts(error).is_some()) {
        return reading.fail_with(Some(&error));
    }
    end(reading, members, "", "");
    items(reading, members.get("output").as_ref());
}

/// Reads the items of a whole answer.
fn items(reading: &mut Reading, output: Option<&Value>) {
    for (index, item) in (0u64..).zip(output.and_then(Value::as_array).into_iter().flatten()) {
        self::item(reading, index, item);
    }
}

/// Reads one item of an answer, unless its pieces have come before.
fn item(reading: &mut Reading, index: u64, item: &Value) {
    let known = |reading: &Reading, kind| reading.answer().any(kind, |key| key >> 16 == index);
    let kind = if item["type"] == "reasoning" { Kind::Reasoning } else { Kind::Text };
    let parts = |name: &str| item[name].as_array().cloned().unwrap_or_default();
    if !known(reading, kind) {
        for (place, part) in (0u64..).zip(parts("content")) {
            for name in ["text", "refusal", "transcript"] {
                reading.append(kind, index << 16 | place, part[name].as_str().unwrap_or_default());
            }
        }
    }
    if !known(reading, Kind::Reasoning) {
        for (place, part) in (0u64..).zip(parts("summary")) {
            reading.append(Kind::Reasoning, index << 16 | place, part["text"].as_str().unwrap_or_default());
        }
    }
    if let Some(name) = tool(item) {
        reading.tool(index, &item["call_id"], name);
        if !reading.answer().has(Kind::Tool, index) {
            for name in ["arguments", "input"] {
                reading.append(Kind::Tool, index, item[name].as_str().unwrap_or_default());
            }
        }
    }
}

/// The tool that an item calls: by name for the agent's tools, by type for the provider's.
fn tool(item: &Value) -> Option<&str> {
    let kind = item["type"].as_str()?.strip_suffix("_call")?;
    item["name"].as_str().or(Some(kind))
}
