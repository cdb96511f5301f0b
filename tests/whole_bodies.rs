//! Text bodies are kept whole, and people read all of them. OTAS gets as much as fits into one of its posts.

use std::io::Write as _;
use std::time::Duration;

use serde_json::{Value, json};

use crate::support::origin::{TestOrigin, pattern};
use crate::support::otas::TestOtas;
use crate::support::proxy::{Running, TestProxy};

const WITHIN: Duration = Duration::from_secs(20);

/// JSON of at least this size, in which no part repeats.
fn conversation(bytes: usize) -> String {
    let message =
        |n: usize| format!(r#"{{"role":"user","content":"message {n} of a long conversation, \"quoted\" é"}}"#);
    let messages: Vec<String> = (0..bytes / 60).map(message).collect();
    format!(r#"{{"model":"m","messages":[{}]}}"#, messages.join(","))
}

async fn echo(proxy: &Running, origin: &TestOrigin, content_type: &str, body: impl Into<reqwest::Body>) {
    let post = proxy.client().post(origin.url("/echo")).header("content-type", content_type).body(body);
    post.send().await.unwrap().bytes().await.unwrap();
}

#[tokio::test]
async fn people_read_the_whole_text_and_otas_what_fits() {
    let (otas, origin) = (TestOtas::start().await, TestOrigin::http().await);
    let proxy = TestProxy::new().otas(&otas).run().await;
    let body = conversation(3 << 20);
    echo(&proxy, &origin, "application/json", body.clone()).await;
    otas.events_at_least(1, WITHIN).await;
    assert_eq!(otas.refused(), []);
    let posted = &otas.events().await[0];
    assert_eq!(posted["metadata"]["cut"], json!({ "request_body": true }));
    let stored = &proxy.events_so_far(1).await[0];
    assert_eq!(stored["metadata"]["cut"], Value::Null);
    assert!(stored["request_body"] == body);
    let shown = posted["request_body"].as_str().unwrap();
    let (beginning, mark) = shown.split_once("\n…[otas-proxy: the rest is left out to fit OTAS's limit").unwrap();
    assert!(body.starts_with(beginning) && beginning.len() > 1_000_000 && mark.ends_with("an event]…\n"));
    assert!(posted.to_string().len() <= 2_621_440);
    let url = format!("http://{}/event/1/json", proxy.app.admin_addr);
    let page = crate::page::client().get(url).bearer_auth(proxy.token()).send().await.unwrap();
    let page: Value = serde_json::from_slice(&page.bytes().await.unwrap()).unwrap();
    assert!(page["request_body"] == body);
}

#[tokio::test]
async fn a_text_over_the_limit_is_kept_like_any_other_body() {
    let origin = TestOrigin::http().await;
    let limits = |config: &mut otas_proxy::config::Config| {
        (config.capture.body_max_bytes, config.capture.body_tail_bytes) = (1 << 20, 1 << 10);
    };
    let proxy = TestProxy::new().with(limits).run().await;
    let body = "sixteen letters ".repeat(2 << 16);
    // Its length is known from the beginning, or only at its end.
    echo(&proxy, &origin, "text/plain", body.clone()).await;
    let pieces: Vec<_> = body.as_bytes().chunks(100_000).map(bytes::Bytes::copy_from_slice).collect();
    let frames = pieces.into_iter().map(|piece| Ok::<_, std::io::Error>(http_body::Frame::data(piece)));
    let stream = http_body_util::StreamBody::new(futures_util::stream::iter(frames));
    echo(&proxy, &origin, "text/plain", reqwest::Body::wrap(stream)).await;
    let events = proxy.events_so_far(2).await;
    for event in &events {
        let mark = "\n…[otas-proxy: 1,833,984 of 2,097,152 bytes not kept]…\n";
        let (head, tail) = event["request_body"].as_str().unwrap().split_once(mark).unwrap();
        assert_eq!((head.len(), tail.len()), (256 << 10, 1 << 10));
        assert!(body.starts_with(head) && body.ends_with(tail));
    }
    assert_eq!(events.len(), 2);
}

#[tokio::test]
async fn other_bodies_are_kept_by_head_and_tail_and_coded_texts_whole() {
    let origin = TestOrigin::http().await;
    let proxy = TestProxy::new().run().await;
    echo(&proxy, &origin, "image/png", pattern(0, 1 << 20)).await;
    let body = conversation(2 << 20);
    let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    gzip.write_all(body.as_bytes()).unwrap();
    let post = proxy.client().post(origin.url("/echo")).header("content-type", "application/json");
    let post = post.header("content-encoding", "gzip").body(gzip.finish().unwrap());
    post.send().await.unwrap().bytes().await.unwrap();
    let events = proxy.events().await;
    let of = |content_type: &str| events.iter().find(|event| event["request_content_type"] == content_type).unwrap();
    assert_eq!(of("image/png")["metadata"]["capture"]["request"]["omitted"], (1 << 20) - (256 << 10) - (64 << 10));
    assert!(of("application/json")["request_body"] == body);
}
