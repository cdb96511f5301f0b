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
