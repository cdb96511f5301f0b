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
    let streamed = asked["stream"] == true;
    let uri: http::Uri = request.uri.parse().unwrap();
    match (uri.path(), streamed) {
        ("/v1/chat/completions", false) => Reply::whole("application/json", completion().to_string()),
        ("/v1/chat/completions", true) => Reply::events(completion_chunks()),
        ("/v1/messages", false) => Reply::whole("application/json", message(&says()).to_string()),
        ("/v1/messages", true) => Reply::events(message_events()),
        _ => Reply::not_found(),
    }
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
    let chunk = |delta: Value, finish: Value| {
        let choices = json!([{"index": 0, "delta": delta, "finish_reason": finish}]);
        let chunk = json!({
            "id": "chatcmpl-1", "object": "chat.completion.chunk", "created": 1, "model": "stand-in", "choices": choices,
        });
        format!("data: {chunk}\n\n")
    };
    let words = WORDS.into_iter().map(move |word| chunk(json!({"content": word}), Value::Null));
    words.chain([chunk(json!({}), "stop".into()), "data: [DONE]\n\n".to_owned()])
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
    let ends = json!({"stop_reason": "end_turn", "stop_sequence": null});
    let before = [
        json!({"type": "message_start", "message": message("")}),
        json!({"type": "content_block_start", "index": 0, "content_block": block}),
        json!({"type": "ping"}),
    ];
    let after = [
        json!({"type": "content_block_stop", "index": 0}),
        json!({"type": "message_delta", "delta": ends, "usage": {"output_tokens": 4}}),
        json!({"type": "message_stop"}),
    ];
    before.into_iter().chain(WORDS.map(delta)).chain(after).map(event)
}
