//! Reads an HTTP/2 origin's SETTINGS: whether the origin accepts extended CONNECT (RFC 8441 section 3), which WebSockets need, and
//! how many requests at once. hyper knows this, but reports it only to the task that polls the connection.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use tokio::io::{AsyncRead, ReadBuf};
use tokio::sync::watch;
use tokio::time::timeout;

use super::receiving::ReceivedBytes;
use crate::proxy::passing::passes_writes;

/// How long we wait for the origin's settings. They need at most a round trip, and an HTTP/2 agent sends its request meanwhile.
const PATIENCE: Duration = Duration::from_secs(1);

const SETTINGS: u8 = 4;
const GOAWAY: u8 = 7;
const ACK: u8 = 1;
/// SETTINGS_MAX_CONCURRENT_STREAMS.
const MAX_CONCURRENT_STREAMS: u16 = 3;
/// SETTINGS_ENABLE_CONNECT_PROTOCOL.
pub(in crate::proxy) const ENABLE_CONNECT_PROTOCOL: u16 = 8;
pub(in crate::proxy) const FRAME_HEADER_BYTES: usize = 9;
pub(in crate::proxy) const SETTING_BYTES: usize = 6;
/// No SETTINGS frame is larger: we do not allow larger frames (RFC 9113 section 4.2).
const FRAME_MAX_BYTES: usize = 16 << 10;

/// What an origin's SETTINGS say. Known as soon as the first have come. Clones share it.
#[derive(Clone)]
pub(in crate::proxy) struct OriginSettings {
    told: watch::Receiver<Option<Settings>>,
    received: ReceivedBytes,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
struct Settings {
    extended_connect: bool,
    /// The most requests at once. `None`: no limit.
    streams: Option<u32>,
    /// The origin has sent GOAWAY: it takes no further request.
    goes_away: bool,
}

impl OriginSettings {
    /// Whether the origin accepts extended CONNECT. Waits until it is known, for at most [`PATIENCE`]. False: it is unknown, or the
    /// origin does not accept it.
    pub(super) async fn takes_extended_connect(&self) -> bool {
        matches!(timeout(PATIENCE, self.wait()).await, Ok(Some(true)))
    }

    /// The same, however long it takes. `None`: the connection has ended before.
    pub(super) async fn wait(&self) -> Option<bool> {
        let mut told = self.told.clone();
        let told = *told.wait_for(Option::is_some).await.ok()?;
        told.map(|settings| settings.extended_connect)
    }

    /// The same without waiting. `None`: not known yet.
    pub(super) fn extended_connect(&self) -> Option<bool> {
        self.told.borrow().map(|settings| settings.extended_connect)
    }

    /// The most requests at once. 0: not known yet, or the origin takes no further request.
    pub(super) fn streams(&self) -> usize {
        let told = *self.told.borrow();
        told.filter(|settings| !settings.goes_away).map_or(0, Settings::streams)
    }

    /// The most requests that may be sent at once. Before it is known, there is no limit (RFC 9113 5.1.2). After a GOAWAY there is none
    /// either: the library refuses further requests, and they are sent on another connection.
    pub(super) fn streams_admitted(&self) -> usize {
        let told = *self.told.borrow();
        told.filter(|settings| !settings.goes_away).map_or(usize::MAX, Settings::streams)
    }

    /// A receiver of changed settings. It fails when the connection has ended.
    pub(super) fn changes(&self) -> watch::Receiver<Option<impl Sized + use<>>> {
        let mut told = self.told.clone();
        told.mark_unchanged();
        told
    }

    /// How many bytes the origin has sent.
    pub(super) fn received_bytes(&self) -> u64 {
        self.received.bytes()
    }
}

impl Settings {
    fn streams(self) -> usize {
        self.streams.map_or(usize::MAX, |most| most as usize)
    }
}

/// The stream of an origin. Its SETTINGS are examined while it is read.
pub(super) struct SettingsIo<S> {
    inner: S,
    received: ReceivedBytes,
    tell: watch::Sender<Option<Settings>>,
    place: Place,
    /// What has come of a frame's header.
    header: Vec<u8>,
}

/// The position in the stream.
enum Place {
    /// In a frame's header.
    Header,
    /// In a frame of which so many bytes are missing.
    Other(usize),
    /// In SETTINGS of which this has come, and so many bytes are missing.
    Settings(Vec<u8>, usize),
}

impl<S> SettingsIo<S> {
    pub(super) fn of(inner: S) -> (Self, OriginSettings) {
        let (tell, told) = watch::channel(None);
        let received = ReceivedBytes::default();
        let settings = OriginSettings { told, received: received.clone() };
        (Self { inner, received, tell, place: Place::Header, header: Vec::new() }, settings)
    }

    fn look(&mut self, mut read: &[u8]) {
        self.received.add(read.len());
        while !read.is_empty() {
            match &mut self.place {
                Place::Other(missing) => {
                    let here = read.len().min(*missing);
                    *missing -= here;
                    read = &read[here..];
                    if *missing == 0 {
                        self.place = Place::Header;
                    }
                }
                Place::Settings(payload, missing) => {
                    let here = read.len().min(*missing);
                    payload.extend_from_slice(&read[..here]);
                    *missing -= here;
                    read = &read[here..];
                    self.settle();
                }
                Place::Header => {
                    let here = read.len().min(FRAME_HEADER_BYTES - self.header.len());
                    self.header.extend_from_slice(&read[..here]);
                    read = &read[here..];
                    if let [a, b, c, kind, flags, _, _, _, _] = self.header[..] {
                        self.header.clear();
                        self.begin(u32::from_be_bytes([0, a, b, c]) as usize, kind, flags);
                    }
                }
            }
        }
    }

    /// A frame begins.
    fn begin(&mut self, length: usize, kind: u8, flags: u8) {
        // The origin's own SETTINGS, not an acknowledgement.
        let examined = kind == SETTINGS && flags & ACK == 0 && length <= FRAME_MAX_BYTES;
        self.place = match (examined, length) {
            (true, _) => Place::Settings(Vec::new(), length),
            (false, 0) => Place::Header,
            (false, _) => Place::Other(length),
        };
        if kind == GOAWAY {
            let before = self.tell.borrow().unwrap_or_default();
            self.tell.send_replace(Some(Settings { goes_away: true, ..before }));
        }
        self.settle();
    }

    /// SETTINGS that have come as a whole apply.
    fn settle(&mut self) {
        let Place::Settings(payload, 0) = &self.place else { return };
        let before = self.tell.borrow().unwrap_or_default();
        let settings = Settings {
            extended_connect: last_of(payload, ENABLE_CONNECT_PROTOCOL).map_or(before.extended_connect, |on| on == 1),
            streams: last_of(payload, MAX_CONCURRENT_STREAMS).or(before.streams),
            ..before
        };
        self.tell.send_replace(Some(settings));
        self.place = Place::Header;
    }
}

/// The value of a setting. The last one counts.
fn last_of(payload: &[u8], name: u16) -> Option<u32> {
    payload.as_chunks::<SETTING_BYTES>().0.iter().rev().find_map(|[n1, n2, value @ ..]| {
        (u16::from_be_bytes([*n1, *n2]) == name).then_some(u32::from_be_bytes(*value))
    })
}

impl<S: AsyncRead + Unpin> AsyncRead for SettingsIo<S> {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let before = buf.filled().len();
        ready!(Pin::new(&mut self.inner).poll_read(cx, buf))?;
        self.look(&buf.filled()[before..]);
        Poll::Ready(Ok(()))
    }
}

passes_writes!(SettingsIo);

#[cfg(test)]
pub(super) mod testing {
    use super::SETTING_BYTES;

    /// A SETTINGS frame.
    pub(in crate::proxy::upstream) fn settings(pairs: &[(u16, u32)]) -> Vec<u8> {
        let mut frame = vec![0, 0, (pairs.len() * SETTING_BYTES) as u8, 4, 0, 0, 0, 0, 0];
        for (name, value) in pairs {
            frame.extend_from_slice(&name.to_be_bytes());
            frame.extend_from_slice(&value.to_be_bytes());
        }
        frame
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::AsyncReadExt;

    use super::testing::settings;
    use super::*;

    /// What is known after these bytes, which come one at a time.
    async fn told(bytes: &[u8]) -> Option<Settings> {
        let (mut stream, told) = SettingsIo::of(one_by_one(bytes));
        let mut read = Vec::new();
        stream.read_to_end(&mut read).await.unwrap();
        assert_eq!((read.len() as u64, &read[..]), (told.received_bytes(), bytes));
        *told.told.borrow()
    }

    #[tokio::test]
    async fn settings_say_whether_extended_connect_is_taken_and_how_many_requests() {
        let told_of = |extended_connect, streams| Some(Settings { extended_connect, streams, goes_away: false });
        assert_eq!(told(&settings(&[(3, 100), (8, 1), (4, 65_535)])).await, told_of(true, Some(100)));
        assert_eq!(told(&settings(&[(8, 0)])).await, told_of(false, None));
        assert_eq!(told(&settings(&[(8, 0), (8, 1), (3, 9), (3, 1)])).await, told_of(true, Some(1)));
        assert_eq!(told(&settings(&[])).await, told_of(false, None));
        let whole = settings(&[(8, 1)]);
        for end in 0..whole.len() {
            assert_eq!(told(&whole[..end]).await, None, "{end}");
        }
        assert_eq!(told(b"HTTP/1.1 400 Bad Request\r\n\r\n").await, None);
        // The library accepts other frames before it.
        let window_update = [0, 0, 4, 8, 0, 0, 0, 0, 0, 0, 1, 0, 0];
        assert_eq!(told(&[&window_update[..], &settings(&[(3, 7)])].concat()).await, told_of(false, Some(7)));
    }

    #[tokio::test]
    async fn an_origin_that_goes_away_shares_nothing_and_holds_nothing_up() {
        let goaway = [0, 0, 8, 7, 0, 0, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0, 0];
        let bytes = [&settings(&[(3, 1)])[..], &goaway].concat();
        let (mut stream, told) = SettingsIo::of(&bytes[..]);
        stream.read_to_end(&mut Vec::new()).await.unwrap();
        assert_eq!((told.streams(), told.streams_admitted()), (0, usize::MAX));
    }

    #[tokio::test]
    async fn later_settings_change_what_they_name() {
        let (ack, data) = ([0, 0, 0, 4, 1, 0, 0, 0, 0], [0, 0, 2, 0, 0, 0, 0, 0, 1, 4, 4]);
        let first = settings(&[(3, 100), (8, 1)]);
        let bytes = [&first[..], &ack, &data, &settings(&[(3, 1)]), &settings(&[])].concat();
        assert_eq!(told(&bytes).await, Some(Settings { extended_connect: true, streams: Some(1), goes_away: false }));
    }

    #[tokio::test]
    async fn it_is_told_once_the_bytes_have_passed_and_never_waits_for_a_dead_connection() {
        let bytes = [settings(&[(8, 1)]), vec![0; 9]].concat();
        let (mut stream, told) = SettingsIo::of(one_by_one(&bytes));
        assert_eq!((told.streams(), told.streams_admitted()), (0, usize::MAX));
        stream.read_to_end(&mut Vec::new()).await.unwrap();
        assert!(told.takes_extended_connect().await);
        assert_eq!(told.streams(), usize::MAX);
        let (gone, told) = SettingsIo::of(one_by_one(b""));
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
