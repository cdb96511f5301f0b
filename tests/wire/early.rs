//! Answers that come before the whole request (item 52).

use bytes::Bytes;
use http::{Response, StatusCode};
use serde_json::Value;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use crate::support::agent::{self, full};
use crate::support::frames::{CANCEL, DATA, END_HEADERS, END_STREAM, Frames, HEADERS, RST_STREAM, hpack};
use crate::support::manual::ManualOrigin;
use crate::support::origin::{Act, Certificate, RawOrigin, TestCa};
use crate::support::proxy::{PATIENCE, TestProxy, read_until};

const REFUSAL: &[u8] = b"HTTP/1.1 413 Content Too Large\r\nContent-Length: 9\r\n\r\ntoo large";
const UPLOAD_BYTES: usize = 20 << 20;

fn complete(event: &Value, sent: usize) {
    assert_eq!((&event["status_code"], &event["metadata"]["outcome"]), (&413.into(), &"complete".into()), "{event}");
    assert!(event["error"].as_str().unwrap().starts_with("http_413"), "{event}");
    let capture = &event["metadata"]["capture"];
    assert!(capture["request"]["bytes"].as_u64().unwrap() <= sent as u64, "{event}");
    assert_eq!((&capture["response"]["bytes"], &capture["response"]["end"]), (&9.into(), &"complete".into()));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn item_52_an_agent_that_stops_its_upload_has_its_answer_and_has_not_left() {
    // The origin stops reading; it keeps the connection, closes it, or resets it.
    let wait = std::time::Duration::from_secs(60);
    for last in [Act::Pause(wait), Act::Close, Act::Reset] {
        let origin = RawOrigin::start(vec![Act::Write(REFUSAL.to_vec()), last]).await;
        let proxy = TestProxy::new().run().await;
        for call in 1..=5 {
            let (mut from, mut to) = proxy.connect().await.into_split();
            let head = format!(
                "POST http://{0}/ HTTP/1.1\r\nHost: {0}\r\nContent-Length: {UPLOAD_BYTES}\r\n\r\n",
                origin.addr
            );
            let uploading = tokio::spawn(async move {
                let _ = to.write_all(head.as_bytes()).await;
                let piece = vec![b'x'; 64 << 10];
                for _ in 0..UPLOAD_BYTES / piece.len() {
                    if to.write_all(&piece).await.is_err() {
                        return;
                    }
                }
            });
            let reply = read_until(&mut from, "too large").await;
            assert!(reply.starts_with("HTTP/1.1 413 "), "{reply}");
            uploading.abort();
            let _ = uploading.await;
            drop(from);
            proxy.events_so_far(call).await;
        }
        for event in proxy.events().await {
            complete(&event, UPLOAD_BYTES);
        }
    }
}

#[tokio::test]
async fn item_52_over_http_2() {
    let folder = tempfile::tempdir().unwrap();
    let ca = TestCa::new(folder.path());
    let mut origin = ManualOrigin::start(Some(ca.server(Certificate::Good, &[b"h2"]))).await;
    let proxy = TestProxy::new().trusting(&ca).run().await;
    let authority = format!("localhost:{}", origin.addr.port());
    let tunnel = agent::tunnel(&proxy, &authority).await;
    let stream = agent::tls(tunnel, "localhost", proxy.client_tls(&[b"h2"])).await.unwrap();
    let mut agent = Frames::client(stream).await;
    let fields = [(":method", "POST"), (":scheme", "https"), (":authority", &*authority), (":path", "/")];
    agent.write(HEADERS, END_HEADERS, 1, &hpack(&fields)).await;
    agent.write(DATA, 0, 1, b"some").await;
    let call = origin.call().await;
    let mut refusal = Response::new(full(Bytes::from_static(b"too large")));
    *refusal.status_mut() = StatusCode::PAYLOAD_TOO_LARGE;
    call.answer.send(refusal).unwrap();
    while agent.next_of(&[DATA]).await.flags & END_STREAM == 0 {}
    agent.write(RST_STREAM, 0, 1, &CANCEL.to_be_bytes()).await;
    complete(&proxy.events_so_far(1).await[0], UPLOAD_BYTES);
    drop(agent);
    proxy.stop().await;
}

#[tokio::test]
async fn item_52_an_agent_that_breaks_off_before_the_answer_has_left() {
    let acts = vec![Act::Await(b"half".to_vec()), Act::Pause(std::time::Duration::from_secs(60))];
    let origin = RawOrigin::start(acts).await;
    let proxy = TestProxy::new().run().await;
    let mut agent = proxy.connect().await;
    let head = format!("POST http://{0}/ HTTP/1.1\r\nHost: {0}\r\nContent-Length: 8\r\n\r\nhalf", origin.addr);
    agent.write_all(head.as_bytes()).await.unwrap();
    agent.shutdown().await.unwrap();
    let mut rest = Vec::new();
    tokio::time::timeout(PATIENCE, agent.read_to_end(&mut rest)).await.expect("it stays open").unwrap();
    let events = proxy.events().await;
    assert!(events[0]["error"].as_str().unwrap().starts_with("agent_left: "), "{}", events[0]);
}
