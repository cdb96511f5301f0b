//! Agents that end what they send and wait for the answer (item 51), and those that have gone.

use std::time::Duration;

use bytes::Bytes;
use otas_proxy::hosts::{HostRule, HostRules};
use serde_json::Value;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};

use crate::support::agent;
use crate::support::manual::{ManualOrigin, piece};
use crate::support::origin::{Act, RawOrigin, TestCa, TestOrigin};
use crate::support::proxy::{PATIENCE, Running, TestProxy, read_until};

/// Sends a request and ends what is sent; gives all that comes back.
async fn ask_and_end(mut agent: impl AsyncRead + AsyncWrite + Unpin, request: &str) -> String {
    agent.write_all(request.as_bytes()).await.unwrap();
    agent.shutdown().await.unwrap();
    let mut all = Vec::new();
    let read = tokio::time::timeout(PATIENCE, agent.read_to_end(&mut all)).await;
    read.expect("the connection stays open").unwrap();
    String::from_utf8_lossy(&all).into_owned()
}

fn answered(event: &Value) {
    assert_eq!((&event["status_code"], &event["error"]), (&200.into(), &"".into()), "{event}");
    assert_eq!(event["metadata"]["capture"]["response"]["end"], "complete", "{event}");
}

async fn one_event(proxy: Running) -> Value {
    let mut events = proxy.events().await;
    assert_eq!(events.len(), 1, "{events:#?}");
    events.remove(0)
}

#[tokio::test]
async fn item_51_in_clear() {
    let origin = TestOrigin::http().await;
    for (path, length) in [("/slow/300", 4), ("/bytes/3000000", 3_000_000), ("/sse/4/100", 0)] {
        let proxy = TestProxy::new().run().await;
        let request = format!("GET {} HTTP/1.1\r\nHost: a\r\n\r\n", origin.url(path));
        let reply = ask_and_end(proxy.connect().await, &request).await;
        assert!(reply.starts_with("HTTP/1.1 200 OK\r\n") && reply.len() > length, "{path}: {}", reply.len());
        let event = one_event(proxy).await;
        answered(&event);
        if length > 0 {
            assert_eq!(event["metadata"]["capture"]["response"]["bytes"], length, "{event}");
        } else {
            assert_eq!(reply.matches("data: ").count(), 4, "{reply}");
        }
    }
}

#[tokio::test]
async fn item_51_every_request_that_was_sent_before_the_end_is_answered() {
    let origin = TestOrigin::http().await;
    let proxy = TestProxy::new().run().await;
    let one = |path| format!("GET {} HTTP/1.1\r\nHost: a\r\n\r\n", origin.url(path));
    let all = one("/slow/200") + &one("/bytes/2000000") + &one("/slow/200");
    let reply = ask_and_end(proxy.connect().await, &all).await;
    assert_eq!(reply.matches("HTTP/1.1 200 OK\r\n").count(), 3);
    assert!(reply.ends_with("\r\n\r\nslow"));
    let events = proxy.events().await;
    assert_eq!(events.len(), 3);
    events.iter().for_each(answered);
}

#[tokio::test]
async fn item_51_in_a_tunnel() {
    let folder = tempfile::tempdir().unwrap();
    let ca = TestCa::new(folder.path());
    let (clear, tls) = (TestOrigin::http().await, TestOrigin::https(&ca).await);
    let request = "GET /slow/300 HTTP/1.1\r\nHost: a\r\n\r\n";
    let proxy = TestProxy::new().run().await;
    let reply = ask_and_end(agent::tunnel(&proxy, &clear.addr.to_string()).await, request).await;
    assert!(reply.ends_with("slow"), "{reply}");
    answered(&one_event(proxy).await);
    // Relayed unread, the origin sees the same end, and must know what to make of it.
    let answer = Act::Write(b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nslow".to_vec());
    let raw = RawOrigin::start(vec![Act::Pause(Duration::from_millis(300)), answer, Act::Close]).await;
    let rules = HostRules::new(vec![HostRule::parse("127.0.0.1").unwrap()]);
    let proxy = TestProxy::new().with(|c| c.tls.passthrough = rules).run().await;
    let reply = ask_and_end(agent::tunnel(&proxy, &raw.addr.to_string()).await, request).await;
    assert!(reply.ends_with("slow"), "{reply}");
    assert_eq!(one_event(proxy).await["error"], "");
    let proxy = TestProxy::new().trusting(&ca).run().await;
    let tunnel = agent::tunnel(&proxy, &tls.addr.to_string()).await;
    let inside = agent::tls(tunnel, "localhost", proxy.client_tls(&[])).await.unwrap();
    let reply = ask_and_end(inside, request).await;
    assert!(reply.ends_with("slow"), "{reply}");
    answered(&one_event(proxy).await);
}

#[tokio::test]
async fn item_51_by_socks() {
    let origin = TestOrigin::http().await;
    let proxy = TestProxy::new().run().await;
    let mut agent = proxy.connect().await;
    agent.write_all(&[5, 1, 0]).await.unwrap();
    agent.read_exact(&mut [0; 2]).await.unwrap();
    let [high, low] = origin.addr.port().to_be_bytes();
    agent.write_all(&[5, 1, 0, 1, 127, 0, 0, 1, high, low]).await.unwrap();
    agent.read_exact(&mut [0; 10]).await.unwrap();
    let reply = ask_and_end(agent, "GET /slow/300 HTTP/1.1\r\nHost: a\r\n\r\n").await;
    assert!(reply.ends_with("slow"), "{reply}");
    answered(&one_event(proxy).await);
}

/// Where the system tells whether the agent has gone.
#[cfg(target_os = "linux")]
#[tokio::test]
async fn item_51_an_agent_that_has_gone_is_not_waited_for() {
    for half_closed_first in [false, true] {
        let mut origin = ManualOrigin::start(None).await;
        let proxy = TestProxy::new().run().await;
        let mut agent = proxy.connect().await;
        agent
            .write_all(format!("GET http://{0}/ HTTP/1.1\r\nHost: {0}\r\n\r\n", origin.addr).as_bytes())
            .await
            .unwrap();
        let mut call = origin.call().await;
        if half_closed_first {
            agent.shutdown().await.unwrap();
            tokio::time::timeout(Duration::from_millis(100), call.answer.closed())
                .await
                .expect_err("it waits for its answer");
        }
        drop(agent);
        tokio::time::timeout(PATIENCE, call.answer.closed()).await.expect("the call goes on for nobody");
        let event = one_event(proxy).await;
        assert!(event["error"].as_str().unwrap().starts_with("agent_left: "), "{event}");
    }
}

#[cfg(target_os = "linux")]
#[tokio::test]
async fn item_51_a_stream_that_nobody_reads_any_more_is_given_up() {
    let mut origin = ManualOrigin::start(None).await;
    let proxy = TestProxy::new().run().await;
    let mut agent = proxy.connect().await;
    agent.write_all(format!("GET http://{0}/ HTTP/1.1\r\nHost: {0}\r\n\r\n", origin.addr).as_bytes()).await.unwrap();
    agent.shutdown().await.unwrap();
    let (pieces, _request) = origin.call().await.stream("text/event-stream");
    pieces.send(piece(Bytes::from_static(b"data: 1\n\n"))).await.unwrap();
    read_until(&mut agent, "data: 1").await;
    drop(agent);
    tokio::time::timeout(PATIENCE, pieces.closed()).await.expect("the stream goes on for nobody");
    proxy.stop().await;
}
