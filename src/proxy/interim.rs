//! Interim responses (1xx) to an HTTP/1.1 agent. hyper's server has no call to send one, so we hold the stream that it
//! writes to and put them in between, where nothing of another response can be under way.

use std::io::{self, IoSlice};
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, ready};

use http::{HeaderMap, StatusCode};
use hyper::rt::{Read, ReadBufCursor, Write};
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite};

/// The stream that hyper's server writes to.
pub(super) struct AgentIo<S> {
    inner: TokioIo<S>,
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
}

impl<S> AgentIo<S> {
    pub(super) fn new(stream: S) -> (Self, Interim) {
        let interim =
            Interim(Arc::new(Mutex::new(State { waiting: Vec::new(), written: 0, between: true, open: false })));
        (Self { inner: TokioIo::new(stream), interim: interim.clone() }, interim)
    }

    pub(super) fn into_inner(self) -> S {
        self.inner.into_inner()
    }
}

impl Interim {
    /// A request begins: interim responses may follow.
    pub(super) fn begin(&self) {
        self.lock().open = true;
    }

    /// Sends an interim response, unless the final one is there already.
    pub(super) fn send(&self, status: StatusCode, headers: &HeaderMap) {
        let mut state = self.lock();
        if state.open {
            encode(&mut state.waiting, status, headers);
        }
    }

    /// The final response comes next. An interim one that could not be placed yet is dropped, as it may be.
    pub(super) fn end(&self) {
        let mut state = self.lock();
        state.open = false;
        if !state.between && state.written == 0 {
            state.waiting.clear();
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
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

impl<S: AsyncWrite + Unpin> AgentIo<S> {
    /// Writes what waits, if it may go now.
    fn poll_interim(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let mut state = self.interim.lock();
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
        self.interim.lock().between = false;
        Pin::new(&mut self.inner).poll_write(cx, buf)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        ready!(self.poll_interim(cx))?;
        self.interim.lock().between = false;
        Pin::new(&mut self.inner).poll_write_vectored(cx, bufs)
    }

    fn is_write_vectored(&self) -> bool {
        self.inner.is_write_vectored()
    }

    /// hyper flushes when it has handed over all it had.
    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.interim.lock().between = true;
        ready!(self.poll_interim(cx))?;
        Pin::new(&mut self.inner).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_shutdown(cx)
    }
}
