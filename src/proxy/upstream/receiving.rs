//! The stream of an HTTP/1.1 origin. It counts the received bytes, which shows whether a response has begun. If the origin accepts no
//! more bytes, it is still read to the end, because it may have responded before (RFC 9112 9.5).

use std::io::{self, IoSlice};
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll, ready};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

/// How many bytes were received on a connection. Clones share the count.
#[derive(Debug, Clone, Default)]
pub(in crate::proxy) struct ReceivedBytes(Arc<AtomicU64>);

impl ReceivedBytes {
    /// Bytes received so far.
    pub(in crate::proxy) fn bytes(&self) -> u64 {
        self.0.load(Ordering::Acquire)
    }

    /// So many more were received.
    pub(super) fn add(&self, bytes: usize) {
        self.0.fetch_add(bytes as u64, Ordering::AcqRel);
    }
}

/// The stream of an HTTP/1.1 origin.
pub(super) struct ReceivingIo<S> {
    inner: S,
    heard: ReceivedBytes,
    /// The error of a write. It is reported when nothing more can be read.
    broken: Option<io::Error>,
    /// Writing has failed.
    deaf: bool,
}

impl<S> ReceivingIo<S> {
    pub(super) fn of(inner: S) -> (Self, ReceivedBytes) {
        let heard = ReceivedBytes::default();
        (Self { inner, heard: heard.clone(), broken: None, deaf: false }, heard)
    }

    /// If the origin accepts no more bytes, writers wait. Meanwhile its response, or its end, is read.
    fn written<T>(&mut self, written: io::Result<T>) -> Poll<io::Result<T>> {
        match written {
            Err(error) if takes_no_more(&error) => {
                self.deaf = true;
                self.broken = Some(error);
                Poll::Pending
            }
            other => Poll::Ready(other),
        }
    }
}

fn takes_no_more(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::BrokenPipe | io::ErrorKind::ConnectionReset | io::ErrorKind::ConnectionAborted
    )
}

impl<S: AsyncRead + Unpin> AsyncRead for ReceivingIo<S> {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let before = buf.filled().len();
        let read = ready!(Pin::new(&mut self.inner).poll_read(cx, buf));
        let bytes = buf.filled().len() - before;
        self.heard.add(bytes);
        match self.broken.take() {
            Some(error) if read.is_ok() && bytes == 0 => Poll::Ready(Err(error)),
            broken => {
                self.broken = broken;
                Poll::Ready(read)
            }
        }
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for ReceivingIo<S> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        if self.deaf {
            return Poll::Pending;
        }
        let written = ready!(Pin::new(&mut self.inner).poll_write(cx, buf));
        self.written(written)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        if self.deaf {
            return Poll::Pending;
        }
        let written = ready!(Pin::new(&mut self.inner).poll_write_vectored(cx, bufs));
        self.written(written)
    }

    fn is_write_vectored(&self) -> bool {
        self.inner.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if self.deaf {
            return Poll::Pending;
        }
        let flushed = ready!(Pin::new(&mut self.inner).poll_flush(cx));
        self.written(flushed)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_shutdown(cx)
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    use super::*;

    /// Takes nothing, and has said this.
    struct Deaf(&'static [u8]);

    impl AsyncRead for Deaf {
        fn poll_read(mut self: Pin<&mut Self>, _: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
            buf.put_slice(std::mem::take(&mut self.0));
            Poll::Ready(Ok(()))
        }
    }

    impl AsyncWrite for Deaf {
        fn poll_write(self: Pin<&mut Self>, _: &mut Context<'_>, _: &[u8]) -> Poll<io::Result<usize>> {
            Poll::Ready(Err(io::ErrorKind::BrokenPipe.into()))
        }

        fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
            Poll::Ready(Ok(()))
        }

        fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
            Poll::Ready(Ok(()))
        }
    }

    #[tokio::test]
    async fn an_origin_that_stops_reading_is_read_to_its_end_first() {
        let (mut stream, heard) = ReceivingIo::of(Deaf(b"413"));
        assert!(futures_util::poll!(Box::pin(stream.write(b"x"))).is_pending());
        let mut said = [0; 8];
        assert_eq!(stream.read(&mut said).await.unwrap(), 3);
        assert_eq!(heard.bytes(), 3);
        assert_eq!(stream.read(&mut said).await.unwrap_err().kind(), io::ErrorKind::BrokenPipe);
        assert_eq!(stream.read(&mut said).await.unwrap(), 0);
    }
}
