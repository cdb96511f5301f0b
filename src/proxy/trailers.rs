//! Forwards trailer fields over HTTP/1.1 as they came. hyper writes only trailers that the head announced, and to an agent only if
//! it asked for trailers. But clients show all of them, which RFC 9110 6.5 allows. So hyper never sees the trailers. Instead, the end
//! of the content is replaced in hyper's stream.

use std::io::{self, IoSlice};
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll, Waker, ready};

use bytes::{Buf, Bytes, BytesMut};
use http::{HeaderMap, HeaderName};
use http_body::{Body, Frame, SizeHint};
use parking_lot::Mutex;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::upstream::Responses;

/// The bytes with which hyper ends chunked content (RFC 9112 7.1).
const LAST_CHUNK: &[u8] = b"0\r\n\r\n";

/// Hands trailers from a body to the stream that the body is written to.
#[derive(Clone, Default)]
pub(super) struct Trailers(Arc<Inner>);

#[derive(Default)]
struct Inner {
    /// Whether there are trailers. Most messages have none, and only check this flag.
    waits: AtomicBool,
    state: Mutex<State>,
}

#[derive(Default)]
enum State {
    #[default]
    None,
    /// Earlier bytes are not flushed yet, and may contain the end of other content. Woken by the flush.
    Behind(Waker),
    /// Everything is flushed. The body may end.
    Next,
    /// hyper writes the end of this content next, if the content is chunked. This end replaces it.
    At(BytesMut),
}

impl Trailers {
    /// Ready when the next end of content will be replaced by one with these trailers.
    fn poll_put(&self, trailers: &HeaderMap, from: Option<&Responses>, cx: &Context<'_>) -> Poll<()> {
        let mut state = self.0.state.lock();
        if matches!(*state, State::Next) {
            *state = State::At(end_with(trailers, from));
            return Poll::Ready(());
        }
        *state = State::Behind(cx.waker().clone());
        self.0.waits.store(true, Ordering::Release);
        Poll::Pending
    }

    /// Notes that everything hyper wrote was flushed.
    fn flushed(&self) {
        if !self.waits() {
            return;
        }
        let mut state = self.0.state.lock();
        match std::mem::take(&mut *state) {
            State::Behind(waker) => {
                *state = State::Next;
                waker.wake();
            }
            State::Next => *state = State::Next,
            // The content was not chunked, so the trailers cannot be sent.
            State::At(_) | State::None => self.0.waits.store(false, Ordering::Release),
        }
    }

    /// The replacement, if `written` begins with the end of the content.
    fn replace(&self, written: &[u8]) -> Option<BytesMut> {
        if !self.waits() || !written.starts_with(LAST_CHUNK) {
            return None;
        }
        let mut state = self.0.state.lock();
        match std::mem::take(&mut *state) {
            State::At(end) => {
                self.0.waits.store(false, Ordering::Release);
                Some(end)
            }
            other => {
                *state = other;
                None
            }
        }
    }

    fn waits(&self) -> bool {
        self.0.waits.load(Ordering::Acquire)
    }
}

/// The last chunk and the trailers. `from`: the responses that the trailers came in, which have their names in the original case.
fn end_with(trailers: &HeaderMap, from: Option<&Responses>) -> BytesMut {
    let came = from.map(Responses::last_bytes).unwrap_or_default();
    let mut end = BytesMut::from(&b"0\r\n"[..]);
    for (name, value) in trailers {
        end.extend_from_slice(as_written(name, &came).unwrap_or(name.as_str().as_bytes()));
        end.extend_from_slice(b": ");
        end.extend_from_slice(value.as_bytes());
        end.extend_from_slice(b"\r\n");
    }
    end.extend_from_slice(b"\r\n");
    end
}

/// The name in its original case, from the last line of `text` that begins with it.
fn as_written<'a>(name: &HeaderName, text: &'a [u8]) -> Option<&'a [u8]> {
    let name = name.as_str().as_bytes();
    let mut ends = memchr::memrchr_iter(b'\n', text);
    ends.find_map(|end| {
        let line = &text[end + 1..];
        let written = line.get(..name.len()).filter(|written| written.eq_ignore_ascii_case(name))?;
        (line.get(name.len()) == Some(&b':')).then_some(written)
    })
}

/// A body that hands its trailers to the stream instead of to hyper.
pub(super) struct TrailerBody<B> {
    inner: B,
    from: Option<Responses>,
    to: Option<Trailers>,
    /// Boxed, because few bodies have trailers.
    held: Option<Box<HeaderMap>>,
    /// `inner` has ended.
    ended: bool,
}

impl<B> TrailerBody<B> {
    /// `from`: the origin's responses, if the body is the content of an HTTP/1.x response. `to`: the stream that the body is written to.
    /// `None`: hyper writes the trailers.
    pub(super) fn new(inner: B, from: Option<Responses>, to: Option<Trailers>) -> Self {
        Self { inner, from, to, held: None, ended: false }
    }

    /// The body itself. Nothing of it may have been read.
    pub(super) fn into_inner(self) -> B {
        self.inner
    }
}

impl<B: Body<Data = Bytes> + Unpin> Body for TrailerBody<B> {
    type Data = Bytes;
    type Error = B::Error;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, B::Error>>> {
        let this = &mut *self;
        if this.held.is_none() {
            let frame = match ready!(Pin::new(&mut this.inner).poll_frame(cx)) {
                Some(Ok(frame)) if this.to.is_some() => frame,
                other => return Poll::Ready(other),
            };
            match frame.into_trailers() {
                Ok(trailers) => this.held = Some(Box::new(trailers)),
                Err(frame) => return Poll::Ready(Some(Ok(frame))),
            }
        }
        // The recorder must see the end of the body before the agent does.
        while !this.ended {
            match ready!(Pin::new(&mut this.inner).poll_frame(cx)) {
                None => this.ended = true,
                Some(Err(error)) => {
                    this.held = None;
                    return Poll::Ready(Some(Err(error)));
                }
                Some(Ok(_)) => {}
            }
        }
        if let (Some(to), Some(trailers)) = (&this.to, &this.held) {
            ready!(to.poll_put(trailers, this.from.as_ref(), cx));
        }
        this.held = None;
        this.to = None;
        Poll::Ready(None)
    }

    fn is_end_stream(&self) -> bool {
        self.held.is_none() && self.inner.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.inner.size_hint()
    }
}

/// The stream that hyper writes to.
pub(super) struct TrailerIo<S> {
    inner: S,
    trailers: Trailers,
    /// The rest of an end with trailers that is being written.
    end: BytesMut,
}

impl<S> TrailerIo<S> {
    pub(super) fn new(inner: S) -> (Self, Trailers) {
        let trailers = Trailers::default();
        (Self { inner, trailers: trailers.clone(), end: BytesMut::new() }, trailers)
    }

    pub(super) fn into_inner(self) -> S {
        self.inner
    }
}

impl<S: AsyncWrite + Unpin> TrailerIo<S> {
    fn poll_end(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        while !self.end.is_empty() {
            let written = ready!(Pin::new(&mut self.inner).poll_write(cx, &self.end))?;
            if written == 0 {
                return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
            }
            self.end.advance(written);
        }
        Poll::Ready(Ok(()))
    }

    /// Replaces the end of the content, if `written` begins with it.
    fn takes(&mut self, written: &[u8]) -> bool {
        let end = self.trailers.replace(written);
        self.end = end.unwrap_or_default();
        !self.end.is_empty()
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for TrailerIo<S> {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_read(cx, buf)
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for TrailerIo<S> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        ready!(self.poll_end(cx))?;
        if self.takes(buf) {
            return Poll::Ready(Ok(LAST_CHUNK.len()));
        }
        Pin::new(&mut self.inner).poll_write(cx, buf)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        ready!(self.poll_end(cx))?;
        let first = bufs.iter().find(|buf| !buf.is_empty());
        if first.is_some_and(|first| self.takes(first)) {
            return Poll::Ready(Ok(LAST_CHUNK.len()));
        }
        Pin::new(&mut self.inner).poll_write_vectored(cx, bufs)
    }

    fn is_write_vectored(&self) -> bool {
        self.inner.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        ready!(self.poll_end(cx))?;
        ready!(Pin::new(&mut self.inner).poll_flush(cx))?;
        self.trailers.flushed();
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        ready!(self.poll_end(cx))?;
        Pin::new(&mut self.inner).poll_shutdown(cx)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_found_as_it_was_written_last() {
        let find = |text: &'static str| as_written(&HeaderName::from_static("x-sum"), text.as_bytes());
        assert_eq!(find("x\nX-SUM: 1\r\n0\r\nX-Sum: 7\r\n\r\n"), Some(&b"X-Sum"[..]));
        assert_eq!(find("0\r\nX-Summary: 7\r\nX-Su"), None);
        assert_eq!(find("X-Sum: 7"), None);
    }
}
