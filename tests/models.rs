//! Model calls through the proxy: the facts in their events, however the calls pass and end. Other tests check that the
//! bytes stay unchanged.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test fails by panicking")]

#[path = "models/bombs.rs"]
mod bombs;
#[path = "models/endings.rs"]
mod endings;

use std::io::Write as _;
use std::time::Duration;

use flate2::Compression;
use flate2::write::GzEncoder;
use http::Response;
use http_body_util::BodyExt;
use otas_proxy::config::Durability;
use otas_proxy::llm::names;
use serde_json::{Value, json};

use crate::support::manual::{ManualOrigin, Pieces, piece, piecewise};
use crate::support::proxy::{Running, TestProxy, eventually};
use crate::support::standin::llm::{TOOL, says, streamed, whole};

const CHAT: &str = "/v1/chat/completions";
const MESSAGES: &str = "/v1/messages";

fn only(mut events: Vec<Value>) -> Value {
    assert_eq!(events.len(), 1, "{events:#?}");
    events.remove(0)
}

/// A request in flight, and the pieces of its response.
async fn asked(proxy: &Running, origin: &mut ManualOrigin, path: &str) -> (reqwest::Response, Pieces) {
    let ask =
        json!({"model": "m-1", "stream": true, "max_tokens": 5, "messages": [{"role": "user", "content": "?"}]});
    let url = format!("http://{}{path}", origin.addr);
    let sending = proxy.client().post(url).header("content-type", "application/json").body(ask.to_string()).send();
    let answering = async {
        let (pieces, mut question) = origin.call().await.stream("text/event-stream");
        while question.frame().await.is_some() {}
        pieces
    };
    let (answer, pieces) = tokio::join!(sending, answering);
    (answer.unwrap(), pieces)
}

#[tokio::test]
async fn facts_do_not_depend_on_how_much_of_the_bodies_is_kept() {
    let proxy = TestProxy::new()
        .with(|c| (c.capture.body_max_bytes, c.capture.body_head_bytes, c.capture.body_tail_bytes) = (0, 16, 0))
        .run()
        .await;
    let mut origin = ManualOrigin::start(None).await;
    let (mut answer, pieces) = asked(&proxy, &mut origin, CHAT).await;
    for event in streamed(CHAT) {
        pieces.send(piece(event.clone())).await.unwrap();
        let got = answer.chunk().await.unwrap().unwrap();
        assert_eq!(got, event, "the agent has each piece before the next is sent");
    }
    drop(pieces);
    assert!(answer.chunk().await.unwrap().is_none());
    let event = only(proxy.events().await);
    let properties = &event["custom_properties"];
    assert_eq!((&properties[names::INPUT_TOKENS], &properties[names::OUTPUT_TOKENS]), (&json!(3), &json!(4)));
    assert_eq!(properties[names::REQUEST_MODEL], "m-1");
    assert_eq!(properties[names::TOOL_CALLS], TOOL);
    assert_eq!(event["metadata"]["llm"]["text"], format!("{}\n\n[tool call] {TOOL}({{}})", says()));
    assert!(event["response_body"].as_str().unwrap().contains("bytes not kept"), "{event:#}");
}

#[tokio::test]
async fn a_compressed_stream_is_read_as_it_comes() {
    let proxy = TestProxy::new().run().await;
    let mut origin = ManualOrigin::start(None).await;
    let url = format!("http://{}{MESSAGES}", origin.addr);
    let sending = tokio::spawn(proxy.client().post(url).body("{\"messages\":[],\"model\":\"m-1\"}").send());
    let call = origin.call().await;
    let (pieces, body) = piecewise();
    let response = Response::builder().header("content-type", "text/event-stream").header("content-encoding", "gzip");
    call.answer.send(response.body(body).unwrap()).unwrap();
    let mut encoder = GzEncoder::new(Vec::new(), Compression::default());
    for event in streamed(MESSAGES) {
        encoder.write_all(event.as_bytes()).unwrap();
        encoder.flush().unwrap();
        pieces.send(piece(std::mem::take(encoder.get_mut()))).await.unwrap();
    }
    pieces.send(piece(encoder.finish().unwrap())).await.unwrap();
    drop(pieces);
    sending.await.unwrap().unwrap().bytes().await.unwrap();
    let event = only(proxy.events().await);
    let properties = &event["custom_properties"];
    assert_eq!(
        (&properties[names::INPUT_TOKENS], &properties[names::OUTPUT_TOKENS]),
        (&json!(3), &json!(4)),
        "{event:#}"
    );
    assert_eq!(properties[names::FINISH_REASONS], "tool_use");
}

#[tokio::test]
async fn a_truncated_answer_has_one_event_without_tokens() {
    for (end, id) in [("agent", "agent_left"), ("origin", "origin_reset"), ("proxy", "proxy_shutdown")] {
        let proxy = TestProxy::new().with(|c| c.proxy.shutdown_grace = Duration::from_millis(50)).run().await;
        let mut origin = ManualOrigin::start(None).await;
        let (mut answer, pieces) = asked(&proxy, &mut origin, MESSAGES).await;
        for event in &streamed(MESSAGES)[..5] {
            pieces.send(piece(event.clone())).await.unwrap();
            answer.chunk().await.unwrap().unwrap();
        }
        match end {
            "agent" => {
                drop(answer);
                pieces.closed().await;
            }
            "origin" => {
                pieces.send(Err(std::io::Error::other("broken"))).await.unwrap();
                assert!(answer.chunk().await.is_err());
            }
            _ => {}
        }
        let event = only(proxy.events().await);
        assert!(event["error"].as_str().unwrap().starts_with(id), "{event:#}");
        let (properties, metadata) = (&event["custom_properties"], &event["metadata"]);
        assert_eq!(
            (&properties[names::INPUT_TOKENS], &properties[names::OUTPUT_TOKENS]),
            (&Value::Null, &Value::Null)
        );
        assert_eq!(
            (&properties[names::RESPONSE_MODEL], &properties[names::PARSE_ERROR]),
            (&json!("stand-in"), &Value::Null)
        );
        assert_eq!(
            (&metadata["usage_raw"]["input_tokens"], &metadata["llm"]["complete"]),
            (&json!(3), &json!(false))
        );
        assert_eq!(metadata["llm"]["text"], "Good morning, ");
    }
}

#[tokio::test]
async fn an_error_inside_an_answer_is_an_error_of_the_call() {
    let proxy = TestProxy::new().run().await;
    let mut origin = ManualOrigin::start(None).await;
    let (answer, pieces) = asked(&proxy, &mut origin, MESSAGES).await;
    for event in &streamed(MESSAGES)[..4] {
        pieces.send(piece(event.clone())).await.unwrap();
    }
    let error = json!({"type": "error", "error": {"type": "overloaded_error", "message": "Overloaded"}});
    pieces.send(piece(format!("event: error\ndata: {error}\n\n"))).await.unwrap();
    drop(pieces);
    answer.bytes().await.unwrap();
    let event = only(proxy.events().await);
    assert_eq!(event["status_code"], 200);
    assert_eq!(event["error"], "stream_error: 127.0.0.1 sent an error in its response: overloaded_error: Overloaded");
    assert_eq!(event["custom_properties"]["error.type"], "stream_error");
    assert_eq!(event["custom_properties"][names::OUTPUT_TOKENS], Value::Null);
}

#[tokio::test]
async fn in_strict_mode_the_end_of_a_response_waits_for_its_facts_too() {
    let proxy = TestProxy::new().with(|c| c.store.durability = Durability::Strict).run().await;
    let mut origin = ManualOrigin::start(None).await;
    let url = format!("http://{}{CHAT}", origin.addr);
    for _ in 0..2 {
        let body = json!({"model": "m-1", "messages": []});
        let sending = tokio::spawn(
            proxy.client().post(&url).header("content-type", "application/json").body(body.to_string()).send(),
        );
        let call = origin.call().await;
        let body = crate::support::agent::full(whole(CHAT));
        let response = Response::builder().header("content-type", "application/json").body(body).unwrap();
        call.answer.send(response).unwrap();
        sending.await.unwrap().unwrap().bytes().await.unwrap();
        // Stored, even if the proxy is killed now.
        let stored = proxy.events_so_far(0).await;
        let last = stored.last().expect("no event when the agent had the end");
        assert_eq!(last["custom_properties"][names::OUTPUT_TOKENS], 4);
    }
    assert_eq!(proxy.events().await.len(), 2);
}

#[tokio::test]
async fn a_failed_tool_is_an_error_and_other_calls_have_no_model_facts() {
    let proxy = TestProxy::new().run().await;
    let mut origin = ManualOrigin::start(None).await;
    let call =
        json!({"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": {"name": "search", "arguments": {}}});
    let failed = json!({"jsonrpc": "2.0", "id": 1, "result": {"content": [], "isError": true}});
    let plain = json!({"jsonrpc": "1.0", "method": "sum", "params": {"name": "a"}});
    for (question, answer) in [(call, failed), (plain, json!({"id": 1, "result": {"isError": true}}))] {
        let sending = proxy
            .client()
            .post(format!("http://{}/mcp", origin.addr))
            .header("content-type", "application/json")
            .body(question.to_string());
        let sending = tokio::spawn(sending.header("accept", "application/json, text/event-stream").send());
        let (pieces, _question) = origin.call().await.stream("text/event-stream");
        pieces.send(piece(format!("event: message\ndata: {answer}\n\n"))).await.unwrap();
        drop(pieces);
        sending.await.unwrap().unwrap().bytes().await.unwrap();
    }
    let [tool, other] = &proxy.events().await[..] else { panic!("two events") };
    assert!(
        tool["error"].as_str().unwrap().starts_with("tool_error: the tool search of 127.0.0.1 returned an error"),
        "{tool:#}"
    );
    let properties = &tool["custom_properties"];
    assert_eq!((&properties[names::TOOL], &properties[names::MCP_METHOD]), (&json!("search"), &json!("tools/call")));
    assert_eq!(other["error"], "");
    let told = other["custom_properties"].as_object().unwrap();
    assert!(told.keys().all(|name| !names::SPACES.iter().any(|space| name.starts_with(space))), "{other:#}");
    assert!(other["metadata"]["llm"].is_null());
}

#[tokio::test]
async fn reading_releases_its_memory() {
    let proxy = TestProxy::new().run().await;
    let mut origin = ManualOrigin::start(None).await;
    let (mut answer, pieces) = asked(&proxy, &mut origin, CHAT).await;
    for event in streamed(CHAT) {
        pieces.send(piece(event)).await.unwrap();
        answer.chunk().await.unwrap();
    }
    drop(pieces);
    answer.chunk().await.unwrap();
    proxy.events_so_far(1).await;
    eventually("captures hold nothing", async || proxy.status().await["capture"]["memory_bytes"] == 0).await;
}
