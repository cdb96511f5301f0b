//! Acknowledges an agent's bytes at once. Some clients (urllib3) leave Nagle's algorithm on and write a request's head and content
//! separately. The content then waits until the head is acknowledged, and the system would delay that by 40 ms (RFC 9293
//! 3.8.6.3).

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::io::{AsyncRead, ReadBuf};
use tokio::net::TcpStream;
use tokio_rustls::server::TlsStream;

use super::passing::passes_writes;
use super::rewind::Rewind;

/// A stream over TCP whose sender may be waiting for an acknowledgement.
pub(super) trait Acknowledge {
    /// Makes the connection end with a reset. So the peer knows that the content is cut off, even if only the end of the connection
    /// frames it.
    fn reset_at_end(&self);

    /// Acknowledges the bytes received so far. The system forgets the request, so it is repeated each time (tcp(7),
    /// `TCP_QUICKACK`).
    fn acknowledge(&self);
}

impl Acknowledge for TcpStream {
    fn reset_at_end(&self) {
        // Fails only if the connection has ended already.
        let _ = rustix::net::sockopt::set_socket_linger(self, Some(Duration::ZERO));
    }

    fn acknowledge(&self) {
        // If this fails, the agent merely waits a little longer.
        #[cfg(target_os = "linux")]
        let _ = rustix::net::sockopt::set_tcp_quickack(self, true);
    }
}

impl<S: Acknowledge> Acknowledge for Rewind<S> {
    fn reset_at_end(&self) {
        self.inner().reset_at_end();
    }

    fn acknowledge(&self) {
        self.inner().acknowledge();
    }
}

impl<S: Acknowledge> Acknowledge for Prompt<S> {
    fn reset_at_end(&self) {
        self.inner.reset_at_end();
    }

    fn acknowledge(&self) {
        self.inner.acknowledge();
    }
}

impl<S: Acknowledge> Acknowledge for TlsStream<S> {
    fn reset_at_end(&self) {
        self.get_ref().0.reset_at_end();
    }

    fn acknowledge(&self) {
        self.get_ref().0.acknowledge();
    }
}

impl<S: Acknowledge> Acknowledge for Box<S> {
    fn reset_at_end(&self) {
        (**self).reset_at_end();
    }

    fn acknowledge(&self) {
        (**self).acknowledge();
    }
}

/// A stream that acknowledges everything as soon as nothing more can be read. For bytes that may not be a request's head or
/// content.
pub(super) struct Prompt<S> {
    inner: S,
    /// Bytes came since the last acknowledgement.
    came: bool,
    /// The system acknowledges.
    rests: bool,
}

impl<S> Prompt<S> {
    /// Bytes of `inner` may have been read already.
    pub(super) fn new(inner: S) -> Self {
        Self { inner, came: true, rests: false }
    }

    /// Leaves acknowledging to the system from now on.
    pub(super) fn rest(&mut self) {
        self.rests = true;
    }
}

impl<S: AsyncRead + Acknowledge + Unpin> AsyncRead for Prompt<S> {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let read = Pin::new(&mut self.inner).poll_read(cx, buf);
        if self.rests {
            return read;
        }
        if read.is_ready() {
            self.came = true;
        } else if std::mem::take(&mut self.came) {
            self.inner.acknowledge();
        }
        read
    }
}

passes_writes!(Prompt);
