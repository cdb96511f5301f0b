//! Whether our first frame to an HTTP/2 agent offers WebSockets (RFC 8441 section 3). It offers them only if the origin does, which the
//! origin's first frame says, a round trip later than the agent could send its first request. So the library offers them always,
//! and here its first frame waits until it is known whether the offer stays. What the agent sends does not wait.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::{Buf, BytesMut};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::upstream::{ENABLE_CONNECT_PROTOCOL, FRAME_HEADER_BYTES, SETTING_BYTES};

/// The most bytes that wait. Before the origin has said anything, there are only our settings and our own responses.
const WAITING_MAX_BYTES: usize = 64 << 10;

/// The stream of an HTTP/2 agent. What is written waits until `known` says whether the origin takes WebSockets.
pub(super) struct OfferLater<S> {
    inner: S,
    state: State,
}

enum State {
    /// Nothing was sent yet.
    Waiting {
        known: Pin<Box<dyn Future<Output = bool> + Send>>,
        written: BytesMut,
    },
    /// These bytes are being sent.
    Sending(BytesMut),
    Open,
}

impl<S> OfferLater<S> {
    pub(super) fn of(inner: S, known: impl Future<Output = bool> + Send + 'static) -> Self {
        Self { inner, state: State::Waiting { known: Box::pin(known), written: BytesMut::new() } }
    }
}

impl<S: AsyncWrite + Unpin> OfferLater<S> {
    /// Sends what waits, as soon as it may. Ready: everything was sent.
    fn poll_open(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if let State::Waiting { known, written } = &mut self.state {
            // Without a whole frame there is nothing that could be decided.
            if first_frame_bytes(written).is_none() {
                return Poll::Pending;
            }
            let taken = ready!(known.as_mut().poll(cx));
            let frames = std::mem::take(written);
            self.state = State::Sending(if taken { frames } else { without_offer(frames) });
        }
        if let State::Sending(frames) = &mut self.state {
            while !frames.is_empty() {
                let sent = ready!(Pin::new(&mut self.inner).poll_write(cx, frames))?;
                if sent == 0 {
                    return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
                }
                frames.advance(sent);
            }
            ready!(Pin::new(&mut self.inner).poll_flush(cx))?;
            self.state = State::Open;
        }
        Poll::Ready(Ok(()))
    }
}

/// The length of the first frame, if it is there as a whole.
fn first_frame_bytes(bytes: &[u8]) -> Option<usize> {
    let [first, second, third, ..] = bytes else { return None };
    let all = FRAME_HEADER_BYTES + u32::from_be_bytes([0, *first, *second, *third]) as usize;
    (bytes.len() >= all).then_some(all)
}

/// These frames, of which the first is SETTINGS, without the offer. Less than a frame stays as it is.
fn without_offer(frames: BytesMut) -> BytesMut {
    let Some(first_bytes) = first_frame_bytes(&frames) else { return frames };
    let (first, rest) = frames.split_at(first_bytes);
    let (header, settings) = first.split_at(FRAME_HEADER_BYTES);
    let is_other = |setting: &&[u8; SETTING_BYTES]| !setting.starts_with(&ENABLE_CONNECT_PROTOCOL.to_be_bytes());
    let settings: Vec<u8> = settings.as_chunks().0.iter().filter(is_other).flatten().copied().collect();
    let length = (settings.len() as u32).to_be_bytes();
    BytesMut::from_iter([&length[1..], &header[3..], &settings, rest].concat())
}

impl<S: AsyncRead + AsyncWrite + Unpin> AsyncRead for OfferLater<S> {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, out: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        // The library always reads, so this is where what waits is sent.
        if let Poll::Ready(Err(error)) = this.poll_open(cx) {
            return Poll::Ready(Err(error));
        }
        Pin::new(&mut this.inner).poll_read(cx, out)
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for OfferLater<S> {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        if let State::Waiting { written, .. } = &mut this.state
            && written.len() + bytes.len() <= WAITING_MAX_BYTES
        {
            written.extend_from_slice(bytes);
            return match this.poll_open(cx) {
                Poll::Ready(Err(error)) => Poll::Ready(Err(error)),
                _ => Poll::Ready(Ok(bytes.len())),
            };
        }
        ready!(this.poll_open(cx))?;
        Pin::new(&mut this.inner).poll_write(cx, bytes)
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        all: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        if !matches!(self.state, State::Open) {
            let first = all.iter().find(|bytes| !bytes.is_empty()).map_or(&[][..], |bytes| &**bytes);
            return self.poll_write(cx, first);
        }
        Pin::new(&mut self.get_mut().inner).poll_write_vectored(cx, all)
    }

    fn is_write_vectored(&self) -> bool {
        self.inner.is_write_vectored()
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        match this.poll_open(cx) {
            Poll::Ready(done) => done?,
            // The library reads nothing before its first frame is sent.
            Poll::Pending if matches!(this.state, State::Waiting { .. }) => return Poll::Ready(Ok(())),
            Poll::Pending => return Poll::Pending,
        }
        Pin::new(&mut this.inner).poll_flush(cx)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        if let State::Waiting { written, .. } = &mut this.state {
            this.state = State::Sending(without_offer(std::mem::take(written)));
        }
        ready!(this.poll_open(cx))?;
        Pin::new(&mut this.inner).poll_shutdown(cx)
    }
}

#[cfg(test)]
mod tests {
    use std::convert::Infallible;

    use bytes::Bytes;
    use http::{Request, Response};
    use http_body_util::Empty;
    use hyper::body::Incoming;
    use hyper::service::service_fn;
    use hyper_util::rt::{TokioExecutor, TokioIo};
    use tokio::io::{AsyncReadExt, AsyncWriteExt, duplex};
    use tokio::sync::oneshot;

    use super::*;

    /// A first frame with other settings around the offer, and a frame behind it.
    fn frames(offers: bool) -> Vec<u8> {
        let offer: &[u8] = if offers { &[0, 8, 0, 0, 0, 1] } else { &[] };
        let settings = [&[0, 3, 0, 0, 0, 100][..], offer, &[0, 8 + 1, 0, 0, 8, 8]].concat();
        [&[0, 0, settings.len() as u8, 4, 0, 0, 0, 0, 0][..], &settings, b"and a frame"].concat()
    }

    #[tokio::test]
    async fn the_first_frame_waits_and_offers_what_the_origin_does() {
        for taken in [true, false] {
            let (tell, told) = oneshot::channel();
            let (ours, mut theirs) = duplex(7);
            let mut ours = OfferLater::of(ours, async { told.await.unwrap() });
            for byte in frames(true) {
                ours.write_all(&[byte]).await.unwrap();
            }
            ours.flush().await.unwrap();
            theirs.write_all(b"request").await.unwrap();
            let mut request = [0; 7];
            ours.read_exact(&mut request).await.unwrap();
            assert!(futures_util::poll!(Box::pin(theirs.read_u8())).is_pending());
            tell.send(taken).unwrap();
            let mut received = vec![0; frames(taken).len()];
            tokio::select! {
                read = theirs.read_exact(&mut received) => assert_eq!(read.unwrap(), received.len()),
                _ = ours.read_u8() => unreachable!("nothing is sent"),
            }
            assert_eq!(received, frames(taken));
            let (closed, rest) = tokio::join!(ours.shutdown(), async {
                let mut rest = Vec::new();
                theirs.read_to_end(&mut rest).await.unwrap();
                rest
            });
            closed.unwrap();
            assert!(rest.is_empty());
        }
    }

    #[tokio::test]
    async fn a_stream_that_ends_early_has_no_offer_and_too_much_waits_for_the_first_frame() {
        let (ours, mut theirs) = duplex(1 << 20);
        let mut ours = OfferLater::of(ours, std::future::pending());
        ours.write_all(&frames(true)).await.unwrap();
        let much = vec![7; WAITING_MAX_BYTES];
        assert!(futures_util::poll!(Box::pin(ours.write_all(&much))).is_pending());
        ours.shutdown().await.unwrap();
        let mut received = Vec::new();
        theirs.read_to_end(&mut received).await.unwrap();
        assert_eq!(received, frames(false));
    }

    #[tokio::test]
    async fn a_request_is_served_before_it_is_known_what_the_first_frame_offers() {
        let (tell, told) = oneshot::channel();
        let tell = std::sync::Mutex::new(Some(tell));
        let (ours, theirs) = duplex(1 << 16);
        let service = service_fn(move |_: Request<Incoming>| {
            // Only now.
            tell.lock().unwrap().take().unwrap().send(false).unwrap();
            async { Ok::<_, Infallible>(Response::new(Empty::<Bytes>::new())) }
        });
        let mut http2 = hyper::server::conn::http2::Builder::new(TokioExecutor::new());
        let io = TokioIo::new(OfferLater::of(ours, async { told.await.unwrap() }));
        tokio::spawn(http2.enable_connect_protocol().serve_connection(io, service));
        let agent = hyper::client::conn::http2::Builder::new(TokioExecutor::new());
        let (mut sender, connection) = agent.handshake(TokioIo::new(theirs)).await.unwrap();
        tokio::spawn(connection);
        let response = sender.send_request(Request::new(Empty::<Bytes>::new())).await.unwrap();
        assert_eq!(response.status(), 200);
    }
}
