//! The hand-off between the data path and the reporting path: a bounded queue that is emptied in batches. When it is full, the oldest
//! exchanges are dropped, because the newest are worth more. They are counted, and one event reports them.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use parking_lot::{Condvar, Mutex, MutexGuard};

use crate::capture::{Finished, Sink};
use crate::event::unix_ms;
use crate::store::{Gap, LossReason};

/// The most waiting exchanges. The capture budget bounds their bodies; this bounds the rest.
const LIMIT: usize = 32_768;
/// How long the first exchange of a batch waits for others. The batch shares one wake-up, one transaction and one commit.
const GATHER: Duration = Duration::from_millis(5);

/// What is guaranteed about recording.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Guarantees {
    /// A call that cannot be recorded is refused (`store.on_full = "refuse"`).
    pub audit: bool,
    /// No response ends before its event is stored (`store.durability = "strict"`).
    pub strict: bool,
}

/// The queue. Clones are handles on the same one.
#[derive(Clone, Default)]
pub struct Handoff(Arc<Shared>);

#[derive(Default)]
struct Shared {
    queue: Mutex<Queue>,
    filled: Condvar,
    dropped: AtomicU64,
    audit: AtomicBool,
    strict: AtomicBool,
    store_refuses: AtomicBool,
    /// Exchanges that were taken from the queue and are not stored yet.
    held: AtomicU64,
    /// Why the store accepts no events. `None`: it does.
    trouble: Mutex<Option<String>>,
    /// More than half of the queue is used.
    crowded: AtomicBool,
}

#[derive(Default)]
struct Queue {
    waiting: VecDeque<Finished>,
    closed: bool,
    /// The reader was woken without an exchange.
    woken: bool,
    gap: Option<Gap>,
}

/// What the reader gets.
pub enum Next {
    /// The exchanges since the last call.
    Batch(VecDeque<Finished>),
    /// There was no exchange in time, or the reader was woken.
    Nothing,
    /// There will be no more exchanges.
    Closed,
}

impl Handoff {
    /// A queue with these guarantees.
    pub fn new(guarantees: Guarantees) -> Self {
        let handoff = Self::default();
        handoff.guarantee(guarantees);
        handoff
    }

    /// Changes the guarantees.
    pub fn guarantee(&self, Guarantees { audit, strict }: Guarantees) {
        self.0.audit.store(audit, Ordering::Release);
        self.0.strict.store(strict, Ordering::Release);
    }

    /// The guarantees.
    pub fn guarantees(&self) -> Guarantees {
        Guarantees { audit: self.0.audit.load(Ordering::Acquire), strict: self.0.strict.load(Ordering::Acquire) }
    }

    /// The next batch. Waits for at most `patience`. Blocks.
    pub fn next_batch(&self, patience: Duration) -> Next {
        let mut queue = self.lock();
        if queue.waiting.is_empty() && !queue.closed && !queue.woken {
            self.0.filled.wait_for(&mut queue, patience);
        }
        queue.woken = false;
        if queue.waiting.is_empty() {
            return if queue.closed { Next::Closed } else { Next::Nothing };
        }
        // Strict mode: do not delay for batching.
        if !queue.closed && !self.guarantees().strict {
            drop(queue);
            std::thread::sleep(GATHER);
            queue = self.lock();
        }
        self.0.crowded.store(false, Ordering::Relaxed);
        self.0.held.fetch_add(queue.waiting.len() as u64, Ordering::Relaxed);
        Next::Batch(std::mem::take(&mut queue.waiting))
    }

    /// Wakes the reader: there is other work for it.
    pub fn wake(&self) {
        self.lock().woken = true;
        self.0.filled.notify_all();
    }

    /// Closes the queue. The reader ends when the queue is empty.
    pub fn close(&self) {
        self.lock().closed = true;
        self.0.filled.notify_all();
    }

    /// Whether [`Handoff::close`] was called.
    pub fn is_closed(&self) -> bool {
        self.lock().closed
    }

    /// Exchanges that were dropped because the queue was full. They have no event.
    pub fn dropped(&self) -> u64 {
        self.0.dropped.load(Ordering::Relaxed)
    }

    /// Takes the gap of dropped exchanges that has not been reported yet.
    pub fn take_gap(&self) -> Option<Gap> {
        self.lock().gap.take()
    }

    /// Sets whether the store accepts events now.
    pub fn set_store_accepts(&self, accepts: bool) {
        self.0.store_refuses.store(!accepts, Ordering::Relaxed);
    }

    /// This many exchanges that were taken are now stored or given up.
    pub fn release(&self, many: u64) {
        self.0.held.fetch_sub(many, Ordering::Relaxed);
    }

    /// Sets why the store refuses events. `None`: it accepts them.
    pub fn set_store_trouble(&self, why: Option<String>) {
        *self.0.trouble.lock() = why;
    }

    /// While the store refuses events: how many calls are in memory only, and why.
    pub fn in_memory(&self) -> Option<(u64, String)> {
        let why = self.0.trouble.lock().clone()?;
        let held = self.0.held.load(Ordering::Relaxed);
        Some((held + self.lock().waiting.len() as u64, why))
    }

    fn lock(&self) -> MutexGuard<'_, Queue> {
        self.0.queue.lock()
    }
}

impl Sink for Handoff {
    fn take(&self, finished: Finished) {
        let mut queue = self.lock();
        if queue.waiting.len() >= LIMIT
            && let Some(oldest) = queue.waiting.pop_front()
        {
            self.0.dropped.fetch_add(1, Ordering::Relaxed);
            let began = unix_ms(oldest.exchange.started_at);
            let gap = queue.gap.get_or_insert(Gap {
                reason: LossReason::Overrun,
                events: 0,
                bodies: 0,
                from_ms: began,
                to_ms: began,
            });
            gap.events += 1;
            gap.from_ms = gap.from_ms.min(began);
            gap.to_ms = gap.to_ms.max(began);
        }
        if queue.closed {
            self.0.dropped.fetch_add(1, Ordering::Relaxed);
            return;
        }
        let first = queue.waiting.is_empty();
        queue.waiting.push_back(finished);
        if queue.waiting.len() > LIMIT / 2 {
            self.0.crowded.store(true, Ordering::Relaxed);
        }
        drop(queue);
        // Only the first exchange of a batch wakes the reader. Waking it for each would cost more than all else here.
        if first {
            self.0.filled.notify_one();
        }
    }

    fn admits(&self) -> bool {
        let refuses = self.0.store_refuses.load(Ordering::Relaxed) || self.0.crowded.load(Ordering::Relaxed);
        !(refuses && self.guarantees().audit)
    }

    fn holds_ends(&self) -> bool {
        self.guarantees().strict
    }
}

#[cfg(test)]
mod tests {
    use http::{Method, Version};

    use super::*;
    use crate::capture::{Budget, Caller, Fields, Kind, Limits, Origin, Recorder, Recording, RequestFacts};

    /// Begins and ends an exchange, which hands it off.
    fn one(recording: &Arc<Recording>) {
        let request = RequestFacts::without_body(Method::GET, "/".to_owned(), None, Fields::default());
        let origin = Origin { scheme: "http", host: "a.test".into(), port: 80 };
        let agent = std::net::SocketAddr::from(([127, 0, 0, 1], 1));
        drop(Recorder::begin(recording, Kind::Http, (agent, Caller::Proxy), origin, Version::HTTP_11, request));
    }

    fn recording(handoff: &Handoff) -> Arc<Recording> {
        Recording::new(handoff.clone(), Limits { head_bytes: 0, tail_bytes: 0, text_bytes: 0 }, Budget::new(0))
    }

    #[test]
    fn exchanges_that_find_no_room_are_counted_and_the_others_kept() {
        let handoff = Handoff::default();
        let recording = recording(&handoff);
        for _ in 0..LIMIT + 3 {
            one(&recording);
        }
        assert_eq!(handoff.dropped(), 3);
        let gap = handoff.take_gap().unwrap();
        assert_eq!((gap.reason, gap.events), (LossReason::Overrun, 3));
        assert_eq!(handoff.take_gap(), None);
        handoff.close();
        assert!(matches!(handoff.next_batch(Duration::ZERO), Next::Batch(batch) if batch.len() == LIMIT));
        assert!(matches!(handoff.next_batch(Duration::ZERO), Next::Closed));
    }

    #[test]
    fn an_audited_proxy_admits_no_call_while_there_is_no_room_for_it() {
        let (handoff, lenient) = (Handoff::new(Guarantees { audit: true, strict: false }), Handoff::default());
        let recording = recording(&handoff);
        assert!(recording.admits());
        handoff.set_store_accepts(false);
        lenient.set_store_accepts(false);
        assert!(!recording.admits() && lenient.admits());
        handoff.set_store_accepts(true);
        assert!(recording.admits());
        (0..=LIMIT / 2).for_each(|_| one(&recording));
        assert!(!recording.admits());
        assert!(matches!(handoff.next_batch(Duration::ZERO), Next::Batch(_)));
        assert!(recording.admits());
    }

    #[test]
    fn a_reader_that_waits_is_woken_by_the_first_of_a_batch_and_by_the_end() {
        let handoff = Handoff::default();
        let recording = recording(&handoff);
        let reader = std::thread::spawn({
            let handoff = handoff.clone();
            move || {
                let mut read = 0;
                loop {
                    match handoff.next_batch(Duration::from_secs(60)) {
                        Next::Batch(batch) => read += batch.len(),
                        Next::Nothing => {}
                        Next::Closed => return read,
                    }
                }
            }
        });
        for _ in 0..100 {
            one(&recording);
        }
        handoff.close();
        assert_eq!(reader.join().unwrap(), 100);
        assert_eq!(handoff.dropped(), 0);
    }
}
