//! What an agent sends over HTTP/1.1 that could be read in two ways, takes too long, or is too much: it is refused, the origin
//! sees nothing of it, and there is an event.

use std::time::{Duration, Instant};

use serde_json::Value;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::support::agent;
use crate::support::origin::{Act, RawOrigin, TestCa, TestOrigin};
use crate::support::otas::TestOtas;
use crate::support::proxy::{Running, TestProxy, read_until};

const OK: &[u8] = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhi";

async fn origin() -> RawOrigin {
    RawOrigin::start(vec![Act::Write(OK.to_vec())]).await
}

/// One that never answers.
async fn silent() -> RawOrigin {
    RawOrigin::start(vec![Act::Await(b"what never comes".to_vec())]).await
}

/// Sends `request` (with `HOST` in place of the origin's address); gives what the agent got, the events, and what the origin
/// received.
async fn ask(proxy: TestProxy, request: &str) -> (String, Vec<Value>, String) {
    ask_of(origin().await, proxy, request).await
}

async fn ask_of(origin: RawOrigin, proxy: TestProxy, request: &str) -> (String, Vec<Value>, String) {
    let otas = TestOtas::start().await;
    let proxy = proxy.otas(&otas).run().await;
    let reply = proxy.raw(request.replace("HOST", &origin.addr.to_string()).as_bytes()).await;
    let events = proxy.events().await;
    (reply, events, origin.received())
}

fn id(event: &Value) -> &str {
    let error = event["error"].as_str().unwrap_or_default();
    error.split_once(':').map_or(error, |(id, _)| id)
}

#[tokio::test]
async fn an_ambiguous_request_gets_400_an_event_and_never_reaches_its_origin() {
    for bad in [
        "POST http://HOST/a?b=c HTTP/1.1\r\nHost: HOST\r\nContent-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        "POST http://HOST/a?b=c HTTP/1.1\r\nHost: HOST\r\nContent-Length: 3\r\nContent-Length: 4\r\n\r\nabcd",
        "GET http://HOST/a?b=c HTTP/1.1\r\nHost: HOST\r\nX: a\r\n folded\r\n\r\n",
        "GET http://HOST/a?b=c HTTP/1.1\nHost: HOST\n\n",
    ] {
        let (reply, events, received) = ask(TestProxy::new(), bad).await;
        assert!(reply.starts_with("HTTP/1.1 400 Bad Request\r\nConnection: close\r\n"), "{bad:?}: {reply}");
        assert!(reply.contains("\r\nproxy-status: otas-proxy; error=http_request_error;"), "{reply}");
        assert_eq!(received, "", "{bad:?}");
        let [event] = &events[..] else { panic!("{bad:?}: {events:?}") };
        assert_eq!((id(event), event["status_code"].as_u64()), ("bad_request", Some(400)), "{event}");
        assert_eq!((event["path"].as_str(), &event["method"]), (Some("/a"), &bad[..bad.find(' ').unwrap()].into()));
        assert!(event["response_body"].as_str().unwrap().contains("bad_request"), "{event}");
    }
}

#[tokio::test]
async fn inside_a_tunnel_the_event_of_a_refusal_names_the_origin() {
    let folder = tempfile::tempdir().unwrap();
    let ca = TestCa::new(folder.path());
    let (otas, origin) = (TestOtas::start().await, TestOrigin::https(&ca).await);
    let proxy = TestProxy::new().otas(&otas).trusting(&ca).run().await;
    let authority = origin.url("").replace("https://", "");
    let stream = agent::tunnel(&proxy, &authority).await;
    let mut stream = agent::tls(stream, "localhost", proxy.client_tls(&[])).await.unwrap();
    stream.write_all(b"GET /x HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n").await.unwrap();
    let mut reply = String::new();
    stream.read_to_string(&mut reply).await.unwrap();
    assert!(reply.starts_with("HTTP/1.1 400 "), "{reply}");
    let events = proxy.events().await;
    let [event] = &events[..] else { panic!("{events:?}") };
    assert_eq!(event["custom_properties"]["server.address"], "localhost", "{event}");
    assert!(origin.received().is_empty());
}

#[tokio::test]
async fn requests_before_an_ambiguous_one_are_answered_first() {
    let (reply, events, received) =
        ask(TestProxy::new(), "GET http://HOST/first HTTP/1.1\r\nHost: HOST\r\n\r\nGET /second HTTP/1.1\r\n\r\n")
            .await;
    assert!(reply.starts_with("HTTP/1.1 200 OK\r\n"), "{reply}");
    assert!(reply.contains("\r\n\r\nhiHTTP/1.1 400 Bad Request\r\n"), "{reply}");
    assert!(received.starts_with("GET /first ") && !received.contains("second"), "{received}");
    assert_eq!(events.iter().map(id).collect::<Vec<_>>(), ["", "bad_request"]);
}

#[tokio::test]
async fn a_malformed_chunk_gets_400_and_the_origin_never_sees_the_end() {
    let (reply, events, received) = ask_of(
        silent().await,
        TestProxy::new(),
        "POST http://HOST/ HTTP/1.1\r\nHost: HOST\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0x3\r\nabc\r\n0\r\n\r\n",
    )
    .await;
    assert!(!received.ends_with("0\r\n\r\n"), "{received}");
    assert!(reply.starts_with("HTTP/1.1 400 "), "{reply}");
    assert_eq!(events.iter().map(id).collect::<Vec<_>>(), ["bad_request"], "{events:?}");
}

#[tokio::test]
async fn a_head_that_is_too_large_gets_431() {
    let fields = "X-Filler: 0123456789abcdef\r\n".repeat(400);
    let head = format!("GET http://HOST/ HTTP/1.1\r\nHost: HOST\r\n{fields}\r\n");
    let limited = TestProxy::new().with(|c| c.proxy.max_header_bytes = 8 << 10);
    let (reply, events, received) = ask(limited, &head).await;
    assert!(reply.starts_with("HTTP/1.1 431 "), "{reply}");
    assert_eq!(events.iter().map(id).collect::<Vec<_>>(), ["request_head_too_large"]);
    assert_eq!(received, "");
    let (reply, ..) = ask(TestProxy::new(), &head.replace("\r\n\r\n", "\r\nConnection: close\r\n\r\n")).await;
    assert!(reply.starts_with("HTTP/1.1 200 OK"), "the default takes it: {reply}");
}

fn impatient(ms: u64) -> TestProxy {
    let limit = Duration::from_millis(ms);
    TestProxy::new().with(|c| (c.proxy.header_timeout, c.proxy.stall_timeout) = (limit, limit))
}

/// Sends `piece` again and again until the connection ends, and gives what came.
async fn drip(proxy: &Running, first: &str, piece: &str) -> String {
    let stream = proxy.connect().await;
    let (mut from, mut to) = stream.into_split();
    to.write_all(first.as_bytes()).await.unwrap();
    let piece = piece.to_owned();
    let dripping = tokio::spawn(async move {
        while to.write_all(piece.as_bytes()).await.is_ok() {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    });
    let mut reply = String::new();
    from.read_to_string(&mut reply).await.unwrap();
    dripping.abort();
    reply
}

#[tokio::test]
async fn a_head_that_comes_in_drips_gets_408() {
    let otas = TestOtas::start().await;
    let proxy = impatient(200).otas(&otas).run().await;
    let reply = drip(&proxy, "GET http://127.0.0.1:9/ HTTP/1.1\r\nHost: 127.0.0.1:9\r\nX-Drip: ", "x").await;
    assert!(reply.starts_with("HTTP/1.1 408 "), "{reply}");
    assert_eq!(proxy.events().await.iter().map(id).collect::<Vec<_>>(), ["request_timeout"]);
}

#[tokio::test]
async fn content_may_drip_for_ever_but_not_stand_still() {
    let (otas, origin) = (TestOtas::start().await, silent().await);
    let proxy = impatient(2_000).otas(&otas).run().await;
    let mut stream = proxy.connect().await;
    let head = format!("POST http://{0}/ HTTP/1.1\r\nHost: {0}\r\nContent-Length: 1000\r\n\r\n", origin.addr);
    stream.write_all(head.as_bytes()).await.unwrap();
    let began = Instant::now();
    while began.elapsed() < Duration::from_secs(4) {
        stream.write_all(b"x").await.unwrap();
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    let mut reply = String::new();
    stream.read_to_string(&mut reply).await.unwrap();
    assert!(reply.starts_with("HTTP/1.1 408 "), "{reply}");
    assert_eq!(proxy.events().await.iter().map(id).collect::<Vec<_>>(), ["request_stalled"]);
}

#[tokio::test]
async fn an_idle_connection_is_closed_without_a_word_and_one_that_waits_for_its_answer_is_not() {
    let origin = RawOrigin::start(vec![Act::Pause(Duration::from_millis(2_500)), Act::Write(OK.to_vec())]).await;
    let proxy = TestProxy::new().with(|c| c.proxy.idle_timeout = Duration::from_secs(1)).run().await;
    let request = format!("GET http://{0}/ HTTP/1.1\r\nHost: {0}\r\n\r\n", origin.addr);
    let mut stream = proxy.connect().await;
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut reply = String::new();
    stream.read_to_string(&mut reply).await.unwrap();
    assert!(reply.starts_with("HTTP/1.1 200 OK") && reply.ends_with("hi"), "{reply}");
    let mut silent = proxy.connect().await;
    assert_eq!(silent.read_to_string(&mut reply).await.unwrap(), 0, "one that never asks is closed, too");
    proxy.stop().await;
}

#[tokio::test]
async fn an_origin_that_never_answers_gets_504_in_the_end() {
    let otas = TestOtas::start().await;
    let origin = silent().await;
    let limit = Duration::from_millis(200);
    let proxy = TestProxy::new().otas(&otas).with(|c| c.proxy.response_timeout = limit).run().await;
    let reply = proxy.raw(format!("GET http://{0}/ HTTP/1.1\r\nHost: {0}\r\n\r\n", origin.addr).as_bytes()).await;
    assert!(reply.starts_with("HTTP/1.1 504 "), "{reply}");
    assert_eq!(proxy.events().await.iter().map(id).collect::<Vec<_>>(), ["response_timeout"]);
}

#[tokio::test]
async fn a_burst_of_connections_has_room_until_it_is_accepted() {
    let limit = std::fs::read_to_string("/proc/sys/net/core/somaxconn").unwrap();
    let proxy = TestProxy::new().run().await;
    let asked = std::process::Command::new("ss").args(["-Hltn", &format!("sport = :{}", proxy.addr.port())]).output();
    // `State Recv-Q Send-Q …`: of a socket that listens, the last is how many may wait.
    let said = String::from_utf8(asked.expect("ss is installed (Debian package iproute2)").stdout).unwrap();
    let room: u32 = said.split_whitespace().nth(2).unwrap().parse().unwrap();
    assert_eq!(room, limit.trim().parse::<u32>().unwrap().min(4_096), "{said}");
    proxy.stop().await;
}

#[tokio::test]
async fn connections_above_the_limit_wait_for_their_turn() {
    let origin = TestOrigin::http().await;
    let proxy = TestProxy::new().with(|c| c.proxy.max_connections = 1).run().await;
    let host = origin.url("").replace("http://", "");
    let request = format!("GET http://{host}/ HTTP/1.1\r\nHost: {host}\r\n\r\n");
    let mut first = proxy.connect().await;
    first.write_all(request.as_bytes()).await.unwrap();
    read_until(&mut first, "\r\n\r\n").await;
    let mut second = TcpStream::connect(proxy.addr).await.unwrap();
    second.write_all(request.as_bytes()).await.unwrap();
    let mut byte = [0];
    let early = tokio::time::timeout(Duration::from_millis(200), second.peek(&mut byte)).await;
    assert!(early.is_err(), "the second one is served beside the first");
    drop(first);
    read_until(&mut second, "HTTP/1.1 200").await;
    drop(second);
    proxy.stop().await;
}

#[tokio::test]
async fn a_failed_connect_ends_its_connection_for_what_follows_is_no_http() {
    let (reply, events, received) = ask(
        TestProxy::new(),
        "CONNECT 127.0.0.1:1 HTTP/1.1\r\nHost: 127.0.0.1:1\r\n\r\nGET http://HOST/ HTTP/1.1\r\nHost: HOST\r\n\r\n",
    )
    .await;
    assert!(
        reply.starts_with("HTTP/1.1 502 ") && reply.to_ascii_lowercase().contains("connection: close"),
        "{reply}"
    );
    assert_eq!(received, "", "what follows was not taken for a request");
    assert_eq!(events.iter().map(id).collect::<Vec<_>>(), ["connect_refused"]);
}
