//! The two bodies of a forwarded exchange: of the request, and of the response.

use std::convert::Infallible;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::Bytes;
use http::Version;
use http_body::{Body, Frame, SizeHint};
use http_body_util::Full;
use hyper::body::Incoming;
use tokio::sync::oneshot;
use tokio::task::AbortHandle;
use tokio::time::{Sleep, sleep};

use super::activity::Answering;
use super::error::ProxyError;
use super::message;
use super::upstream::{Responses, StreamPlace, is_malformed, words};
use crate::capture::{CapturedBody, Flushes, Origin, OriginFault, Recorder};

/// How long a body waits for `100 Continue` before it is sent anyway. RFC 9110 10.1.1 says that a client need not wait for ever.
/// curl waits as long.
const CONTINUE_PATIENCE: Duration = Duration::from_secs(1);

/// How long a body's error waits until the bytes before it are written (HTTP/2).
const FLUSH_PATIENCE: Duration = Duration::from_millis(100);

/// Why a body ended early.
#[derive(Debug, thiserror::Error)]
pub(super) enum BodyError {
    /// What the library says.
    #[error(transparent)]
    Http(#[from] hyper::Error),
    /// The sender reset its HTTP/2 stream with `NO_ERROR` before it had ended. The library reports that like an end.
    #[error("the stream was reset before its end")]
    Reset(#[source] h2::Error),
}

/// A received body whose end is never a reset.
struct Received {
    body: Incoming,
    version: Version,
}

impl Received {
    fn poll_frame(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        let polled = ready!(Pin::new(&mut self.body).poll_frame(cx));
        // The library takes a reset with `NO_ERROR` for the end, because a server may send it behind a whole response (RFC 9113 8.1).
        if polled.is_none() && self.version == Version::HTTP_2 && !self.body.is_end_stream() {
            return Poll::Ready(Some(Err(BodyError::Reset(h2::Reason::NO_ERROR.into()))));
        }
        Poll::Ready(polled.map(|frame| frame.map_err(BodyError::Http)))
    }
}

/// The request's body, held back until the origin sends `100 Continue`.
pub(super) struct Gated {
    inner: Received,
    gate: Option<Gate>,
    /// Records how long we wait for the agent.
    recorder: Recorder,
    awaited: bool,
}

struct Gate {
    /// `None`: the origin does not want the body.
    opened: Option<oneshot::Receiver<()>>,
    patience: Pin<Box<Sleep>>,
    gone: Arc<AtomicBool>,
}

/// The other end of a gate.
pub(super) struct Gatekeeper {
    open: oneshot::Sender<()>,
    gone: Arc<AtomicBool>,
}

impl Gatekeeper {
    /// Releases the body.
    pub(super) fn open(self) {
        // Fails only if the body was dropped already.
        let _ = self.open.send(());
    }

    /// A flag that is set when the body is released.
    pub(super) fn watch(&self) -> Arc<AtomicBool> {
        self.gone.clone()
    }
}

impl Gated {
    /// A body that is sent at once. `version`: of the agent's side.
    pub(super) fn open(body: Incoming, version: Version, recorder: Recorder) -> Self {
        Self { inner: Received { body, version }, gate: None, recorder, awaited: false }
    }

    /// A body that waits for the gatekeeper, or until [`CONTINUE_PATIENCE`] is over. If the gatekeeper is dropped, the final
    /// response came first: then the origin does not want the body, and it is never sent.
    pub(super) fn closed(body: Incoming, version: Version, recorder: Recorder) -> (Self, Gatekeeper) {
        let (open, opened) = oneshot::channel();
        let gone = Arc::new(AtomicBool::new(false));
        let gate = Gate { opened: Some(opened), patience: Box::pin(sleep(CONTINUE_PATIENCE)), gone: gone.clone() };
        let gated = Self { gate: Some(gate), ..Self::open(body, version, recorder) };
        (gated, Gatekeeper { open, gone })
    }
}

impl Gate {
    fn poll_open(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let Some(opened) = &mut self.opened else { return Poll::Pending };
        match Pin::new(opened).poll(cx) {
            Poll::Ready(Ok(())) => {}
            Poll::Ready(Err(_)) => {
                self.opened = None;
                return Poll::Pending;
            }
            Poll::Pending => ready!(self.patience.as_mut().poll(cx)),
        }
        self.gone.store(true, Ordering::Release);
        Poll::Ready(())
    }
}

impl Body for Gated {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        if let Some(gate) = &mut self.gate {
            ready!(gate.poll_open(cx));
            self.gate = None;
        }
        let polled = self.inner.poll_frame(cx);
        match (polled.is_pending(), self.awaited) {
            (true, false) => self.recorder.agent_awaited(),
            (false, true) => self.recorder.agent_went_on(),
            _ => {}
        }
        self.awaited = polled.is_pending();
        polled.map_ok(message::sound_frame)
    }

    fn is_end_stream(&self) -> bool {
        self.inner.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.inner.body.size_hint()
    }
}

/// The response's body on its way to the agent.
pub(super) enum AgentBody {
    /// The origin's, and what is dropped with it.
    Origin(CapturedBody<Content>, #[expect(dead_code, reason = "held to be dropped")] Option<DropWithBody>),
    /// A body of ours.
    Made(CapturedBody<Full<Bytes>>),
    /// No body, and nothing to record.
    Empty,
}

/// The content of an origin's response. Its faults are recorded before the record ends.
pub(super) struct Content {
    inner: Received,
    recorder: Recorder,
    origin: Origin,
    /// Tells how the connection ended. Only for a response whose content ends with the connection.
    until_close: Option<Responses>,
}

impl Content {
    /// `version`: of the origin's side.
    pub(super) fn new(
        (body, version): (Incoming, Version),
        recorder: Recorder,
        origin: Origin,
        until_close: Option<Responses>,
    ) -> Self {
        Self { inner: Received { body, version }, recorder, origin, until_close }
    }

    fn ended(&self) {
        if self.until_close.as_ref().is_some_and(Responses::ended_without_close_notify) {
            self.recorder.origin_faults(&[OriginFault::NoCloseNotify]);
        }
    }

    fn failed(&self, error: &BodyError) {
        if let BodyError::Http(error) = error
            && is_malformed(error)
        {
            let (origin, reason) = (self.origin.to_string(), words(error));
            self.recorder.failed(ProxyError::BadContent { origin, reason }.failure());
        }
    }
}

impl Body for Content {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        let polled = ready!(self.inner.poll_frame(cx));
        match &polled {
            None => self.ended(),
            Some(Err(error)) => self.failed(error),
            Some(Ok(_)) => {}
        }
        Poll::Ready(polled)
    }

    fn is_end_stream(&self) -> bool {
        self.inner.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.inner.body.size_hint()
    }
}

/// Lasts as long as a response, and is dropped with it.
#[expect(dead_code, reason = "held to be dropped")]
pub(super) enum DropWithBody {
    /// Ends the connection that the response comes from.
    Connection(AbortOnDrop),
    /// Tells a task that the response has ended.
    Response(oneshot::Sender<()>),
    /// The place of its request on a connection.
    Stream(StreamPlace),
}

/// A response's body. Its request counts as in flight as long as the body lasts.
pub(super) struct ResponseBody {
    body: AgentBody,
    sending: Sending,
    broken: Option<Broken>,
    answering: Answering,
}

/// How a response's body is written, and the flushes of its stream.
pub(super) enum Sending {
    /// The task that polls the body also writes the stream. `until_close`: the end of the connection frames the body.
    Http1 { flushes: Flushes, until_close: bool },
    /// Another task writes the stream.
    Http2(Flushes),
}

/// A body's error. It waits until the bytes before it are written.
struct Broken {
    error: BodyError,
    flushes: u64,
    patience: Option<Pin<Box<Sleep>>>,
}

impl Sending {
    fn broken(&self, error: BodyError) -> Broken {
        match self {
            Self::Http1 { flushes, .. } => Broken { error, flushes: flushes.count() + 1, patience: None },
            // The current flush may have begun before the last bytes. If all is written already, there may be no other flush.
            Self::Http2(flushes) => {
                Broken { error, flushes: flushes.count() + 2, patience: Some(Box::pin(sleep(FLUSH_PATIENCE))) }
            }
        }
    }

    fn poll_written(&self, broken: &mut Broken, cx: &mut Context<'_>) -> Poll<()> {
        let (Self::Http1 { flushes, .. } | Self::Http2(flushes)) = self;
        if flushes.poll_count(broken.flushes, cx).is_ready() {
            return Poll::Ready(());
        }
        broken.patience.as_mut().map_or(Poll::Pending, |patience| patience.as_mut().poll(cx))
    }
}

impl ResponseBody {
    pub(super) fn new(body: AgentBody, sending: Sending, answering: Answering) -> Self {
        Self { body, sending, broken: None, answering }
    }
}

impl Body for ResponseBody {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        // The piece before was written, so hyper asks for the next one.
        self.answering.waits(false);
        if self.broken.is_none() {
            match ready!(Pin::new(&mut self.body).poll_frame(cx)) {
                Some(Err(error)) => {
                    if let Sending::Http1 { until_close: true, .. } = self.sending {
                        self.answering.cut_short();
                    }
                    self.answering.more_follows(false);
                    self.broken = Some(self.sending.broken(error));
                }
                polled => {
                    self.answering.waits(matches!(polled, Some(Ok(_))));
                    let more = matches!(&polled, Some(Ok(frame)) if frame.is_data()) && !self.body.is_end_stream();
                    self.answering.more_follows(more);
                    return Poll::Ready(polled);
                }
            }
        }
        let this = self.get_mut();
        if let Some(broken) = &mut this.broken {
            ready!(this.sending.poll_written(broken, cx));
        }
        Poll::Ready(this.broken.take().map(|broken| Err(broken.error)))
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

/// Ends a task when dropped.
pub(super) struct AbortOnDrop(pub(super) AbortHandle);

impl Drop for AbortOnDrop {
    fn drop(&mut self) {
        self.0.abort();
    }
}

impl Body for AgentBody {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        match self.get_mut() {
            Self::Origin(body, _) => Pin::new(body).poll_frame(cx).map_ok(message::sound_frame),
            Self::Made(body) => {
                let polled = ready!(Pin::new(body).poll_frame(cx));
                Poll::Ready(polled.map(|frame| frame.map_err(|never: Infallible| match never {})))
            }
            Self::Empty => Poll::Ready(None),
        }
    }

    fn is_end_stream(&self) -> bool {
        match self {
            Self::Origin(body, _) => body.is_end_stream(),
            Self::Made(body) => body.is_end_stream(),
            Self::Empty => true,
        }
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            Self::Origin(body, _) => body.size_hint(),
            Self::Made(body) => body.size_hint(),
            Self::Empty => SizeHint::with_exact(0),
        }
    }
}
