//! How much of a response body has been delivered: written to the agent's connection, not only handed to hyper.
//!
//! hyper flushes the connection when it has written everything that it was handed. So a piece is delivered when two
//! things have happened since it was handed over: the body was polled again (over HTTP/2 this shows that it fitted the
//! stream's window), and a flush has ended.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll, Waker};

use parking_lot::Mutex;

/// Counts the completed flushes of one connection.
#[derive(Clone, Default)]
pub struct Flushes(Arc<Ended>);

#[derive(Default)]
struct Ended {
    count: AtomicU64,
    waiting: Mutex<Vec<Waker>>,
}

impl Flushes {
    /// A flush is complete.
    pub fn note(&self) {
        self.0.count.fetch_add(1, Ordering::AcqRel);
        let waiting = std::mem::take(&mut *self.0.waiting.lock());
        waiting.into_iter().for_each(Waker::wake);
    }

    /// The number of completed flushes.
    pub fn count(&self) -> u64 {
        self.0.count.load(Ordering::Acquire)
    }

    /// Ready when at least `count` flushes are complete.
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

/// Follows the delivery of one body.
pub(super) struct Delivery {
    /// `None`: the connection is not known, so bytes count as delivered when handed over.
    flushes: Option<Flushes>,
    handed_bytes: u64,
    delivered_bytes: u64,
    /// The number of flushes when the last piece was handed over.
    before: u64,
    polled_again: bool,
}

impl Delivery {
    pub(super) fn new(flushes: Option<Flushes>) -> Self {
        Self { flushes, handed_bytes: 0, delivered_bytes: 0, before: 0, polled_again: false }
    }

    /// The body is polled for more.
    pub(super) fn polled(&mut self) {
        self.polled_again = true;
        self.settle();
    }

    /// `total_bytes` of the body have been handed over by now.
    pub(super) fn handed(&mut self, total_bytes: u64) {
        self.handed_bytes = total_bytes;
        self.before = self.flushes.as_ref().map_or(0, Flushes::count);
        self.polled_again = false;
    }

    /// Bytes delivered so far.
    pub(super) fn delivered_bytes(&mut self) -> u64 {
        self.settle();
        self.delivered_bytes
    }

    fn settle(&mut self) {
        let flushed = self.flushes.as_ref().is_none_or(|flushes| flushes.count() > self.before && self.polled_again);
        if flushed {
            self.delivered_bytes = self.handed_bytes;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_piece_is_delivered_once_it_was_flushed_and_the_body_polled_again() {
        let flushes = Flushes::default();
        let mut delivery = Delivery::new(Some(flushes.clone()));
        delivery.polled();
        delivery.handed(10);
        assert_eq!(delivery.delivered_bytes(), 0);
        delivery.polled();
        assert_eq!(delivery.delivered_bytes(), 0, "not written yet");
        flushes.note();
        assert_eq!(delivery.delivered_bytes(), 10);
        delivery.handed(15);
        flushes.note();
        assert_eq!(delivery.delivered_bytes(), 10, "a part of it may wait for the agent's window");
        delivery.polled();
        assert_eq!(delivery.delivered_bytes(), 15);
        delivery.handed(20);
        delivery.polled();
        delivery.handed(30);
        delivery.polled();
        assert_eq!(delivery.delivered_bytes(), 15);
        flushes.note();
        assert_eq!(delivery.delivered_bytes(), 30);
    }

    #[test]
    fn without_a_known_connection_handed_over_bytes_count_as_delivered() {
        let mut delivery = Delivery::new(None);
        delivery.handed(7);
        assert_eq!(delivery.delivered_bytes(), 7);
    }
}
