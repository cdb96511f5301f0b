//! How often the proxy writes to an agent: pieces of a response that come together are written together, and a lone piece goes at
//! once. Inside TLS each write is a record, so the records show the writes.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll, ready};

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, ReadBuf};
use tokio::net::TcpStream;
use tokio_rustls::client::TlsStream;

use crate::support::agent::{tls, tunnel};
use crate::support::manual::{ManualOrigin, piece};
use crate::support::origin::{Act, Certificate, RawOrigin, TestCa};
use crate::support::proxy::{PATIENCE, Running, TestProxy, read_until};

const CHUNKS: usize = 300;
const GET: &[u8] = b"GET /v1/messages HTTP/1.1\r\nHost: localhost\r\n\r\n";

/// A stream that counts the TLS records read from it.
struct Records<S> {
    inner: S,
    count: Arc<AtomicUsize>,
    /// The bytes of the current record's header.
    header: Vec<u8>,
    /// Missing bytes of the current record.
    missing: usize,
}

impl<S> Records<S> {
    fn see(&mut self, bytes: &[u8]) {
        for byte in bytes {
            if self.missing > 0 {
                self.missing -= 1;
                continue;
            }
            self.header.push(*byte);
            if let [_, _, _, high, low] = self.header[..] {
                self.missing = usize::from(u16::from_be_bytes([high, low]));
                self.header.clear();
                self.count.fetch_add(1, Ordering::Relaxed);
            }
        }
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Records<S> {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let before = buf.filled().len();
        ready!(Pin::new(&mut self.inner).poll_read(cx, buf))?;
        self.see(&buf.filled()[before..]);
        Poll::Ready(Ok(()))
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Records<S> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.inner).poll_write(cx, buf)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_shutdown(cx)
    }
}

/// TLS to the origin at `port` through the proxy, and the count of records that came.
async fn inside(proxy: &Running, port: u16) -> (TlsStream<Records<TcpStream>>, Arc<AtomicUsize>) {
    let count = Arc::<AtomicUsize>::default();
    let inner = tunnel(proxy, &format!("localhost:{port}")).await;
    let records = Records { inner, count: count.clone(), header: Vec::new(), missing: 0 };
    (tls(records, "localhost", proxy.client_tls(&[b"http/1.1"])).await.unwrap(), count)
}

/// What an agent gets for a GET, up to `end`, and in how many records.
async fn get(stream: &mut TlsStream<Records<TcpStream>>, count: &AtomicUsize, end: &str) -> (String, usize) {
    let before = count.load(Ordering::Relaxed);
    stream.write_all(GET).await.unwrap();
    let reply = read_until(stream, end).await;
    (reply, count.load(Ordering::Relaxed) - before)
}

const HEAD: &str = "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n";

fn event(n: usize) -> String {
    format!("event: content_block_delta\ndata: {{\"text\":\"word {n} of the answer\"}}\n\n")
}

/// An event stream of many chunks, without its last chunk.
fn events() -> String {
    (0..CHUNKS).map(event).fold(HEAD.to_owned(), |all, event| all + &format!("{:X}\r\n{event}\r\n", event.len()))
}

/// The content of the first chunks of `reply`, how many these are, and what follows them.
fn chunks(reply: &str) -> (String, usize, &str) {
    let mut rest = reply.strip_prefix(HEAD).expect("the head as it came");
    let (mut content, mut count) = (String::new(), 0);
    while let Some((size, from)) = rest.split_once("\r\n").filter(|(size, _)| *size != "0") {
        let size = usize::from_str_radix(size, 16).unwrap();
        content += &from[..size];
        count += 1;
        rest = from[size..].strip_prefix("\r\n").expect("the end of a chunk");
    }
    (content, count, rest)
}

#[tokio::test]
async fn chunks_that_come_together_reach_the_agent_one_by_one_in_few_writes() {
    let folder = tempfile::tempdir().unwrap();
    let ca = TestCa::new(folder.path());
    for end in ["0\r\n\r\n", "0\r\nX-Sum: 7\r\n\r\n"] {
        let acts = vec![Act::Write((events() + end).into_bytes())];
        let origin = RawOrigin::tls(ca.server(Certificate::Good, &[b"http/1.1"]), acts).await;
        let proxy = TestProxy::new().trusting(&ca).run().await;
        let (mut stream, count) = inside(&proxy, origin.addr.port()).await;
        for _ in 0..2 {
            let (reply, records) = get(&mut stream, &count, end).await;
            let (content, chunks, last) = chunks(&reply);
            assert!(content == (0..CHUNKS).map(event).collect::<String>(), "other content");
            assert_eq!(last, end);
            // A chunk is in two parts where one read from the origin ended and the next began.
            assert!((CHUNKS..CHUNKS + CHUNKS / 10).contains(&chunks), "{chunks} chunks");
            assert!(records <= CHUNKS / 5, "{records} writes for {chunks} chunks");
        }
    }
}

#[tokio::test]
async fn chunks_before_a_cut_reach_the_agent() {
    let folder = tempfile::tempdir().unwrap();
    let ca = TestCa::new(folder.path());
    let acts = vec![Act::Write(events().into_bytes()), Act::Close];
    let origin = RawOrigin::tls(ca.server(Certificate::Good, &[b"http/1.1"]), acts).await;
    let proxy = TestProxy::new().trusting(&ca).run().await;
    let (mut stream, _) = inside(&proxy, origin.addr.port()).await;
    stream.write_all(GET).await.unwrap();
    let mut reply = Vec::new();
    let ended =
        tokio::time::timeout(PATIENCE, stream.read_to_end(&mut reply)).await.expect("the connection stays open");
    let (content, _, last) = chunks(std::str::from_utf8(&reply).unwrap());
    assert!(content == (0..CHUNKS).map(event).collect::<String>(), "other content");
    assert_eq!(last, "", "{ended:?}");
}

#[tokio::test]
async fn each_event_of_a_slow_stream_reaches_the_agent_before_the_next_is_sent() {
    let folder = tempfile::tempdir().unwrap();
    let ca = TestCa::new(folder.path());
    let mut origin = ManualOrigin::start(Some(ca.server(Certificate::Good, &[b"http/1.1"]))).await;
    let proxy = TestProxy::new().trusting(&ca).run().await;
    let (mut stream, _) = inside(&proxy, origin.addr.port()).await;
    stream.write_all(GET).await.unwrap();
    let (pieces, _) = origin.call().await.stream("text/event-stream");
    let head = read_until(&mut stream, "\r\n\r\n").await;
    assert!(head.starts_with("HTTP/1.1 200 OK\r\n"), "{head}");
    for n in 0..20 {
        let event = format!("data: {n}\n\n");
        pieces.send(piece(event.clone())).await.unwrap();
        let came = read_until(&mut stream, "\n\n\r\n").await;
        assert_eq!(came, format!("{:X}\r\n{event}\r\n", event.len()));
    }
    drop(pieces);
    assert_eq!(read_until(&mut stream, "0\r\n\r\n").await, "0\r\n\r\n");
}
