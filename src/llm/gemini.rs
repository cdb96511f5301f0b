//! Google's `generateContent`: one object, or a stream of such objects. The last one has the total token counts.

use serde_json::Value;

use super::answer::Kind;
use super::reading::Reading;
use super::sieve::{Sieve, Wanted};
use super::usage::Tokens;

/// The members of an answer, or a piece of it, that are read. Google's code assistant puts them into `response`.
pub(super) const WANTED: &[Wanted] = &[
    ("candidates", 512 << 10),
    ("usageMetadata", 8 << 10),
    ("modelVersion", 512),
    ("responseId", 512),
    ("promptFeedback", 4 << 10),
    ("error", 4 << 10),
    ("response.candidates", 512 << 10),
    ("response.usageMetadata", 8 << 10),
    ("response.modelVersion", 512),
    ("response.responseId", 512),
    ("response.promptFeedback", 4 << 10),
];

/// Reads a piece of a stream, or a whole answer.
pub(super) fn read(reading: &mut Reading, members: &Sieve) {
    let get = |name: &str| members.get(name).or_else(|| members.get(&format!("response.{name}")));
    let text = |name: &str| members.text(name).or_else(|| members.text(&format!("response.{name}")));
    reading.fail_with(members.get("error").as_ref());
    reading.model(text("modelVersion"));
    reading.id(text("responseId"));
    reading.usage(get("usageMetadata"), Tokens::gemini);
    if ["candidates", "usageMetadata", "promptFeedback"].iter().any(|name| get(name).is_some()) {
        reading.confirm();
    }
    let (mut finished, mut content) = (false, false);
    let candidates = get("candidates");
    for (place, candidate) in (0u64..).zip(candidates.as_ref().and_then(Value::as_array).into_iter().flatten()) {
        let index = candidate["index"].as_u64().unwrap_or(place);
        for part in candidate["content"]["parts"].as_array().into_iter().flatten() {
            self::part(reading, index, part);
            content = true;
        }
        if let Some(reason) = candidate["finishReason"].as_str() {
            reading.finish(index, reason);
            finished = true;
        }
    }
    if let Some(reason) = get("promptFeedback").as_ref().and_then(|feedback| feedback["blockReason"].as_str()) {
        reading.finish(0, reason);
        finished = true;
    }
    // Only this identifies the last piece of a stream. Some servers give a stop reason in each piece.
    reading.perhaps_last(finished && get("usageMetadata").is_some(), content);
}

fn part(reading: &mut Reading, index: u64, part: &Value) {
    let kind = if part["thought"] == true { Kind::Reasoning } else { Kind::Text };
    reading.append(kind, index, part["text"].as_str().unwrap_or_default());
    if let Some(name) = part["functionCall"]["name"].as_str() {
        // Each call comes in one piece.
        let key = reading.next_tool();
        reading.tool(key, &part["functionCall"]["id"], name);
        if part["functionCall"]["args"].is_object() {
            reading.append(Kind::Tool, key, &part["functionCall"]["args"].to_string());
        }
    }
}
