//! A coding agent that calls Anthropic's API as Claude Code does, and the API. The agent's calls go through the proxy to a next
//! proxy, which is the API itself. So the provider is known by its host, and nothing leaves the machine.

use axum::Router;
use axum::body::Bytes;
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use axum::routing::post;
use otas_proxy::config::{Config, NextProxy, Otlp, Sink, Spans};
use otas_proxy::prices::Prices;
use serde_json::{Value, json};
use tokio::io::AsyncReadExt;
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;

use crate::support::proxy::{Running, TestProxy};

pub(super) const SESSION: &str = "0b9f5d4e-8c55-4bb1-a7a5-7f0c4c2b9d01";
pub(super) const MODEL: &str = "claude-sonnet-4-5";
pub(super) const SYSTEM: &str = "You are a coding agent.";
/// The answer stands in this header field of the request, as a list of Anthropic's blocks.
const ANSWER: &str = "x-answer";
/// The answer comes when a connection to this address ends.
const HELD_BY: &str = "x-held-by";

/// The API: it answers what the request says, in a stream.
async fn api() -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let routes = Router::new().route("/v1/messages", post(answer)).route("/mcp", post(mcp));
    tokio::spawn(async move { axum::serve(listener, routes).await.unwrap() });
    url
}

async fn answer(headers: HeaderMap) -> Response {
    if let Some(address) = headers.get(HELD_BY) {
        let mut gate = TcpStream::connect(address.to_str().unwrap()).await.unwrap();
        assert_eq!(gate.read(&mut [0]).await.unwrap(), 0);
    }
    let asked = headers.get(ANSWER).map(|value| String::from_utf8_lossy(value.as_bytes()).into_owned());
    let Some(blocks) = asked.and_then(|text| serde_json::from_str::<Vec<Value>>(&text).ok()) else {
        let error = json!({ "type": "error", "error": { "type": "overloaded_error", "message": "Overloaded" } });
        return (StatusCode::from_u16(529).unwrap(), axum::Json(error)).into_response();
    };
    let calls_tool = blocks.iter().any(|block| block["type"] == "tool_use");
    let usage = json!({
        "input_tokens": 100, "cache_read_input_tokens": 900, "cache_creation_input_tokens": 50, "output_tokens": 1,
    });
    let mut events = vec![json!({ "type": "message_start", "message": {
        "id": "msg_1", "type": "message", "role": "assistant", "model": MODEL, "content": [], "stop_reason": null, "usage": usage,
    } })];
    for (index, block) in blocks.iter().enumerate() {
        let (start, delta) = match block["type"].as_str() {
            Some("tool_use") => {
                let start = json!({ "type": "tool_use", "id": block["id"], "name": block["name"], "input": {} });
                (start, json!({ "type": "input_json_delta", "partial_json": block["input"].to_string() }))
            }
            _ => (json!({ "type": "text", "text": "" }), json!({ "type": "text_delta", "text": block["text"] })),
        };
        events.push(json!({ "type": "content_block_start", "index": index, "content_block": start }));
        events.push(json!({ "type": "content_block_delta", "index": index, "delta": delta }));
        events.push(json!({ "type": "content_block_stop", "index": index }));
    }
    let reason = if calls_tool { "tool_use" } else { "end_turn" };
    let usage = json!({ "output_tokens": 20 });
    events.push(json!({ "type": "message_delta", "delta": { "stop_reason": reason }, "usage": usage }));
    events.push(json!({ "type": "message_stop" }));
    let text: String = events
        .iter()
        .map(|event| format!("event: {}\ndata: {event}\n\n", event["type"].as_str().unwrap_or_default()))
        .collect();
    ([("content-type", "text/event-stream")], text).into_response()
}

async fn mcp(body: Bytes) -> Response {
    let asked: Value = serde_json::from_slice(&body).unwrap();
    let result = json!({ "content": [{ "type": "text", "text": "2" }] });
    axum::Json(json!({ "jsonrpc": "2.0", "id": asked["id"], "result": result })).into_response()
}

/// A proxy whose sink has these settings, in front of the API.
pub(super) async fn proxy(collector: &str, spans: Spans) -> Running {
    changed_proxy(collector, spans, |_| {}).await
}

/// The same with further settings.
pub(super) async fn changed_proxy(collector: &str, spans: Spans, change: impl FnOnce(&mut Config)) -> Running {
    let api = api().await;
    let mut otlp = Otlp::at(&collector.parse().unwrap()).unwrap();
    otlp.spans = spans;
    let proxy = TestProxy::new();
    let prices = proxy.folder().join("prices.toml");
    let table = "version = '1'\ncurrency = 'USD'\n[[models]]\nmodel = 'claude-*'\n";
    std::fs::write(&prices, format!("{table}input = 3\noutput = 15\ncache_read = 0.3\ncache_write = 3.75\n"))
        .unwrap();
    proxy
        .with(|config: &mut Config| {
            config.sinks = vec![Sink::Otlp(Box::new(otlp))];
            config.upstream.proxy = NextProxy::parse(&api).ok();
            config.event.prices = Prices::read(&prices).unwrap();
        })
        .with(change)
        .run()
        .await
}

/// A call of the agent. `sub`: the id of the sub-agent that makes it. `answer`: what the API answers; none: it fails.
pub(super) async fn call(proxy: &Running, sub: Option<&str>, messages: &[Value], answer: Option<&[Value]>) {
    request(proxy, sub, messages, answer).send().await.unwrap().bytes().await.unwrap();
}

/// A call whose answer is held back.
pub(super) struct HeldCall {
    gate: TcpStream,
    call: JoinHandle<()>,
}

/// A call of the main agent that is answered only at [`HeldCall::end`].
pub(super) async fn held_call(proxy: &Running, messages: &[Value], answer: &[Value]) -> HeldCall {
    let gates = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let held_by = gates.local_addr().unwrap().to_string();
    let request = request(proxy, None, messages, Some(answer)).header(HELD_BY, held_by);
    let call = tokio::spawn(async move {
        request.send().await.unwrap().bytes().await.unwrap();
    });
    HeldCall { gate: gates.accept().await.unwrap().0, call }
}

impl HeldCall {
    /// Lets the answer come, and waits for it.
    pub(super) async fn end(self) {
        drop(self.gate);
        self.call.await.unwrap();
    }
}

fn request(
    proxy: &Running,
    sub: Option<&str>,
    messages: &[Value],
    answer: Option<&[Value]>,
) -> reqwest::RequestBuilder {
    let tool = |name: &str| json!({ "name": name, "description": "Does it.", "input_schema": { "type": "object" } });
    let body = json!({
        "model": MODEL, "max_tokens": 1_024, "stream": true, "system": [{ "type": "text", "text": SYSTEM }],
        "tools": [tool("Bash"), tool("Agent")], "messages": messages,
    });
    let mut request = proxy
        .client()
        .post("http://api.anthropic.com/v1/messages")
        .header("content-type", "application/json")
        .header("user-agent", "claude-cli/2.1.197 (external, cli)")
        .header("x-claude-code-session-id", SESSION);
    if let Some(sub) = sub {
        request = request.header("x-claude-code-agent-id", sub);
    }
    if let Some(answer) = answer {
        request = request.header(ANSWER, json!(answer).to_string());
    }
    request.body(body.to_string())
}

/// A call to a tool over MCP.
pub(super) async fn call_mcp(proxy: &Running) {
    let call = json!({ "jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": { "name": "add", "arguments": { "a": 1 } } });
    let post = proxy.client().post("http://tools.test/mcp").header("content-type", "application/json");
    post.header("accept", "application/json, text/event-stream")
        .body(call.to_string())
        .send()
        .await
        .unwrap()
        .bytes()
        .await
        .unwrap();
}

pub(super) fn user(text: &str) -> Value {
    json!({ "role": "user", "content": [{ "type": "text", "text": text }] })
}

pub(super) fn assistant(blocks: &[Value]) -> Value {
    json!({ "role": "assistant", "content": blocks })
}

pub(super) fn results(of: &[(&str, &str)]) -> Value {
    let result = |(id, text): &(&str, &str)| json!({ "type": "tool_result", "tool_use_id": id, "content": text });
    json!({ "role": "user", "content": of.iter().map(result).collect::<Vec<_>>() })
}

pub(super) fn says(text: &str) -> Value {
    json!({ "type": "text", "text": text })
}

pub(super) fn uses(id: &str, name: &str, input: &Value) -> Value {
    json!({ "type": "tool_use", "id": id, "name": name, "input": input })
}
