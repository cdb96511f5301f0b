//! The bounded hand-off between the data path and the reporting path: a queue that is emptied in batches.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use crate::capture::{Finished, Sink};

/// Exchanges that may wait at once. Their bodies are bounded by the capture budget; this bounds the rest.
const LIMIT: usize = 32_768;
/// How long the first of a batch waits for others: what one wake-up, one transaction and one commit are shared by.
const GATHER: Duration = Duration::from_millis(5);

/// The queue. Clones are handles on the same one.
#[derive(Clone, Default)]
pub struct Handoff(Arc<Shared>);

#[derive(Default)]
struct Shared {
    queue: Mutex<Queue>,
    filled: Condvar,
    dropped: AtomicU64,
}

#[derive(Default)]
struct Queue {
    waiting: Vec<Finished>,
    closed: bool,
}

impl Handoff {
    /// The next batch, as soon as there is one; `None` when the queue was closed and is empty. Blocks.
    pub fn next_batch(&self) -> Option<Vec<Finished>> {
        let mut queue = self.lock();
        while queue.waiting.is_empty() {
            if queue.closed {
                return None;
            }
            queue = self.0.filled.wait(queue).unwrap_or_else(PoisonError::into_inner);
        }
        if !queue.closed {
            drop(queue);
            std::thread::sleep(GATHER);
            queue = self.lock();
        }
        Some(std::mem::take(&mut queue.waiting))
    }

    /// No exchange comes any more: the reader ends when it has read what is there.
    pub fn close(&self) {
        self.lock().closed = true;
        self.0.filled.notify_all();
    }

    /// Whether [`Handoff::close`] was called.
    pub fn is_closed(&self) -> bool {
        self.lock().closed
    }

    /// Exchanges that found no room, for which there is no event.
    pub fn dropped(&self) -> u64 {
        self.0.dropped.load(Ordering::Relaxed)
    }

    fn lock(&self) -> MutexGuard<'_, Queue> {
        self.0.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Sink for Handoff {
    fn take(&self, finished: Finished) {
        let mut queue = self.lock();
        if queue.closed || queue.waiting.len() >= LIMIT {
            self.0.dropped.fetch_add(1, Ordering::Relaxed);
            return;
        }
        let first = queue.waiting.is_empty();
        queue.waiting.push(finished);
        drop(queue);
        // Only the first of a batch wakes the reader: a wake-up for each would cost more than the rest of it.
        if first {
            self.0.filled.notify_one();
        }
    }
}

#[cfg(test)]
mod tests {
    use http::{Method, Version};

    use super::*;
    use crate::capture::{Budget, Captured, Fields, Kind, Limits, Origin, Recorder, Recording, RequestFacts};

    /// Begins and ends an exchange, which hands it off.
    fn one(recording: &Arc<Recording>) {
        let request = RequestFacts {
            method: Method::GET,
            path: "/".to_owned(),
            query: None,
            headers: Fields::default(),
            body: Captured::default(),
            trailers: None,
        };
        let origin = Origin { scheme: "http", host: "a.test".into(), port: 80 };
        let agent = std::net::SocketAddr::from(([127, 0, 0, 1], 1));
        drop(Recorder::begin(recording, Kind::Http, agent, origin, Version::HTTP_11, request));
    }

    fn recording(handoff: &Handoff) -> Arc<Recording> {
        Recording::new(handoff.clone(), Limits { head_bytes: 0, tail_bytes: 0 }, Budget::new(0))
    }

    #[test]
    fn what_finds_no_room_is_counted_and_what_found_it_is_kept() {
        let handoff = Handoff::default();
        let recording = recording(&handoff);
        for _ in 0..LIMIT + 3 {
            one(&recording);
        }
        assert_eq!(handoff.dropped(), 3);
        handoff.close();
        assert_eq!(handoff.next_batch().map(|batch| batch.len()), Some(LIMIT));
        assert!(handoff.next_batch().is_none());
    }

    #[test]
    fn a_reader_that_waits_is_woken_by_the_first_of_a_batch_and_by_the_end() {
        let handoff = Handoff::default();
        let recording = recording(&handoff);
        let reader = std::thread::spawn({
            let handoff = handoff.clone();
            move || std::iter::from_fn(|| handoff.next_batch()).map(|batch| batch.len()).sum::<usize>()
        });
        for _ in 0..100 {
            one(&recording);
        }
        handoff.close();
        assert_eq!(reader.join().unwrap(), 100);
        assert_eq!(handoff.dropped(), 0);
    }
}
