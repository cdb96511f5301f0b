//! Sends targets and fields that hyper cannot hold. hyper gets a stand-in for the target. In the bytes for the origin, the original
//! target replaces the stand-in, and the fields follow the request line.

use std::io::{self, IoSlice};
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll, ready};

use bytes::{Buf, Bytes};
use http::Uri;
use http::uri::PathAndQuery;
use parking_lot::Mutex;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

/// A stand-in, and the target that replaces it. An extension of the request.
#[derive(Debug, Clone)]
pub(in crate::proxy) struct StandIn {
    /// The target that hyper writes. It cannot be guessed.
    path: Bytes,
    /// The target that is sent instead.
    written: Bytes,
    /// Lines of fields that are sent after the request line, with their line ends.
    lines: Bytes,
}

/// The rest of the request line after the target.
const LINE_REST: &[u8] = b" HTTP/1.1\r\n";

impl StandIn {
    /// `written`: the target as the agent wrote it. `lines`: lines of fields, with their line ends.
    pub(in crate::proxy) fn of(written: Bytes, lines: Bytes) -> Self {
        Self { path: format!("/{}", uuid::Uuid::new_v4().simple()).into(), written, lines }
    }

    /// The bytes that hyper writes over HTTP/1.1, from the target to the end of the request line.
    fn replaced(&self) -> Vec<u8> {
        [&self.path, LINE_REST].concat()
    }

    /// The bytes that are sent instead of [`Self::replaced`].
    fn replacement(&self) -> Bytes {
        [&self.written, LINE_REST, &self.lines].concat().into()
    }

    /// The target that the library writes.
    pub(in crate::proxy) fn path(&self) -> &[u8] {
        &self.path
    }

    /// The target that is sent.
    pub(in crate::proxy) fn written(&self) -> &[u8] {
        &self.written
    }

    /// `uri` with the stand-in as its path and query.
    pub(in crate::proxy) fn replace_path(&self, uri: Uri) -> Option<Uri> {
        let mut parts = uri.into_parts();
        parts.path_and_query = Some(PathAndQuery::from_maybe_shared(self.path.clone()).ok()?);
        Uri::from_parts(parts).ok()
    }
}

/// Tells a [`RestoringIo`] the stand-in of the next request.
#[derive(Debug, Clone, Default)]
pub(in crate::proxy) struct NextStandIn(Arc<Pending>);

#[derive(Debug, Default)]
struct Pending {
    /// Whether there is one. Most requests have none, and only check this flag.
    waits: AtomicBool,
    stand_in: Mutex<Option<StandIn>>,
}

impl NextStandIn {
    /// Sets the stand-in of the next request, if it has one.
    pub(super) fn set(&self, stand_in: Option<StandIn>) {
        if stand_in.is_some() || self.waits() {
            let mut next = self.0.stand_in.lock();
            self.0.waits.store(stand_in.is_some(), Ordering::Release);
            *next = stand_in;
        }
    }

    fn waits(&self) -> bool {
        self.0.waits.load(Ordering::Acquire)
    }

    /// Finds the stand-in in `bytes`. If they begin with it, it is taken.
    fn find(&self, bytes: &[u8]) -> Option<Found> {
        let mut next = self.0.stand_in.lock();
        let at = memchr::memmem::find(bytes, &next.as_ref()?.replaced())?;
        if at > 0 {
            return Some(Found::After(at));
        }
        self.0.waits.store(false, Ordering::Release);
        next.take().map(Found::Here)
    }
}

enum Found {
    Here(StandIn),
    /// After this many bytes.
    After(usize),
}

/// The stream that HTTP/1.1 requests are written to, one after the other.
pub(super) struct RestoringIo<S> {
    inner: S,
    next: NextStandIn,
    /// The rest of a target to write, and how many of hyper's bytes it replaces.
    target: Option<(Bytes, usize)>,
}

impl<S> RestoringIo<S> {
    pub(super) fn new(inner: S) -> (Self, NextStandIn) {
        let next = NextStandIn::default();
        (Self { inner, next: next.clone(), target: None }, next)
    }
}

impl<S: AsyncWrite + Unpin> RestoringIo<S> {
    fn poll_restore(&mut self, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        if self.target.is_none() {
            match self.next.find(buf) {
                None => return Pin::new(&mut self.inner).poll_write(cx, buf),
                Some(Found::After(bytes)) => return Pin::new(&mut self.inner).poll_write(cx, &buf[..bytes]),
                Some(Found::Here(stand_in)) => {
                    self.target = Some((stand_in.replacement(), stand_in.replaced().len()))
                }
            }
        }
        // hyper writes the same bytes again until they are accepted.
        let Some((left, stands_for)) = &mut self.target else { return Poll::Ready(Ok(0)) };
        while !left.is_empty() {
            match ready!(Pin::new(&mut self.inner).poll_write(cx, left))? {
                0 => return Poll::Ready(Err(io::ErrorKind::WriteZero.into())),
                bytes => left.advance(bytes),
            }
        }
        let stands_for = *stands_for;
        self.target = None;
        Poll::Ready(Ok(stands_for))
    }

    fn is_restoring(&self) -> bool {
        self.target.is_some() || self.next.waits()
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for RestoringIo<S> {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_read(cx, buf)
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for RestoringIo<S> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        match self.is_restoring() {
            true => self.poll_restore(cx, buf),
            false => Pin::new(&mut self.inner).poll_write(cx, buf),
        }
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        match self.is_restoring() {
            true => self.poll_restore(cx, bufs.iter().find(|buf| !buf.is_empty()).map_or(&[], |buf| buf)),
            false => Pin::new(&mut self.inner).poll_write_vectored(cx, bufs),
        }
    }

    fn is_write_vectored(&self) -> bool {
        self.inner.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_shutdown(cx)
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    use super::*;

    /// What comes out when these messages are written, through a pipe of `room` bytes.
    async fn written(room: usize, stand_in: &StandIn, messages: Vec<Vec<u8>>) -> Vec<u8> {
        let (ours, mut theirs) = tokio::io::duplex(room);
        let (mut restoring, next) = RestoringIo::new(ours);
        next.set(Some(stand_in.clone()));
        let writing = tokio::spawn(async move {
            for message in messages {
                restoring.write_all(&message).await.unwrap();
            }
        });
        let mut out = Vec::new();
        theirs.read_to_end(&mut out).await.unwrap();
        writing.await.unwrap();
        out
    }

    #[tokio::test]
    async fn the_target_takes_the_stand_ins_place_once_whatever_is_written_at_a_time() {
        let stand_in = StandIn::of(Bytes::from_static(b"/<a>?\xff"), Bytes::new());
        let uri = stand_in.replace_path(Uri::from_static("http://a:1/x?y")).unwrap();
        let line = format!("GET {uri} HTTP/1.1\r\n\r\n");
        for room in [1, 7, 1000] {
            let messages = vec![b"the end of a body".to_vec(), line.clone().into_bytes(), line.clone().into_bytes()];
            let out = written(room, &stand_in, messages).await;
            let expected = b"the end of a bodyGET http://a:1/<a>?\xff HTTP/1.1\r\n\r\n";
            assert_eq!(out, [expected, line.as_bytes()].concat(), "{room}");
        }
    }

    #[tokio::test]
    async fn an_empty_target_leaves_nothing_in_its_place_and_fields_follow_the_request_line() {
        let stand_in = StandIn::of(Bytes::new(), Bytes::from_static(b"Cookie: \x01\r\n"));
        let uri = stand_in.replace_path(Uri::from_static("http://a/")).unwrap();
        let out = written(5, &stand_in, vec![format!("OPTIONS {uri} HTTP/1.1\r\n").into_bytes()]).await;
        assert_eq!(out, b"OPTIONS http://a HTTP/1.1\r\nCookie: \x01\r\n");
    }
}
