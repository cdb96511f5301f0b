//! What the second agent's user and model say, and what its tool returns.

use serde_json::{Value, json};

pub(in crate::cli::demo) const MODEL: &str = "gpt-6.2-sol";
pub(super) const ASKED: &str = "Review the change that is not committed yet.";
pub(super) const INSTRUCTIONS: &str =
    "You are a coding agent that runs in a terminal. Read before you judge. Answer in a few sentences.";
/// What the tool returns.
pub(super) const DIFF: &str = "-    line.split_terminator(',')\n+    line.split(',')\n";

/// An answer of the model.
pub(in crate::cli::demo) struct Answer {
    /// Its items.
    pub(in crate::cli::demo) output: Vec<Value>,
    /// Input, the part of it that was cached, output, and the part of it that is reasoning. In tokens.
    pub(in crate::cli::demo) tokens: [u64; 4],
}

/// The answer to these items. A tool is called first.
pub(in crate::cli::demo) fn answer(input: &Value) -> Answer {
    let has_result =
        input.as_array().is_some_and(|items| items.iter().any(|item| item["type"] == "function_call_output"));
    match has_result {
        false => Answer {
            output: vec![
                json!({ "type": "reasoning", "id": "rs_1", "summary": [{ "type": "summary_text", "text": "The diff shows it." }] }),
                json!({
                    "type": "function_call", "id": "fc_1", "call_id": "call_1", "name": "shell", "status": "completed",
                    "arguments": json!({ "command": ["git", "diff"] }).to_string(),
                }),
            ],
            tokens: [8_204, 0, 118, 64],
        },
        true => Answer {
            output: vec![json!({
                "type": "message", "id": "msg_1", "role": "assistant", "status": "completed",
                "content": [{ "type": "output_text", "annotations": [], "text": "The change is right: an empty last field stays. A test for `\",\"` would help." }],
            })],
            tokens: [8_410, 8_192, 47, 0],
        },
    }
}

pub(super) fn tools() -> Value {
    json!([{
        "type": "function", "name": "shell", "description": "Runs a command.", "strict": false,
        "parameters": { "type": "object", "properties": { "command": { "type": "array", "items": { "type": "string" } } }, "required": ["command"] },
    }])
}
