//! HTTP/2 in literal frames, items 42 to 46 and 48. (The sides speak the same protocol: nothing is translated, so that cookies are
//! never joined for HTTP/1.1, item 45, and names and values need no second validation, item 43.)

use bytes::Buf;
use tokio::net::TcpStream;
use tokio_rustls::client::TlsStream;

use crate::support::agent;
use crate::support::frames::{
    ACK, DATA, END_HEADERS, END_STREAM, Frame, Frames, GOAWAY, HEADERS, PROTOCOL_ERROR, RST_STREAM, SETTINGS, hpack,
};
use crate::support::origin::{TestCa, TestOrigin};
use crate::support::proxy::{Running, TestProxy};

/// An agent that writes frames by hand.
struct Agent {
    frames: Frames<TlsStream<TcpStream>>,
    authority: String,
}

impl Agent {
    async fn to(proxy: &Running, origin: &TestOrigin) -> Self {
        let authority = format!("localhost:{}", origin.addr.port());
        let tunnel = agent::tunnel(proxy, &authority).await;
        let stream = agent::tls(tunnel, "localhost", proxy.client_tls(&[b"h2"])).await.unwrap();
        Self { frames: Frames::client(stream).await, authority }
    }

    async fn next_of(&mut self, kind: u8) -> Frame {
        self.frames.next_of(&[kind]).await
    }

    /// GET / with further fields.
    async fn get(&mut self, stream: u32, more: &[(&str, &str)]) {
        let mut fields =
            vec![(":method", "GET"), (":scheme", "https"), (":authority", &*self.authority), (":path", "/x")];
        fields.extend_from_slice(more);
        let block = hpack(&fields);
        self.frames.write(HEADERS, END_HEADERS | END_STREAM, stream, &block).await;
    }
}

async fn stage() -> (tempfile::TempDir, TestOrigin, Running) {
    let folder = tempfile::tempdir().unwrap();
    let ca = TestCa::new(folder.path());
    let origin = TestOrigin::h2(&ca).await;
    let proxy = TestProxy::new().trusting(&ca).run().await;
    (folder, origin, proxy)
}

#[tokio::test]
async fn items_42_and_43_a_malformed_request_is_a_stream_error_and_goes_nowhere() {
    let (_folder, origin, proxy) = stage().await;
    for bad in [
        &[("Upper", "x")][..],
        &[("connection", "close")],
        &[("keep-alive", "1")],
        &[("proxy-connection", "1")],
        &[("transfer-encoding", "chunked")],
        &[("upgrade", "h2c")],
        &[("te", "gzip")],
        &[(":path", "/again")],
        &[(":odd", "x")],
        &[("content-length", "5")],
        &[("x", "a\nb")],
        &[("x", "a\0b")],
        &[("x y", "z")],
    ] {
        let mut agent = Agent::to(&proxy, &origin).await;
        agent.get(1, bad).await;
        let error = loop {
            match agent.frames.next().await {
                Some(Frame { kind: RST_STREAM, stream: 1, payload, .. }) => break (&payload[..]).get_u32(),
                Some(Frame { kind: GOAWAY, payload, .. }) => break (&payload[4..]).get_u32(),
                Some(frame) => {
                    assert_ne!((frame.kind, frame.stream), (HEADERS, 1), "{bad:?} was answered: {frame:?}")
                }
                None => break PROTOCOL_ERROR,
            }
        };
        assert_ne!(error, 0, "{bad:?}");
    }
    assert!(origin.received().is_empty(), "{:?}", origin.received());
    proxy.stop().await;
}

#[tokio::test]
async fn item_44_the_authority_is_the_requests_own_and_replaces_host() {
    let (_folder, origin, proxy) = stage().await;
    let mut agent = Agent::to(&proxy, &origin).await;
    agent.get(1, &[]).await;
    agent.next_of(HEADERS).await;
    let received = origin.received().remove(0);
    assert_eq!(received.uri, format!("https://localhost:{}/x", origin.addr.port()));
    drop(agent);
    proxy.stop().await;
}

#[tokio::test]
async fn item_45_cookie_crumbs_arrive_as_they_were_sent() {
    let (_folder, origin, proxy) = stage().await;
    let mut agent = Agent::to(&proxy, &origin).await;
    agent.get(1, &[("cookie", "a=1"), ("cookie", "b=2")]).await;
    agent.next_of(HEADERS).await;
    let crumbs: Vec<_> =
        origin.received().remove(0).headers.into_iter().filter(|(name, _)| name == "cookie").collect();
    assert_eq!(crumbs, [("cookie".to_owned(), "a=1".to_owned()), ("cookie".to_owned(), "b=2".to_owned())]);
    drop(agent);
    proxy.stop().await;
}

#[tokio::test]
async fn item_46_a_stopping_proxy_says_goaway_twice_and_ends_what_is_under_way() {
    let (_folder, origin, proxy) = stage().await;
    let mut agent = Agent::to(&proxy, &origin).await;
    let block =
        hpack(&[(":method", "GET"), (":scheme", "https"), (":authority", &agent.authority), (":path", "/slow/300")]);
    agent.frames.write(HEADERS, END_HEADERS | END_STREAM, 1, &block).await;
    crate::support::proxy::eventually("the origin has the request", async || origin.received().len() == 1).await;
    let stopping = tokio::spawn(proxy.stop());
    let first = agent.next_of(GOAWAY).await;
    assert_eq!((&first.payload[..4]).get_u32(), 0x7fff_ffff, "the first names no stream as refused");
    let (mut answered, mut last) = (false, u32::MAX);
    // A ping between the two finds out that the first has arrived.
    while let Some(frame) = agent.frames.next().await {
        match frame.kind {
            6 if frame.flags & ACK == 0 => agent.frames.write(6, ACK, 0, &frame.payload).await,
            GOAWAY => last = (&frame.payload[..4]).get_u32(),
            DATA => answered |= frame.flags & END_STREAM != 0,
            _ => {}
        }
        if answered && last != u32::MAX {
            break;
        }
    }
    assert!(answered, "what was under way was answered to its end");
    assert_eq!(last, 1, "the second names the last stream that was served");
    drop(agent);
    stopping.await.unwrap();
}

#[tokio::test]
async fn item_48_extended_connect_is_not_offered_without_the_origins_and_is_still_answered() {
    let (_folder, origin, proxy) = stage().await;
    let mut agent = Agent::to(&proxy, &origin).await;
    let settings = agent.next_of(SETTINGS).await;
    assert!(settings.payload.chunks(6).all(|setting| setting[..2] != [0, 8]), "{settings:?}");
    let block = hpack(&[
        (":method", "CONNECT"),
        (":protocol", "websocket"),
        (":scheme", "https"),
        (":authority", &agent.authority),
        (":path", "/x"),
    ]);
    agent.frames.write(HEADERS, END_HEADERS, 1, &block).await;
    let refused = loop {
        match agent.frames.next().await {
            Some(frame) if matches!(frame.kind, HEADERS | RST_STREAM) && frame.stream == 1 => break true,
            Some(frame) if frame.kind == GOAWAY => break true,
            Some(_) => {}
            None => break true,
        }
    };
    assert!(refused && origin.received().is_empty());
    drop(agent);
    proxy.stop().await;
}
