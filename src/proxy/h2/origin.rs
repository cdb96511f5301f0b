//! The origin's side of a connection. Paths replace their stand-ins in what the library writes.

use std::io::{self, IoSlice};
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll, ready};

use bytes::{Buf, BytesMut};
use parking_lot::Mutex;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::frames::Frames;
use crate::proxy::upstream::StandIn;

/// The most stand-ins that wait to be written. Those of abandoned requests stay until the oldest are evicted.
const PENDING_MAX: usize = 1024;

/// The stand-ins that will be written on a connection.
#[derive(Clone, Default)]
pub(in crate::proxy) struct PendingStandIns(Arc<Pending>);

#[derive(Default)]
struct Pending {
    /// Whether there are any. Most connections never have one, and only check this flag.
    any: AtomicBool,
    stand_ins: Mutex<Vec<StandIn>>,
}

impl PendingStandIns {
    /// Adds the stand-in of a request that will be written next, if it has one.
    pub(in crate::proxy) fn add(&self, stand_in: Option<&StandIn>) {
        let Some(stand_in) = stand_in else { return };
        let mut all = self.0.stand_ins.lock();
        if all.len() >= PENDING_MAX {
            all.remove(0);
        }
        all.push(stand_in.clone());
        self.0.any.store(true, Ordering::Release);
    }

    fn any(&self) -> bool {
        self.0.any.load(Ordering::Acquire)
    }

    fn take(&self, path: &[u8]) -> Option<Vec<u8>> {
        let mut all = self.0.stand_ins.lock();
        let at = all.iter().position(|stand_in| stand_in.path() == path)?;
        let stand_in = all.swap_remove(at);
        self.0.any.store(!all.is_empty(), Ordering::Release);
        Some(stand_in.written().to_vec())
    }
}

/// The stream of an HTTP/2 origin.
pub(in crate::proxy) struct OriginH2<S> {
    inner: S,
    frames: Frames,
    waiting: PendingStandIns,
    /// Bytes accepted, but not written yet.
    held: BytesMut,
    /// How many of the first bytes of `held` may be written.
    cleared: usize,
}

impl<S> OriginH2<S> {
    pub(in crate::proxy) fn new(inner: S) -> (Self, PendingStandIns) {
        let waiting = PendingStandIns::default();
        let frames = Frames::of_client();
        (Self { inner, frames, waiting: waiting.clone(), held: BytesMut::new(), cleared: 0 }, waiting)
    }
}

impl<S: AsyncWrite + Unpin> OriginH2<S> {
    /// Writes the bytes that may be written.
    fn poll_held(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        while self.cleared > 0 {
            let written = ready!(Pin::new(&mut self.inner).poll_write(cx, &self.held[..self.cleared]))?;
            if written == 0 {
                return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
            }
            self.held.advance(written);
            self.cleared -= written;
        }
        Poll::Ready(Ok(()))
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for OriginH2<S> {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_read(cx, buf)
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for OriginH2<S> {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        ready!(this.poll_held(cx))?;
        let passing = if this.waiting.any() { this.frames.passing().min(buf.len()) } else { buf.len() };
        if this.held.is_empty() && passing > 0 {
            let written = ready!(Pin::new(&mut this.inner).poll_write(cx, &buf[..passing]))?;
            this.frames.passed(&buf[..written]);
            return Poll::Ready(Ok(written));
        }
        this.held.extend_from_slice(buf);
        let waiting = &this.waiting;
        this.cleared = this.frames.advance(&mut this.held, |path| waiting.take(path));
        // The next call writes the rest.
        match this.poll_held(cx) {
            Poll::Ready(Err(error)) => Poll::Ready(Err(error)),
            Poll::Ready(Ok(())) | Poll::Pending => Poll::Ready(Ok(buf.len())),
        }
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        if self.held.is_empty() && !self.waiting.any() {
            let written = ready!(Pin::new(&mut self.inner).poll_write_vectored(cx, bufs))?;
            let mut left = written;
            for buf in bufs {
                let passed = left.min(buf.len());
                self.frames.passed(&buf[..passed]);
                left -= passed;
            }
            return Poll::Ready(Ok(written));
        }
        let first = bufs.iter().find(|buf| !buf.is_empty()).map_or(&[][..], |buf| buf);
        self.poll_write(cx, first)
    }

    fn is_write_vectored(&self) -> bool {
        self.inner.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        ready!(self.poll_held(cx))?;
        Pin::new(&mut self.inner).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        ready!(self.poll_held(cx))?;
        Pin::new(&mut self.inner).poll_shutdown(cx)
    }
}
