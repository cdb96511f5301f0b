//! Connections to origins that were kept and end without an answer (item 49), and the agent's own last request (item 22).

use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

use crate::support::agent::Agent;
use crate::support::origin::{Act, RawOrigin, TestCa, TestOrigin};
use crate::support::proxy::{PATIENCE, Running, TestProxy, eventually, read_until};

const OK: &[u8] = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok";

/// Answers the first request of each connection, and ends at the head of the second one.
async fn answers_once() -> RawOrigin {
    RawOrigin::start(vec![Act::Write(OK.to_vec()), Act::Await(b"\r\n\r\n".to_vec()), Act::Close]).await
}

fn request(method: &str, origin: &RawOrigin, rest: &str) -> String {
    format!("{method} http://{0}/ HTTP/1.1\r\nHost: {0}\r\n{rest}", origin.addr)
}

async fn ask(agent: &mut TcpStream, request: &str) {
    agent.write_all(request.as_bytes()).await.unwrap();
    read_until(agent, "\r\n\r\nok").await;
}

/// How often each call was sent again, by its event.
async fn sent_again(proxy: Running) -> Vec<u64> {
    let events = proxy.events().await;
    let calls = events.iter().map(|event| {
        assert_eq!((&event["status_code"], &event["error"]), (&200.into(), &"".into()), "{event}");
        event["metadata"]["upstream"]["sent_again"].as_u64().unwrap_or_default()
    });
    calls.collect()
}

#[tokio::test]
async fn item_49_a_request_that_may_be_repeated_is_sent_again() {
    let (origin, proxy) = (answers_once().await, TestProxy::new().run().await);
    let mut agent = proxy.connect().await;
    for method in ["GET", "GET", "OPTIONS", "DELETE"] {
        ask(&mut agent, &request(method, &origin, "\r\n")).await;
    }
    ask(&mut agent, &request("PUT", &origin, "Content-Length: 3\r\n\r\nabc")).await;
    ask(&mut agent, &request("PUT", &origin, "Transfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n")).await;
    drop(agent);
    // Each but the first comes on a connection that has answered once.
    assert_eq!(sent_again(proxy).await, [0, 1, 1, 1, 1, 1]);
}

#[tokio::test]
async fn item_49_another_agents_connection_is_no_failure_of_this_one() {
    let (origin, proxy) = (answers_once().await, TestProxy::new().run().await);
    for _ in 0..4 {
        let mut agent = proxy.connect().await;
        ask(&mut agent, &request("GET", &origin, "\r\n")).await;
        drop(agent);
    }
    assert_eq!(sent_again(proxy).await.len(), 4);
}

#[tokio::test]
async fn item_49_the_first_request_of_a_new_connection_is_repeatable_or_goes_on_a_new_one() {
    let ca_folder = tempfile::tempdir().unwrap();
    let ca = TestCa::new(ca_folder.path());
    for origin in [TestOrigin::https(&ca).await, TestOrigin::h2(&ca).await] {
        let proxy = TestProxy::new().trusting(&ca).run().await;
        let mut calls = 0;
        eventually("a connection is kept", async || {
            let mut agent = Agent::to(&proxy, &origin, &[b"h2", b"http/1.1"]).await;
            agent.get("/x").await;
            agent.close().await;
            calls += 1;
            proxy.events_so_far(calls).await[calls - 1]["metadata"]["upstream"]["reused"] == true
        })
        .await;
        let mut second = Agent::to(&proxy, &origin, &[b"h2", b"http/1.1"]).await;
        second.post("POST", "/x", "content").await;
        second.post("POST", "/x", "content").await;
        second.close().await;
        let events = proxy.events().await;
        let reused: Vec<_> = events[calls..].iter().map(|event| &event["metadata"]["upstream"]["reused"]).collect();
        assert_eq!(reused, [false, true]);
    }
}

#[tokio::test]
async fn item_49_an_origin_that_closes_soon_after_its_answer_fails_nobody() {
    let acts = vec![Act::Write(OK.to_vec()), Act::Pause(Duration::from_millis(50)), Act::Close];
    let (origin, proxy) = (RawOrigin::start(acts).await, TestProxy::new().run().await);
    for _ in 0..20 {
        let mut agent = proxy.connect().await;
        ask(&mut agent, &request("GET", &origin, "\r\n")).await;
        drop(agent);
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    assert_eq!(sent_again(proxy).await.len(), 20);
}

#[tokio::test]
async fn item_49_what_may_have_been_handled_ends_as_the_origin_ended_it() {
    for body in ["Content-Length: 2\r\n\r\nab", "Content-Length: 0\r\n\r\n", "\r\n"] {
        let (origin, proxy) = (answers_once().await, TestProxy::new().run().await);
        let mut agent = proxy.connect().await;
        ask(&mut agent, &request("GET", &origin, "\r\n")).await;
        agent.write_all(request("POST", &origin, body).as_bytes()).await.unwrap();
        let mut rest = Vec::new();
        let ended = tokio::time::timeout(PATIENCE, agent.read_to_end(&mut rest)).await;
        ended.expect("the connection stays open").unwrap();
        assert_eq!(String::from_utf8_lossy(&rest), "", "{body:?}");
        assert_eq!(origin.received().matches("POST / ").count(), 1);
        let events = proxy.events().await;
        let [_, event] = &events[..] else { panic!("{events:#?}") };
        assert!(event["error"].as_str().unwrap().starts_with("origin_closed: "), "{event}");
        assert!(event["metadata"]["upstream"]["sent_again"].is_null());
    }
}

#[tokio::test]
async fn item_49_content_that_was_not_sent_yet_was_not_handled() {
    let origin = answers_once().await;
    let proxy = TestProxy::new().run().await;
    let mut agent = proxy.connect().await;
    ask(&mut agent, &request("GET", &origin, "\r\n")).await;
    // The origin sees the head, and drops it.
    let head = request("POST", &origin, "Expect: 100-continue\r\nContent-Length: 2\r\n\r\n");
    agent.write_all(head.as_bytes()).await.unwrap();
    read_until(&mut agent, "\r\n\r\nok").await;
    assert_eq!(origin.received().matches("POST / ").count(), 2);
    drop(agent);
    assert_eq!(sent_again(proxy).await, [0, 1]);
}

#[tokio::test]
async fn item_49_an_answer_that_began_is_not_asked_for_again() {
    let acts = vec![
        Act::Write(OK.to_vec()),
        Act::Await(b"\r\n\r\n".to_vec()),
        Act::Write(b"HTTP/1.1 200 OK\r\nContent-Le".to_vec()),
        Act::Close,
    ];
    let (origin, proxy) = (RawOrigin::start(acts).await, TestProxy::new().run().await);
    let mut agent = proxy.connect().await;
    ask(&mut agent, &request("GET", &origin, "\r\n")).await;
    agent.write_all(request("GET", &origin, "\r\n").as_bytes()).await.unwrap();
    read_until(&mut agent, "HTTP/1.1 502 ").await;
    assert_eq!(origin.received().matches("GET / ").count(), 2);
    drop(agent);
    proxy.stop().await;
}

#[tokio::test]
async fn item_49_a_new_connection_that_ends_without_an_answer_is_a_failure() {
    let (origin, proxy) = (RawOrigin::start(vec![Act::Close]).await, TestProxy::new().run().await);
    let reply = proxy.raw(request("GET", &origin, "\r\n").as_bytes()).await;
    assert!(reply.starts_with("HTTP/1.1 502 "), "{reply}");
    assert_eq!(origin.received().matches("GET / ").count(), 1);
    proxy.stop().await;
}

#[tokio::test]
async fn item_22_the_agents_close_is_said_to_the_origin_and_its_connection_is_not_kept() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let host = listener.local_addr().unwrap().to_string();
    let proxy = TestProxy::new().run().await;
    let origin = tokio::spawn(async move {
        let mut heads = Vec::new();
        for _ in 0..2 {
            let (mut stream, _) = listener.accept().await.unwrap();
            heads.push(read_until(&mut stream, "\r\n\r\n").await);
            // It would serve on.
            stream.write_all(OK).await.unwrap();
            let mut more = Vec::new();
            let ended = tokio::time::timeout(PATIENCE, stream.read_to_end(&mut more)).await;
            ended.expect("the connection is kept").unwrap();
            assert_eq!(more, b"");
        }
        heads
    });
    for _ in 0..2 {
        let head = format!("GET http://{host}/ HTTP/1.1\r\nX-A: 1\r\nconnection: Close\r\nHost: {host}\r\n\r\n");
        let reply = proxy.raw(head.as_bytes()).await;
        assert!(reply.starts_with("HTTP/1.1 200 OK\r\n"), "{reply}");
    }
    for head in origin.await.unwrap() {
        assert!(head.contains("X-A: 1\r\nconnection: close\r\n"), "{head}");
    }
    proxy.stop().await;
}
