//! The stream of an HTTP/2 agent, with time limits that hyper does not have: for an incomplete frame, for an incomplete request
//! head, and for responses that the agent does not read (RFC 9113 10.5).

use std::io::{self, IoSlice};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use parking_lot::Mutex;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::{Instant, sleep};

use super::activity::Activity;
use super::agent_limits::AgentLimits;
use super::upstream::FRAME_HEADER_BYTES;

const PREFACE_BYTES: usize = 24;
const HEADERS: u8 = 1;
const CONTINUATION: u8 = 9;
const END_HEADERS: u8 = 4;
/// How messages describe an agent that does not read.
pub(super) const UNTAKEN: &str = "read nothing of what it was sent";
/// The longest interval between two checks.
const LOOK: Duration = Duration::from_secs(5);

/// The stream of an HTTP/2 agent.
pub(super) struct WatchedIo<S> {
    inner: S,
    pulse: Pulse,
}

/// The progress of the agent. Clones share it.
#[derive(Clone)]
pub(super) struct Pulse(Arc<Mutex<State>>);

struct State {
    frames: Frames,
    /// When the first byte of the incomplete frame or head came.
    begun: Option<Instant>,
    /// When a byte last passed in either direction.
    progressed: Instant,
    /// A write waits until the agent reads.
    blocked: bool,
}

/// An agent that made no progress for too long.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Stuck {
    /// What the agent did, in words.
    pub(super) what: &'static str,
    /// The limit that it exceeded.
    pub(super) limit: Duration,
}

impl<S> WatchedIo<S> {
    pub(super) fn new(inner: S) -> (Self, Pulse) {
        let pulse = Pulse(Arc::new(Mutex::new(State {
            frames: Frames::new(),
            begun: None,
            progressed: Instant::now(),
            blocked: false,
        })));
        (Self { inner, pulse: pulse.clone() }, pulse)
    }
}

impl Pulse {
    /// Ends when the agent is stuck.
    pub(super) async fn stuck(&self, activity: &Activity, limits: &AgentLimits) -> Stuck {
        let look = (limits.header.min(limits.stall) / 4).clamp(Duration::from_millis(10), LOOK);
        loop {
            sleep(look).await;
            if let Some(stuck) = self.0.lock().stuck(activity.untaken() > 0, limits) {
                return stuck;
            }
        }
    }

    /// Ends when no byte passed for `limit` and no request was in flight.
    pub(super) async fn rests_for(&self, activity: &Activity, limit: Duration) {
        sleep(limit).await;
        loop {
            activity.idle_for(limit).await;
            let quiet = self.0.lock().progressed.elapsed();
            match limit.checked_sub(quiet) {
                None | Some(Duration::ZERO) => return,
                Some(left) => sleep(left).await,
            }
        }
    }
}

impl State {
    fn read(&mut self, bytes: &[u8]) {
        let now = Instant::now();
        self.progressed = now;
        let whole = self.frames.see(bytes);
        self.begun = match self.frames.position() {
            FramePosition::Between => None,
            // The incomplete part may have begun before.
            _ => self.begun.filter(|_| !whole).or(Some(now)),
        };
    }

    fn wrote<T>(&mut self, written: &Poll<T>) {
        self.blocked = written.is_pending();
        if !self.blocked {
            self.progressed = Instant::now();
        }
    }

    fn stuck(&self, untaken: bool, limits: &AgentLimits) -> Option<Stuck> {
        let over = |since: Instant, limit, what| (since.elapsed() >= limit).then_some(Stuck { what, limit });
        match (self.frames.position(), self.begun) {
            (FramePosition::Head, Some(begun)) => over(begun, limits.header, "did not complete a request's head"),
            (FramePosition::Frame, Some(_)) => over(self.progressed, limits.stall, "made no progress within a frame"),
            _ if self.blocked || untaken => over(self.progressed, limits.stall, UNTAKEN),
            _ => None,
        }
    }
}

/// The position in an agent's stream of frames.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum FramePosition {
    /// Between two frames.
    Between,
    /// In the preface, in the header of a frame, or in a request's head.
    Head,
    /// In the payload of another frame.
    Frame,
}

/// Finds the ends of frames.
struct Frames {
    /// Missing bytes of the preface.
    preface: usize,
    header: [u8; FRAME_HEADER_BYTES],
    /// How many bytes of `header` have come.
    filled: usize,
    /// Missing bytes of the payload.
    payload: usize,
    /// A head is incomplete.
    head: bool,
}

impl Frames {
    fn new() -> Self {
        Self { preface: PREFACE_BYTES, header: [0; FRAME_HEADER_BYTES], filled: 0, payload: 0, head: false }
    }

    /// Reads the next bytes. True: a frame or head was completed.
    fn see(&mut self, mut bytes: &[u8]) -> bool {
        let mut whole = false;
        let skip = self.preface.min(bytes.len());
        (self.preface, bytes) = (self.preface - skip, &bytes[skip..]);
        while !bytes.is_empty() {
            if self.filled < FRAME_HEADER_BYTES {
                let more = (FRAME_HEADER_BYTES - self.filled).min(bytes.len());
                self.header[self.filled..self.filled + more].copy_from_slice(&bytes[..more]);
                (self.filled, bytes) = (self.filled + more, &bytes[more..]);
                if self.filled < FRAME_HEADER_BYTES {
                    break;
                }
                let [first, second, third, kind, flags, ..] = self.header;
                self.payload = u32::from_be_bytes([0, first, second, third]) as usize;
                if matches!(kind, HEADERS | CONTINUATION) {
                    self.head = flags & END_HEADERS == 0;
                }
            }
            let more = self.payload.min(bytes.len());
            (self.payload, bytes) = (self.payload - more, &bytes[more..]);
            if self.payload == 0 {
                self.filled = 0;
                whole |= !self.head;
            }
        }
        whole
    }

    fn position(&self) -> FramePosition {
        let begun = (1..PREFACE_BYTES).contains(&self.preface);
        let in_header = (1..FRAME_HEADER_BYTES).contains(&self.filled);
        let of_head = self.filled == FRAME_HEADER_BYTES && matches!(self.header[3], HEADERS | CONTINUATION);
        match () {
            () if begun || in_header || of_head || self.head => FramePosition::Head,
            () if self.filled == FRAME_HEADER_BYTES => FramePosition::Frame,
            () => FramePosition::Between,
        }
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for WatchedIo<S> {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let before = buf.filled().len();
        ready!(Pin::new(&mut self.inner).poll_read(cx, buf))?;
        self.pulse.0.lock().read(&buf.filled()[before..]);
        Poll::Ready(Ok(()))
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for WatchedIo<S> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.inner).poll_write(cx, buf);
        self.pulse.0.lock().wrote(&written);
        written
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.inner).poll_write_vectored(cx, bufs);
        self.pulse.0.lock().wrote(&written);
        written
    }

    fn is_write_vectored(&self) -> bool {
        self.inner.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let flushed = Pin::new(&mut self.inner).poll_flush(cx);
        self.pulse.0.lock().blocked = flushed.is_pending();
        flushed
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_shutdown(cx)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn frame(kind: u8, flags: u8, payload: usize) -> Vec<u8> {
        let length = (payload as u32).to_be_bytes();
        [&length[1..], &[kind, flags, 0, 0, 0, 1], &vec![7; payload]].concat()
    }

    fn places(bytes: &[u8]) -> Vec<FramePosition> {
        let mut frames = Frames::new();
        frames.see(&[0; PREFACE_BYTES]);
        let position = |byte: &u8| {
            frames.see(&[*byte]);
            frames.position()
        };
        bytes.iter().map(position).collect()
    }

    #[test]
    fn it_is_known_what_is_under_way() {
        use FramePosition::{Between, Frame, Head};
        assert_eq!(Frames::new().position(), Between);
        let mut half = Frames::new();
        half.see(b"PRI");
        assert_eq!(half.position(), Head);
        assert_eq!(places(&frame(0, 0, 2)), [&[Head; 8][..], &[Frame, Frame, Between]].concat());
        assert_eq!(places(&frame(4, 0, 0)), [&[Head; 8][..], &[Between]].concat());
        assert_eq!(places(&frame(1, END_HEADERS, 1)), [&[Head; 9][..], &[Between]].concat());
        let continued = [frame(1, 0, 1), frame(9, END_HEADERS, 1)].concat();
        assert_eq!(places(&continued), [&[Head; 19][..], &[Between]].concat());
    }

    proptest! {
        #[test]
        fn pieces_change_nothing(kinds in proptest::collection::vec((0u8..11, 0u8..6, 0usize..40), 0..6), cuts in proptest::collection::vec(1usize..50, 1..40)) {
            let bytes: Vec<u8> = std::iter::repeat_n(0, PREFACE_BYTES)
                .chain(kinds.iter().flat_map(|(kind, flags, payload)| frame(*kind, *flags, *payload)))
                .collect();
            let (mut at_once, mut in_pieces) = (Frames::new(), Frames::new());
            at_once.see(&bytes);
            let mut rest = &bytes[..];
            for cut in cuts.iter().cycle() {
                let (piece, left) = rest.split_at((*cut).min(rest.len()));
                in_pieces.see(piece);
                rest = left;
                if rest.is_empty() {
                    break;
                }
            }
            prop_assert_eq!(at_once.position(), in_pieces.position());
        }
    }
}
