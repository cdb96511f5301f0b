//! Reads an HTTP/2 origin's first frame: whether the origin accepts extended CONNECT (RFC 8441 section 3), which WebSockets need, and
//! how many requests at once. hyper knows this, but reports it only to the task that polls the connection.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use tokio::io::{AsyncRead, ReadBuf};
use tokio::sync::watch;
use tokio::time::timeout;

use crate::proxy::passing::passes_writes;

/// How long we wait for the origin's settings. They need at most a round trip, and an HTTP/2 agent sends its request meanwhile.
const PATIENCE: Duration = Duration::from_secs(1);

/// SETTINGS_MAX_CONCURRENT_STREAMS.
const MAX_CONCURRENT_STREAMS: u16 = 3;
/// SETTINGS_ENABLE_CONNECT_PROTOCOL.
pub(in crate::proxy) const ENABLE_CONNECT_PROTOCOL: u16 = 8;
pub(in crate::proxy) const FRAME_HEADER_BYTES: usize = 9;
pub(in crate::proxy) const SETTING_BYTES: usize = 6;
/// No first frame is larger (RFC 9113 section 4.2).
const FRAME_MAX_BYTES: usize = 16 << 10;

/// What an origin's first frame says. Known as soon as it has come. Clones share it.
#[derive(Clone)]
pub(in crate::proxy) struct OriginSettings(watch::Receiver<Option<Settings>>);

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Settings {
    extended_connect: bool,
    /// The most requests at once. `None`: no limit.
    streams: Option<u32>,
}

impl OriginSettings {
    /// Whether the origin accepts extended CONNECT. Waits until it is known, for at most [`PATIENCE`]. False: it is unknown, or the
    /// origin does not accept it.
    pub(super) async fn takes_extended_connect(&self) -> bool {
        let mut told = self.0.clone();
        let taken = matches!(
            timeout(PATIENCE, told.wait_for(Option::is_some)).await,
            Ok(Ok(told)) if told.is_some_and(|settings| settings.extended_connect)
        );
        taken
    }

    /// The same without waiting. `None`: not known yet.
    pub(super) fn extended_connect(&self) -> Option<bool> {
        self.0.borrow().map(|settings| settings.extended_connect)
    }

    /// The most requests at once. 0: not known yet.
    pub(super) fn streams(&self) -> usize {
        let told = *self.0.borrow();
        told.map_or(0, |settings| settings.streams.map_or(usize::MAX, |most| most as usize))
    }
}

/// The stream of an origin. Its first frame is examined while it is read.
pub(super) struct FirstFrame<S> {
    inner: S,
    /// The received bytes, until they are a frame.
    begun: Option<(Vec<u8>, watch::Sender<Option<Settings>>)>,
}

impl<S> FirstFrame<S> {
    pub(super) fn of(inner: S) -> (Self, OriginSettings) {
        let (tell, told) = watch::channel(None);
        (Self { inner, begun: Some((Vec::new(), tell)) }, OriginSettings(told))
    }

    fn look(&mut self, read: &[u8]) {
        let Some((begun, tell)) = &mut self.begun else { return };
        begun.extend_from_slice(&read[..read.len().min(FRAME_HEADER_BYTES + FRAME_MAX_BYTES - begun.len())]);
        if let Some(settings) = first_settings(begun) {
            // Fails only if nobody waits any more.
            let _ = tell.send(Some(settings));
            self.begun = None;
        }
    }
}

/// The settings in the first frame. `None`: the frame is incomplete.
fn first_settings(bytes: &[u8]) -> Option<Settings> {
    let ([first, second, third, kind, flags, _, _, _, _], payload) =
        bytes.split_first_chunk::<FRAME_HEADER_BYTES>()?;
    let length = u32::from_be_bytes([0, *first, *second, *third]) as usize;
    // The origin's own SETTINGS, not an acknowledgement.
    if *kind != 4 || flags & 1 != 0 || length > FRAME_MAX_BYTES {
        return Some(Settings { extended_connect: false, streams: Some(0) });
    }
    let payload = payload.get(..length)?;
    Some(Settings {
        extended_connect: last_of(payload, ENABLE_CONNECT_PROTOCOL) == Some(1),
        streams: last_of(payload, MAX_CONCURRENT_STREAMS),
    })
}

/// The value of a setting. The last one counts.
fn last_of(payload: &[u8], name: u16) -> Option<u32> {
    payload.as_chunks::<SETTING_BYTES>().0.iter().rev().find_map(|[n1, n2, value @ ..]| {
        (u16::from_be_bytes([*n1, *n2]) == name).then_some(u32::from_be_bytes(*value))
    })
}

impl<S: AsyncRead + Unpin> AsyncRead for FirstFrame<S> {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let before = buf.filled().len();
        ready!(Pin::new(&mut self.inner).poll_read(cx, buf))?;
        self.look(&buf.filled()[before..]);
        Poll::Ready(Ok(()))
    }
}

passes_writes!(FirstFrame);

#[cfg(test)]
mod tests {
    use super::*;

    fn settings(pairs: &[(u16, u32)]) -> Vec<u8> {
        let mut frame = vec![0, 0, (pairs.len() * SETTING_BYTES) as u8, 4, 0, 0, 0, 0, 0];
        for (name, value) in pairs {
            frame.extend_from_slice(&name.to_be_bytes());
            frame.extend_from_slice(&value.to_be_bytes());
        }
        frame
    }

    #[test]
    fn the_first_frame_tells_whether_extended_connect_is_taken_and_how_many_requests() {
        let told = |extended_connect, streams| Some(Settings { extended_connect, streams });
        assert_eq!(first_settings(&settings(&[(3, 100), (8, 1), (4, 65_535)])), told(true, Some(100)));
        assert_eq!(first_settings(&settings(&[(8, 0)])), told(false, None));
        assert_eq!(first_settings(&settings(&[(8, 0), (8, 1), (3, 9), (3, 1)])), told(true, Some(1)));
        assert_eq!(first_settings(&settings(&[])), told(false, None));
        let whole = settings(&[(8, 1)]);
        for end in 0..whole.len() {
            assert_eq!(first_settings(&whole[..end]), None, "{end}");
        }
        assert_eq!(first_settings(b"HTTP/1.1 400 Bad Request\r\n\r\n"), told(false, Some(0)));
    }

    #[tokio::test]
    async fn it_is_told_once_the_bytes_have_passed_and_never_waits_for_a_dead_connection() {
        use tokio::io::AsyncReadExt;
        let bytes = [settings(&[(8, 1)]), vec![7; 9]].concat();
        let (mut stream, told) = FirstFrame::of(one_by_one(&bytes));
        assert_eq!(told.streams(), 0);
        let mut read = Vec::new();
        stream.read_to_end(&mut read).await.unwrap();
        assert_eq!(read, bytes);
        assert!(told.takes_extended_connect().await);
        assert_eq!(told.streams(), usize::MAX);
        let (gone, told) = FirstFrame::of(one_by_one(b""));
        drop(gone);
        assert!(!told.takes_extended_connect().await);
    }

    /// These bytes, one at a time, and then the end.
    fn one_by_one(bytes: &[u8]) -> impl AsyncRead + Unpin + use<> {
        struct OneByOne(std::collections::VecDeque<u8>);
        impl AsyncRead for OneByOne {
            fn poll_read(
                mut self: Pin<&mut Self>,
                _: &mut Context<'_>,
                buf: &mut ReadBuf<'_>,
            ) -> Poll<io::Result<()>> {
                if let Some(byte) = self.0.pop_front() {
                    buf.put_slice(&[byte]);
                }
                Poll::Ready(Ok(()))
            }
        }
        OneByOne(bytes.iter().copied().collect())
    }
}
