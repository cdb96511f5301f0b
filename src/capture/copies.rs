//! Copies of bytes that pass, on their way to a task that reads them beside the data path. The data path waits for nobody: when
//! there is no room for a copy, reading has lost, and no more are made.

use std::convert::Infallible;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Instant;

use bytes::Bytes;
use tokio::sync::mpsc;

use super::keeper::{Budget, Reservation};

/// So many bytes may wait whatever else is captured, as what a connection reads into does; the rest is of the captures' budget.
const WAITING_ALWAYS_BYTES: usize = 64 << 10;
/// What a piece that waits takes beside its bytes.
const PIECE_BYTES: usize = 128;

/// Copies what one side sends. `N`: what else the reader may be told.
pub struct Tap<S, N = Infallible> {
    side: S,
    line: Arc<Line<S, N>>,
}

/// What copies of one or both sides wait in.
struct Line<S, N> {
    sender: mpsc::UnboundedSender<Copied<S, N>>,
    waiting_bytes: Arc<AtomicUsize>,
    waiting_max_bytes: usize,
    budget: Arc<Budget>,
    given_up: AtomicBool,
}

/// What the reader is given.
pub(super) enum Copied<S, N = Infallible> {
    /// Bytes that passed, and when.
    Bytes { from: S, bytes: Bytes, at: Instant, waiting: Waiting },
    /// Nothing more will pass; `whole`: as its sender meant it to end.
    Ended { from: S, whole: bool },
    /// There was no room for what came next.
    GivenUp { from: S, why: &'static str },
    /// What else there is to tell, in its place among the rest.
    Told(N),
}

/// The room that waiting bytes take: given back when dropped.
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

/// What reads the copies.
pub(super) type Copies<S, N = Infallible> = mpsc::UnboundedReceiver<Copied<S, N>>;

/// Two taps of which at most `waiting_max_bytes` wait together, so that order is kept and both lose together.
pub(super) fn together<S: Copy>(
    sides: [S; 2],
    waiting_max_bytes: usize,
    budget: &Arc<Budget>,
) -> ([Tap<S>; 2], Copies<S>) {
    let (sender, copies) = mpsc::unbounded_channel();
    let line = Line::new(sender, waiting_max_bytes, budget);
    (sides.map(|side| Tap { side, line: line.clone() }), copies)
}

/// Two taps of which at most `waiting_max_bytes` wait each: one may lose without the other.
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
    /// Bytes pass. Never waits: when there is no room for a copy, no more are made.
    pub fn see(&self, bytes: &[u8]) {
        let line = &self.line;
        if bytes.is_empty() || line.given_up.load(Ordering::Relaxed) {
            return;
        }
        let takes = bytes.len() + PIECE_BYTES;
        let mut memory = Reservation::none(line.budget.clone());
        let before = line.waiting_bytes.fetch_add(takes, Ordering::Relaxed);
        // Given back with the piece, or here and now.
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
        self.send(Copied::Bytes { from: self.side, bytes, at: Instant::now(), waiting });
    }

    /// Nothing more will pass.
    pub(super) fn ended(self, whole: bool) {
        self.send(Copied::Ended { from: self.side, whole });
    }

    /// Tells the reader something. It is given back when there is no reader any more.
    pub(super) fn tell(&self, what: N) -> Result<(), N> {
        match self.line.sender.send(Copied::Told(what)) {
            Err(mpsc::error::SendError(Copied::Told(what))) => Err(what),
            _ => Ok(()),
        }
    }

    fn give_up(&self, why: &'static str) {
        if !self.line.given_up.swap(true, Ordering::Relaxed) {
            self.send(Copied::GivenUp { from: self.side, why });
        }
    }

    fn send(&self, copied: Copied<S, N>) {
        // Fails only when the reader is gone, which then says so itself.
        let _ = self.line.sender.send(copied);
    }
}
