//! The stream of an HTTP/1.x agent, as hyper sees it. hyper gets only bytes that the strict reader accepted ([`super::strict`]), and
//! only while the agent keeps the time limits. Refused requests are answered here, because hyper never sees them.

use std::io::{self, IoSlice};
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll, Waker, ready};
use std::time::Duration;

use bytes::{Buf, BytesMut};
use futures_util::future::BoxFuture;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::{Instant, Sleep, sleep_until};

use super::acknowledge::Acknowledge;
use super::activity::Activity;
use super::agent_limits::AgentLimits;
use super::content::poll_read_content;
use super::departure::Departure;
use super::error::ProxyError;
use super::held::{READ_BYTES, poll_read_held};
use super::progress_timer::ProgressTimer;
use super::strict::{Bypass, Checked, Framing, Position, Violation};
use crate::capture::Flushes;

/// How long we read from an agent after its last response. Without this, a reset could destroy the response before the agent reads
/// it (RFC 9112 9.6).
const LINGER: Duration = Duration::from_secs(1);
/// How many bytes we read at most during [`LINGER`].
const LINGER_BYTES: usize = 1 << 20;

/// Records a refused head and returns the response to write. Gets the error, and the bytes that the head begins with.
pub(super) type Refuse = Box<dyn FnOnce(&ProxyError, &[u8]) -> BytesMut + Send>;

/// The stream of an HTTP/1.x agent.
pub(super) struct Guarded<S> {
    inner: S,
    limits: AgentLimits,
    framing: Framing,
    /// Bytes received, but not passed on yet.
    held: BytesMut,
    /// How many of the first bytes of `held` may be passed on.
    checked: usize,
    watch: ProgressTimer,
    /// All received bytes were acknowledged.
    acknowledged: bool,
    activity: Activity,
    flushes: Flushes,
    /// Taken when something is refused. Then nothing more is read.
    refuse: Option<Refuse>,
    closing: Closing,
    /// The agent has closed its side.
    ended: bool,
    end: End,
}

/// How the end of the agent's side is passed on.
struct End {
    departure: Departure,
    /// Waits until an agent that closed its side has left.
    leaving: Option<BoxFuture<'static, ()>>,
    /// The agent has left.
    left: bool,
    /// Bytes written to it.
    written: Arc<AtomicU64>,
    /// Some written bytes are not flushed yet.
    unflushed: bool,
    /// Woken by the flush.
    waiting: Option<Waker>,
    /// Checks that the agent reads what it is sent.
    watch: ProgressTimer,
}

/// How far the stream is closed.
enum Closing {
    Open,
    /// These bytes of an error response must still be written.
    Refusing(BytesMut),
    /// Our side must be closed.
    Ending,
    /// Our side is closed. We read until the agent's side is closed, too.
    Lingering {
        until: Pin<Box<Sleep>>,
        heard: usize,
    },
    Closed,
}

impl<S> Guarded<S> {
    /// Guards `inner`. `activity` counts its requests, `flushes` counts the flushes of what is written to it.
    pub(super) fn new(
        inner: S,
        limits: AgentLimits,
        activity: Activity,
        flushes: Flushes,
        refuse: Refuse,
        departure: Departure,
    ) -> Self {
        let end = End {
            departure,
            leaving: None,
            left: false,
            written: Arc::default(),
            unflushed: false,
            waiting: None,
            watch: ProgressTimer::new(),
        };
        Self {
            inner,
            limits,
            framing: Framing::new(limits.header_bytes),
            held: BytesMut::new(),
            checked: 0,
            watch: ProgressTimer::new(),
            acknowledged: false,
            activity,
            flushes,
            refuse: Some(refuse),
            closing: Closing::Open,
            ended: false,
            end,
        }
    }

    /// The stream itself, and the received bytes that were not passed on.
    pub(super) fn into_parts(self) -> (S, BytesMut) {
        (self.inner, self.held)
    }

    /// Refuses the agent's next request, and reads nothing more. Earlier requests are answered first.
    fn poll_refuse(&mut self, error: &ProxyError, cx: &mut Context<'_>) -> Poll<()> {
        ready!(self.activity.poll_answered(self.framing.heads(), cx));
        if let Some(refuse) = self.refuse.take() {
            self.closing = Closing::Refusing(refuse(error, &self.held));
        }
        Poll::Ready(())
    }

    /// Takes out the parts that bypass the library. The request gets them back when it is routed. Returns how many of the first bytes
    /// of `held` may be passed on now.
    fn take_out(&mut self, checked: usize, bypass: &Bypass) -> usize {
        let after = self.held.split_off(checked);
        self.activity.wrote(self.framing.heads(), bypass.verbatim(&self.held));
        self.held = BytesMut::from(&bypass.without(&self.held)[..]);
        let checked = self.held.len();
        self.held.unsplit(after);
        checked
    }

    /// The agent has closed its side. Ready when this ends the connection. Between two requests it does. While the agent waits for a
    /// response, it may have closed only its half (RFC 9112 9.6).
    fn poll_end(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        if self.end.left || self.framing.position(self.held.len()) != Position::Between {
            return Poll::Ready(());
        }
        if self.activity.poll_answered(self.framing.heads(), cx).is_ready() {
            if !self.end.unflushed {
                return Poll::Ready(());
            }
            self.end.waiting = Some(cx.waker().clone());
        }
        let End { departure, leaving, written, .. } = &mut self.end;
        ready!(leaving.get_or_insert_with(|| departure(written.clone())).as_mut().poll(cx));
        self.end.left = true;
        Poll::Ready(())
    }

    /// Notes a write to the agent. An error if the agent read nothing for too long.
    fn wrote(&mut self, written: Poll<io::Result<usize>>, cx: &mut Context<'_>) -> Poll<io::Result<usize>> {
        self.end.unflushed = true;
        match written {
            Poll::Ready(Ok(bytes)) => {
                self.end.written.fetch_add(bytes as u64, Ordering::Relaxed);
                self.end.watch.rest();
            }
            Poll::Pending => return self.poll_untaken(cx).map(Err),
            Poll::Ready(Err(_)) => {}
        }
        written
    }

    /// The agent does not read. Ready with an error when it has not read for too long.
    fn poll_untaken(&mut self, cx: &mut Context<'_>) -> Poll<io::Error> {
        if self.framing.position(0) == Position::Tunnel {
            return Poll::Pending;
        }
        ready!(self.end.watch.poll_over(Position::Content, self.limits.stall, cx));
        self.activity.got_stuck();
        Poll::Ready(io::ErrorKind::TimedOut.into())
    }

    /// The position of the agent, and how long it may stay there.
    fn limit(&self, cx: &Context<'_>) -> Option<(Position, Duration)> {
        let position = self.framing.position(self.held.len());
        match position {
            // The agent waits for us.
            Position::Between if self.activity.poll_answered(self.framing.heads(), cx).is_pending() => None,
            Position::Between => Some((position, self.limits.idle)),
            Position::Head => Some((position, self.limits.header)),
            Position::Content => Some((position, self.limits.stall)),
            Position::Tunnel => None,
        }
    }

    /// Nothing came. Checks whether the agent has taken too long.
    fn poll_patience(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let Some((position, limit)) = self.limit(cx) else {
            self.watch.rest();
            return Poll::Pending;
        };
        ready!(self.watch.poll_over(position, limit, cx));
        match position {
            Position::Head => self.poll_refuse(&ProxyError::SlowHead { limit }, cx).map(Ok),
            // An idle connection ends without a response.
            Position::Between => Poll::Ready(Ok(())),
            Position::Content | Position::Tunnel => Poll::Ready(Err(io::ErrorKind::TimedOut.into())),
        }
    }

    /// Bytes came.
    fn progress(&mut self) {
        self.watch.progress();
        self.acknowledged = false;
    }

    /// Acknowledges the received part of a request, because its sender may wait for that before it sends the rest. `held`: received
    /// bytes that were not passed on.
    fn acknowledge(&mut self, held: usize)
    where
        S: Acknowledge,
    {
        let is_underway = matches!(self.framing.position(held), Position::Head | Position::Content);
        if is_underway && !std::mem::replace(&mut self.acknowledged, true) {
            self.inner.acknowledge();
        }
    }

    /// Reads content directly into the reader's buffer.
    fn poll_through(&mut self, cx: &mut Context<'_>, out: &mut ReadBuf<'_>) -> Poll<io::Result<()>>
    where
        S: AsyncRead + Unpin,
    {
        let most_bytes = usize::try_from(self.framing.unread_bytes()).unwrap_or(usize::MAX);
        let bytes = ready!(poll_read_content(&mut self.inner, cx, out, most_bytes))?;
        self.ended = bytes == 0;
        self.framing.passed(bytes as u64);
        self.progress();
        Poll::Ready(Ok(()))
    }

    /// Whether the agent may be sending bytes that nobody reads.
    fn may_be_sending(&self) -> bool {
        let idle = self.framing.position(self.held.len()) == Position::Between
            && self.activity.answered() >= self.framing.heads();
        !self.ended && self.framing.position(0) != Position::Tunnel && !(idle && self.refuse.is_some())
    }
}

impl<S: AsyncRead + AsyncWrite + Acknowledge + Unpin> AsyncRead for Guarded<S> {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, out: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        loop {
            if this.checked > 0 {
                let bytes = this.checked.min(out.remaining());
                out.put_slice(&this.held[..bytes]);
                this.held.advance(bytes);
                this.checked -= bytes;
                return Poll::Ready(Ok(()));
            }
            if this.refuse.is_none() {
                return Poll::Ready(Ok(()));
            }
            if this.activity.switched() {
                this.framing.tunnel();
            }
            match this.framing.check(&this.held) {
                Ok(Checked { bytes: 0, .. }) => {}
                Ok(Checked { bytes, bypass }) => {
                    if bytes == this.held.len() {
                        // hyper may not read the content before the origin is connected. The agent need not wait for that.
                        this.acknowledge(0);
                    }
                    this.checked = bypass.map_or(bytes, |bypass| this.take_out(bytes, &bypass));
                    continue;
                }
                Err(Violation::Malformed(reason)) if this.framing.position(0) == Position::Content => {
                    return Poll::Ready(Err(io::Error::new(io::ErrorKind::InvalidData, reason)));
                }
                Err(violation) => {
                    ready!(this.poll_refuse(&violation.into(), cx));
                    return Poll::Ready(Ok(()));
                }
            }
            if this.held.is_empty() && this.framing.unread_bytes() >= READ_BYTES as u64 {
                return match this.poll_through(cx, out) {
                    Poll::Pending => {
                        this.acknowledge(0);
                        this.poll_patience(cx)
                    }
                    ready => ready,
                };
            }
            if this.ended {
                ready!(this.poll_end(cx));
            }
            match poll_read_held(&mut this.inner, cx, &mut this.held) {
                Poll::Ready(Ok(0)) => {
                    if !std::mem::replace(&mut this.ended, true) {
                        continue;
                    }
                    // hyper gets the rest of an incomplete head, so that it does not take the end for a clean one.
                    let left = this.held.split();
                    let bytes = left.len().min(out.remaining());
                    out.put_slice(&left[..bytes]);
                    return Poll::Ready(Ok(()));
                }
                Poll::Ready(Ok(_)) => this.progress(),
                Poll::Ready(Err(error)) => return Poll::Ready(Err(error)),
                Poll::Pending => {
                    this.acknowledge(this.held.len());
                    return this.poll_patience(cx);
                }
            }
        }
    }
}

impl<S: AsyncRead + AsyncWrite + Acknowledge + Unpin> AsyncWrite for Guarded<S> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.inner).poll_write(cx, buf);
        self.wrote(written, cx)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.inner).poll_write_vectored(cx, bufs);
        self.wrote(written, cx)
    }

    fn is_write_vectored(&self) -> bool {
        self.inner.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match Pin::new(&mut self.inner).poll_flush(cx) {
            Poll::Pending => return self.poll_untaken(cx).map(Err),
            Poll::Ready(flushed) => flushed?,
        }
        if self.activity.is_cut_short() {
            self.inner.reset_at_end();
        }
        self.flushes.note();
        self.end.watch.rest();
        self.end.unflushed = false;
        if let Some(waiting) = self.end.waiting.take() {
            waiting.wake();
        }
        Poll::Ready(Ok(()))
    }

    /// Writes the error response, if there is one. Then closes our side and reads until the agent has closed its side.
    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        loop {
            match &mut this.closing {
                Closing::Open => this.closing = Closing::Ending,
                Closing::Refusing(words) => {
                    while !words.is_empty() {
                        let written = ready!(Pin::new(&mut this.inner).poll_write(cx, words))?;
                        words.advance(written);
                        if written == 0 {
                            return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
                        }
                    }
                    this.closing = Closing::Ending;
                }
                Closing::Ending => {
                    ready!(Pin::new(&mut this.inner).poll_shutdown(cx))?;
                    this.closing = match this.may_be_sending() {
                        true => {
                            Closing::Lingering { until: Box::pin(sleep_until(Instant::now() + LINGER)), heard: 0 }
                        }
                        false => Closing::Closed,
                    };
                }
                Closing::Lingering { until, heard } => {
                    this.held.clear();
                    match poll_read_held(&mut this.inner, cx, &mut this.held) {
                        Poll::Ready(Ok(bytes @ 1..)) if *heard < LINGER_BYTES => *heard += bytes,
                        Poll::Ready(_) => this.closing = Closing::Closed,
                        Poll::Pending => {
                            ready!(until.as_mut().poll(cx));
                            this.closing = Closing::Closed;
                        }
                    }
                }
                Closing::Closed => return Poll::Ready(Ok(())),
            }
        }
    }
}
