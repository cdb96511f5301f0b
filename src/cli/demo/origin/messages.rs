//! A model behind Anthropic's Messages: streamed answers, and one refusal.

use std::convert::Infallible;

use http::{HeaderMap, Response, StatusCode};
use http_body::Frame;
use http_body_util::{BodyExt as _, StreamBody};
use serde_json::{Value, json};
use tokio::sync::mpsc;

use super::super::claude::script::{self, Answer, SMALL_MODEL};
use super::{Body, PACE, json, typed, with, with_status};

/// A piece of a streamed text is so long, in characters.
const PIECE: usize = 24;

/// What the subscription still allows, as Anthropic's headers say it.
const QUOTA: [(&str, &str); 4] = [
    ("anthropic-ratelimit-unified-status", "allowed"),
    ("anthropic-ratelimit-unified-5h-utilization", "0.31"),
    ("anthropic-ratelimit-unified-7d-utilization", "0.12"),
    ("anthropic-ratelimit-requests-remaining", "48"),
];

pub(super) fn answer(fields: &HeaderMap, asked: &Value) -> Response<Body> {
    let answers = asked["messages"]
        .as_array()
        .map_or(0, |messages| messages.iter().filter(|it| it["role"] == "assistant").count());
    let is_of_sub_agent = fields.contains_key("x-claude-code-agent-id");
    if is_of_sub_agent && answers == 1 && fields.get("x-stainless-retry-count").is_some_and(|count| count == "0") {
        return refused();
    }
    let answer = match (asked["model"] == SMALL_MODEL, is_of_sub_agent) {
        (true, _) => script::title(),
        (_, true) => script::answer_to_sub_agent(answers),
        _ => script::answer(answers),
    };
    with(streamed(events(asked, &answer)), &QUOTA)
}

fn refused() -> Response<Body> {
    let error = json!({
        "type": "error",
        "error": { "type": "rate_limit_error", "message": "This request would exceed the rate limit of 50 requests per minute." },
    });
    with(with_status(StatusCode::TOO_MANY_REQUESTS, json(&error)), &[("retry-after", "1")])
}

/// Sends the events one after the other.
fn streamed(events: Vec<Value>) -> Response<Body> {
    let (tx, mut rx) = mpsc::channel::<Frame<bytes::Bytes>>(1);
    tokio::spawn(async move {
        for event in events {
            let kind = event["type"].as_str().unwrap_or_default();
            let frame = Frame::data(format!("event: {kind}\ndata: {event}\n\n").into());
            if tx.send(frame).await.is_err() {
                return;
            }
            tokio::time::sleep(PACE).await;
        }
    });
    let frames =
        futures_util::stream::poll_fn(move |cx| rx.poll_recv(cx).map(|frame| frame.map(Ok::<_, Infallible>)));
    let mut response = typed("text/event-stream; charset=utf-8", bytes::Bytes::new());
    *response.body_mut() = StreamBody::new(frames).boxed();
    response
}

/// The events of a streamed answer.
fn events(asked: &Value, answer: &Answer) -> Vec<Value> {
    let [input, read, written, output] = answer.tokens;
    let id = format!("msg_{}", uuid::Uuid::new_v4().simple());
    let mut events = vec![json!({ "type": "message_start", "message": {
        "id": id, "type": "message", "role": "assistant", "model": asked["model"], "content": [], "stop_reason": null,
        "usage": { "input_tokens": input, "cache_read_input_tokens": read, "cache_creation_input_tokens": written, "output_tokens": 1 },
    } })];
    for (index, block) in answer.content.iter().enumerate() {
        events.extend(events_of(index, block));
    }
    let calls_tools = answer.content.iter().any(|block| block["type"] == "tool_use");
    let stop = if calls_tools { "tool_use" } else { "end_turn" };
    events.push(json!({ "type": "message_delta", "delta": { "stop_reason": stop, "stop_sequence": null }, "usage": { "output_tokens": output } }));
    events.push(json!({ "type": "message_stop" }));
    events
}

/// The events of one block: it begins empty, and comes in pieces.
fn events_of(index: usize, block: &Value) -> Vec<Value> {
    let mut empty = block.clone();
    let (member, delta, whole) = match block["type"].as_str() {
        Some("thinking") => ("thinking", "thinking_delta", block["thinking"].as_str().unwrap_or_default().to_owned()),
        Some("tool_use") => ("partial_json", "input_json_delta", block["input"].to_string()),
        _ => ("text", "text_delta", block["text"].as_str().unwrap_or_default().to_owned()),
    };
    match member {
        "partial_json" => empty["input"] = json!({}),
        member => empty[member] = json!(""),
    }
    let letters: Vec<char> = whole.chars().collect();
    let pieces = letters.chunks(PIECE).map(|piece| {
        let mut said = json!({ "type": delta });
        said[member] = json!(piece.iter().collect::<String>());
        json!({ "type": "content_block_delta", "index": index, "delta": said })
    });
    let begin = json!({ "type": "content_block_start", "index": index, "content_block": empty });
    let end = json!({ "type": "content_block_stop", "index": index });
    std::iter::once(begin).chain(pieces).chain([end]).collect()
}
