//! What an HTTP/2 origin says by ending a stream or its connection before it has answered (item 50).

use tokio::net::TcpStream;
use tokio_rustls::client::TlsStream;

use crate::support::agent;
use crate::support::frames::*;
use crate::support::origin::{Certificate, TestCa};
use crate::support::proxy::{Running, TestProxy, eventually};

struct Stage {
    origin: FrameOrigin,
    proxy: Running,
    _folder: tempfile::TempDir,
}

async fn stage(replies: &[Reply]) -> Stage {
    stage_with(Certificate::Good, replies, &[]).await
}

/// `settings`: of the origin.
async fn stage_with(certificate: Certificate, replies: &[Reply], settings: &'static [u8]) -> Stage {
    let folder = tempfile::tempdir().unwrap();
    let ca = TestCa::new(folder.path());
    let origin = FrameOrigin::start(ca.server(certificate, &[b"h2"]), replies.to_vec(), settings).await;
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

    /// Sends the head of a request. `end`: [`END_STREAM`] if it has no content.
    async fn begin(&self, agent: &mut Frames<TlsStream<TcpStream>>, stream: u32, method: &str, end: u8) {
        let authority = self.authority();
        let fields = [(":method", method), (":scheme", "https"), (":authority", &*authority), (":path", "/x")];
        agent.write(HEADERS, END_HEADERS | end, stream, &hpack(&fields)).await;
    }

    /// Sends a request and gives what ends it: its HEADERS, or its RST_STREAM.
    async fn ask(
        &self,
        agent: &mut Frames<TlsStream<TcpStream>>,
        stream: u32,
        method: &str,
        content: &[u8],
    ) -> Frame {
        self.begin(agent, stream, method, if content.is_empty() { END_STREAM } else { 0 }).await;
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
async fn item_50_a_reset_on_a_kept_connection_is_passed_on_and_the_connection_goes_on() {
    for (method, content) in [("GET", &b""[..]), ("PUT", b"content"), ("POST", b"content")] {
        for code in [CANCEL, INTERNAL_ERROR, ENHANCE_YOUR_CALM] {
            let stage = stage(&[Reply::Answer, Reply::Reset(code), Reply::Answer]).await;
            let mut agent = stage.agent().await;
            assert_eq!(stage.ask(&mut agent, 1, "GET", b"").await.kind, HEADERS);
            let ended = stage.ask(&mut agent, 3, method, content).await;
            assert_eq!((ended.kind, ended.code()), (RST_STREAM, code), "{method}");
            assert_eq!(stage.ask(&mut agent, 5, "GET", b"").await.kind, HEADERS);
            assert_eq!((stage.origin.requests(), stage.origin.accepted()), (3, 1), "{method} {code}");
            drop(agent);
            let events = stage.proxy.events().await;
            let errors: Vec<_> = events.iter().map(|event| event["error"].as_str().unwrap()).collect();
            assert_eq!(errors.iter().filter(|error| error.starts_with("origin_reset")).count(), 1, "{errors:?}");
            assert!(events.iter().all(|event| event["metadata"]["upstream"]["sent_again"].is_null()), "{events:#?}");
        }
    }
}

/// The library takes RST_STREAM with NO_ERROR for the end of the content.
#[tokio::test]
async fn item_17_a_response_that_is_reset_without_an_error_is_cut() {
    let stage = stage(&[Reply::Part(NO_ERROR)]).await;
    let mut agent = stage.agent().await;
    assert_eq!(stage.ask(&mut agent, 1, "GET", b"").await.kind, HEADERS);
    let data = agent.next_of(&[DATA, RST_STREAM]).await;
    assert_eq!((data.kind, data.flags & END_STREAM, &data.payload[..]), (DATA, 0, &b"part"[..]));
    let ended = agent.next_of(&[DATA, RST_STREAM]).await;
    assert_eq!((ended.kind, ended.code()), (RST_STREAM, NO_ERROR));
    drop(agent);
    let events = stage.proxy.events().await;
    assert!(events[0]["error"].as_str().unwrap().starts_with("origin_"), "{}", events[0]);
}

#[tokio::test]
async fn item_17_a_request_that_is_reset_without_an_error_never_looks_whole() {
    for _ in 0..20 {
        let stage = stage(&[Reply::Answer]).await;
        let mut agent = stage.agent().await;
        stage.begin(&mut agent, 1, "POST", 0).await;
        agent.write(DATA, 0, 1, b"part").await;
        eventually("the origin has the content", async || !stage.origin.data().is_empty()).await;
        agent.write(RST_STREAM, 0, 1, &NO_ERROR.to_be_bytes()).await;
        let ended = async || !stage.origin.resets().is_empty() || stage.origin.requests() > 0;
        eventually("the request ends", ended).await;
        assert_eq!(stage.origin.requests(), 0, "it looks whole");
        // The agent's own code, or that of a request that is given up: whichever the library notices first.
        assert!(matches!(stage.origin.resets()[..], [NO_ERROR | CANCEL]), "{:?}", stage.origin.resets());
        drop(agent);
        let events = stage.proxy.events().await;
        assert!(events[0]["error"].as_str().unwrap().starts_with("agent_left"), "{}", events[0]);
    }
}

#[tokio::test]
async fn a_connection_that_has_gone_silent_is_not_lent_to_the_next_agent_connection() {
    let stage = stage(&[Reply::Answer, Reply::Silence, Reply::Answer]).await;
    let mut first = stage.agent().await;
    assert_eq!(stage.ask(&mut first, 1, "GET", b"").await.kind, HEADERS);
    drop(first);
    stage.proxy.events_so_far(1).await;
    let mut second = stage.agent().await;
    stage.begin(&mut second, 1, "GET", END_STREAM).await;
    eventually("the origin has the second request", async || stage.origin.requests() == 2).await;
    assert_eq!(stage.origin.accepted(), 1, "the connection was kept");
    drop(second);
    stage.proxy.events_so_far(2).await;
    let mut third = stage.agent().await;
    assert_eq!(stage.ask(&mut third, 1, "GET", b"").await.kind, HEADERS);
    assert_eq!(stage.origin.accepted(), 2);
    drop(third);
    stage.proxy.stop().await;
}

/// SETTINGS_MAX_CONCURRENT_STREAMS is 1.
const ONE_STREAM: &[u8] = &[0, 3, 0, 0, 0, 1];

#[tokio::test]
async fn a_request_that_waits_for_the_origins_stream_limit_ends_with_its_agents_reset() {
    let stage = stage_with(Certificate::Good, &[Reply::Answer, Reply::Silence], ONE_STREAM).await;
    let mut agent = stage.agent().await;
    assert_eq!(stage.ask(&mut agent, 1, "GET", b"").await.kind, HEADERS);
    stage.begin(&mut agent, 3, "GET", END_STREAM).await;
    eventually("the second request is there", async || stage.origin.requests() == 2).await;
    stage.begin(&mut agent, 5, "GET", END_STREAM).await;
    agent.write(RST_STREAM, 0, 5, &CANCEL.to_be_bytes()).await;
    let events = stage.proxy.events_so_far(2).await;
    assert!(events[1]["error"].as_str().unwrap().starts_with("agent_left"), "{}", events[1]);
    agent.write(RST_STREAM, 0, 3, &CANCEL.to_be_bytes()).await;
    eventually("the origin gets the reset of the other request", async || stage.origin.resets() == [CANCEL]).await;
    drop(agent);
    assert_eq!(stage.proxy.events().await.len(), 3);
    assert_eq!(stage.origin.requests(), 2, "the third was never sent");
}

#[tokio::test]
async fn a_request_that_waits_for_the_stream_limit_goes_elsewhere_after_a_goaway() {
    let replies = [Reply::Answer, Reply::Leave, Reply::Answer];
    let stage = stage_with(Certificate::Good, &replies, ONE_STREAM).await;
    let mut agent = stage.agent().await;
    assert_eq!(stage.ask(&mut agent, 1, "GET", b"").await.kind, HEADERS);
    // The origin keeps this one open, and says that it takes no other.
    stage.begin(&mut agent, 3, "GET", END_STREAM).await;
    assert_eq!(stage.ask(&mut agent, 5, "GET", b"").await.kind, HEADERS);
    assert_eq!((stage.origin.requests(), stage.origin.accepted()), (3, 2));
    drop(agent);
    stage.proxy.stop().await;
}

#[tokio::test]
async fn an_agent_connection_without_an_origin_ends_so_that_the_agent_can_try_again() {
    // The proxy refuses the origin's certificate.
    let stage = stage_with(Certificate::WrongName, &[Reply::Answer], &[]).await;
    let mut agent = stage.agent().await;
    let answer = stage.ask(&mut agent, 1, "GET", b"").await;
    assert_eq!(answer.kind, HEADERS, "a 502");
    assert_eq!(agent.next_of(&[GOAWAY]).await.code(), NO_ERROR);
    drop(agent);
    stage.proxy.stop().await;
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
