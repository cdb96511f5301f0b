//! The stream of an HTTP/1.x origin, as hyper sees it. Each response head is read leniently first ([`crate::proxy::lenient`]). TLS that
//! ends without `close_notify` counts as ended.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU8, Ordering};
use std::task::{Context, Poll, ready};

use bytes::{Buf, BytesMut};
use http::{Method, Response};
use hyper::body::Incoming;
use parking_lot::{Mutex, MutexGuard};
use tokio::io::{AsyncRead, ReadBuf};

use crate::proxy::content::poll_read_content;
use crate::proxy::held::poll_read_held;
use crate::proxy::interim_heads::InterimHeads;
use crate::proxy::lenient::{self, Head, HeadFacts};
use crate::proxy::passing::passes_writes;

/// The largest head that we wait for. hyper refuses a head of this size.
const HEAD_LIMIT_BYTES: usize = 408 << 10;

/// How many of the last bytes are kept. They contain the names of trailers in their original case.
const RECENT_BYTES: usize = 1 << 10;

/// No head is expected: the next bytes are content, or another protocol.
const NONE: u8 = 0;
/// The head of a response to any request but HEAD.
const HEAD: u8 = 1;
/// The head of a response to HEAD.
const HEAD_TO_HEAD: u8 = 2;

/// What is known about the responses on a connection. Clones share it.
#[derive(Clone, Default)]
pub(in crate::proxy) struct Responses(Arc<Known>);

#[derive(Default)]
struct Known {
    /// Which head is expected.
    awaited: AtomicU8,
    /// The origin closed its TLS session without `close_notify`.
    ended_without_close_notify: AtomicBool,
    /// What hyper does not report of the last head.
    facts: Mutex<HeadFacts>,
    /// Collects interim heads.
    interim: Mutex<Option<InterimHeads>>,
    /// The last bytes received.
    recent: Mutex<Vec<u8>>,
}

/// What hyper does not report of a response. An extension of the response.
#[derive(Clone)]
pub(in crate::proxy) struct ResponseNotes {
    pub(in crate::proxy) facts: HeadFacts,
    pub(in crate::proxy) responses: Responses,
}

/// Why a head is ambiguous.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub(in crate::proxy) struct BadHead(std::borrow::Cow<'static, str>);

impl Responses {
    /// A request with this method is sent now. No other request is in flight.
    pub(super) fn expect(&self, method: &Method) {
        let awaited = if *method == Method::HEAD { HEAD_TO_HEAD } else { HEAD };
        self.0.awaited.store(awaited, Ordering::Release);
    }

    /// Adds to `response` what hyper does not report.
    pub(super) fn annotate(&self, response: &mut Response<Incoming>) {
        let mut facts = std::mem::take(&mut *self.facts());
        if let Some(reason) = facts.reason.take() {
            response.extensions_mut().insert(reason);
        }
        response.extensions_mut().insert(ResponseNotes { facts, responses: self.clone() });
    }

    /// Whether TLS ended without `close_notify`.
    pub(in crate::proxy) fn ended_without_close_notify(&self) -> bool {
        self.0.ended_without_close_notify.load(Ordering::Acquire)
    }

    /// Interim heads of the next response are added to `heads`.
    pub(super) fn collect_interim(&self, heads: Option<InterimHeads>) {
        *self.0.interim.lock() = heads;
    }

    /// The last bytes received. Short trailers are among them.
    pub(in crate::proxy) fn last_bytes(&self) -> Vec<u8> {
        self.0.recent.lock().clone()
    }

    /// Keeps the last of these received bytes.
    fn note(&self, bytes: &[u8]) {
        let mut recent = self.0.recent.lock();
        let bytes = &bytes[bytes.len().saturating_sub(RECENT_BYTES)..];
        let surplus = (recent.len() + bytes.len()).saturating_sub(RECENT_BYTES);
        recent.drain(..surplus);
        recent.extend_from_slice(bytes);
    }

    fn facts(&self) -> MutexGuard<'_, HeadFacts> {
        self.0.facts.lock()
    }
}

/// The stream of an HTTP/1.x origin.
pub(super) struct OriginIo<S> {
    inner: S,
    responses: Responses,
    /// Bytes received, but not passed on yet.
    held: BytesMut,
    /// How many of the first bytes of `held` may be passed on.
    ready: usize,
    /// How many bytes of the incomplete head were searched for its end.
    scanned: usize,
}

impl<S: AsyncRead + Unpin> OriginIo<S> {
    pub(super) fn new(inner: S) -> (Self, Responses) {
        let responses = Responses::default();
        (Self { inner, responses: responses.clone(), held: BytesMut::new(), ready: 0, scanned: 0 }, responses)
    }

    /// Looks for a head in the held bytes, and makes it ready. False: more bytes are needed.
    fn make_ready(&mut self, awaited: u8) -> io::Result<bool> {
        if awaited == NONE {
            self.ready = self.held.len();
            return Ok(self.ready > 0);
        }
        // RFC 9112 2.2 allows empty lines before a request. Some servers send one after a response's content.
        let empty = self.held.iter().take_while(|byte| matches!(byte, b'\r' | b'\n')).count();
        if self.scanned == 0 {
            self.held.advance(empty);
        }
        if !lenient::may_begin(&self.held) || self.held.len() > HEAD_LIMIT_BYTES {
            self.pass_the_rest();
            return Ok(self.ready > 0);
        }
        let Some(end) = lenient::end(&self.held, &mut self.scanned) else { return Ok(false) };
        self.scanned = 0;
        let head = lenient::read(&self.held[..end], awaited == HEAD_TO_HEAD);
        let Head { rewritten, is_interim, facts } =
            head.map_err(|reason| io::Error::new(io::ErrorKind::InvalidData, BadHead(reason)))?;
        self.ready = end;
        if let Some(rewritten) = rewritten {
            let rest = self.held.split_off(end);
            self.ready = rewritten.len();
            self.held = BytesMut::from(&rewritten[..]);
            self.held.unsplit(rest);
        }
        *self.responses.facts() = facts;
        if is_interim {
            if let Some(heads) = &*self.responses.0.interim.lock() {
                heads.push(&self.held[..self.ready]);
            }
        } else {
            // With the head goes what came with it. hyper makes one piece of content out of one read.
            self.pass_the_rest();
        }
        Ok(true)
    }

    /// Leaves the next bytes to hyper.
    fn pass_the_rest(&mut self) {
        self.responses.0.awaited.store(NONE, Ordering::Release);
        self.scanned = 0;
        self.ready = self.held.len();
    }

    /// Whether a read failed only because TLS ended without `close_notify`. The framing of the content then decides whether it is
    /// complete.
    fn is_end(&self, error: &io::Error) -> bool {
        let is_end = error.kind() == io::ErrorKind::UnexpectedEof;
        if is_end {
            self.responses.0.ended_without_close_notify.store(true, Ordering::Release);
        }
        is_end
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for OriginIo<S> {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, out: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        loop {
            if this.ready > 0 {
                let bytes = this.ready.min(out.remaining());
                out.put_slice(&this.held[..bytes]);
                this.responses.note(&this.held[..bytes]);
                this.held.advance(bytes);
                this.ready -= bytes;
                if this.held.is_empty() {
                    // The content does not pass through here, and the next head may come much later.
                    this.held = BytesMut::new();
                }
                return Poll::Ready(Ok(()));
            }
            let awaited = this.responses.0.awaited.load(Ordering::Acquire);
            if !this.held.is_empty() && this.make_ready(awaited)? {
                continue;
            }
            if awaited == NONE {
                let before = out.filled().len();
                return match ready!(poll_read_content(&mut this.inner, cx, out, usize::MAX)) {
                    Err(error) if this.is_end(&error) => Poll::Ready(Ok(())),
                    done => {
                        this.responses.note(&out.filled()[before..]);
                        Poll::Ready(done.map(drop))
                    }
                };
            }
            match ready!(poll_read_held(&mut this.inner, cx, &mut this.held)) {
                Ok(1..) => {}
                Ok(0) => this.pass_the_rest(),
                Err(error) if this.is_end(&error) => this.pass_the_rest(),
                Err(error) => return Poll::Ready(Err(error)),
            }
            if this.held.is_empty() {
                return Poll::Ready(Ok(()));
            }
        }
    }
}

passes_writes!(OriginIo);

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

    use super::*;

    #[tokio::test]
    async fn content_that_came_with_its_head_goes_on_with_it_and_an_interim_head_goes_alone() {
        let (mut origin, ours) = tokio::io::duplex(64 << 10);
        let (mut io, responses) = OriginIo::new(ours);
        responses.expect(&Method::GET);
        let interim = b"HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n";
        let whole = [b"HTTP/1.1 200 OK\r\nContent-Length: 10240\r\n\r\n", &[b'z'; 10240][..]].concat();
        origin.write_all(&[interim, &whole[..]].concat()).await.unwrap();
        let mut room = vec![0; 16 << 10];
        for expected in [&interim[..], &whole] {
            let bytes = io.read(&mut room).await.unwrap();
            assert_eq!(room[..bytes], *expected);
        }
    }
}
