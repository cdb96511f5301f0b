//! Copies of passing bytes, for a task that reads them beside the data path. The data path never waits: when there is
//! no room for a copy, reading is given up and no more copies are made.

use std::convert::Infallible;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Instant;

use bytes::Bytes;
use tokio::sync::mpsc;

use super::budget::{Budget, Reservation};

/// This many bytes may always wait, like the read buffer of a connection. More is taken from the memory budget of
/// captures.
const WAITING_ALWAYS_BYTES: usize = 64 << 10;
/// The overhead of a waiting piece.
const PIECE_BYTES: usize = 128;

/// Copies what one side sends. `N`: other messages to the reader.
pub struct Tap<S, N = Infallible> {
    side: S,
    line: Arc<Line<S, N>>,
}

/// The queue of copies from one or both sides.
struct Line<S, N> {
    sender: mpsc::UnboundedSender<Copied<S, N>>,
    waiting_bytes: Arc<AtomicUsize>,
    waiting_max_bytes: usize,
    budget: Arc<Budget>,
    given_up: AtomicBool,
}

/// A message to the reader.
pub(super) enum Copied<S, N = Infallible> {
    /// Bytes that passed, with their time.
    Bytes { from: S, bytes: Bytes, at: Instant, waiting: Waiting },
    /// The side has ended. `whole`: as its sender intended.
    Ended { from: S, whole: bool },
    /// There was no room for the next copy.
    GivenUp { from: S, why: &'static str },
    /// Another message, in order with the rest.
    Message(N),
}

/// The room of waiting bytes. It is released on drop.
pub(super) struct Waiting {
    bytes: usize,
    of: Arc<AtomicUsize>,
    _memory: Reservation,
}

impl Drop for Waiting {
    fn drop(&mut self) {
        self.of.fetch_sub(self.bytes, Ordering::Relaxed);
    }
}

/// The reader's end of the queue.
pub(super) type Copies<S, N = Infallible> = mpsc::UnboundedReceiver<Copied<S, N>>;

/// Two taps with one limit, `waiting_max_bytes`, so that order is kept and both are given up together.
pub(super) fn together<S: Copy>(
    sides: [S; 2],
    waiting_max_bytes: usize,
    budget: &Arc<Budget>,
) -> ([Tap<S>; 2], Copies<S>) {
    let (sender, copies) = mpsc::unbounded_channel();
    let line = Line::new(sender, waiting_max_bytes, budget);
    (sides.map(|side| Tap { side, line: line.clone() }), copies)
}

/// Two taps with a limit of `waiting_max_bytes` each: one may be given up without the other.
pub(super) fn apart<S: Copy, N>(
    sides: [S; 2],
    waiting_max_bytes: usize,
    budget: &Arc<Budget>,
) -> ([Tap<S, N>; 2], Copies<S, N>) {
    let (sender, copies) = mpsc::unbounded_channel();
    let tap = |side| Tap { side, line: Line::new(sender.clone(), waiting_max_bytes, budget) };
    (sides.map(tap), copies)
}

impl<S, N> Line<S, N> {
    fn new(sender: mpsc::UnboundedSender<Copied<S, N>>, waiting_max_bytes: usize, budget: &Arc<Budget>) -> Arc<Self> {
        let (waiting_bytes, given_up) = (Arc::default(), AtomicBool::new(false));
        Arc::new(Self { sender, waiting_bytes, waiting_max_bytes, budget: budget.clone(), given_up })
    }
}

impl<S: Copy, N> Clone for Tap<S, N> {
    fn clone(&self) -> Self {
        Self { side: self.side, line: self.line.clone() }
    }
}

impl<S: Copy, N> Tap<S, N> {
    /// Copies bytes that pass now. Never waits: when there is no room, no more copies are made.
    pub fn see(&self, bytes: &[u8]) {
        self.see_at(bytes, Instant::now());
    }

    /// Copies bytes that passed at this time.
    pub(super) fn see_at(&self, bytes: &[u8], at: Instant) {
        let line = &self.line;
        if bytes.is_empty() || line.given_up.load(Ordering::Relaxed) {
            return;
        }
        let takes = bytes.len() + PIECE_BYTES;
        let mut memory = Reservation::none(line.budget.clone());
        let before = line.waiting_bytes.fetch_add(takes, Ordering::Relaxed);
        // Released with the piece, or now if there is no room.
        let of = line.waiting_bytes.clone();
        if before + takes > line.waiting_max_bytes {
            drop(Waiting { bytes: takes, of, _memory: memory });
            return self.give_up("overrun");
        }
        if before + takes > WAITING_ALWAYS_BYTES && !memory.grow(takes) {
            drop(Waiting { bytes: takes, of, _memory: memory });
            return self.give_up("no_memory");
        }
        let waiting = Waiting { bytes: takes, of, _memory: memory };
        let bytes = Bytes::copy_from_slice(bytes);
        self.send(Copied::Bytes { from: self.side, bytes, at, waiting });
    }

    /// Hands over bytes that passed by this time. They are kept in any case, so they take no room here.
    pub(super) fn share(&self, bytes: Bytes, at: Instant) {
        let line = &self.line;
        if bytes.is_empty() || line.given_up.load(Ordering::Relaxed) {
            return;
        }
        let waiting =
            Waiting { bytes: 0, of: line.waiting_bytes.clone(), _memory: Reservation::none(line.budget.clone()) };
        self.send(Copied::Bytes { from: self.side, bytes, at, waiting });
    }

    /// The side has ended.
    pub(super) fn ended(self, whole: bool) {
        self.send(Copied::Ended { from: self.side, whole });
    }

    /// Sends another message to the reader. `Err` returns it when the reader is gone.
    pub(super) fn message(&self, what: N) -> Result<(), N> {
        match self.line.sender.send(Copied::Message(what)) {
            Err(mpsc::error::SendError(Copied::Message(what))) => Err(what),
            _ => Ok(()),
        }
    }

    fn give_up(&self, why: &'static str) {
        if !self.line.given_up.swap(true, Ordering::Relaxed) {
            self.send(Copied::GivenUp { from: self.side, why });
        }
    }

    fn send(&self, copied: Copied<S, N>) {
        // Fails only when the reader is gone. Then nobody needs the copy.
        let _ = self.line.sender.send(copied);
    }
}
