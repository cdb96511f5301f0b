//! Agents that take part no more: their connections end in time, and their calls' events say why.

use std::time::Duration;

use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;
use tokio_rustls::client::TlsStream;

use crate::support::agent;
use crate::support::frames::*;
use crate::support::origin::{TestCa, TestOrigin};
use crate::support::proxy::{PATIENCE, Running, TestProxy};

struct Stage {
    origin: TestOrigin,
    proxy: Running,
    _folder: tempfile::TempDir,
}

async fn stage(idle_ms: u64, header_ms: u64, stall_ms: u64) -> Stage {
    let folder = tempfile::tempdir().unwrap();
    let ca = TestCa::new(folder.path());
    let origin = TestOrigin::h2(&ca).await;
    let proxy = TestProxy::new().trusting(&ca).with(|config| {
        config.proxy.idle_timeout = Duration::from_millis(idle_ms);
        config.proxy.header_timeout = Duration::from_millis(header_ms);
        config.proxy.stall_timeout = Duration::from_millis(stall_ms);
    });
    Stage { origin, proxy: proxy.run().await, _folder: folder }
}

impl Stage {
    async fn tls(&self) -> TlsStream<TcpStream> {
        let tunnel = agent::tunnel(&self.proxy, &format!("localhost:{}", self.origin.addr.port())).await;
        agent::tls(tunnel, "localhost", self.proxy.client_tls(&[b"h2"])).await.unwrap()
    }

    fn head(&self, method: &str, path: &str) -> Vec<u8> {
        let authority = format!("localhost:{}", self.origin.addr.port());
        hpack(&[(":method", method), (":scheme", "https"), (":authority", &authority), (":path", path)])
    }
}

const LONG: u64 = 600_000;

#[tokio::test]
async fn an_idle_connection_ends_though_its_agent_acknowledges_nothing() {
    let stage = stage(200, LONG, LONG).await;
    let mut agent = Frames::client(stage.tls().await).await;
    agent.write(HEADERS, END_HEADERS | END_STREAM, 1, &stage.head("GET", "/x")).await;
    let mut told = false;
    while let Some(frame) = agent.next().await {
        told |= frame.kind == GOAWAY;
    }
    assert!(told);
    // So does one on which nothing, or half the preface, ever came.
    for begun in [0, 10] {
        let mut stream = stage.tls().await;
        stream.write_all(&PREFACE[..begun]).await.unwrap();
        ends(stream, "an unused one").await;
    }
    stage.proxy.stop().await;
}

async fn ends(stream: TlsStream<TcpStream>, what: &str) {
    let (mut from, _to) = tokio::io::split(stream);
    let mut sink = tokio::io::sink();
    let heard = tokio::io::copy(&mut from, &mut sink);
    // An end without ceremony will do.
    let _ = tokio::time::timeout(PATIENCE, heard).await.unwrap_or_else(|_| panic!("it stays open: {what}"));
}

#[tokio::test]
async fn half_a_frame_ends_a_connection() {
    let stage = stage(LONG, 200, 200).await;
    let whole = [PREFACE, &frame(SETTINGS, 0, 0, &[])].concat();
    let head = frame(HEADERS, END_HEADERS | END_STREAM, 1, &stage.head("GET", "/x"));
    let open = frame(HEADERS, END_HEADERS, 1, &stage.head("POST", "/hold"));
    let data = frame(DATA, 0, 1, b"content");
    for (what, bytes) in [
        ("half the preface", PREFACE[..10].to_vec()),
        ("half a frame's header", [&whole[..], &head[..4]].concat()),
        ("half a head", [&whole[..], &head[..20]].concat()),
        ("a head without its end", [&whole[..], &frame(HEADERS, END_STREAM, 1, &stage.head("GET", "/x"))].concat()),
        ("half a ping", [&whole[..], &frame(PING, 0, 0, &[0; 8])[..12]].concat()),
        ("half of some content", [&whole[..], &open, &data[..12]].concat()),
    ] {
        let mut stream = stage.tls().await;
        stream.write_all(&bytes).await.unwrap();
        stream.flush().await.unwrap();
        ends(stream, what).await;
    }
    let events = stage.proxy.events().await;
    let [event] = &events[..] else { panic!("one request was made: {events:#?}") };
    assert!(event["error"].as_str().unwrap().starts_with("agent_stalled: "), "{event}");
}

#[tokio::test]
async fn an_agent_that_reads_no_answer_loses_its_connection() {
    let stage = stage(LONG, LONG, 300).await;
    // It grants no more than the windows of the start; or it grants much, and does not read.
    for window in [0, 0x6000_0000_u32] {
        let mut agent = Frames::client(stage.tls().await).await;
        if window > 0 {
            agent.write(SETTINGS, 0, 0, &[&[0, 4][..], &window.to_be_bytes()].concat()).await;
            agent.write(WINDOW_UPDATE, 0, 0, &window.to_be_bytes()).await;
        }
        agent.write(HEADERS, END_HEADERS | END_STREAM, 1, &stage.head("GET", "/bytes/100000000")).await;
        let before = usize::from(window > 0);
        let event = stage.proxy.events_so_far(before + 1).await.remove(before);
        assert!(event["error"].as_str().unwrap().starts_with("agent_stalled: "), "{event}");
        assert_eq!(event["status_code"], 200);
        drop(agent);
    }
    stage.proxy.stop().await;
}

#[tokio::test]
async fn an_agent_that_reads_no_http_1_answer_loses_its_connection() {
    let origin = TestOrigin::http().await;
    let proxy = TestProxy::new().with(|config| config.proxy.stall_timeout = Duration::from_millis(300)).run().await;
    let mut agent = proxy.connect().await;
    let request = format!("GET {} HTTP/1.1\r\nHost: a\r\n\r\n", origin.url("/bytes/100000000"));
    agent.write_all(request.as_bytes()).await.unwrap();
    let event = proxy.events_so_far(1).await.remove(0);
    assert!(event["error"].as_str().unwrap().starts_with("agent_stalled: "), "{event}");
    drop(agent);
    proxy.stop().await;
}

#[tokio::test]
async fn an_origin_that_takes_its_time_is_not_the_agents_fault() {
    let stage = stage(LONG, 100, 100).await;
    let mut agent = Frames::client(stage.tls().await).await;
    for (stream, path) in [(1, "/slow/1000"), (3, "/sse/3/400")] {
        agent.write(HEADERS, END_HEADERS | END_STREAM, stream, &stage.head("GET", path)).await;
        while agent.next_of(&[DATA]).await.flags & END_STREAM == 0 {}
    }
    drop(agent);
    for event in stage.proxy.events().await {
        assert_eq!(event["error"], "", "{event}");
    }
}
