//! Joins the small pieces of a response into fewer writes to an HTTP/1.x agent. hyper gets an origin's chunks one by one from another
//! task and would write each of them by itself, although many came in one read.
//!
//! A piece that follows another one within [`BURST`] waits for one turn of the scheduler: until the tasks that are ready have run. If
//! hyper has more to write by then, the larger write waits again, up to [`JOINED_BYTES`] (and hyper collects at most 16 pieces).
//! Otherwise it goes at once. No timer is involved, and nothing is stored here: hyper keeps the bytes, as it does while the agent's
//! connection takes none.

use std::io::{self, IoSlice};
use std::pin::{Pin, pin};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::task::yield_now;
use tokio::time::Instant;

use super::activity::Activity;

/// A write of this size or more does not wait.
const JOINED_BYTES: usize = 16 << 10;
/// Pieces that are further apart are not joined. A turn costs more than it saves if it brings nothing.
const BURST: Duration = Duration::from_millis(1);

/// The stream of an HTTP/1.x agent. Writes to it wait while more of a response's body may be ready.
pub(super) struct Joined<S> {
    inner: S,
    activity: Activity,
    /// When the last piece came.
    last_piece: Option<Instant>,
    /// How many bytes the waiting write has.
    waiting_bytes: usize,
    /// The bytes that waited are being written.
    is_writing: bool,
}

impl<S> Joined<S> {
    /// `activity`: that of the responses which are written to `inner`.
    pub(super) fn new(inner: S, activity: Activity) -> Self {
        Self { inner, activity, last_piece: None, waiting_bytes: 0, is_writing: false }
    }

    pub(super) fn into_inner(self) -> S {
        self.inner
    }

    /// Ready when a write of this size may go.
    fn poll_turn(&mut self, bytes: usize, cx: &mut Context<'_>) -> Poll<()> {
        let has_new_piece = !self.is_writing && bytes > self.waiting_bytes && self.activity.more_follows();
        if has_new_piece && self.is_burst() && bytes < JOINED_BYTES {
            self.waiting_bytes = bytes;
            // Wakes this task when the other tasks that are ready have run, such as the one that reads from the origin.
            ready!(pin!(yield_now()).poll(cx));
        }
        self.is_writing = true;
        Poll::Ready(())
    }

    /// A piece has come. Whether it came soon after the one before.
    fn is_burst(&mut self) -> bool {
        let now = Instant::now();
        self.last_piece.replace(now).is_some_and(|last| now.duration_since(last) < BURST)
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Joined<S> {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_read(cx, buf)
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Joined<S> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        ready!(self.poll_turn(buf.len(), cx));
        Pin::new(&mut self.inner).poll_write(cx, buf)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        ready!(self.poll_turn(bufs.iter().map(|buf| buf.len()).sum(), cx));
        Pin::new(&mut self.inner).poll_write_vectored(cx, bufs)
    }

    fn is_write_vectored(&self) -> bool {
        self.inner.is_write_vectored()
    }

    /// hyper flushes when it has written all it had.
    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.waiting_bytes = 0;
        self.is_writing = false;
        Pin::new(&mut self.inner).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_shutdown(cx)
    }
}

#[cfg(test)]
mod tests {
    use futures_util::poll;
    use tokio::io::AsyncWriteExt;
    use tokio::time::advance;

    use super::*;
    use crate::proxy::activity::Answering;

    /// Takes at most so many bytes in a write, and keeps the writes.
    struct Socket {
        most: usize,
        writes: Vec<usize>,
    }

    impl AsyncWrite for Socket {
        fn poll_write(mut self: Pin<&mut Self>, _: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
            let bytes = buf.len().min(self.most);
            self.writes.push(bytes);
            Poll::Ready(Ok(bytes))
        }

        fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
            Poll::Ready(Ok(()))
        }

        fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
            Poll::Ready(Ok(()))
        }
    }

    fn joined(most: usize) -> (Joined<Socket>, Answering) {
        let activity = Activity::new();
        let mut answering = activity.answering();
        answering.more_follows(true);
        let mut stream = Joined::new(Socket { most, writes: Vec::new() }, activity);
        stream.last_piece = Some(Instant::now());
        (stream, answering)
    }

    async fn waits(stream: &mut Joined<Socket>, bytes: usize) -> bool {
        poll!(Box::pin(stream.write(&vec![0; bytes]))).is_pending()
    }

    #[tokio::test(start_paused = true)]
    async fn pieces_are_joined_while_each_turn_brings_more() {
        let (mut stream, _answering) = joined(usize::MAX);
        for bytes in [10, 20, 30] {
            assert!(waits(&mut stream, bytes).await);
        }
        assert!(!waits(&mut stream, 30).await, "the turn has brought nothing");
        stream.flush().await.unwrap();
        assert_eq!(stream.inner.writes, [30]);
        assert!(waits(&mut stream, 5).await, "the next piece");
    }

    #[tokio::test(start_paused = true)]
    async fn the_last_piece_of_a_burst_goes_after_one_turn() {
        let (mut stream, _answering) = joined(usize::MAX);
        let (began, other) = (Instant::now(), tokio::spawn(async {}));
        stream.write_all(b"data: 1\n\n").await.unwrap();
        assert!(other.is_finished(), "what was ready has run");
        assert_eq!(stream.inner.writes, [9]);
        assert_eq!(began.elapsed(), Duration::ZERO);
    }

    #[tokio::test(start_paused = true)]
    async fn pieces_that_are_apart_go_at_once() {
        let (mut stream, _answering) = joined(usize::MAX);
        for _ in 0..3 {
            advance(BURST).await;
            assert!(!waits(&mut stream, 10).await);
            stream.flush().await.unwrap();
        }
        assert!(waits(&mut stream, 10).await);
    }

    #[tokio::test(start_paused = true)]
    async fn a_delayed_write_is_not_delayed_again_after_a_partial_write() {
        let (mut stream, _answering) = joined(4);
        assert!(waits(&mut stream, 10).await);
        for left in [10, 6, 2] {
            assert!(!waits(&mut stream, left).await);
        }
        assert_eq!(stream.inner.writes, [4, 4, 2]);
    }

    #[tokio::test(start_paused = true)]
    async fn heads_ends_and_large_pieces_go_at_once() {
        let (mut stream, mut answering) = joined(usize::MAX);
        assert!(!waits(&mut stream, JOINED_BYTES).await);
        stream.flush().await.unwrap();
        assert!(waits(&mut stream, 10).await);
        answering.more_follows(false);
        assert!(!waits(&mut stream, 15).await, "the last piece");
        stream.flush().await.unwrap();
        assert!(!waits(&mut stream, 15).await, "the next head");
        stream.flush().await.unwrap();
        answering.more_follows(true);
        drop(answering);
        assert!(!waits(&mut stream, 15).await, "the body is dropped");
    }
}
