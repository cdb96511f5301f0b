//! Ollama's chat and generate: one object, or one a line, of which the last is done.

use serde_json::Value;

use super::answer::Kind;
use super::calls::Mention;
use super::reading::Reading;
use super::sieve::{Sieve, Wanted};
use super::usage::Tokens;

/// Of a line, or of a whole answer.
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

/// A line, or a whole answer.
pub(super) fn read(reading: &mut Reading, said: &Sieve) {
    reading.fail_with(said.get("error").as_ref());
    let Some(done) = said.get("done").and_then(|done| done.as_bool()) else { return };
    let model = said.text("model").filter(|model| !model.is_empty());
    if model.is_some() {
        reading.confirm();
    }
    reading.model(model);
    let message = said.get("message").unwrap_or_default();
    let text = |name: &str| message[name].as_str().unwrap_or_default().to_owned();
    reading.say(Kind::Reasoning, 0, &(text("thinking") + &said.text("thinking").unwrap_or_default()));
    reading.say(Kind::Text, 0, &(text("content") + &said.text("response").unwrap_or_default()));
    for call in message["tool_calls"].as_array().into_iter().flatten() {
        // Each comes whole.
        let key = Some(reading.next_tool());
        let name = call["function"]["name"].as_str().unwrap_or_default();
        let arguments = call["function"]["arguments"].to_string();
        reading.tool_piece(&Mention { choice: 0, index: key, id: "", name }, &arguments);
    }
    if done {
        if let Some(reason) = said.text("done_reason") {
            reading.finish(0, &reason);
        }
        let counts = ["prompt_eval_count", "eval_count"];
        let counts = counts.iter().filter_map(|name| Some(((*name).to_owned(), said.get(name)?)));
        reading.usage(Some(Value::Object(counts.collect())), Tokens::ollama);
        reading.close();
    } else {
        reading.reopen();
    }
}
