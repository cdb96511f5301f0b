//! Bytes both ways, unchanged: for passthrough hosts, unknown protocols and upgraded connections. Counted, and copied only
//! for who reads them beside (a WebSocket).

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf, copy_bidirectional_with_sizes};
use tokio_util::sync::CancellationToken;

use crate::capture::{BodyEnd, Passed, Recorder, Side, Tap};
use crate::websocket::Peer;

const BUFFER_BYTES: usize = 16 << 10;

/// Relays until both sides are done (a half-closed connection goes on the other way), or until `cut`.
pub(super) async fn relay<A, O>(agent: A, origin: O, recorder: &Recorder, cut: &CancellationToken)
where
    A: AsyncRead + AsyncWrite + Unpin,
    O: AsyncRead + AsyncWrite + Unpin,
{
    let (from_agent, from_origin) = relay_both(RelayedIo::new(agent, None), RelayedIo::new(origin, None), cut).await;
    recorder.counted(Side::Request, from_agent.bytes, from_agent.end);
    recorder.counted(Side::Response, from_origin.bytes, from_origin.end);
}

/// The same, with a copy of all that passes for each side's tap. Tells how it went, the agent's side first.
pub(super) async fn relay_copied<A, O>(
    (agent, agent_tap): (A, Tap<Peer>),
    (origin, origin_tap): (O, Tap<Peer>),
    cut: &CancellationToken,
) -> (Passed, Passed)
where
    A: AsyncRead + AsyncWrite + Unpin,
    O: AsyncRead + AsyncWrite + Unpin,
{
    relay_both(RelayedIo::new(agent, Some(agent_tap)), RelayedIo::new(origin, Some(origin_tap)), cut).await
}

async fn relay_both<A, O>(
    mut agent: RelayedIo<A>,
    mut origin: RelayedIo<O>,
    cut: &CancellationToken,
) -> (Passed, Passed)
where
    A: AsyncRead + AsyncWrite + Unpin,
    O: AsyncRead + AsyncWrite + Unpin,
{
    let end = tokio::select! {
        copied = copy_bidirectional_with_sizes(&mut agent, &mut origin, BUFFER_BYTES, BUFFER_BYTES) => match copied {
            Ok(_) => BodyEnd::Complete,
            Err(error) => broken(&error, &agent, &origin),
        },
        () = cut.cancelled() => BodyEnd::ShutDown,
    };
    let request_end = if end == BodyEnd::ShutDown { end } else { BodyEnd::Complete };
    (Passed { bytes: agent.read_bytes, end: request_end }, Passed { bytes: origin.read_bytes, end })
}

/// Whose side broke: a reset is seen by the one that reads or writes it. A side that had ended what it sends before it takes
/// no more has closed its connection, as any may.
fn broken<A, O>(error: &io::Error, agent: &RelayedIo<A>, origin: &RelayedIo<O>) -> BodyEnd {
    tracing::debug!(%error, "a relayed connection broke");
    match (agent.failed, origin.failed) {
        (true, false) if agent.ended => BodyEnd::Complete,
        (false, true) if origin.ended => BodyEnd::Complete,
        (true, false) => BodyEnd::ReceiverLeft,
        _ => BodyEnd::SenderFailed,
    }
}

/// A stream that counts what is read from it, shows it to its tap, and remembers whether it ended or failed.
struct RelayedIo<S> {
    inner: S,
    tap: Option<Tap<Peer>>,
    read_bytes: u64,
    failed: bool,
    ended: bool,
}

impl<S> RelayedIo<S> {
    fn new(inner: S, tap: Option<Tap<Peer>>) -> Self {
        Self { inner, tap, read_bytes: 0, failed: false, ended: false }
    }

    fn note<T>(&mut self, done: io::Result<T>) -> Poll<io::Result<T>> {
        self.failed |= done.is_err();
        Poll::Ready(done)
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for RelayedIo<S> {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let before = buf.filled().len();
        let done = ready!(Pin::new(&mut self.inner).poll_read(cx, buf));
        let read = buf.filled().len() - before;
        // A TLS session that ends without `close_notify` (that of the agent, or with the next proxy) has ended.
        let done =
            done.or_else(|error| if error.kind() == io::ErrorKind::UnexpectedEof { Ok(()) } else { Err(error) });
        self.read_bytes += read as u64;
        if let Some(tap) = &self.tap {
            tap.see(&buf.filled()[before..]);
        }
        self.ended |= done.is_ok() && read == 0;
        self.note(done)
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for RelayedIo<S> {
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
