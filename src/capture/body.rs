//! The body wrapper: passes frames on unchanged, shows them to the keeper, and reports the end of the body exactly
//! once.

use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Instant;

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use tokio::sync::oneshot;

use super::arrivals::Arrivals;
use super::delivery::Delivery;
use super::keeper::{Keeper, Passed};
use super::model::ModelTap;
use super::recorder::Recorder;
use super::{BodyEnd, Side};

/// A body that is recorded while it passes.
pub struct CapturedBody<B> {
    inner: B,
    tap: Option<Tap>,
    held: Option<Held>,
}

/// The end of a response that waits until its event is stored: its last frame, or `None` if that has passed.
struct Held {
    end: Option<Frame<Bytes>>,
    stored: oneshot::Receiver<()>,
}

/// Where passing frames are recorded. Taken out at the end, so that the body ends once.
struct Tap {
    recorder: Recorder,
    side: Side,
    keeper: Keeper,
    /// For a model call: copies the body for its reader.
    model: Option<ModelTap>,
    /// For an event stream: when its pieces arrived.
    arrivals: Option<Arrivals>,
    /// For a response: how much of it was written to the agent.
    delivery: Option<Delivery>,
}

impl Tap {
    /// Records a piece. The reader of a model call sees a response at once, because its times matter. It sees a request in the blocks
    /// that are kept of it: requests are large, and need no second copy.
    fn see(&mut self, piece: &Bytes) {
        if self.model.is_none() && self.arrivals.is_none() {
            return self.keeper.see(piece);
        }
        let now = Instant::now();
        match (&self.model, self.side) {
            (Some(model), Side::Request) => {
                self.keeper.see_and_show(piece, &mut |passed| hand_on(model, passed, now))
            }
            (model, _) => {
                self.keeper.see(piece);
                if let Some(model) = model {
                    model.see_at(piece, now);
                }
            }
        }
        if let Some(arrivals) = &mut self.arrivals {
            arrivals.note(self.keeper.total_bytes(), now);
        }
    }
}

fn hand_on(model: &ModelTap, passed: Passed<'_>, at: Instant) {
    match passed {
        Passed::Kept(block) => model.share(block, at),
        Passed::Copied(bytes) => model.see_at(bytes, at),
    }
}

impl<B: Body> CapturedBody<B> {
    /// Records `inner` as one side of the exchange.
    pub fn new(inner: B, recorder: Recorder, side: Side) -> Self {
        let keeper = recorder.keeper(side, inner.size_hint().exact());
        let model = recorder.tap(side);
        let arrivals = if side == Side::Response { recorder.arrivals() } else { None };
        let delivery = (side == Side::Response && model.is_some()).then(|| Delivery::new(recorder.flushes()));
        let mut body =
            Self { inner, tap: Some(Tap { recorder, side, keeper, model, arrivals, delivery }), held: None };
        if body.inner.is_end_stream() {
            body.end(BodyEnd::Complete);
        }
        body
    }
}

impl<B> CapturedBody<B> {
    fn end(&mut self, end: BodyEnd) {
        if let Some(Tap { recorder, side, mut keeper, model, arrivals, delivery }) = self.tap.take() {
            if let Some(mut delivery) = delivery {
                recorder.delivered(delivery.delivered_bytes());
            }
            if let Some(arrivals) = arrivals {
                recorder.arrived(&arrivals);
            }
            if let (Side::Request, Some(model)) = (side, &model) {
                let now = Instant::now();
                keeper.show_the_rest(&mut |passed| hand_on(model, passed, now));
            }
            recorder.body_ended(side, keeper.finish(), end);
            if let Some(model) = model {
                model.ended(end == BodyEnd::Complete);
            }
        }
    }

    /// Ends the body. If ends are held back, returns what the end of a response must wait for.
    fn complete(&mut self) -> Option<oneshot::Receiver<()>> {
        let holds = |tap: &&Tap| tap.side == Side::Response && tap.recorder.recording().holds_ends();
        let held = self.tap.as_ref().filter(holds).map(|tap| tap.recorder.clone());
        self.end(BodyEnd::Complete);
        held?.hand_off()
    }
}

impl<B> Body for CapturedBody<B>
where
    B: Body<Data = Bytes> + Unpin,
{
    type Data = Bytes;
    type Error = B::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Self::Data>, Self::Error>>> {
        if let Some(held) = &mut self.held {
            // An error means that the event will never be stored. Then nothing is held back any longer.
            let _ = ready!(Pin::new(&mut held.stored).poll(cx));
            return Poll::Ready(self.held.take().and_then(|held| held.end).map(Ok));
        }
        if let Some(delivery) = self.tap.as_mut().and_then(|tap| tap.delivery.as_mut()) {
            delivery.polled();
        }
        let polled = ready!(Pin::new(&mut self.inner).poll_frame(cx));
        let stored = match &polled {
            Some(Ok(frame)) => {
                if let Some(tap) = &mut self.tap {
                    if let Some(data) = frame.data_ref() {
                        tap.see(data);
                        if let Some(delivery) = &mut tap.delivery {
                            delivery.handed(tap.keeper.total_bytes());
                        }
                        if tap.recorder.wants_body() {
                            if let Some(arrivals) = &tap.arrivals {
                                tap.recorder.arrived(arrivals);
                            }
                            tap.recorder.body_so_far(tap.side, tap.keeper.so_far());
                        }
                    } else if let Some(trailers) = frame.trailers_ref() {
                        tap.recorder.trailers(tap.side, trailers);
                    }
                }
                // A body of known length is not polled again after its last byte.
                if self.inner.is_end_stream() { self.complete() } else { None }
            }
            Some(Err(_)) => {
                self.end(BodyEnd::SenderFailed);
                None
            }
            None => self.complete(),
        };
        match (stored, polled) {
            (Some(stored), Some(Ok(end))) => self.held = Some(Held { end: Some(end), stored }),
            (Some(stored), None) => self.held = Some(Held { end: None, stored }),
            (_, polled) => return Poll::Ready(polled),
        }
        self.poll_frame(cx)
    }

    fn is_end_stream(&self) -> bool {
        self.held.is_none() && self.inner.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        match &self.held {
            Some(held) => {
                SizeHint::with_exact(held.end.as_ref().and_then(Frame::data_ref).map_or(0, |d| d.len() as u64))
            }
            None => self.inner.size_hint(),
        }
    }
}

impl<B> Drop for CapturedBody<B> {
    fn drop(&mut self) {
        self.end(BodyEnd::ReceiverLeft);
    }
}
