//! A stream whose first bytes were read ahead. They are read again.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::{Buf, BytesMut};
use tokio::io::{AsyncRead, AsyncReadExt, ReadBuf};

use super::passing::passes_writes;

/// A stream, and the bytes that were read ahead.
pub(super) struct Rewind<S> {
    seen: BytesMut,
    inner: S,
}

impl<S> Rewind<S> {
    /// `seen`: the bytes that were read ahead.
    pub(super) fn new(seen: BytesMut, inner: S) -> Self {
        Self { seen, inner }
    }

    /// The stream itself.
    pub(super) fn inner(&self) -> &S {
        &self.inner
    }

    /// The bytes that were read ahead, and not read again yet.
    pub(super) fn seen(&self) -> &BytesMut {
        &self.seen
    }

    /// [`Self::seen`], mutable.
    pub(super) fn seen_mut(&mut self) -> &mut BytesMut {
        &mut self.seen
    }
}

impl<S: AsyncRead + Unpin> Rewind<S> {
    /// Reads at least one byte ahead. 0: the stream has ended.
    pub(super) async fn read_ahead(&mut self) -> io::Result<usize> {
        self.inner.read_buf(&mut self.seen).await
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Rewind<S> {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        if self.seen.is_empty() {
            return Pin::new(&mut self.inner).poll_read(cx, buf);
        }
        let n = self.seen.len().min(buf.remaining());
        buf.put_slice(&self.seen[..n]);
        self.seen.advance(n);
        if self.seen.is_empty() {
            self.seen = BytesMut::new();
        }
        Poll::Ready(Ok(()))
    }
}

passes_writes!(Rewind);
