//! An answer is complete by its own format, whatever the agent does with its connection afterwards.

use std::time::Duration;

use base64::Engine as _;
use http::Response;
use http_body_util::BodyExt;
use serde_json::{Value, json};

use super::{CHAT, MESSAGES, only};
use crate::support::agent::{Agent, full};
use crate::support::manual::{Call, ManualOrigin, Pieces, piece, piecewise};
use crate::support::origin::{Certificate, TestCa};
use crate::support::proxy::{Running, TestProxy};
use crate::support::standin::llm::streamed;
use otas_proxy::llm::names;

/// An API: its path, its media type, and the events of its answer.
struct Interface {
    path: &'static str,
    media_type: &'static str,
    events: Vec<Vec<u8>>,
}

fn apis() -> Vec<Interface> {
    let text = |path, media_type, events: Vec<String>| {
        let events = events.into_iter().map(String::into_bytes).collect();
        Interface { path, media_type, events }
    };
    let sse = |events: &[Value]| events.iter().map(|event| format!("data: {event}\n\n")).collect::<Vec<_>>();
    let lines = |events: &[Value]| events.iter().map(|event| format!("{event}\n")).collect::<Vec<_>>();
    let responses = |kind: &str, status: &str| {
        sse(&[
            json!({"type": "response.created", "response": {"id": "r", "status": "in_progress"}}),
            json!({"type": "response.output_text.delta", "output_index": 0, "delta": "Hi"}),
            json!({"type": kind, "response": {"id": "r", "status": status, "usage": {"input_tokens": 3, "output_tokens": 4}}}),
        ])
    };
    let gemini = |text: &str, more: Value| {
        let mut candidate = json!({"content": {"role": "model", "parts": [{"text": text}]}});
        candidate.as_object_mut().unwrap().extend(more["candidate"].as_object().cloned().unwrap_or_default());
        json!({"candidates": [candidate], "usageMetadata": more["usage"]})
    };
    let google = [
        gemini("Hi", json!({"usage": {"promptTokenCount": 3}})),
        gemini(
            "!",
            json!({"candidate": {"finishReason": "STOP"}, "usage": {"promptTokenCount": 3, "candidatesTokenCount": 4}}),
        ),
    ];
    let ollama = [
        json!({"model": "m", "message": {"role": "assistant", "content": "Hi"}, "done": false}),
        json!({"model": "m", "message": {"content": ""}, "done": true, "done_reason": "stop", "prompt_eval_count": 3, "eval_count": 4}),
    ];
    let cohere = [
        json!({"type": "message-start", "id": "c"}),
        json!({"type": "content-delta", "index": 0, "delta": {"message": {"content": {"text": "Hi"}}}}),
        json!({"type": "message-end", "delta": {"finish_reason": "COMPLETE", "usage": {"tokens": {"input_tokens": 3, "output_tokens": 4}}}}),
    ];
    const SSE: &str = "text/event-stream";
    vec![
        text(CHAT, SSE, streamed(CHAT)),
        text(MESSAGES, SSE, streamed(MESSAGES)),
        text("/v1/responses", SSE, responses("response.completed", "completed")),
        text("/v1/responses", SSE, responses("response.incomplete", "incomplete")),
        text("/v1beta/models/m:streamGenerateContent?alt=sse", SSE, sse(&google)),
        text("/api/chat", "application/x-ndjson", lines(&ollama)),
        text("/v2/chat", SSE, sse(&cohere)),
        Interface {
            path: "/model/m/converse-stream",
            media_type: "application/vnd.amazon.eventstream",
            events: FRAMES
                .iter()
                .map(|frame| base64::engine::general_purpose::STANDARD.decode(frame).unwrap())
                .collect(),
        },
    ]
}

/// `contentBlockDelta`, `messageStop` and `metadata` in Amazon's event stream encoding, in base64.
const FRAMES: [&str; 3] = [
    "AAAAmAAAAFdxW3fvCzpldmVudC10eXBlBwARY29udGVudEJsb2NrRGVsdGENOmNvbnRlbnQtdHlwZQcAEGFwcGxpY2F0aW9uL2pzb24NOm1lc3NhZ2UtdHlwZQcABWV2ZW50eyJjb250ZW50QmxvY2tJbmRleCI6IDAsICJkZWx0YSI6IHsidGV4dCI6ICJIaSJ9fSjwKHs=",
    "AAAAewAAAFH3TG/VCzpldmVudC10eXBlBwALbWVzc2FnZVN0b3ANOmNvbnRlbnQtdHlwZQcAEGFwcGxpY2F0aW9uL2pzb24NOm1lc3NhZ2UtdHlwZQcABWV2ZW50eyJzdG9wUmVhc29uIjogImVuZF90dXJuIn3nDkJL",
    "AAAAoAAAAE6EYSxoCzpldmVudC10eXBlBwAIbWV0YWRhdGENOmNvbnRlbnQtdHlwZQcAEGFwcGxpY2F0aW9uL2pzb24NOm1lc3NhZ2UtdHlwZQcABWV2ZW50eyJ1c2FnZSI6IHsiaW5wdXRUb2tlbnMiOiAzLCAib3V0cHV0VG9rZW5zIjogNCwgInRvdGFsVG9rZW5zIjogN319udGxdw==",
];

fn question() -> Value {
    json!({"model": "m-1", "stream": true, "messages": [{"role": "user", "content": "?"}], "input": "?", "contents": []})
}

/// How an agent reaches its origin.
#[derive(Debug, Clone, Copy)]
enum Way {
    Plain,
    Http1,
    Http2,
}

/// The agent's end of an answer that has begun.
enum Ending {
    Plain(reqwest::Response),
    Inside(Agent, Response<hyper::body::Incoming>),
}

impl Ending {
    async fn read(&mut self, mut bytes: usize) {
        while bytes > 0 {
            bytes -= match self {
                Self::Plain(answer) => answer.chunk().await.unwrap().unwrap().len(),
                Self::Inside(_, answer) => {
                    let frame = answer.body_mut().frame().await.unwrap().unwrap();
                    frame.into_data().unwrap().len()
                }
            };
        }
    }

    /// The agent drops the rest: over HTTP/1.1 its connection, over HTTP/2 the stream.
    async fn leave(self, way: Way) {
        match (self, way) {
            (Self::Plain(answer), _) => drop(answer),
            (Self::Inside(agent, answer), Way::Http2) => {
                drop(answer);
                agent.close().await;
            }
            (Self::Inside(agent, answer), _) => {
                drop(answer);
                agent.vanish().await;
            }
        }
    }
}

async fn begin(proxy: &Running, origin: &mut ManualOrigin, way: Way, of: &Interface) -> (Ending, Pieces) {
    let addr = origin.addr;
    let answering = async {
        let Call { request, answer, .. } = origin.call().await;
        let mut question = request.into_body();
        while question.frame().await.is_some() {}
        let (pieces, body) = piecewise();
        answer.send(Response::builder().header("content-type", of.media_type).body(body).unwrap()).unwrap();
        pieces
    };
    let asking = async {
        let body = question().to_string();
        match way {
            Way::Plain => {
                let url = format!("http://{addr}{}", of.path);
                let request = proxy.client().post(url).header("content-type", "application/json").body(body);
                Ending::Plain(request.send().await.unwrap())
            }
            Way::Http1 | Way::Http2 => {
                let alpn: &[&[u8]] = if matches!(way, Way::Http2) { &[b"h2"] } else { &[b"http/1.1"] };
                let mut agent = Agent::named(proxy, "localhost", addr.port(), alpn).await;
                let mut request = agent.request("POST", of.path, full(body));
                request.headers_mut().insert("content-type", "application/json".parse().unwrap());
                let answer = agent.send(request).await.unwrap();
                Ending::Inside(agent, answer)
            }
        }
    };
    tokio::join!(asking, answering)
}

/// The event of a call whose agent reads this many events of the answer and leaves, while the origin keeps its response
/// open.
async fn left_after(way: Way, of: &Interface, events: usize) -> Value {
    let folder = tempfile::tempdir().unwrap();
    let ca = TestCa::new(folder.path());
    let proxy = TestProxy::new().trusting(&ca).run().await;
    let tls = match way {
        Way::Plain => None,
        Way::Http1 => Some(ca.server(Certificate::Good, &[b"http/1.1"])),
        Way::Http2 => Some(ca.server(Certificate::Good, &[b"h2"])),
    };
    let mut origin = ManualOrigin::start(tls).await;
    let (mut ending, pieces) = begin(&proxy, &mut origin, way, of).await;
    for event in &of.events[..events] {
        pieces.send(piece(event.clone())).await.unwrap();
        ending.read(event.len()).await;
    }
    ending.leave(way).await;
    pieces.closed().await;
    only(proxy.events().await)
}

#[tokio::test]
async fn an_agent_that_leaves_after_the_end_of_its_answer_has_not_left_early() {
    for way in [Way::Plain, Way::Http1, Way::Http2] {
        for interface in apis() {
            let event = left_after(way, &interface, interface.events.len()).await;
            let path = interface.path;
            assert_eq!(
                (&event["error"], &event["metadata"]["outcome"]),
                (&json!(""), &json!("complete")),
                "{way:?} {path}"
            );
            assert_eq!(event["metadata"]["llm"]["complete"], true, "{way:?} {path}");
            assert_eq!(event["custom_properties"][names::OUTPUT_TOKENS], 4, "{way:?} {path}: {event:#}");
        }
    }
}

#[tokio::test]
async fn an_agent_that_leaves_before_the_end_of_its_answer_has_left() {
    for way in [Way::Plain, Way::Http1, Way::Http2] {
        for interface in apis() {
            let event = left_after(way, &interface, interface.events.len() - 1).await;
            let told = event["error"].as_str().unwrap();
            assert!(told.starts_with("agent_left: "), "{way:?} {}: {told}", interface.path);
            assert_eq!(event["metadata"]["llm"]["complete"], false, "{way:?} {}", interface.path);
            assert_eq!(event["custom_properties"][names::OUTPUT_TOKENS], Value::Null);
        }
    }
}

#[tokio::test]
async fn an_end_that_was_not_delivered_does_not_count() {
    let proxy = TestProxy::new().run().await;
    let mut origin = ManualOrigin::start(None).await;
    let interface = &apis()[0];
    let (ending, pieces) = begin(&proxy, &mut origin, Way::Plain, interface).await;
    // The agent reads nothing, so data waits once the buffers of kernel and proxy are full.
    let filler = format!(": {}\n\n", "x".repeat(256 << 10));
    loop {
        let sent = tokio::time::timeout(Duration::from_millis(500), pieces.send(piece(filler.clone()))).await;
        if sent.is_err() {
            break;
        }
    }
    drop(ending);
    let _ = pieces.send(piece(interface.events.concat())).await;
    pieces.closed().await;
    let event = only(proxy.events().await);
    assert!(event["error"].as_str().unwrap().starts_with("agent_left: "), "{}", event["error"]);
    assert_eq!(event["custom_properties"][names::OUTPUT_TOKENS], Value::Null);
}

#[tokio::test]
async fn an_agent_that_leaves_after_an_error_in_its_answer_is_not_the_cause() {
    let proxy = TestProxy::new().run().await;
    let mut origin = ManualOrigin::start(None).await;
    let error = json!({"type": "error", "error": {"type": "overloaded_error", "message": "Overloaded"}});
    let mut interface = apis().remove(1);
    interface.events.truncate(3);
    interface.events.push(format!("event: error\ndata: {error}\n\n").into_bytes());
    let (mut ending, pieces) = begin(&proxy, &mut origin, Way::Plain, &interface).await;
    for event in &interface.events {
        pieces.send(piece(event.clone())).await.unwrap();
        ending.read(event.len()).await;
    }
    ending.leave(Way::Plain).await;
    pieces.closed().await;
    let event = only(proxy.events().await);
    assert!(event["error"].as_str().unwrap().starts_with("stream_error: "), "{}", event["error"]);
}

#[tokio::test]
async fn an_error_has_the_providers_message_masked_and_truncated() {
    let secret = "sk-proj-AbCdEfGhIjKlMnOpQrStUvWxYz0123456789AbCdEfGh";
    let long = "x".repeat(9_000);
    for (status, kind, message, told) in [
        (529, "overloaded_error", "Overloaded".to_owned(), "http_529: overloaded_error: Overloaded"),
        (
            401,
            "invalid_api_key",
            format!("Incorrect API key: {secret}"),
            "http_401: invalid_api_key: Incorrect API key: ",
        ),
        (400, "invalid_request_error", long, "http_400: invalid_request_error: xxx"),
    ] {
        let proxy = TestProxy::new().run().await;
        let mut origin = ManualOrigin::start(None).await;
        let url = format!("http://{}{MESSAGES}", origin.addr);
        let asked = proxy.client().post(url).header("content-type", "application/json").body(question().to_string());
        let sending = tokio::spawn(asked.send());
        let body = json!({"type": "error", "error": {"type": kind, "message": message}}).to_string();
        let response = Response::builder().status(status).header("content-type", "application/json");
        origin.call().await.answer.send(response.body(full(body)).unwrap()).unwrap();
        sending.await.unwrap().unwrap().bytes().await.unwrap();
        let event = only(proxy.events().await);
        let error = event["error"].as_str().unwrap();
        assert!(error.starts_with(told) && error.len() < 4_096 && !error.contains(secret), "{error}");
        assert_eq!(event["custom_properties"]["error.type"], status.to_string());
    }
}
