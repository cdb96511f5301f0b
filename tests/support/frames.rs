//! HTTP/2 in frames that are written and read by hand, for either side of a connection.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test fails by panicking")]

use std::net::SocketAddr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use bytes::{Buf, BytesMut};
use rustls::ServerConfig;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpListener;
use tokio_rustls::TlsAcceptor;

use super::proxy::PATIENCE;

pub const DATA: u8 = 0;
pub const HEADERS: u8 = 1;
pub const RST_STREAM: u8 = 3;
pub const SETTINGS: u8 = 4;
pub const PING: u8 = 6;
pub const GOAWAY: u8 = 7;
pub const WINDOW_UPDATE: u8 = 8;
pub const END_STREAM: u8 = 1;
pub const ACK: u8 = 1;
pub const END_HEADERS: u8 = 4;

pub const NO_ERROR: u32 = 0;
pub const PROTOCOL_ERROR: u32 = 1;
pub const INTERNAL_ERROR: u32 = 2;
pub const FLOW_CONTROL_ERROR: u32 = 3;
pub const STREAM_CLOSED: u32 = 5;
pub const REFUSED_STREAM: u32 = 7;
pub const CANCEL: u32 = 8;
pub const ENHANCE_YOUR_CALM: u32 = 11;
pub const HTTP_1_1_REQUIRED: u32 = 13;

/// What a client sends first (RFC 9113 3.4).
pub const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// One side of a connection.
pub struct Frames<S> {
    pub stream: S,
    read: BytesMut,
}

#[derive(Debug, Clone, PartialEq)]
pub struct Frame {
    pub kind: u8,
    pub flags: u8,
    pub stream: u32,
    pub payload: Vec<u8>,
}

impl Frame {
    /// The code of a RST_STREAM or GOAWAY.
    pub fn code(&self) -> u32 {
        (&self.payload[if self.kind == GOAWAY { 4 } else { 0 }..]).get_u32()
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> Frames<S> {
    /// The side of the client: its preface is sent.
    pub async fn client(mut stream: S) -> Self {
        stream.write_all(PREFACE).await.unwrap();
        let mut frames = Self { stream, read: BytesMut::new() };
        frames.write(SETTINGS, 0, 0, &[]).await;
        frames
    }

    /// The side of the server. `None`: the client has gone.
    async fn server(mut stream: S, settings: &[u8]) -> Option<Self> {
        stream.read_exact(&mut [0; PREFACE.len()]).await.ok()?;
        let mut frames = Self { stream, read: BytesMut::new() };
        frames.write(SETTINGS, 0, 0, settings).await;
        Some(frames)
    }

    pub async fn write(&mut self, kind: u8, flags: u8, stream: u32, payload: &[u8]) {
        // Whoever has gone does not read it, which is for the test to see.
        let _ = self.stream.write_all(&frame(kind, flags, stream, payload)).await;
        let _ = self.stream.flush().await;
    }

    /// The next frame; `None` at the end of the connection.
    pub async fn next(&mut self) -> Option<Frame> {
        loop {
            if self.read.len() >= 9 {
                let length =
                    usize::from(self.read[0]) << 16 | usize::from(self.read[1]) << 8 | usize::from(self.read[2]);
                if self.read.len() >= 9 + length {
                    let head = self.read.split_to(9);
                    let stream = (&head[5..9]).get_u32() & 0x7fff_ffff;
                    let payload = self.read.split_to(length).to_vec();
                    return Some(Frame { kind: head[3], flags: head[4], stream, payload });
                }
            }
            let read = tokio::time::timeout(PATIENCE, self.stream.read_buf(&mut self.read)).await;
            if read.expect("no frame comes").unwrap_or(0) == 0 {
                return None;
            }
        }
    }

    /// The next frame of one of these kinds; what is to be acknowledged on the way is.
    pub async fn next_of(&mut self, kinds: &[u8]) -> Frame {
        loop {
            let frame = self.next().await.expect("the connection ended");
            self.acknowledge(&frame).await;
            if kinds.contains(&frame.kind) {
                return frame;
            }
        }
    }

    async fn acknowledge(&mut self, frame: &Frame) {
        match frame.kind {
            SETTINGS if frame.flags & ACK == 0 => self.write(SETTINGS, ACK, 0, &[]).await,
            PING if frame.flags & ACK == 0 => self.write(PING, ACK, 0, &frame.payload).await,
            _ => {}
        }
    }
}

/// A frame's bytes.
pub fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let length = u32::try_from(payload.len()).unwrap().to_be_bytes();
    [&length[1..], &[kind, flags], &stream.to_be_bytes(), payload].concat()
}

/// Header fields, each without indexing and in no Huffman code.
pub fn hpack(fields: &[(&str, &str)]) -> Vec<u8> {
    let mut block = Vec::new();
    for (name, value) in fields {
        block.push(0);
        for text in [name, value] {
            block.push(u8::try_from(text.len()).unwrap());
            block.extend_from_slice(text.as_bytes());
        }
    }
    block
}

/// What a [`FrameOrigin`] does with a request.
#[derive(Debug, Clone, Copy)]
pub enum Reply {
    /// 200 without content.
    Answer,
    /// RST_STREAM with this code.
    Reset(u32),
    /// 200 with the content `part` and no end, then RST_STREAM with this code.
    Part(u32),
    /// Nothing, and nothing any more on this connection.
    Silence,
    /// GOAWAY, which leaves no request out. The request is not answered.
    Leave,
    /// GOAWAY with this code, which leaves the request out; the connection ends.
    GoAway(u32),
    /// Its connection ends.
    Drop,
}

/// An HTTP/2 origin in frames, by TLS.
pub struct FrameOrigin {
    pub addr: SocketAddr,
    requests: Arc<AtomicUsize>,
    accepted: Arc<AtomicUsize>,
    data: Arc<Mutex<Vec<u8>>>,
    resets: Arc<Mutex<Vec<u32>>>,
    task: tokio::task::JoinHandle<()>,
}

impl FrameOrigin {
    /// Does the first of `replies` with the first request, and so on, on whatever connections they come; the last with all others.
    /// `settings`: its SETTINGS, each a name of two bytes and a value of four.
    pub async fn start(tls: ServerConfig, replies: Vec<Reply>, settings: &'static [u8]) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let addr = listener.local_addr().unwrap();
        let (requests, accepted, data) = <(Arc<AtomicUsize>, Arc<AtomicUsize>, Arc<Mutex<Vec<u8>>>)>::default();
        let tls = TlsAcceptor::from(Arc::new(tls));
        let (count, connections, log) = (requests.clone(), accepted.clone(), data.clone());
        let resets = Arc::<Mutex<Vec<u32>>>::default();
        let codes = resets.clone();
        let task = tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                connections.fetch_add(1, Ordering::SeqCst);
                let (tls, replies, count, log) = (tls.clone(), replies.clone(), count.clone(), log.clone());
                let codes = codes.clone();
                tokio::spawn(async move {
                    let Ok(stream) = tls.accept(stream).await else { return };
                    let Some(frames) = Frames::server(stream, settings).await else { return };
                    serve(frames, &replies, &count, &log, &codes).await;
                });
            }
        });
        Self { addr, requests, accepted, data, resets, task }
    }

    /// Requests so far.
    pub fn requests(&self) -> usize {
        self.requests.load(Ordering::SeqCst)
    }

    /// Connections so far.
    pub fn accepted(&self) -> usize {
        self.accepted.load(Ordering::SeqCst)
    }

    /// The codes with which requests were reset so far.
    pub fn resets(&self) -> Vec<u32> {
        self.resets.lock().unwrap().clone()
    }

    /// The content of all requests so far.
    pub fn data(&self) -> Vec<u8> {
        self.data.lock().unwrap().clone()
    }
}

impl Drop for FrameOrigin {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn serve<S>(
    mut frames: Frames<S>,
    replies: &[Reply],
    count: &AtomicUsize,
    log: &Mutex<Vec<u8>>,
    resets: &Mutex<Vec<u32>>,
) where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let mut silent = false;
    while let Some(frame) = frames.next().await {
        if frame.kind == RST_STREAM {
            resets.lock().unwrap().push(frame.code());
        }
        if !silent {
            frames.acknowledge(&frame).await;
        }
        if !silent && frame.kind == DATA && !frame.payload.is_empty() {
            log.lock().unwrap().extend_from_slice(&frame.payload);
            let bytes = u32::try_from(frame.payload.len()).unwrap().to_be_bytes();
            frames.write(WINDOW_UPDATE, 0, 0, &bytes).await;
            frames.write(WINDOW_UPDATE, 0, frame.stream, &bytes).await;
        }
        if !matches!(frame.kind, HEADERS | DATA) || frame.flags & END_STREAM == 0 {
            continue;
        }
        let number = count.fetch_add(1, Ordering::SeqCst);
        if silent {
            continue;
        }
        match replies[number.min(replies.len() - 1)] {
            // `:status: 200` of the static table.
            Reply::Answer => frames.write(HEADERS, END_HEADERS | END_STREAM, frame.stream, &[0x88]).await,
            Reply::Reset(code) => frames.write(RST_STREAM, 0, frame.stream, &code.to_be_bytes()).await,
            Reply::Part(code) => {
                frames.write(HEADERS, END_HEADERS, frame.stream, &[0x88]).await;
                frames.write(DATA, 0, frame.stream, b"part").await;
                frames.write(RST_STREAM, 0, frame.stream, &code.to_be_bytes()).await;
            }
            Reply::Silence => silent = true,
            Reply::Leave => {
                let payload = [frame.stream.to_be_bytes(), NO_ERROR.to_be_bytes()].concat();
                frames.write(GOAWAY, 0, 0, &payload).await;
            }
            Reply::GoAway(code) => {
                let last = frame.stream.saturating_sub(2);
                frames.write(GOAWAY, 0, 0, &[last.to_be_bytes(), code.to_be_bytes()].concat()).await;
                return;
            }
            Reply::Drop => return,
        }
    }
}
