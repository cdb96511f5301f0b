//! Calls as they stand in a store: some that an agent might make, and one that means harm.

use std::time::{SystemTime, UNIX_EPOCH};

use otas_proxy::store::{NewEvent, Outcome, SessionRow, Settlement, Store};
use serde_json::{Value, json};
use uuid::Uuid;

/// What harm would look like, if it were more than text.
pub const HOSTILE: &str = "<script>document.title='pwned';fetch('/pwned')</script><img src=x onerror=\"document.title='pwned'\">'\"><svg onload=alert(1)>";

/// Controls a terminal (C0, C1, DEL), turns text around (bidirectional), hides (zero width, tags), ends lines.
pub const STEERING: &str = "a\u{1b}[2J\u{9b}31m\u{7f}\u{202e}b\u{2066}\u{200f}\u{61c}\u{feff}\u{200b}\u{200d}\u{ad}\u{600}\u{2028}\u{2029}\u{85}\u{e0041}\r\n\tc";

/// Whether a character does any of that.
pub fn steers(c: char) -> bool {
    (c.is_control() && c != '\n' && c != '\t')
        || matches!(u32::from(c), 0xad | 0x600..=0x605 | 0x61c | 0x200b..=0x200f | 0x2028..=0x202e | 0x2060..=0x206f | 0xfeff | 0xe0000..=0xe007f)
}

/// The places of a call that hold text from outside.
pub const PLACES: [&str; 13] = [
    "method", "host", "path", "query", "field", "value", "sent", "received", "error", "model", "provider", "answer",
    "property",
];

/// A place's name, and text behind it that controls terminals.
pub fn steering(place: &str) -> String {
    format!("{place}:{STEERING}")
}

/// A call to be stored.
#[derive(Clone)]
pub struct Sample {
    pub id: Uuid,
    pub method: String,
    pub host: String,
    pub path: String,
    pub status: u16,
    pub error: String,
    /// Milliseconds before now.
    pub ago_ms: i64,
    pub latency_ms: f64,
    pub llm: Value,
    /// What lists say that it was about.
    pub said: Value,
    pub event: Value,
}

impl Sample {
    /// A call with everything usual about it.
    pub fn of(method: &str, host: &str, path: &str, status: u16) -> Self {
        let (wait, latency_ms) = (20.5, 24.0);
        let event = json!({
            "path": path, "method": method, "status_code": status, "latency_ms": latency_ms,
            "request_size_bytes": 20, "response_size_bytes": 40,
            "request_headers": json!({ "host": host, "authorization": "Bearer ****cdef", "content-type": "application/json" }).to_string(),
            "request_body": r#"{"question":"how far?"}"#, "query_params": "a=b",
            "response_headers": json!({ "content-type": "application/json" }).to_string(),
            "response_body": r#"{"answer":[384400,"km",true,null]}"#,
            "request_content_type": "application/json", "response_content_type": "application/json", "error": "",
            "custom_properties": {
                "server.address": host, "server.port": 443, "url.scheme": "https", "network.protocol.version": "2",
            },
            "metadata": {
                "schema": 1, "kind": "http",
                "upstream": { "peer": "192.0.2.7:443", "reused": false, "tls_version": "TLSv1.3", "alpn": "h2" },
                "timings": { "dns": 1.2, "connect": 8.4, "tls": 11.3, "send": 0.4, "wait": wait, "receive": 3.5, "total": 45.0 },
                "capture": {
                    "request": { "bytes": 20, "end": "complete", "encoding": "UTF-8" },
                    "response": { "bytes": 40, "end": "complete", "encoding": "UTF-8" },
                },
                "redactions": 1, "outcome": "complete",
            },
        });
        let (method, host, path) = (method.to_owned(), host.to_owned(), path.to_owned());
        let error = if status >= 400 { format!("http_{status}: refused") } else { String::new() };
        let (id, llm, said) = (Uuid::now_v7(), Value::Null, Value::Null);
        Self { id, method, host, path, status, error, ago_ms: 0, latency_ms, llm, said, event }
    }

    /// One of Claude Code: the messages so far, what the model answers, tokens in, of them from the cache, and out.
    pub fn claude(messages: &[Value], answer: &[Value], (input, cached, output): (u64, u64, u64)) -> Self {
        let mut sample =
            Self::model("api.anthropic.com", "/v1/messages", "claude-sonnet-5-20260901", (input, output), 2_400.0);
        let tools = ["Bash", "Read", "Edit"].map(|name| json!({ "name": name, "description": format!("The tool {name}."), "input_schema": { "type": "object" } }));
        let request = json!({
            "model": "claude-sonnet-5-20260901", "max_tokens": 32_000, "stream": false,
            "system": [{ "type": "text", "text": "You are Claude Code, a coding agent. Work in small steps and run the tests." }],
            "tools": tools, "messages": messages,
        });
        let stop = if answer.iter().any(|block| block["type"] == "tool_use") { "tool_use" } else { "end_turn" };
        let called: Vec<&str> = answer.iter().filter_map(|block| block["name"].as_str()).collect();
        let response = json!({ "type": "message", "role": "assistant", "content": answer, "stop_reason": stop });
        let facts = json!({
            "otas_proxy.llm.api": "anthropic.messages", "gen_ai.usage.cache_read.input_tokens": cached,
            "gen_ai.response.finish_reasons": stop, "otas_proxy.llm.tool_calls": called.join(","), "gen_ai.agent.name": "claude",
            "otas_proxy.llm.cost": (input - cached) as f64 * 3e-6 + cached as f64 * 3e-7 + output as f64 * 1.5e-5,
            "otas_proxy.llm.cost.currency": "USD",
        });
        for (name, value) in facts.as_object().unwrap() {
            sample.llm[name] = value.clone();
            sample.event["custom_properties"][name] = value.clone();
        }
        sample.event["request_body"] = request.to_string().into();
        sample.event["response_body"] = response.to_string().into();
        sample.event["response_content_type"] = "application/json".into();
        sample.event["metadata"]["llm"] = json!({ "complete": true });
        sample
    }

    /// It continues a conversation after this call.
    pub fn after(mut self, earlier: &Self) -> Self {
        self.event["metadata"]["links"] = json!({ "continues": earlier.id.to_string() });
        self
    }

    /// What lists say that it was about.
    pub fn about(mut self, said: Value) -> Self {
        self.said = said;
        self
    }

    /// One to a model, answered by a stream.
    pub fn model(host: &str, path: &str, model: &str, tokens: (u64, u64), latency_ms: f64) -> Self {
        let mut sample = Self::of("POST", host, path, 200);
        sample.latency_ms = latency_ms;
        sample.llm = json!({
            "gen_ai.provider.name": host.split('.').nth(1).unwrap_or(host), "gen_ai.operation.name": "chat",
            "gen_ai.request.model": model, "gen_ai.response.model": model, "gen_ai.usage.input_tokens": tokens.0,
            "gen_ai.usage.output_tokens": tokens.1, "gen_ai.response.time_to_first_chunk": latency_ms / 4_000.0,
            "otas_proxy.llm.time_to_first_token": latency_ms / 3_900.0,
            "otas_proxy.llm.output_tokens_per_second": tokens.1 as f64 / latency_ms * 1_333.0,
            "gen_ai.response.finish_reasons": "end_turn",
        });
        for (name, value) in sample.llm.as_object().unwrap() {
            sample.event["custom_properties"][name] = value.clone();
        }
        sample.event["response_content_type"] = "text/event-stream".into();
        sample.event["response_body"] = ["The moon", " is about", " 384,400 km", " away."]
            .map(|piece| format!("event: delta\ndata: {}\n\n", json!({ "type": "text", "text": piece })))
            .concat()
            .into();
        sample.event["metadata"]["timings"]["wait"] = (latency_ms / 4.0).into();
        sample.event["metadata"]["timings"]["receive"] = (latency_ms * 0.75).into();
        sample.event["metadata"]["llm"]["text"] = "The moon is about 384,400 km away.".into();
        sample
    }

    /// One that means harm, wherever text comes from outside.
    pub fn hostile() -> Self {
        let mut sample = Self::of(HOSTILE, HOSTILE, HOSTILE, 500);
        sample.error = HOSTILE.into();
        sample.llm = json!({ "gen_ai.response.model": HOSTILE, "gen_ai.provider.name": HOSTILE });
        let event = &mut sample.event;
        for field in ["query_params", "request_body", "response_body", "error"] {
            event[field] = HOSTILE.into();
        }
        event["request_headers"] = json!({ HOSTILE: HOSTILE, "host": [HOSTILE, HOSTILE] }).to_string().into();
        event["response_content_type"] = "text/html".into();
        for name in ["server.address", "gen_ai.response.model", HOSTILE] {
            event["custom_properties"][name] = HOSTILE.into();
        }
        event["metadata"]["llm"]["text"] = HOSTILE.into();
        event["metadata"]["upstream"]["tls_version"] = HOSTILE.into();
        event["metadata"]["blind"] = HOSTILE.into();
        event["metadata"]["cut"] = json!({ HOSTILE: true });
        sample.said = json!({ "tool": HOSTILE, "argument": HOSTILE });
        sample
    }

    /// One with text that controls terminals in each of the [`PLACES`].
    pub fn steering() -> Self {
        let mut sample = Self::of(&steering("method"), &steering("host"), &format!("/{}", steering("path")), 500);
        sample.error = steering("error");
        sample.llm =
            json!({ "gen_ai.response.model": steering("model"), "gen_ai.provider.name": steering("provider") });
        let event = &mut sample.event;
        for (member, place) in
            [("query_params", "query"), ("request_body", "sent"), ("response_body", "received"), ("error", "error")]
        {
            event[member] = steering(place).into();
        }
        event["request_headers"] = json!({ steering("field"): steering("value") }).to_string().into();
        event["custom_properties"]["gen_ai.response.model"] = steering("model").into();
        event["custom_properties"]["gen_ai.provider.name"] = steering("provider").into();
        event["custom_properties"]["gen_ai.odd"] = steering("property").into();
        event["metadata"]["llm"]["text"] = steering("answer").into();
        sample.said = json!({ "user": steering("said") });
        sample
    }

    /// A conversation in which each part is `text`, with the places that hold it.
    pub fn talking(text: &dyn Fn(&str) -> String) -> Self {
        let said = |place: &str| json!([{ "type": "text", "text": text(place) }]);
        let messages = [
            json!({ "role": "user", "content": said("user") }),
            json!({ "role": "assistant", "content": [
                { "type": "thinking", "thinking": text("thinking") }, { "type": "text", "text": text("assistant") },
                { "type": "tool_use", "id": "1", "name": text("tool"), "input": { text("argument"): text("given") } },
            ] }),
            json!({ "role": text("role"), "content": [
                { "type": "tool_result", "tool_use_id": "1", "is_error": true, "content": said("result") },
                { "type": "image", "source": { "media_type": text("media") } }, { "type": text("kind") },
            ] }),
        ];
        let answer = [json!({ "type": "text", "text": text("answer") })];
        let mut sample = Self::claude(&messages, &answer, (900, 0, 9));
        let mut request: Value = serde_json::from_str(sample.event["request_body"].as_str().unwrap()).unwrap();
        request["system"][0]["text"] = text("system").into();
        request["tools"][0]["name"] = text("offered").into();
        request[text("parameter")] = text("setting").into();
        sample.event["request_body"] = request.to_string().into();
        sample
    }

    /// The places of [`Self::talking`].
    pub const TALKED: [&'static str; 13] = [
        "user",
        "thinking",
        "assistant",
        "tool",
        "argument",
        "given",
        "role",
        "result",
        "media",
        "kind",
        "answer",
        "system",
        "offered",
    ];

    /// So long before now.
    pub fn ago(mut self, ms: i64) -> Self {
        self.ago_ms = ms;
        self
    }
}

/// Stores calls in a session, one after the other.
pub fn append(store: &Store, session: SessionRow, samples: &[Sample]) {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_millis() as i64;
    let texts: Vec<[String; 3]> = samples
        .iter()
        .map(|sample| {
            let timings = &sample.event["metadata"]["timings"];
            let ms = if timings.is_null() { json!({}) } else { timings.clone() };
            let said = if sample.said.is_null() { json!({}) } else { sample.said.clone() };
            let outline = json!({ "scheme": "https", "read": true, "said": said, "ms": ms }).to_string();
            let llm = if sample.llm.is_null() { String::new() } else { sample.llm.to_string() };
            [outline, llm, sample.event.to_string()]
        })
        .collect();
    let events: Vec<NewEvent<'_>> = samples
        .iter()
        .zip(&texts)
        .map(|(sample, [outline, llm, json])| NewEvent {
            bodies: &[],
            event_id: sample.id,
            seq: 1,
            started_at_ms: now - sample.ago_ms,
            method: &sample.method,
            host: &sample.host,
            path: &sample.path,
            status_code: sample.status,
            latency_ms: sample.latency_ms,
            request_bytes: 2_048,
            response_bytes: 40_960,
            error: &sample.error,
            outline,
            llm,
            json: json.as_bytes(),
        })
        .collect();
    store.writer().unwrap().append(session, &events).unwrap();
}

/// OTAS has taken these.
pub fn deliver(store: &Store, ids: impl IntoIterator<Item = i64>) {
    let settled =
        |id| Settlement { id, attempts: 1, outcome: Outcome::Delivered { otas_event_id: format!("e-{id}") } };
    store.settle(&ids.into_iter().map(settled).collect::<Vec<_>>()).unwrap();
}
