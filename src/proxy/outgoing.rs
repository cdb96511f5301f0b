//! The request's body on its way to the origin. It can be taken back and sent again as long as nothing was sent, or while the sent
//! pieces are still remembered.

use std::collections::VecDeque;
use std::pin::Pin;
use std::sync::{Arc, Weak};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use parking_lot::Mutex;
use tokio::time::sleep;

use super::body::Gated;
use crate::capture::CapturedBody;

/// How much of one body is remembered at most, for sending it again.
pub(super) const REMEMBERED_MAX_BYTES: u64 = 64 << 10;

type SharedState<B> = Arc<Mutex<State<B>>>;

/// The body that the connection to the origin reads.
pub(super) type OriginBody = Outgoing<CapturedBody<Gated>>;

/// A body that can be taken back.
pub(super) struct Outgoing<B>(SharedState<B>);

/// The other handle on an [`Outgoing`] body.
pub(super) struct Recall<B>(SharedState<B>);

/// Observes an [`Outgoing`] body without keeping it alive.
pub(super) struct Upload<B>(Weak<Mutex<State<B>>>);

struct State<B> {
    /// `None`: the body was taken back.
    inner: Option<B>,
    /// Pieces to send again before the rest of `inner`.
    again: VecDeque<Bytes>,
    sent: Sent,
}

/// The part of a body that was sent.
#[derive(Default)]
struct Sent {
    bytes: u64,
    /// The trailers were sent.
    trailers: bool,
    /// The sent pieces. `None`: they are not remembered.
    pieces: Option<VecDeque<Bytes>>,
}

impl Sent {
    fn note(&mut self, frame: &Frame<Bytes>) {
        let Some(data) = frame.data_ref() else {
            self.trailers = true;
            return;
        };
        self.bytes += data.len() as u64;
        if self.bytes > REMEMBERED_MAX_BYTES {
            self.pieces = None;
        } else if let Some(pieces) = self.pieces.as_mut().filter(|_| !data.is_empty()) {
            pieces.push_back(data.clone());
        }
    }
}

impl<B> Outgoing<B> {
    /// `remembered`: sent pieces are remembered, up to [`REMEMBERED_MAX_BYTES`].
    pub(super) fn new(inner: B, remembered: bool) -> (Self, Recall<B>) {
        let sent = Sent { pieces: remembered.then(VecDeque::new), ..Sent::default() };
        let state = Arc::new(Mutex::new(State { inner: Some(inner), again: VecDeque::new(), sent }));
        (Self(state.clone()), Recall(state))
    }
}

impl<B: Body> Recall<B> {
    /// Whether there is content, and none of it was sent.
    pub(super) fn is_withheld(&self) -> bool {
        let state = self.0.lock();
        state.sent.bytes == 0
            && !state.sent.trailers
            && state.inner.as_ref().is_some_and(|inner| !inner.is_end_stream())
    }

    /// Whether the body can be sent from its beginning.
    pub(super) fn is_whole(&self) -> bool {
        let sent = &self.0.lock().sent;
        !sent.trailers && (sent.bytes == 0 || sent.pieces.is_some())
    }

    /// Takes the body back and returns it from its beginning. `None`: it cannot be sent from its beginning any more.
    pub(super) fn take_back(&mut self) -> Option<Outgoing<B>> {
        if !self.is_whole() {
            return None;
        }
        let mut state = self.0.lock();
        let inner = state.inner.take()?;
        let pieces = std::mem::take(&mut state.sent).pieces;
        // Each piece is remembered again when it is sent again.
        let sent = Sent { pieces: pieces.is_some().then(VecDeque::new), ..Sent::default() };
        let mut again = pieces.unwrap_or_default();
        again.append(&mut state.again);
        drop(state);
        self.0 = Arc::new(Mutex::new(State { inner: Some(inner), again, sent }));
        Some(Outgoing(self.0.clone()))
    }

    /// Forgets the sent pieces, because the body is not sent again. Returns an observer if the body is still being sent.
    pub(super) fn forget(self) -> Option<Upload<B>> {
        let mut state = self.0.lock();
        state.sent.pieces = None;
        let goes_on = state.inner.as_ref().is_some_and(|inner| !inner.is_end_stream());
        drop(state);
        goes_on.then(|| Upload(Arc::downgrade(&self.0)))
    }
}

impl<B: Body> Upload<B> {
    /// Ends when nothing was sent for `limit`. `None`: the body was sent or dropped.
    pub(super) async fn stalls(&self, limit: Duration) -> Option<()> {
        let sent = || Some(self.0.upgrade()?.lock().sent.bytes);
        loop {
            let before = sent()?;
            sleep(limit).await;
            if sent()? == before {
                return Some(());
            }
        }
    }
}

impl<B> Body for Outgoing<B>
where
    B: Body<Data = Bytes> + Unpin,
{
    type Data = Bytes;
    type Error = B::Error;

    fn poll_frame(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, B::Error>>> {
        let mut state = self.0.lock();
        let state = &mut *state;
        // The reader of a body that was taken back has a connection that is ending.
        let Some(inner) = &mut state.inner else { return Poll::Pending };
        let polled = match state.again.pop_front() {
            Some(piece) => Some(Ok(Frame::data(piece))),
            None => ready!(Pin::new(inner).poll_frame(cx)),
        };
        if let Some(Ok(frame)) = &polled {
            state.sent.note(frame);
        }
        Poll::Ready(polled)
    }

    fn is_end_stream(&self) -> bool {
        let state = self.0.lock();
        state.again.is_empty() && state.inner.as_ref().is_none_or(Body::is_end_stream)
    }

    fn size_hint(&self) -> SizeHint {
        let state = self.0.lock();
        let again: u64 = state.again.iter().map(|piece| piece.len() as u64).sum();
        let rest = state.inner.as_ref().map_or_else(|| SizeHint::with_exact(0), Body::size_hint);
        let mut hint = SizeHint::new();
        hint.set_lower(rest.lower().saturating_add(again));
        if let Some(upper) = rest.upper().and_then(|upper| upper.checked_add(again)) {
            hint.set_upper(upper);
        }
        hint
    }
}

#[cfg(test)]
mod tests {
    use std::convert::Infallible;

    use http::HeaderMap;
    use http_body_util::{BodyExt, StreamBody};

    use super::*;

    type Frames = StreamBody<futures_util::stream::Iter<std::vec::IntoIter<Result<Frame<Bytes>, Infallible>>>>;

    fn pieces(sizes: &[usize]) -> Frames {
        let frames: Vec<_> = sizes.iter().map(|size| Ok(Frame::data(Bytes::from(vec![b'x'; *size])))).collect();
        StreamBody::new(futures_util::stream::iter(frames))
    }

    async fn length<B: Body<Data = Bytes, Error = Infallible> + Unpin>(body: Outgoing<B>) -> usize {
        body.collect().await.unwrap().to_bytes().len()
    }

    #[tokio::test]
    async fn a_resend_begins_with_the_bytes_that_were_sent() {
        let (mut body, mut recall) = Outgoing::new(pieces(&[3, 4, 5]), true);
        assert!(recall.is_withheld() && recall.is_whole());
        for _ in 0..2 {
            body.frame().await.unwrap().unwrap();
        }
        assert!(!recall.is_withheld());
        let mut again = recall.take_back().unwrap();
        assert_eq!(again.size_hint().lower(), 7);
        again.frame().await.unwrap().unwrap();
        let last = recall.take_back().unwrap();
        assert_eq!(length(last).await, 12);
        assert!(recall.is_whole());
        assert!(futures_util::poll!(Box::pin(body.frame())).is_pending(), "it was taken back");
    }

    #[tokio::test]
    async fn a_body_that_was_not_kept_cannot_be_sent_again() {
        let (mut body, mut recall) = Outgoing::new(pieces(&[3, 4]), false);
        assert!(recall.is_whole());
        body.frame().await.unwrap().unwrap();
        assert!(!recall.is_whole() && recall.take_back().is_none());
        let (large, recall) = Outgoing::new(pieces(&[REMEMBERED_MAX_BYTES as usize, 1]), true);
        length(large).await;
        assert!(!recall.is_whole(), "more than is remembered");
        let (forgotten, recall) = Outgoing::new(pieces(&[3]), true);
        recall.forget();
        assert_eq!(length(forgotten).await, 3);
    }

    #[tokio::test]
    async fn trailers_are_not_sent_again() {
        let frames = vec![Ok::<_, Infallible>(Frame::trailers(HeaderMap::new()))];
        let (body, recall) = Outgoing::new(StreamBody::new(futures_util::stream::iter(frames)), true);
        length(body).await;
        assert!(!recall.is_whole());
    }
}
