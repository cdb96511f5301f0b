//! The body wrapper: passes frames on untouched, shows them to the keeper, and tells how the body ended exactly once.

use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};

use super::BodyEnd;
use super::keeper::Keeper;
use super::recorder::{Recorder, Side};

/// A body that is recorded while it passes.
pub struct CapturedBody<B> {
    inner: B,
    tap: Option<Tap>,
}

/// Where what passes is noted. Taken out at the end, so that it ends once.
struct Tap {
    recorder: Recorder,
    side: Side,
    keeper: Keeper,
}

impl<B: Body> CapturedBody<B> {
    /// Records `inner` as one side of the exchange.
    pub fn new(inner: B, recorder: Recorder, side: Side) -> Self {
        let keeper = recorder.recording().keeper();
        let mut body = Self { inner, tap: Some(Tap { recorder, side, keeper }) };
        if body.inner.is_end_stream() {
            body.end(BodyEnd::Complete);
        }
        body
    }
}

impl<B> CapturedBody<B> {
    fn end(&mut self, end: BodyEnd) {
        if let Some(Tap { recorder, side, keeper }) = self.tap.take() {
            recorder.body_ended(side, keeper.finish(), end);
        }
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
        let polled = ready!(Pin::new(&mut self.inner).poll_frame(cx));
        match &polled {
            Some(Ok(frame)) => {
                if let Some(tap) = &mut self.tap {
                    if let Some(data) = frame.data_ref() {
                        tap.keeper.see(data);
                    } else if let Some(trailers) = frame.trailers_ref() {
                        tap.recorder.trailers(tap.side, trailers);
                    }
                }
                // A body of known length is not polled again after its last byte.
                if self.inner.is_end_stream() {
                    self.end(BodyEnd::Complete);
                }
            }
            Some(Err(_)) => self.end(BodyEnd::SenderFailed),
            None => self.end(BodyEnd::Complete),
        }
        Poll::Ready(polled)
    }

    fn is_end_stream(&self) -> bool {
        self.inner.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.inner.size_hint()
    }
}

impl<B> Drop for CapturedBody<B> {
    fn drop(&mut self) {
        self.end(BodyEnd::ReceiverLeft);
    }
}
