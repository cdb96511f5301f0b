//! What an HTTP/2 origin says by ending a stream or its connection before it has answered (item 50).

use tokio::net::TcpStream;
use tokio_rustls::client::TlsStream;

use crate::support::agent;
use crate::support::frames::*;
use crate::support::origin::{Certificate, TestCa};
use crate::support::proxy::{Running, TestProxy};

struct Stage {
    origin: FrameOrigin,
    proxy: Running,
    _folder: tempfile::TempDir,
}

async fn stage(replies: &[Reply]) -> Stage {
    let folder = tempfile::tempdir().unwrap();
    let ca = TestCa::new(folder.path());
    let origin = FrameOrigin::start(ca.server(Certificate::Good, &[b"h2"]), replies.to_vec()).await;
    let proxy = TestProxy::new().trusting(&ca).run().await;
    Stage { origin, proxy, _folder: folder }
}

impl Stage {
    fn authority(&self) -> String {
        format!("localhost:{}", self.origin.addr.port())
    }

    async fn agent(&self) -> Frames<TlsStream<TcpStream>> {
        let tunnel = agent::tunnel(&self.proxy, &self.authority()).await;
        let stream = agent::tls(tunnel, "localhost", self.proxy.client_tls(&[b"h2"])).await.unwrap();
        Frames::client(stream).await
    }

    /// Sends a request and gives what ends it: its HEADERS, or its RST_STREAM.
    async fn ask(
        &self,
        agent: &mut Frames<TlsStream<TcpStream>>,
        stream: u32,
        method: &str,
        content: &[u8],
    ) -> Frame {
        let authority = self.authority();
        let fields = [(":method", method), (":scheme", "https"), (":authority", &*authority), (":path", "/x")];
        let end = if content.is_empty() { END_STREAM } else { 0 };
        agent.write(HEADERS, END_HEADERS | end, stream, &hpack(&fields)).await;
        for (at, piece) in content.chunks(16_000).enumerate() {
            let end = if (at + 1) * 16_000 >= content.len() { END_STREAM } else { 0 };
            agent.write(DATA, end, stream, piece).await;
        }
        loop {
            let frame = agent.next_of(&[HEADERS, RST_STREAM]).await;
            if frame.stream == stream {
                return frame;
            }
        }
    }
}

#[tokio::test]
async fn item_50_a_reset_before_the_head_reaches_the_agent_with_its_code() {
    for (code, hint) in [
        (REFUSED_STREAM, "did not handle the request"),
        (HTTP_1_1_REQUIRED, "HTTP/1.1"),
        (ENHANCE_YOUR_CALM, "too much"),
        (CANCEL, "may have handled the request"),
        (PROTOCOL_ERROR, "may have handled the request"),
    ] {
        let stage = stage(&[Reply::Reset(code)]).await;
        let mut agent = stage.agent().await;
        let ended = stage.ask(&mut agent, 1, "POST", b"content").await;
        assert_eq!((ended.kind, ended.code()), (RST_STREAM, code));
        // The connection goes on.
        let next = stage.ask(&mut agent, 3, "GET", b"").await;
        assert_eq!((next.kind, next.code()), (RST_STREAM, code));
        drop(agent);
        let events = stage.proxy.events().await;
        assert_eq!(events.len(), 2, "{events:#?}");
        for event in events {
            let error = event["error"].as_str().unwrap();
            assert!(error.starts_with("origin_re") && error.contains(hint), "{error}");
            assert_eq!(error.contains("may have handled"), hint.contains("may have handled"), "{error}");
            assert!(event["status_code"].is_null() || event["status_code"] == 0, "{event}");
        }
    }
}

#[tokio::test]
async fn item_50_a_refused_request_is_sent_again_whatever_its_method() {
    for refusals in [1, 2] {
        let mut replies = vec![Reply::Reset(REFUSED_STREAM); refusals];
        replies.push(Reply::Answer);
        let stage = stage(&replies).await;
        let mut agent = stage.agent().await;
        let ended = stage.ask(&mut agent, 1, "POST", b"content").await;
        assert_eq!(ended.kind, HEADERS, "{ended:?}");
        assert_eq!(stage.origin.requests(), refusals + 1);
        assert_eq!(stage.origin.data(), b"content".repeat(refusals + 1));
        drop(agent);
        let events = stage.proxy.events().await;
        assert_eq!((events.len(), &events[0]["error"]), (1, &"".into()));
        assert_eq!(events[0]["metadata"]["upstream"]["sent_again"], refusals);
        assert_eq!(events[0]["metadata"]["capture"]["request"]["bytes"], 7, "{}", events[0]);
    }
}

#[tokio::test]
async fn item_50_content_that_is_no_longer_there_is_for_the_agent_to_send_again() {
    let stage = stage(&[Reply::Reset(REFUSED_STREAM)]).await;
    let mut agent = stage.agent().await;
    // The proxy's windows are larger than those of the start.
    agent.next_of(&[SETTINGS]).await;
    let ended = stage.ask(&mut agent, 1, "POST", &[b'x'; 80_000]).await;
    assert_eq!((ended.kind, ended.code()), (RST_STREAM, REFUSED_STREAM));
    drop(agent);
    stage.proxy.stop().await;
}

#[tokio::test]
async fn item_50_what_a_goaway_leaves_out_is_sent_again_elsewhere() {
    let stage = stage(&[Reply::Answer, Reply::GoAway(NO_ERROR), Reply::Answer]).await;
    let mut agent = stage.agent().await;
    for stream in [1, 3] {
        let ended = stage.ask(&mut agent, stream, "POST", b"content").await;
        assert_eq!(ended.kind, HEADERS, "{ended:?}");
    }
    assert_eq!((stage.origin.requests(), stage.origin.accepted()), (3, 2));
    drop(agent);
    stage.proxy.stop().await;
}

#[tokio::test]
async fn item_50_a_goaway_that_asks_for_calm_reaches_the_agent() {
    let stage = stage(&[Reply::GoAway(ENHANCE_YOUR_CALM)]).await;
    let mut agent = stage.agent().await;
    let ended = stage.ask(&mut agent, 1, "GET", b"").await;
    assert_eq!((ended.kind, ended.code()), (RST_STREAM, ENHANCE_YOUR_CALM));
    drop(agent);
    stage.proxy.stop().await;
}

#[tokio::test]
async fn item_49_a_kept_http_2_connection_that_ends_is_no_failure_of_what_may_be_repeated() {
    let stage = stage(&[Reply::Answer, Reply::Drop, Reply::Answer, Reply::Drop]).await;
    let mut agent = stage.agent().await;
    for stream in [1, 3] {
        let ended = stage.ask(&mut agent, stream, "GET", b"").await;
        assert_eq!(ended.kind, HEADERS, "{ended:?}");
    }
    // It may have been handled: the stream is reset, and the agent is asked to connect anew.
    let ended = stage.ask(&mut agent, 5, "POST", b"content").await;
    assert_eq!(ended.kind, RST_STREAM, "{ended:?}");
    agent.next_of(&[GOAWAY]).await;
    assert_eq!(stage.origin.requests(), 4);
    drop(agent);
    let events = stage.proxy.events().await;
    let again: Vec<_> = events.iter().map(|event| event["metadata"]["upstream"]["sent_again"].as_u64()).collect();
    assert_eq!(again, [None, Some(1), None]);
    assert!(events[2]["error"].as_str().unwrap().starts_with("origin_closed: "), "{}", events[2]);
}
