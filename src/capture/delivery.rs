//! How much of a response's body has been delivered: written to the agent's connection, not only handed over to be written.
//!
//! hyper flushes the connection once all is written that it was handed. So a piece is delivered when the body was asked for more
//! after it (over HTTP/2: it fits the stream's window) and a flush has ended since it was handed over.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll, Waker};

use parking_lot::Mutex;

/// Counts the flushes of one connection that have ended.
#[derive(Clone, Default)]
pub struct Flushes(Arc<Ended>);

#[derive(Default)]
struct Ended {
    count: AtomicU64,
    waiting: Mutex<Vec<Waker>>,
}

impl Flushes {
    /// A flush has ended.
    pub fn note(&self) {
        self.0.count.fetch_add(1, Ordering::AcqRel);
        let waiting = std::mem::take(&mut *self.0.waiting.lock());
        waiting.into_iter().for_each(Waker::wake);
    }

    /// How many have ended.
    pub fn count(&self) -> u64 {
        self.0.count.load(Ordering::Acquire)
    }

    /// Ready when so many have ended.
    pub fn poll_count(&self, count: u64, cx: &Context<'_>) -> Poll<()> {
        let mut waiting = self.0.waiting.lock();
        if self.count() >= count {
            return Poll::Ready(());
        }
        if !waiting.iter().any(|waker| waker.will_wake(cx.waker())) {
            waiting.push(cx.waker().clone());
        }
        Poll::Pending
    }
}

/// Follows one body.
pub(super) struct Delivery {
    /// `None`: the connection is not known, and what is handed over counts.
    flushes: Option<Flushes>,
    handed_bytes: u64,
    delivered_bytes: u64,
    /// Flushes before the last piece was handed over.
    before: u64,
    asked_again: bool,
}

impl Delivery {
    pub(super) fn new(flushes: Option<Flushes>) -> Self {
        Self { flushes, handed_bytes: 0, delivered_bytes: 0, before: 0, asked_again: false }
    }

    /// More of the body is asked for.
    pub(super) fn asked(&mut self) {
        self.asked_again = true;
        self.settle();
    }

    /// So much of it has been handed over by now.
    pub(super) fn handed(&mut self, total_bytes: u64) {
        self.handed_bytes = total_bytes;
        self.before = self.flushes.as_ref().map_or(0, Flushes::count);
        self.asked_again = false;
    }

    /// Bytes that have been delivered.
    pub(super) fn delivered_bytes(&mut self) -> u64 {
        self.settle();
        self.delivered_bytes
    }

    fn settle(&mut self) {
        let flushed = self.flushes.as_ref().is_none_or(|flushes| flushes.count() > self.before && self.asked_again);
        if flushed {
            self.delivered_bytes = self.handed_bytes;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_piece_is_delivered_once_it_was_flushed_and_more_was_asked_for() {
        let flushes = Flushes::default();
        let mut delivery = Delivery::new(Some(flushes.clone()));
        delivery.asked();
        delivery.handed(10);
        assert_eq!(delivery.delivered_bytes(), 0);
        delivery.asked();
        assert_eq!(delivery.delivered_bytes(), 0, "not written yet");
        flushes.note();
        assert_eq!(delivery.delivered_bytes(), 10);
        delivery.handed(15);
        flushes.note();
        assert_eq!(delivery.delivered_bytes(), 10, "a part of it may wait for the agent's window");
        delivery.asked();
        assert_eq!(delivery.delivered_bytes(), 15);
        delivery.handed(20);
        delivery.asked();
        delivery.handed(30);
        delivery.asked();
        assert_eq!(delivery.delivered_bytes(), 15);
        flushes.note();
        assert_eq!(delivery.delivered_bytes(), 30);
    }

    #[test]
    fn where_no_connection_is_known_what_is_handed_over_counts() {
        let mut delivery = Delivery::new(None);
        delivery.handed(7);
        assert_eq!(delivery.delivered_bytes(), 7);
    }
}
