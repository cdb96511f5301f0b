//! A model behind the two usual endpoints, which always says the same: whole, or streamed when the request asks for it.

use serde_json::{Value, json};

use super::Reply;
use crate::support::origin::Received;

/// What it says, as it is streamed.
const WORDS: [&str; 4] = ["Good ", "morning, ", "café ", "☕."];

/// What it says.
pub fn says() -> String {
    WORDS.concat()
}

/// `/v1/chat/completions` and `/v1/messages`.
pub fn model(request: &Received) -> Reply {
    let asked: Value = serde_json::from_slice(&request.body).unwrap_or_default();
    let streams = asked["stream"] == true;
    let uri: http::Uri = request.uri.parse().unwrap();
    match (uri.path(), streams) {
        ("/v1/chat/completions", false) => Reply::whole("application/json", whole(uri.path())),
        ("/v1/chat/completions", true) => Reply::events(streamed(uri.path())),
        ("/v1/messages", false) => Reply::whole("application/json", whole(uri.path())),
        ("/v1/messages", true) => Reply::events(streamed(uri.path())),
        _ => Reply::not_found(),
    }
}

/// The tool that it calls when it is streamed.
pub const TOOL: &str = "get_weather";

/// The answer at this path in one piece.
pub fn whole(path: &str) -> String {
    if path == "/v1/messages" { message(&says()).to_string() } else { completion().to_string() }
}

/// The events of the answer at this path: the words, a call of the tool, the end.
pub fn streamed(path: &str) -> Vec<String> {
    if path == "/v1/messages" { message_events().collect() } else { completion_chunks().collect() }
}

fn completion() -> Value {
    json!({
        "id": "chatcmpl-1", "object": "chat.completion", "created": 1, "model": "stand-in",
        "choices": [{
            "index": 0, "message": {"role": "assistant", "content": says(), "refusal": null},
            "logprobs": null, "finish_reason": "stop",
        }],
        "usage": {"prompt_tokens": 3, "completion_tokens": 4, "total_tokens": 7},
    })
}

fn completion_chunks() -> impl Iterator<Item = String> {
    let chunk = |choices: Value, usage: Value| {
        let chunk = json!({
            "id": "chatcmpl-1", "object": "chat.completion.chunk", "created": 1, "model": "stand-in", "choices": choices,
            "usage": usage,
        });
        format!("data: {chunk}\n\n")
    };
    let delta = move |delta: Value, finish: Value| {
        chunk(json!([{"index": 0, "delta": delta, "finish_reason": finish}]), Value::Null)
    };
    let words = WORDS.into_iter().map(move |word| delta(json!({"content": word}), Value::Null));
    let tool =
        json!([{"index": 0, "id": "call_1", "type": "function", "function": {"name": TOOL, "arguments": "{}"}}]);
    let usage = json!({"prompt_tokens": 3, "completion_tokens": 4, "total_tokens": 7});
    words.chain([
        delta(json!({"tool_calls": tool}), Value::Null),
        delta(json!({}), "tool_calls".into()),
        chunk(json!([]), usage),
        "data: [DONE]\n\n".to_owned(),
    ])
}

fn message(text: &str) -> Value {
    let content = if text.is_empty() { json!([]) } else { json!([{"type": "text", "text": text}]) };
    json!({
        "id": "msg_1", "type": "message", "role": "assistant", "model": "stand-in", "content": content,
        "stop_reason": if text.is_empty() { Value::Null } else { "end_turn".into() }, "stop_sequence": null,
        "usage": {"input_tokens": 3, "output_tokens": 4},
    })
}

fn message_events() -> impl Iterator<Item = String> {
    let event = |data: Value| format!("event: {}\ndata: {data}\n\n", data["type"].as_str().unwrap());
    let delta = |word: &str| {
        let delta = json!({"type": "text_delta", "text": word});
        json!({"type": "content_block_delta", "index": 0, "delta": delta})
    };
    let block = json!({"type": "text", "text": ""});
    let ends = json!({"stop_reason": "tool_use", "stop_sequence": null});
    let tool = json!({"type": "tool_use", "id": "toolu_1", "name": TOOL, "input": {}});
    let input = json!({"type": "input_json_delta", "partial_json": "{}"});
    let before = [
        json!({"type": "message_start", "message": message("")}),
        json!({"type": "content_block_start", "index": 0, "content_block": block}),
        json!({"type": "ping"}),
    ];
    let after = [
        json!({"type": "content_block_stop", "index": 0}),
        json!({"type": "content_block_start", "index": 1, "content_block": tool}),
        json!({"type": "content_block_delta", "index": 1, "delta": input}),
        json!({"type": "content_block_stop", "index": 1}),
        json!({"type": "message_delta", "delta": ends, "usage": {"output_tokens": 4}}),
        json!({"type": "message_stop"}),
    ];
    before.into_iter().chain(WORDS.map(delta)).chain(after).map(event)
}
