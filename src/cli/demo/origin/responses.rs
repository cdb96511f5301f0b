//! A model behind OpenAI's Responses, on a WebSocket.

use aws_lc_rs::digest::{SHA1_FOR_LEGACY_USE_ONLY, digest};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use futures_util::{SinkExt as _, StreamExt as _};
use http::{HeaderValue, Request, Response, StatusCode};
use hyper::body::Incoming;
use hyper_util::rt::TokioIo;
use serde_json::{Value, json};
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::protocol::Role;

use super::super::Failed;
use super::super::codex::script::{self, Answer};
use super::{Body, PACE, typed, with, with_status};

/// What RFC 6455 appends to the key of the opening.
const SUFFIX: &str = "258EAFA5-E914-47DA-95CA-C5AB0DC85B11";

/// What the subscription still allows, as Codex reads it.
const QUOTA: [(&str, &str); 4] = [
    ("x-codex-primary-used-percent", "22"),
    ("x-codex-primary-window-minutes", "300"),
    ("x-codex-secondary-used-percent", "9"),
    ("x-codex-secondary-window-minutes", "10080"),
];

/// Opens the WebSocket, and answers on it until the agent closes it.
pub(super) fn open(request: Request<Incoming>) -> Response<Body> {
    let key = request.headers().get("sec-websocket-key").map(HeaderValue::as_bytes).unwrap_or_default();
    let accepted = STANDARD.encode(digest(&SHA1_FOR_LEGACY_USE_ONLY, &[key, SUFFIX.as_bytes()].concat()));
    let Ok(accepted) = HeaderValue::from_str(&accepted) else {
        return with_status(StatusCode::BAD_REQUEST, typed("text/plain", "no key\n".into()));
    };
    tokio::spawn(async move {
        if let Err(error) = answers(request).await {
            tracing::debug!(%error, "the demo's origin lost a WebSocket");
        }
    });
    let mut response = Response::new(Body::default());
    *response.status_mut() = StatusCode::SWITCHING_PROTOCOLS;
    response.headers_mut().insert("sec-websocket-accept", accepted);
    with(with(response, &[("connection", "Upgrade"), ("upgrade", "websocket")]), &QUOTA)
}

async fn answers(request: Request<Incoming>) -> Result<(), Failed> {
    let stream = TokioIo::new(hyper::upgrade::on(request).await?);
    let mut socket = WebSocketStream::from_raw_socket(stream, Role::Server, None).await;
    while let Some(message) = socket.next().await {
        let Message::Text(text) = message? else { continue };
        let asked: Value = serde_json::from_str(&text)?;
        for event in events(&asked) {
            socket.send(Message::text(event.to_string())).await?;
            tokio::time::sleep(PACE).await;
        }
    }
    Ok(())
}

/// The events of an answer. One that only warms the connection up has no content.
fn events(asked: &Value) -> Vec<Value> {
    let Answer { output, tokens } = match asked["generate"] == false {
        true => Answer { output: Vec::new(), tokens: [0; 4] },
        false => script::answer(&asked["input"]),
    };
    let [input, cached, written, reasoning] = tokens;
    let id = format!("resp_{}", uuid::Uuid::new_v4().simple());
    let begun =
        json!({ "id": id, "object": "response", "status": "in_progress", "model": asked["model"], "output": [] });
    let mut events = vec![json!({ "type": "response.created", "response": begun })];
    for (index, item) in output.iter().enumerate() {
        events.push(json!({ "type": "response.output_item.added", "output_index": index, "item": item }));
        if let Some(text) = item["content"][0]["text"].as_str() {
            events.push(json!({
                "type": "response.output_text.delta", "item_id": item["id"], "output_index": index, "content_index": 0, "delta": text,
            }));
        }
        events.push(json!({ "type": "response.output_item.done", "output_index": index, "item": item }));
    }
    events.push(json!({ "type": "response.completed", "response": {
        "id": id, "object": "response", "status": "completed", "model": asked["model"], "output": output,
        "usage": {
            "input_tokens": input, "input_tokens_details": { "cached_tokens": cached },
            "output_tokens": written, "output_tokens_details": { "reasoning_tokens": reasoning },
            "total_tokens": input + written,
        },
    } }));
    events
}
