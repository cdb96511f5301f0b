//! What hyper's server cannot write to an HTTP/1.x agent. We hold the stream that it writes to: interim responses (1xx) are put
//! where nothing of another response can be under way, and field lines that no header map can hold behind the status line.

use std::future::poll_fn;
use std::io::{self, IoSlice};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use bytes::{Buf, Bytes};
use http::{HeaderMap, HeaderName, StatusCode};
use hyper::rt::{Read, ReadBufCursor, Write};
use hyper_util::rt::TokioIo;
use parking_lot::Mutex;
use tokio::io::{AsyncRead, AsyncWrite};

use super::trailers::{TrailerIo, Trailers};
use crate::capture::Flushes;

/// The stream that hyper's server writes to.
pub(super) struct AgentIo<S> {
    inner: TokioIo<TrailerIo<S>>,
    interim: Interim,
}

/// The way to send an interim response on an [`AgentIo`].
#[derive(Clone)]
pub(super) struct Interim(Arc<Mutex<State>>);

struct State {
    /// Bytes to put in, and how many of them are written.
    waiting: Vec<u8>,
    written: usize,
    /// hyper has handed over all it had: we are between two responses.
    between: bool,
    /// A request is under way that has no final response yet.
    open: bool,
    /// What goes into the head of the final response.
    inset: Option<Inset>,
    /// Nothing more is written: what hyper hands over is dropped.
    silent: bool,
}

/// Field lines to put behind a status line.
struct Inset {
    lines: Bytes,
    /// Bytes of hyper's that go before them; `None`: it has not begun to write the head.
    before: Option<usize>,
}

impl<S> AgentIo<S> {
    pub(super) fn new(stream: S) -> (Self, Interim, Trailers) {
        let interim = Interim(Arc::new(Mutex::new(State {
            waiting: Vec::new(),
            written: 0,
            between: true,
            open: false,
            inset: None,
            silent: false,
        })));
        let (stream, trailers) = TrailerIo::new(stream);
        (Self { inner: TokioIo::new(stream), interim: interim.clone() }, interim, trailers)
    }

    pub(super) fn into_inner(self) -> S {
        self.inner.into_inner().into_inner()
    }
}

impl Interim {
    /// A request begins: interim responses may follow.
    pub(super) fn begin(&self) {
        self.0.lock().open = true;
    }

    /// Sends an interim response, unless the final one is there already. `came`: its head as it came, of which the fields in
    /// `headers` go on; without it, what is known of it does.
    pub(super) fn send(&self, status: StatusCode, headers: &HeaderMap, came: Option<&Bytes>) {
        let mut state = self.0.lock();
        if state.open {
            match came {
                Some(head) => copy(&mut state.waiting, head, headers),
                None => encode(&mut state.waiting, status, headers),
            }
        }
    }

    /// The final response comes next. An interim one that could not be placed yet is dropped, as it may be.
    pub(super) fn end(&self) {
        let mut state = self.0.lock();
        state.open = false;
        if !state.between && state.written == 0 {
            state.waiting.clear();
        }
    }

    /// Puts these lines behind the status line of the response that is written next. `flushes`: of the same stream. Waits for one,
    /// so that nothing of a response before is still to be written.
    pub(super) async fn inset(&self, lines: Bytes, flushes: &Flushes) {
        let next = flushes.count() + 1;
        poll_fn(|cx| flushes.poll_count(next, cx)).await;
        self.0.lock().inset = Some(Inset { lines, before: None });
    }

    /// From now on nothing reaches the agent, but for what was answered before: its connection can then be closed without a
    /// response. `flushes`: as for [`Self::inset`].
    pub(super) async fn silence(&self, flushes: &Flushes) {
        let next = flushes.count() + 1;
        poll_fn(|cx| flushes.poll_count(next, cx)).await;
        self.0.lock().silent = true;
    }

    /// Whether what hyper writes goes to the agent; it is no longer between two responses, then.
    fn writes(&self) -> bool {
        let mut state = self.0.lock();
        state.between &= state.silent;
        !state.silent
    }
}

/// The status line and the lines of the fields that are in `kept`, in our own version (RFC 9112 2.3).
fn copy(to: &mut Vec<u8>, head: &[u8], kept: &HeaderMap) {
    let mut lines = head.split(|byte| *byte == b'\n').map(|line| line.strip_suffix(b"\r").unwrap_or(line));
    let status = lines.next().unwrap_or_default();
    to.extend_from_slice(b"HTTP/1.1");
    to.extend_from_slice(status.get(b"HTTP/1.1".len()..).unwrap_or_default());
    to.extend_from_slice(b"\r\n");
    for line in lines {
        let name = line.split(|byte| *byte == b':').next().unwrap_or_default().trim_ascii_end();
        if HeaderName::from_bytes(name).is_ok_and(|name| kept.contains_key(name)) {
            to.extend_from_slice(line);
            to.extend_from_slice(b"\r\n");
        }
    }
    to.extend_from_slice(b"\r\n");
}

fn encode(to: &mut Vec<u8>, status: StatusCode, headers: &HeaderMap) {
    let reason = status.canonical_reason().unwrap_or_default();
    to.extend_from_slice(format!("HTTP/1.1 {} {reason}\r\n", status.as_str()).as_bytes());
    for (name, value) in headers {
        to.extend_from_slice(name.as_str().as_bytes());
        to.extend_from_slice(b": ");
        to.extend_from_slice(value.as_bytes());
        to.extend_from_slice(b"\r\n");
    }
    to.extend_from_slice(b"\r\n");
}

impl State {
    /// So many bytes of hyper's were written.
    fn passed(&mut self, bytes: usize) {
        if let Some(before) = self.inset.as_mut().and_then(|inset| inset.before.as_mut()) {
            *before -= bytes.min(*before);
        }
    }
}

/// What hyper's server writes before a head, where the agent waits for it.
const CONTINUE: &[u8] = b"HTTP/1.1 100 Continue\r\n\r\n";

/// Where the status line of the final response ends in what hyper writes.
fn status_line_end(written: &[u8]) -> usize {
    let before = if written.starts_with(CONTINUE) { CONTINUE.len() } else { 0 };
    memchr::memchr(b'\n', &written[before..]).map_or(written.len(), |at| before + at + 1)
}

impl<S: AsyncWrite + Unpin> AgentIo<S> {
    /// How much of `buf` may be written now: all of it, or what stands before the lines that are put in. Writes these in their
    /// place.
    fn poll_inset<'a>(&mut self, cx: &mut Context<'_>, buf: &'a [u8]) -> Poll<io::Result<&'a [u8]>> {
        let mut state = self.interim.0.lock();
        let Some(inset) = &mut state.inset else { return Poll::Ready(Ok(buf)) };
        let before = *inset.before.get_or_insert_with(|| status_line_end(buf));
        if before > 0 {
            return Poll::Ready(Ok(&buf[..before.min(buf.len())]));
        }
        while !inset.lines.is_empty() {
            let written = ready!(Pin::new(&mut self.inner).poll_write(cx, &inset.lines))?;
            if written == 0 {
                return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
            }
            inset.lines.advance(written);
        }
        state.inset = None;
        Poll::Ready(Ok(buf))
    }

    /// Writes what waits, if it may go now.
    fn poll_interim(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let mut state = self.interim.0.lock();
        while state.written < state.waiting.len() && (state.between || state.written > 0) {
            let n = ready!(Pin::new(&mut self.inner).poll_write(cx, &state.waiting[state.written..]))?;
            if n == 0 {
                return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
            }
            state.written += n;
            if state.written == state.waiting.len() {
                state.waiting.clear();
                state.written = 0;
            }
        }
        Poll::Ready(Ok(()))
    }
}

impl<S: AsyncRead + Unpin> Read for AgentIo<S> {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: ReadBufCursor<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_read(cx, buf)
    }
}

impl<S: AsyncWrite + Unpin> Write for AgentIo<S> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        ready!(self.poll_interim(cx))?;
        if !self.interim.writes() {
            return Poll::Ready(Ok(buf.len()));
        }
        let buf = ready!(self.poll_inset(cx, buf))?;
        let written = ready!(Pin::new(&mut self.inner).poll_write(cx, buf))?;
        self.interim.0.lock().passed(written);
        Poll::Ready(Ok(written))
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        ready!(self.poll_interim(cx))?;
        if self.interim.0.lock().inset.is_some() {
            let first = bufs.iter().find(|buf| !buf.is_empty()).map_or(&[][..], |buf| buf);
            return self.poll_write(cx, first);
        }
        if !self.interim.writes() {
            return Poll::Ready(Ok(bufs.iter().map(|buf| buf.len()).sum()));
        }
        Pin::new(&mut self.inner).poll_write_vectored(cx, bufs)
    }

    fn is_write_vectored(&self) -> bool {
        self.inner.is_write_vectored()
    }

    /// hyper flushes when it has handed over all it had.
    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.interim.0.lock().between = true;
        ready!(self.poll_interim(cx))?;
        Pin::new(&mut self.inner).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_shutdown(cx)
    }
}
