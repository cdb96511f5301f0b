//! Ollama's chat and generate: one object, or one on each line, the last of which has `done`.

use serde_json::Value;

use super::answer::Kind;
use super::calls::Mention;
use super::reading::Reading;
use super::sieve::{Sieve, Wanted};
use super::usage::Tokens;

/// The members of a line, or of a whole answer, that are read.
pub(super) const WANTED: &[Wanted] = &[
    ("model", 512),
    ("message", 512 << 10),
    ("response", 256 << 10),
    ("thinking", 256 << 10),
    ("done", 16),
    ("done_reason", 64),
    ("prompt_eval_count", 32),
    ("eval_count", 32),
    ("error", 4 << 10),
];

/// Reads a line, or a whole answer.
pub(super) fn read(reading: &mut Reading, members: &Sieve) {
    reading.fail_with(members.get("error").as_ref());
    let Some(done) = members.get("done").and_then(|done| done.as_bool()) else { return };
    let model = members.text("model").filter(|model| !model.is_empty());
    if model.is_some() {
        reading.confirm();
    }
    reading.model(model);
    let message = members.get("message").unwrap_or_default();
    let text = |name: &str| message[name].as_str().unwrap_or_default().to_owned();
    reading.append(Kind::Reasoning, 0, &(text("thinking") + &members.text("thinking").unwrap_or_default()));
    reading.append(Kind::Text, 0, &(text("content") + &members.text("response").unwrap_or_default()));
    for call in message["tool_calls"].as_array().into_iter().flatten() {
        // Each call comes in one piece.
        let key = Some(reading.next_tool());
        let name = call["function"]["name"].as_str().unwrap_or_default();
        let arguments = call["function"]["arguments"].to_string();
        reading.tool_piece(&Mention { choice: 0, index: key, id: "", name }, &arguments);
    }
    if done {
        if let Some(reason) = members.text("done_reason") {
            reading.finish(0, &reason);
        }
        let counts = ["prompt_eval_count", "eval_count"];
        let counts = counts.iter().filter_map(|name| Some(((*name).to_owned(), members.get(name)?)));
        reading.usage(Some(Value::Object(counts.collect())), Tokens::ollama);
        reading.close();
    } else {
        reading.reopen();
    }
}
