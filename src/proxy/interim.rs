//! Writes what hyper's server cannot write to an HTTP/1.x agent. This wraps hyper's stream: interim responses (1xx) are inserted
//! between two responses, and field lines that no header map can hold are inserted after the status line.

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

/// Sends interim responses on an [`AgentIo`].
#[derive(Clone)]
pub(super) struct Interim(Arc<Mutex<State>>);

struct State {
    /// Interim responses to write, and how many of their bytes are written.
    waiting: Vec<u8>,
    written: usize,
    /// hyper has written all it had, so we are between two responses.
    between: bool,
    /// A request is in flight and has no final response yet.
    open: bool,
    /// Lines for the head of the final response.
    inset: Option<Inset>,
    /// Nothing more is written. What hyper writes is dropped.
    silent: bool,
}

/// Field lines to insert after a status line.
struct Inset {
    lines: Bytes,
    /// How many of hyper's bytes go before them. `None`: hyper has not begun to write the head.
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
    /// A request begins. Interim responses may follow.
    pub(super) fn begin(&self) {
        self.0.lock().open = true;
    }

    /// Sends an interim response, unless the final one has come already. `came`: its head as the origin sent it. Only the fields in
    /// `headers` are forwarded. Without `came`, the head is made from `status` and `headers`.
    pub(super) fn send(&self, status: StatusCode, headers: &HeaderMap, came: Option<&Bytes>) {
        let mut state = self.0.lock();
        if state.open {
            match came {
                Some(head) => copy(&mut state.waiting, head, headers),
                None => encode(&mut state.waiting, status, headers),
            }
        }
    }

    /// The final response comes next. An interim response that could not be inserted yet is dropped, which HTTP allows.
    pub(super) fn end(&self) {
        let mut state = self.0.lock();
        state.open = false;
        if !state.between && state.written == 0 {
            state.waiting.clear();
        }
    }

    /// Inserts these lines after the status line of the next response. `flushes`: of the same stream. Waits for a flush first, so that
    /// the response before is completely written.
    pub(super) async fn inset(&self, lines: Bytes, flushes: &Flushes) {
        let next = flushes.count() + 1;
        poll_fn(|cx| flushes.poll_count(next, cx)).await;
        self.0.lock().inset = Some(Inset { lines, before: None });
    }

    /// Drops everything that hyper writes from now on. So the connection can be closed without a response. Earlier responses are
    /// written first. `flushes`: as for [`Self::inset`].
    pub(super) async fn silence(&self, flushes: &Flushes) {
        let next = flushes.count() + 1;
        poll_fn(|cx| flushes.poll_count(next, cx)).await;
        self.0.lock().silent = true;
    }

    /// Whether hyper's bytes are written to the agent. If so, we are no longer between two responses.
    fn writes(&self) -> bool {
        let mut state = self.0.lock();
        state.between &= state.silent;
        !state.silent
    }
}

/// Copies the status line, with our own HTTP version (RFC 9112 2.3), and the lines of the fields in `kept`.
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
    /// Notes that this many of hyper's bytes were written.
    fn passed(&mut self, bytes: usize) {
        if let Some(before) = self.inset.as_mut().and_then(|inset| inset.before.as_mut()) {
            *before -= bytes.min(*before);
        }
    }
}

/// hyper's server writes this before a head if the agent waits for it.
const CONTINUE: &[u8] = b"HTTP/1.1 100 Continue\r\n\r\n";

/// The end of the final response's status line in the bytes that hyper writes.
fn status_line_end(written: &[u8]) -> usize {
    let before = if written.starts_with(CONTINUE) { CONTINUE.len() } else { 0 };
    memchr::memchr(b'\n', &written[before..]).map_or(written.len(), |at| before + at + 1)
}

impl<S: AsyncWrite + Unpin> AgentIo<S> {
    /// Returns the part of `buf` that may be written now: all of it, or the part before the inserted lines. Writes the inserted lines
    /// when it is their turn.
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

    /// Writes the interim responses that wait, if they may be written now.
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

    /// hyper flushes when it has written all it had.
    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.interim.0.lock().between = true;
        ready!(self.poll_interim(cx))?;
        Pin::new(&mut self.inner).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_shutdown(cx)
    }
}
