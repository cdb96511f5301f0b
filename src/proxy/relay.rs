//! Relays bytes both ways, unchanged: for passthrough hosts, unknown protocols and upgraded connections. The bytes are counted. Those
//! of a WebSocket are also copied for its reader.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf, copy_bidirectional_with_sizes};
use tokio_util::sync::CancellationToken;

use crate::capture::{BodyEnd, Passed, Recorder, Side, Tap};
use crate::websocket::Peer;

const BUFFER_BYTES: usize = 16 << 10;

/// Relays until both sides are closed, or until `cut`. A half-closed connection continues in the other direction.
pub(super) async fn relay<A, O>(agent: A, origin: O, recorder: &Recorder, cut: &CancellationToken)
where
    A: AsyncRead + AsyncWrite + Unpin,
    O: AsyncRead + AsyncWrite + Unpin,
{
    let (from_agent, from_origin) = relay_both(RelayedIo::new(agent, None), RelayedIo::new(origin, None), cut).await;
    recorder.counted(Side::Request, from_agent.bytes, from_agent.end);
    recorder.counted(Side::Response, from_origin.bytes, from_origin.end);
}

/// Relays like [`relay`], and copies the bytes of each side to its tap. Returns the outcome of the agent's side, then of the
/// origin's.
pub(super) async fn relay_copied<A, O>(
    agent: A,
    agent_tap: Tap<Peer>,
    origin: O,
    origin_tap: Tap<Peer>,
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

/// Which side broke the connection. The side whose read or write fails has reset it. A side that ended its stream first has closed
/// its connection normally.
fn broken<A, O>(error: &io::Error, agent: &RelayedIo<A>, origin: &RelayedIo<O>) -> BodyEnd {
    tracing::debug!(%error, "a relayed connection broke");
    match (agent.failed, origin.failed) {
        (true, false) if agent.ended => BodyEnd::Complete,
        (false, true) if origin.ended => BodyEnd::Complete,
        (true, false) => BodyEnd::ReceiverLeft,
        _ => BodyEnd::SenderFailed,
    }
}

/// A stream that counts the bytes read from it, copies them to its tap, and remembers whether it ended or failed.
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
        // TLS that ends without `close_notify` counts as ended (from the agent, or to the next proxy).
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
