//! The stream of an agent that speaks HTTP/1.x, as hyper gets to see it: only what was read strictly ([`super::strict`]), and
//! only while the agent keeps to its time. What is refused is answered here, for hyper never hears of it.

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
use tokio_util::io::poll_read_buf;

use super::acknowledge::Acknowledge;
use super::activity::Activity;
use super::departure::Departure;
use super::error::ProxyError;
use super::strict::{Bypass, Checked, Framing, Position, Violation};
use crate::capture::Flushes;

/// What is read at once. A larger head makes the buffer grow.
const READ_BYTES: usize = 8 << 10;
/// How long, and for how many bytes, an agent is heard after its last response, so that a reset does not take that away from
/// it (RFC 9112 9.6).
const LINGER: Duration = Duration::from_secs(1);
/// See [`LINGER`].
const LINGER_BYTES: usize = 1 << 20;

/// How long an agent may take, and how much it may ask at once.
#[derive(Debug, Clone, Copy)]
pub struct AgentLimits {
    /// `proxy.max_header_bytes`
    pub header_bytes: usize,
    /// `proxy.header_timeout_ms`: from a head's first byte to its last.
    pub header: Duration,
    /// `proxy.handshake_timeout_ms`: for a TLS or SOCKS handshake.
    pub handshake: Duration,
    /// `proxy.idle_timeout_ms`: between two requests.
    pub idle: Duration,
    /// `proxy.stall_timeout_ms`: between two pieces of a request's content.
    pub stall: Duration,
    /// `proxy.max_streams`: requests under way at once on one HTTP/2 connection.
    pub streams: u32,
}

/// Tells an agent whose head was refused why: gets the error and the bytes that the head begins with, notes the refusal, and
/// gives the response to write.
pub(super) type Refuse = Box<dyn FnOnce(&ProxyError, &[u8]) -> BytesMut + Send>;

/// The stream.
pub(super) struct Guarded<S> {
    inner: S,
    limits: AgentLimits,
    framing: Framing,
    /// What came and was not let go.
    held: BytesMut,
    /// How many of the first bytes of `held` may go.
    checked: usize,
    watch: ProgressTimer,
    /// What came was acknowledged.
    acknowledged: bool,
    activity: Activity,
    flushes: Flushes,
    /// Taken when something is refused: then nothing more is heard.
    refuse: Option<Refuse>,
    closing: Closing,
    /// The agent sends no more.
    ended: bool,
    end: End,
}

/// How the end of what the agent sends is passed on.
struct End {
    departure: Departure,
    /// Waits for an agent that has ended what it sends to be gone.
    leaving: Option<BoxFuture<'static, ()>>,
    /// It has gone.
    left: bool,
    /// Bytes written to it.
    written: Arc<AtomicU64>,
    /// Not all that was written to it has gone out.
    unflushed: bool,
    /// Who waits for that.
    waiting: Option<Waker>,
    /// Watches that the agent takes what it is sent.
    watch: ProgressTimer,
}

/// How far the end of the stream is.
enum Closing {
    Open,
    /// These bytes of our own are still to be written.
    Refusing(BytesMut),
    /// Our side is to be closed.
    Ending,
    /// Our side is closed; the agent's is heard until it is, too.
    Lingering {
        until: Pin<Box<Sleep>>,
        heard: usize,
    },
    Closed,
}

impl<S> Guarded<S> {
    /// Guards `inner`. `activity` is told of each request that came out of it, `flushes` of what was written to it.
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

    /// The stream itself, and what came of it that nobody has read.
    pub(super) fn into_parts(self) -> (S, BytesMut) {
        (self.inner, self.held)
    }

    /// Nothing more is heard of the agent. What it asked for before is answered first, then it is told why.
    fn poll_refuse(&mut self, error: &ProxyError, cx: &mut Context<'_>) -> Poll<()> {
        ready!(self.activity.poll_answered(self.framing.heads(), cx));
        if let Some(refuse) = self.refuse.take() {
            self.closing = Closing::Refusing(refuse(error, &self.held));
        }
        Poll::Ready(())
    }

    /// Keeps from the library what it would refuse or change; the request gets it back once it is routed. Gives how many of the
    /// first bytes of `held` are checked now.
    fn take_out(&mut self, checked: usize, bypass: &Bypass) -> usize {
        let after = self.held.split_off(checked);
        self.activity.wrote(self.framing.heads(), bypass.verbatim(&self.held));
        self.held = BytesMut::from(&bypass.without(&self.held)[..]);
        let checked = self.held.len();
        self.held.unsplit(after);
        checked
    }

    /// The agent sends no more: ready when that is the end. Between two requests it is; while the agent waits for an answer, it
    /// may have closed only its half of the connection (RFC 9112 9.6).
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

    /// What was written to the agent; an error when it has taken nothing for too long.
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

    /// The agent takes nothing: ready with an error when that is so for too long.
    fn poll_untaken(&mut self, cx: &mut Context<'_>) -> Poll<io::Error> {
        if self.framing.position(0) == Position::Tunnel {
            return Poll::Pending;
        }
        ready!(self.end.watch.poll_over(Position::Content, self.limits.stall, cx));
        self.activity.got_stuck();
        Poll::Ready(io::ErrorKind::TimedOut.into())
    }

    /// What the agent is in the middle of, and how long that may take.
    fn limit(&self, cx: &Context<'_>) -> Option<(Position, Duration)> {
        let position = self.framing.position(self.held.len());
        match position {
            // It waits for us.
            Position::Between if self.activity.poll_answered(self.framing.heads(), cx).is_pending() => None,
            Position::Between => Some((position, self.limits.idle)),
            Position::Head => Some((position, self.limits.header)),
            Position::Content => Some((position, self.limits.stall)),
            Position::Tunnel => None,
        }
    }

    /// Nothing came: has the agent taken too long?
    fn poll_patience(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let Some((position, limit)) = self.limit(cx) else {
            self.watch.rest();
            return Poll::Pending;
        };
        ready!(self.watch.poll_over(position, limit, cx));
        match position {
            Position::Head => self.poll_refuse(&ProxyError::SlowHead { limit }, cx).map(Ok),
            // An idle connection ends without a word.
            Position::Between => Poll::Ready(Ok(())),
            Position::Content | Position::Tunnel => Poll::Ready(Err(io::ErrorKind::TimedOut.into())),
        }
    }

    /// Something came.
    fn progress(&mut self) {
        self.watch.progress();
        self.acknowledged = false;
    }

    /// The rest of a request is still to come, `held` bytes of it not yet let go: its sender may be waiting for an
    /// acknowledgement of what came.
    fn acknowledge(&mut self, held: usize)
    where
        S: Acknowledge,
    {
        let is_underway = matches!(self.framing.position(held), Position::Head | Position::Content);
        if is_underway && !std::mem::replace(&mut self.acknowledged, true) {
            self.inner.acknowledge();
        }
    }

    /// What is content for a good while yet is read to where it goes.
    fn poll_through(&mut self, cx: &mut Context<'_>, out: &mut ReadBuf<'_>) -> Poll<io::Result<()>>
    where
        S: AsyncRead + Unpin,
    {
        let most = usize::try_from(self.framing.unread_bytes()).unwrap_or(usize::MAX);
        let mut window = ReadBuf::new(out.initialize_unfilled_to(most.min(out.remaining())));
        ready!(Pin::new(&mut self.inner).poll_read(cx, &mut window))?;
        let bytes = window.filled().len();
        out.advance(bytes);
        self.ended = bytes == 0;
        self.framing.passed(bytes as u64);
        self.progress();
        Poll::Ready(Ok(()))
    }

    /// Whether the agent may be sending what nobody reads.
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
                        // Content may not be read until its origin is reached: its sender need not wait for that.
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
            this.held.reserve(READ_BYTES);
            match poll_read_buf(Pin::new(&mut this.inner), cx, &mut this.held) {
                Poll::Ready(Ok(0)) => {
                    if !std::mem::replace(&mut this.ended, true) {
                        continue;
                    }
                    // What is left of a head that never ended is for hyper to see, so that the end is not taken for a clean one.
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

    /// Writes what a refused agent is told, closes our side, and hears the agent out.
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
                    this.held.reserve(READ_BYTES);
                    match poll_read_buf(Pin::new(&mut this.inner), cx, &mut this.held) {
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

/// Watches the time. Progress costs it nothing: the timer is looked at, and set again, only when it is over.
struct ProgressTimer {
    position: Option<Position>,
    /// When the agent came to where it is, or went on there.
    since: Instant,
    progressed: bool,
    timer: Option<Pin<Box<Sleep>>>,
}

impl ProgressTimer {
    fn new() -> Self {
        Self { position: None, since: Instant::now(), progressed: false, timer: None }
    }

    /// Something came.
    fn progress(&mut self) {
        self.progressed = true;
    }

    /// Nobody waits for the agent.
    fn rest(&mut self) {
        self.position = None;
    }

    /// Ready when the agent has been where it is for `limit`. In a head, progress does not count: it is to end.
    fn poll_over(&mut self, position: Position, limit: Duration, cx: &mut Context<'_>) -> Poll<()> {
        let goes_on = std::mem::take(&mut self.progressed) && position != Position::Head;
        if self.position != Some(position) || goes_on {
            (self.position, self.since) = (Some(position), Instant::now());
        }
        let due = self.since + limit;
        let timer = self.timer.get_or_insert_with(|| Box::pin(sleep_until(due)));
        if timer.deadline() > due {
            timer.as_mut().reset(due);
        }
        while timer.as_mut().poll(cx).is_ready() {
            if timer.deadline() >= due {
                return Poll::Ready(());
            }
            timer.as_mut().reset(due);
        }
        Poll::Pending
    }
}
