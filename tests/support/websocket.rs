//! WebSockets byte by byte: frames to write, compressed as agreed, and both ends of a socket through the proxy.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test fails by panicking")]

use std::net::SocketAddr;
use std::time::Duration;

use flate2::{Compress, Compression, FlushCompress};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

use super::proxy::{PATIENCE, Running, read_until};

/// Whole messages, and the first frames of messages in pieces.
pub const TEXT: u8 = 0x81;
pub const BINARY: u8 = 0x82;
pub const CLOSE: u8 = 0x88;
pub const PING: u8 = 0x89;
pub const PONG: u8 = 0x8A;
/// A whole compressed text.
pub const DEFLATED: u8 = 0xC1;

/// A frame with this first byte, as an agent sends it.
pub fn masked(first: u8, payload: impl AsRef<[u8]>) -> Vec<u8> {
    let mask = [0x37, 0xfa, 0x21, 0x3d];
    let mut frame = head(first, 0x80, payload.as_ref().len());
    frame.extend_from_slice(&mask);
    frame.extend(payload.as_ref().iter().zip(mask.iter().cycle()).map(|(byte, mask)| byte ^ mask));
    frame
}

/// A frame with this first byte, as an origin sends it.
pub fn bare(first: u8, payload: impl AsRef<[u8]>) -> Vec<u8> {
    [&head(first, 0, payload.as_ref().len()), payload.as_ref()].concat()
}

fn head(first: u8, masked: u8, length: usize) -> Vec<u8> {
    match length {
        0..126 => vec![first, masked | length as u8],
        126..65_536 => [&[first, masked | 126][..], &(length as u16).to_be_bytes()].concat(),
        _ => [&[first, masked | 127][..], &(length as u64).to_be_bytes()].concat(),
    }
}

/// Compresses the messages of one side, each in the context of those before.
pub struct Deflater(Compress);

impl Deflater {
    pub fn new() -> Self {
        Self(Compress::new(Compression::default(), false))
    }

    /// The payload of one message.
    pub fn message(&mut self, text: &str) -> Vec<u8> {
        let mut out = Vec::with_capacity(text.len() * 2 + 64);
        self.0.compress_vec(text.as_bytes(), &mut out, FlushCompress::Sync).unwrap();
        out.truncate(out.len() - 4);
        out
    }
}

/// Both ends of a socket through the proxy, after the handshake.
pub struct Ends {
    pub agent: TcpStream,
    pub origin: TcpStream,
    pub addr: SocketAddr,
}

impl Ends {
    /// Opens `path`; the origin's answer has these fields (each ended by CRLF) beside its `Connection`.
    pub async fn open(proxy: &Running, path: &str, answer: &str) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let addr = listener.local_addr().unwrap();
        let mut agent = proxy.connect().await;
        let asked = format!(
            "GET http://{addr}{path} HTTP/1.1\r\nHost: {addr}\r\nUpgrade: websocket, other\r\nConnection: Upgrade\r\n\
             Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\
             Sec-WebSocket-Extensions: permessage-deflate; client_max_window_bits\r\n\
             Authorization: Bearer sk-0123456789abcdefWXYZ\r\n\r\n"
        );
        agent.write_all(asked.as_bytes()).await.unwrap();
        let (mut origin, _) = tokio::time::timeout(PATIENCE, listener.accept()).await.expect("no call came").unwrap();
        origin.set_nodelay(true).unwrap();
        let head = read_until(&mut origin, "\r\n\r\n").await.to_lowercase();
        assert!(head.contains("sec-websocket-extensions: permessage-deflate; client_max_window_bits\r\n"), "{head}");
        let switched = format!("HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\n{answer}\r\n");
        origin.write_all(switched.as_bytes()).await.unwrap();
        let told = read_until(&mut agent, "\r\n\r\n").await;
        for field in answer.lines().filter(|field| !field.is_empty()) {
            assert!(told.contains(field), "{field} is not in {told}");
        }
        Self { agent, origin, addr }
    }

    /// The agent writes these bytes, and the origin reads them as they are.
    pub async fn say(&mut self, bytes: &[u8]) {
        self.agent.write_all(bytes).await.unwrap();
        expect(&mut self.origin, bytes).await;
    }

    /// The origin writes these bytes, and the agent reads them as they are.
    pub async fn answer(&mut self, bytes: &[u8]) {
        self.origin.write_all(bytes).await.unwrap();
        expect(&mut self.agent, bytes).await;
    }

    /// The agent resets its connection, and the origin's ends, too.
    pub async fn reset(mut self) {
        socket2::SockRef::from(&self.agent).set_linger(Some(Duration::ZERO)).unwrap();
        drop(self.agent);
        let mut rest = Vec::new();
        // An end or a reset.
        let ended = tokio::time::timeout(PATIENCE, self.origin.read_to_end(&mut rest)).await;
        assert!(ended.is_ok(), "the origin's connection does not end");
    }

    /// Both ends close, the agent's first, and each sees the other's end.
    pub async fn end(mut self) {
        self.agent.shutdown().await.unwrap();
        expect_end(&mut self.origin).await;
        self.origin.shutdown().await.unwrap();
        expect_end(&mut self.agent).await;
    }
}

/// Reads exactly these bytes.
pub async fn expect(stream: &mut (impl AsyncRead + Unpin), bytes: &[u8]) {
    let mut read = vec![0; bytes.len()];
    tokio::time::timeout(PATIENCE, stream.read_exact(&mut read)).await.expect("bytes do not come").unwrap();
    assert!(read == bytes, "other bytes came than were sent");
}

/// Reads the end.
pub async fn expect_end(stream: &mut (impl AsyncRead + Unpin)) {
    let mut rest = Vec::new();
    tokio::time::timeout(PATIENCE, stream.read_to_end(&mut rest)).await.expect("no end").unwrap();
    assert_eq!(rest, b"");
}
