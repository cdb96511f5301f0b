//! Stand-ins: agents that send what Claude Code and Codex send, and a model that gives the answers that a test sets.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use axum::Router;
use axum::body::Bytes;
use axum::extract::State;
use axum::response::{IntoResponse as _, Response};
use http::{HeaderMap, StatusCode, header};
use parking_lot::Mutex;
use serde_json::{Value, json};
use tokio::net::TcpListener;

use crate::support::proxy::{Running, eventually};

/// The header field by which the model knows what to answer.
pub(super) const REQUEST: &str = "x-client-request-id";

/// A model that gives each request the answer that was put there for it, and a server of tools.
pub(crate) struct Model {
    pub(crate) url: String,
    answers: Arc<Mutex<HashMap<String, (StatusCode, String)>>>,
    next: AtomicU64,
}

type Answers = Arc<Mutex<HashMap<String, (StatusCode, String)>>>;

impl Model {
    pub(crate) async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let answers = Answers::default();
        let routes = Router::new().fallback(answer).with_state(answers.clone());
        tokio::spawn(async move { axum::serve(listener, routes).await.unwrap() });
        Self { url, answers, next: AtomicU64::new(1) }
    }

    /// Puts an answer there, and returns the id of the request that gets it.
    pub(super) fn will_answer(&self, status: StatusCode, body: String) -> String {
        let id = format!("request-{}", self.next.fetch_add(1, Ordering::Relaxed));
        self.answers.lock().insert(id.clone(), (status, body));
        id
    }
}

async fn answer(State(answers): State<Answers>, head: HeaderMap, _whole: Bytes) -> Response {
    let id = head.get(REQUEST).and_then(|id| id.to_str().ok()).unwrap_or_default();
    let Some((status, body)) = answers.lock().remove(id) else { return StatusCode::NOT_FOUND.into_response() };
    let is_stream = body.starts_with("event: ");
    let kind = if is_stream { "text/event-stream; charset=utf-8" } else { "application/json" };
    (status, [(header::CONTENT_TYPE, kind)], body).into_response()
}

/// Does a call, and waits until it is stored: the next call may continue it.
async fn stored<T>(proxy: &Running, call: impl Future<Output = T>) -> T {
    let stored = || proxy.app.store.counts(None).unwrap().total;
    let before = stored();
    let done = call.await;
    eventually("the call is stored", async || stored() > before).await;
    done
}

fn events(all: &[Value]) -> String {
    let event = |event: &Value| format!("event: {}\ndata: {event}\n\n", event["type"].as_str().unwrap());
    all.iter().map(event).collect()
}

/// Tokens of a call: input that was not cached, read from the cache, written to it, and output.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Tokens {
    pub(crate) uncached: u64,
    pub(crate) read: u64,
    pub(crate) written: u64,
    pub(crate) output: u64,
}

/// A conversation of Claude Code: its main agent's, or a sub-agent's.
pub(crate) struct Claude<'a> {
    pub(crate) proxy: &'a Running,
    pub(crate) model: &'a Model,
    pub(crate) session: &'static str,
    pub(crate) agent: Option<&'static str>,
    pub(crate) system: String,
    pub(crate) tools: Vec<&'static str>,
    pub(crate) messages: Vec<Value>,
    /// Calls so far: `system[0]` changes with each.
    pub(crate) calls: u64,
}

impl<'a> Claude<'a> {
    pub(crate) fn new(proxy: &'a Running, model: &'a Model, session: &'static str) -> Self {
        let (system, tools) = ("You are an agent. ".repeat(200), vec!["Bash", "Agent", "Read"]);
        Self { proxy, model, session, agent: None, system, tools, messages: Vec::new(), calls: 0 }
    }

    pub(crate) fn sub_agent(&self, agent: &'static str) -> Self {
        let mut sub = Self::new(self.proxy, self.model, self.session);
        (sub.agent, sub.tools, sub.system) = (Some(agent), vec!["Bash"], "You are a helper. ".repeat(100));
        sub
    }

    pub(crate) fn says(&mut self, text: &str) {
        let reminder = json!({ "type": "text", "text": "<system-reminder>Today is Monday.</system-reminder>" });
        self.messages.push(json!({ "role": "user", "content": [reminder, { "type": "text", "text": text }] }));
    }

    pub(crate) fn results(&mut self, of: &[(&str, &str, bool)]) {
        let result = |(id, text, is_error): &(&str, &str, bool)| {
            let mut result =
                json!({ "type": "tool_result", "tool_use_id": id, "content": [{ "type": "text", "text": text }] });
            if *is_error {
                result["is_error"] = true.into();
            }
            result
        };
        self.messages.push(json!({ "role": "user", "content": of.iter().map(result).collect::<Value>() }));
    }

    /// One call. The answer's blocks are text, or calls to tools: `(id, name, input)`.
    pub(crate) async fn call(&mut self, answer: &[Value], tokens: Tokens) {
        let id = format!("msg_{}_{}", self.agent.unwrap_or("main"), self.calls);
        let usage = json!({
            "input_tokens": tokens.uncached, "cache_read_input_tokens": tokens.read,
            "cache_creation_input_tokens": tokens.written, "output_tokens": 1,
        });
        let start = json!({ "id": id, "type": "message", "role": "assistant", "model": "m-claude", "content": [], "usage": usage });
        let mut all = vec![json!({ "type": "message_start", "message": start })];
        let mut stop = "end_turn";
        for (index, block) in answer.iter().enumerate() {
            let (mut begun, mut delta) = (block.clone(), json!({ "type": "text_delta", "text": block["text"] }));
            if block["type"] == "tool_use" {
                stop = "tool_use";
                begun["input"] = json!({});
                delta = json!({ "type": "input_json_delta", "partial_json": block["input"].to_string() });
            } else {
                begun["text"] = "".into();
            }
            all.push(json!({ "type": "content_block_start", "index": index, "content_block": begun }));
            all.push(json!({ "type": "content_block_delta", "index": index, "delta": delta }));
            all.push(json!({ "type": "content_block_stop", "index": index }));
        }
        let delta = json!({ "stop_reason": stop, "stop_sequence": null });
        all.push(json!({ "type": "message_delta", "delta": delta, "usage": { "output_tokens": tokens.output } }));
        all.push(json!({ "type": "message_stop" }));
        let status = self.send(self.body(true), StatusCode::OK, events(&all)).await;
        assert_eq!(status, StatusCode::OK);
        self.messages.push(json!({ "role": "assistant", "content": answer }));
    }

    /// A call that the provider refuses.
    pub(crate) async fn fail(&mut self, status: u16, message: &str) {
        let body = json!({ "type": "error", "error": { "type": "overloaded_error", "message": message } });
        self.send(self.body(true), StatusCode::from_u16(status).unwrap(), body.to_string()).await;
        // A retry sends the same again.
        self.calls -= 1;
    }

    /// A call beside the conversation, for a title.
    pub(crate) async fn title(&mut self, of: &str) {
        let mut body = self.body(false);
        (body["messages"], body["tools"]) = (json!([{ "role": "user", "content": of }]), json!([]));
        let content = json!([{ "type": "text", "text": "A title" }]);
        let usage = json!({ "input_tokens": 30, "output_tokens": 3 });
        let answer = json!({ "id": "msg_title", "type": "message", "role": "assistant", "model": "m-small", "content": content, "stop_reason": "end_turn", "usage": usage });
        self.send(body, StatusCode::OK, answer.to_string()).await;
    }

    fn body(&self, stream: bool) -> Value {
        let mark = json!({ "type": "ephemeral" });
        let mut messages = self.messages.clone();
        // The marker is on the newest message.
        if let Some(block) = messages.last_mut().and_then(|last| last["content"].as_array_mut()?.last_mut()) {
            block["cache_control"] = mark.clone();
        }
        let user = json!({ "device_id": "d0", "account_uuid": "", "session_id": self.session });
        let changing = format!("x-anthropic-billing-header: cc_version=2.1.197; cch={:05x};", self.calls);
        let tool = |name: &&str| json!({ "name": name, "description": "A tool. ".repeat(50), "input_schema": { "type": "object" } });
        json!({
            "model": "m-claude",
            "system": [
                { "type": "text", "text": changing },
                { "type": "text", "text": self.system, "cache_control": mark },
            ],
            "tools": self.tools.iter().map(tool).collect::<Value>(),
            "messages": messages,
            "max_tokens": 32_000,
            "metadata": { "user_id": user.to_string() },
            "stream": stream,
        })
    }

    async fn send(&mut self, body: Value, status: StatusCode, answer: String) -> StatusCode {
        self.calls += 1;
        let id = self.model.will_answer(status, answer);
        let mut post = self.proxy.client().post(format!("{}/v1/messages", self.model.url));
        post =
            post.header("user-agent", "claude-cli/2.1.197 (external, cli)").header("anthropic-version", "2023-06-01");
        post = post.header("content-type", "application/json").header("x-claude-code-session-id", self.session);
        if let Some(agent) = self.agent {
            post = post.header("x-claude-code-agent-id", agent);
        }
        stored(self.proxy, async {
            let reply = post.header(REQUEST, id).body(body.to_string()).send().await.unwrap();
            let status = reply.status();
            reply.bytes().await.unwrap();
            status
        })
        .await
    }
}

/// Text in an answer of Claude's.
pub(crate) fn text(text: &str) -> Value {
    json!({ "type": "text", "text": text })
}

/// A call to a tool in an answer of Claude's.
pub(crate) fn uses(id: &str, name: &str, input: Value) -> Value {
    json!({ "type": "tool_use", "id": id, "name": name, "input": input })
}

/// A thread of Codex, over HTTP.
pub(crate) struct Codex<'a> {
    pub(crate) proxy: &'a Running,
    pub(crate) model: &'a Model,
    pub(crate) session: &'static str,
    pub(crate) thread: &'static str,
    pub(crate) parent: Option<&'static str>,
    pub(crate) turn: String,
    pub(crate) input: Vec<Value>,
    pub(crate) calls: u64,
}

impl<'a> Codex<'a> {
    pub(crate) fn new(proxy: &'a Running, model: &'a Model, session: &'static str) -> Self {
        let (turn, input) = ("turn-1".to_owned(), Vec::new());
        Self { proxy, model, session, thread: session, parent: None, turn, input, calls: 0 }
    }

    pub(crate) fn sub_agent(&self, thread: &'static str) -> Self {
        let sub = Self::new(self.proxy, self.model, self.session);
        Self { thread, parent: Some(self.thread), turn: format!("{thread}-turn"), ..sub }
    }

    pub(crate) fn says(&mut self, text: &str) {
        let content = json!([{ "type": "input_text", "text": text }]);
        self.input.push(json!({ "type": "message", "role": "user", "content": content }));
    }

    pub(crate) fn result(&mut self, call: &str, output: &str) {
        self.input.push(json!({ "type": "function_call_output", "call_id": call, "output": output }));
    }

    /// One call, answered by these items.
    pub(crate) async fn call(&mut self, items: &[Value], tokens: Tokens) {
        let id = format!("resp_{}_{}", self.thread, self.calls);
        let mut all = vec![
            json!({ "type": "response.created", "response": { "id": id, "object": "response", "status": "in_progress", "model": "m-codex", "output": [] } }),
        ];
        for (index, item) in items.iter().enumerate() {
            all.push(json!({ "type": "response.output_item.done", "output_index": index, "item": item }));
        }
        let input = tokens.uncached + tokens.read;
        let usage = json!({
            "input_tokens": input, "input_tokens_details": { "cached_tokens": tokens.read },
            "output_tokens": tokens.output, "total_tokens": input + tokens.output,
        });
        all.push(json!({ "type": "response.completed", "response": { "id": id, "object": "response", "status": "completed", "model": "m-codex", "output": [], "usage": usage } }));
        let mut turn = json!({ "session_id": self.session, "thread_id": self.thread, "turn_id": self.turn });
        if let Some(parent) = self.parent {
            (turn["parent_thread_id"], turn["agent_name"]) = (parent.into(), "/root/helper_1".into());
        }
        let tools =
            ["shell", "spawn_agent"].map(|name| json!({ "type": "function", "name": name, "parameters": {} }));
        let body = json!({
            "model": "m-codex", "instructions": "You are Codex. ".repeat(200), "input": self.input, "tools": tools,
            "store": false, "stream": true, "prompt_cache_key": self.session,
            "client_metadata": { "x-codex-turn-metadata": turn.to_string() },
        });
        self.calls += 1;
        let request = self.model.will_answer(StatusCode::OK, events(&all));
        let post = self.proxy.client().post(format!("{}/v1/responses", self.model.url));
        let post = post.header("user-agent", "codex_cli_rs/0.171.0").header("content-type", "application/json");
        let post = post.header("session-id", self.session).header("thread-id", self.thread).header(REQUEST, request);
        let post = post.header("x-codex-turn-metadata", turn.to_string()).body(body.to_string());
        stored(self.proxy, async {
            let reply = post.send().await.unwrap();
            assert_eq!(reply.status(), StatusCode::OK);
            reply.bytes().await.unwrap();
        })
        .await;
        self.input.extend_from_slice(items);
    }
}

/// A message in an answer of Codex's model.
pub(crate) fn message(text: &str) -> Value {
    json!({ "type": "message", "role": "assistant", "status": "completed", "content": [{ "type": "output_text", "text": text }] })
}

/// A call to a tool in an answer of Codex's model.
pub(crate) fn function(call: &str, name: &str, arguments: &Value) -> Value {
    json!({ "type": "function_call", "call_id": call, "name": name, "arguments": arguments.to_string() })
}

/// A call to a tool over MCP, which goes well.
pub(crate) async fn over_mcp(proxy: &Running, model: &Model, tool: &str) {
    let answer = json!({ "jsonrpc": "2.0", "id": 1, "result": { "content": [{ "type": "text", "text": "found" }] } });
    let id = model.will_answer(StatusCode::OK, answer.to_string());
    let body =
        json!({ "jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": { "name": tool, "arguments": {} } });
    let post = proxy.client().post(format!("{}/mcp", model.url)).header("content-type", "application/json");
    let post =
        post.header("accept", "application/json, text/event-stream").header("mcp-protocol-version", "2025-06-18");
    let post = post.header(REQUEST, id).body(body.to_string());
    stored(proxy, async { post.send().await.unwrap().bytes().await.unwrap() }).await;
}

/// A call of a tool to a server.
pub(crate) async fn get(proxy: &Running, model: &Model, path: &str) {
    let get = proxy.client().get(format!("{}{path}", model.url));
    stored(proxy, async { get.send().await.unwrap().bytes().await.unwrap() }).await;
}
