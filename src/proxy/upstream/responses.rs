//! The stream of an origin that speaks HTTP/1.x, as hyper gets to see it: each response's head was read leniently before
//! ([`crate::proxy::lenient`]), and a TLS session that ends without `close_notify` has ended.

use std::io::{self, IoSlice};
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU8, Ordering};
use std::task::{Context, Poll, ready};

use bytes::{Buf, BytesMut};
use http::{Method, Response};
use hyper::body::Incoming;
use parking_lot::{Mutex, MutexGuard};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio_util::io::poll_read_buf;

use crate::proxy::interim_heads::InterimHeads;
use crate::proxy::lenient::{self, Head, HeadFacts};

/// What is read at once. A larger head makes the buffer grow.
const READ_BYTES: usize = 8 << 10;
/// The largest head that is waited for; hyper refuses one of this size.
const HEAD_LIMIT_BYTES: usize = 408 << 10;

/// How many of the last bytes are kept, for the names of trailers as they were written.
const RECENT_BYTES: usize = 1 << 10;

/// No head is awaited: what comes is content, or another protocol.
const NONE: u8 = 0;
/// The head of an answer to any request but HEAD.
const HEAD: u8 = 1;
/// The head of an answer to HEAD.
const HEAD_TO_HEAD: u8 = 2;

/// What is known of the answers on a connection. Clones know the same.
#[derive(Clone, Default)]
pub(in crate::proxy) struct Responses(Arc<Known>);

#[derive(Default)]
struct Known {
    /// Which head is awaited.
    awaited: AtomicU8,
    /// The origin closed its TLS session without `close_notify`.
    ended_unannounced: AtomicBool,
    /// Of the head that came last.
    facts: Mutex<HeadFacts>,
    /// Who is told of interim heads as they come.
    interim: Mutex<Option<InterimHeads>>,
    /// The last bytes that came.
    recent: Mutex<Vec<u8>>,
}

/// Rides with a response: what hyper does not tell of it.
#[derive(Clone)]
pub(in crate::proxy) struct ResponseNotes {
    pub(in crate::proxy) facts: HeadFacts,
    pub(in crate::proxy) answers: Responses,
}

/// A head that has no one meaning.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub(in crate::proxy) struct BadHead(std::borrow::Cow<'static, str>);

impl Responses {
    /// A request with this method goes out now; no other is under way.
    pub(super) fn asked(&self, method: &Method) {
        let awaited = if *method == Method::HEAD { HEAD_TO_HEAD } else { HEAD };
        self.0.awaited.store(awaited, Ordering::Release);
    }

    /// Adds to `response` what hyper does not tell.
    pub(super) fn complete(&self, response: &mut Response<Incoming>) {
        let mut facts = std::mem::take(&mut *self.facts());
        if let Some(reason) = facts.reason.take() {
            response.extensions_mut().insert(reason);
        }
        response.extensions_mut().insert(ResponseNotes { facts, answers: self.clone() });
    }

    /// Whether the TLS session ended without `close_notify`.
    pub(in crate::proxy) fn ended_unannounced(&self) -> bool {
        self.0.ended_unannounced.load(Ordering::Acquire)
    }

    /// Interim heads of the answer to the next request are told to `heads`.
    pub(super) fn tells(&self, heads: Option<InterimHeads>) {
        *self.0.interim.lock() = heads;
    }

    /// The last bytes that came, among them short trailers, if there were any.
    pub(in crate::proxy) fn recent(&self) -> Vec<u8> {
        self.0.recent.lock().clone()
    }

    /// These came.
    fn came(&self, bytes: &[u8]) {
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

/// The stream.
pub(super) struct OriginIo<S> {
    inner: S,
    answers: Responses,
    /// What came and was not handed on.
    held: BytesMut,
    /// How many of the first bytes of `held` may be handed on.
    ready: usize,
    /// How many bytes of a head under way were searched for its end.
    scanned: usize,
}

impl<S: AsyncRead + Unpin> OriginIo<S> {
    pub(super) fn new(inner: S) -> (Self, Responses) {
        let answers = Responses::default();
        (Self { inner, answers: answers.clone(), held: BytesMut::new(), ready: 0, scanned: 0 }, answers)
    }

    /// Looks for a head in what is held, and makes it ready. False: more must come.
    fn make_ready(&mut self, awaited: u8) -> io::Result<bool> {
        if awaited == NONE {
            self.ready = self.held.len();
            return Ok(self.ready > 0);
        }
        // RFC 9112 2.2 allows them before a request; some servers send one after a response's content.
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
        *self.answers.facts() = facts;
        if is_interim {
            if let Some(heads) = &*self.answers.0.interim.lock() {
                heads.push(&self.held[..self.ready]);
            }
        } else {
            self.answers.0.awaited.store(NONE, Ordering::Release);
        }
        Ok(true)
    }

    /// What comes is for hyper to judge.
    fn pass_the_rest(&mut self) {
        self.answers.0.awaited.store(NONE, Ordering::Release);
        self.scanned = 0;
        self.ready = self.held.len();
    }

    /// Whether a read failed only because the TLS session ended without `close_notify`: what framed the content tells then
    /// whether it is whole.
    fn is_end(&self, error: &io::Error) -> bool {
        let is_end = error.kind() == io::ErrorKind::UnexpectedEof;
        if is_end {
            self.answers.0.ended_unannounced.store(true, Ordering::Release);
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
                this.answers.came(&this.held[..bytes]);
                this.held.advance(bytes);
                this.ready -= bytes;
                return Poll::Ready(Ok(()));
            }
            let awaited = this.answers.0.awaited.load(Ordering::Acquire);
            if !this.held.is_empty() && this.make_ready(awaited)? {
                continue;
            }
            if awaited == NONE {
                let before = out.filled().len();
                return match ready!(Pin::new(&mut this.inner).poll_read(cx, out)) {
                    Err(error) if this.is_end(&error) => Poll::Ready(Ok(())),
                    done => {
                        this.answers.came(&out.filled()[before..]);
                        Poll::Ready(done)
                    }
                };
            }
            this.held.reserve(READ_BYTES);
            match ready!(poll_read_buf(Pin::new(&mut this.inner), cx, &mut this.held)) {
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

impl<S: AsyncWrite + Unpin> AsyncWrite for OriginIo<S> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.inner).poll_write(cx, buf)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.inner).poll_write_vectored(cx, bufs)
    }

    fn is_write_vectored(&self) -> bool {
        self.inner.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_shutdown(cx)
    }
}
