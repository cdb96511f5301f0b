//! The model: reads a request to its end, then streams an answer that differs from call to call.

use std::convert::Infallible;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use bytes::Bytes;
use futures_util::{StreamExt, stream};
use http::{HeaderValue, Request, Response};
use http_body::Frame;
use http_body_util::{BodyExt, StreamBody};
use hyper::body::Incoming;
use serde_json::{Value, json};

use crate::shared::{self, origin::Body};
use crate::words::Words;

/// The events of an answer that carry a token.
const TOKENS: usize = 300;
/// The events that are ready at a time. Each is a chunk; these go out in one packet.
const EVENTS_AT_ONCE: usize = 4;

/// Serves forever; prints its two ports. Its certificate is signed by the CA in `folder`.
pub fn serve(folder: &Path) {
    let answers = Arc::new(AtomicU64::new(0));
    shared::origin::serve(folder, move |request| answer(request, answers.fetch_add(1, Ordering::Relaxed)));
}

async fn answer(request: Request<Incoming>, number: u64) -> Result<Response<Body>, Infallible> {
    let mut content = request.into_body();
    while let Some(Ok(_)) = content.frame().await {}
    let groups: Vec<Vec<Bytes>> = events(number).chunks(EVENTS_AT_ONCE).map(<[Bytes]>::to_vec).collect();
    let frames = stream::iter(groups)
        .then(|group| async {
            // hyper sends what it has when nothing more is ready.
            tokio::task::yield_now().await;
            stream::iter(group.into_iter().map(|event| Ok(Frame::data(event))))
        })
        .flatten();
    let mut response = Response::new(BodyExt::boxed(StreamBody::new(frames)));
    let fields = response.headers_mut();
    fields.insert("content-type", HeaderValue::from_static("text/event-stream; charset=utf-8"));
    fields.insert("request-id", HeaderValue::from_str(&format!("req_{number:08}")).unwrap());
    Ok(response)
}

fn events(number: u64) -> Vec<Bytes> {
    let mut words = Words::new(number);
    let usage = json!({"input_tokens": 12, "cache_creation_input_tokens": 1800, "cache_read_input_tokens": 40000, "output_tokens": 1});
    let message = json!({
        "id": format!("msg_{number:08}"), "type": "message", "role": "assistant", "model": "claude-sonnet-5", "content": [],
        "stop_reason": null, "stop_sequence": null, "usage": usage,
    });
    let mut events = vec![
        event("message_start", &json!({"message": message})),
        event("content_block_start", &json!({"index": 0, "content_block": {"type": "text", "text": ""}})),
    ];
    events.extend((0..TOKENS).map(|_| {
        let delta = json!({"type": "text_delta", "text": words.token()});
        event("content_block_delta", &json!({"index": 0, "delta": delta}))
    }));
    events.push(event("content_block_stop", &json!({"index": 0})));
    let end =
        json!({"delta": {"stop_reason": "tool_use", "stop_sequence": null}, "usage": {"output_tokens": TOKENS}});
    events.push(event("message_delta", &end));
    events.push(event("message_stop", &json!({})));
    events
}

fn event(name: &str, rest: &Value) -> Bytes {
    let mut data = json!({"type": name});
    data.as_object_mut().unwrap().extend(rest.as_object().unwrap().clone());
    Bytes::from(format!("event: {name}\ndata: {data}\n\n"))
}
