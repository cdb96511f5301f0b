//! Bytes both ways, unread: for passthrough hosts, unknown protocols and upgraded connections. Counted, not kept.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll, ready};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf, copy_bidirectional_with_sizes};
use tokio_util::sync::CancellationToken;

use crate::capture::{BodyEnd, Recorder, Side};

const BUFFER_BYTES: usize = 16 << 10;

/// Relays until both sides are done (a half-closed connection goes on the other way), or until `cut`.
pub(super) async fn relay<A, O>(agent: A, origin: O, recorder: &Recorder, cut: &CancellationToken)
where
    A: AsyncRead + AsyncWrite + Unpin,
    O: AsyncRead + AsyncWrite + Unpin,
{
    let (mut agent, from_agent) = Counting::new(agent);
    let (mut origin, from_origin) = Counting::new(origin);
    let end = tokio::select! {
        copied = copy_bidirectional_with_sizes(&mut agent, &mut origin, BUFFER_BYTES, BUFFER_BYTES) => match copied {
            Ok(_) => BodyEnd::Complete,
            Err(error) => broken(&error, &agent, &origin),
        },
        () = cut.cancelled() => BodyEnd::ShutDown,
    };
    let request_end = if end == BodyEnd::ShutDown { end } else { BodyEnd::Complete };
    recorder.counted(Side::Request, from_agent.load(Ordering::Relaxed), request_end);
    recorder.counted(Side::Response, from_origin.load(Ordering::Relaxed), end);
}

/// Whose side broke: a reset is seen by the one that reads or writes it. A side that had ended what it sends before it takes
/// no more has closed its connection, as any may.
fn broken<A, O>(error: &io::Error, agent: &Counting<A>, origin: &Counting<O>) -> BodyEnd {
    tracing::debug!(%error, "a relayed connection broke");
    match (agent.failed, origin.failed) {
        (true, false) if agent.ended => BodyEnd::Complete,
        (false, true) if origin.ended => BodyEnd::Complete,
        (true, false) => BodyEnd::ReceiverLeft,
        _ => BodyEnd::SenderFailed,
    }
}

/// A stream that counts what is read from it and remembers whether it ended or failed.
struct Counting<S> {
    inner: S,
    read_bytes: Arc<AtomicU64>,
    failed: bool,
    ended: bool,
}

impl<S> Counting<S> {
    fn new(inner: S) -> (Self, Arc<AtomicU64>) {
        let read_bytes = Arc::new(AtomicU64::new(0));
        (Self { inner, read_bytes: read_bytes.clone(), failed: false, ended: false }, read_bytes)
    }

    fn note<T>(&mut self, done: io::Result<T>) -> Poll<io::Result<T>> {
        self.failed |= done.is_err();
        Poll::Ready(done)
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Counting<S> {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let before = buf.filled().len();
        let done = ready!(Pin::new(&mut self.inner).poll_read(cx, buf));
        let read = buf.filled().len() - before;
        self.read_bytes.fetch_add(read as u64, Ordering::Relaxed);
        self.ended |= done.is_ok() && read == 0;
        self.note(done)
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Counting<S> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        let done = ready!(Pin::new(&mut self.inner).poll_write(cx, buf));
        self.note(done)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let done = ready!(Pin::new(&mut self.inner).poll_flush(cx));
        self.note(done)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let done = ready!(Pin::new(&mut self.inner).poll_shutdown(cx));
        self.note(done)
    }
}
