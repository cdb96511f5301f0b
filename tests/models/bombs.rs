//! Compression bombs in answers: they cost their reader no more than the bound, and do not slow other agents.

use std::io;

use http::Response;
use otas_proxy::llm::names;
use serde_json::json;

use super::{CHAT, only};
use crate::support::agent::full;
use crate::support::manual::ManualOrigin;
use crate::support::origin::TestOrigin;
use crate::support::proxy::TestProxy;

/// The decompressed size of a bomb.
const BOMB_BYTES: u64 = 250 << 20;

/// On one thread, so that a task that does not yield blocks all others.
#[tokio::test]
async fn another_agent_is_answered_while_a_bomb_is_read() {
    let proxy = TestProxy::new().run().await;
    let (mut origin, other) = (ManualOrigin::start(None).await, TestOrigin::http().await);
    let bomb = zstd::encode_all(io::Read::take(io::repeat(0), BOMB_BYTES), 3).unwrap();
    let url = format!("http://{}{CHAT}", origin.addr);
    let asked = json!({"model": "m", "messages": []}).to_string();
    let asking = proxy.client().post(url).header("content-type", "application/json").body(asked).send();
    let sending = tokio::spawn(asking);
    let response = Response::builder().header("content-type", "text/event-stream").header("content-encoding", "zstd");
    origin.call().await.answer.send(response.body(full(bomb.clone())).unwrap()).unwrap();
    assert_eq!(sending.await.unwrap().unwrap().bytes().await.unwrap().len(), bomb.len());
    for _ in 0..3 {
        assert_eq!(proxy.client().get(other.url("/")).send().await.unwrap().status(), 200);
    }
    let stored = proxy.events_so_far(1).await;
    assert!(stored.iter().all(|event| event["method"] == "GET"), "the bomb was read before others were answered");
    let events = proxy.events().await.into_iter().filter(|event| event["method"] == "POST").collect();
    let event = only(events);
    let why = event["custom_properties"][names::PARSE_ERROR].as_str();
    assert!(matches!(why, Some("response_too_large" | "overtime")), "{why:?}");
    assert_eq!(event["error"], "");
}
