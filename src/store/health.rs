//! What the store had to do to go on: what was moved aside, and what was lost and must be told.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use super::MovedAside;
use super::session::now_ms;

/// Counts of one process, from its start on.
#[derive(Default)]
pub struct Health {
    moved_aside: AtomicU64,
    events_lost: AtomicU64,
    bodies_removed: AtomicU64,
    gaps: Mutex<Vec<Untold>>,
}

/// A gap that has not been told yet.
struct Untold {
    gap: Gap,
    since: Instant,
    grew: Instant,
}

/// A gap is over when nothing more has gone missing for so long.
const OVER_AFTER: Duration = Duration::from_secs(1);
/// One that does not end is told in parts.
const TOLD_WITHIN: Duration = Duration::from_secs(60);

/// Why something is missing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Why {
    /// The store was damaged, and some of it could not be read.
    Damaged,
    /// The store had reached its bound, or the disk was nearly full.
    Full,
    /// The store's file was deleted or taken away while it was in use.
    Vanished,
    /// Calls ended faster than events could be stored.
    Overrun,
}

impl Why {
    /// For people.
    pub fn text(self) -> &'static str {
        match self {
            Self::Damaged => "the event store was damaged",
            Self::Full => "the event store was full",
            Self::Vanished => "the event store was deleted, or its folder renamed, while it was in use",
            Self::Overrun => "calls ended faster than they could be stored, or the store took nothing",
        }
    }
}

/// Something that is missing: one event will tell of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Gap {
    /// Why.
    pub why: Why,
    /// Events that are gone.
    pub events: u64,
    /// Events that are there without their bodies.
    pub bodies: u64,
    /// When the first call of them began, in Unix milliseconds.
    pub from_ms: i64,
    /// When the last one began.
    pub to_ms: i64,
}

impl Health {
    /// Damaged stores that were moved aside.
    pub fn stores_moved_aside(&self) -> u64 {
        self.moved_aside.load(Ordering::Relaxed)
    }

    /// Events that are gone, for whatever reason.
    pub fn events_lost(&self) -> u64 {
        self.events_lost.load(Ordering::Relaxed)
    }

    /// Events whose bodies were removed to make room.
    pub fn bodies_removed(&self) -> u64 {
        self.bodies_removed.load(Ordering::Relaxed)
    }

    /// Notes something that is missing; it joins what is missing for the same reason.
    pub fn missing(&self, gap: Gap) {
        self.events_lost.fetch_add(gap.events, Ordering::Relaxed);
        self.bodies_removed.fetch_add(gap.bodies, Ordering::Relaxed);
        self.hold(gap);
    }

    /// What is missing and has not been told yet: what is over, or all. Whoever takes it tells it, or gives it back with
    /// [`Health::untold`].
    pub fn take_gaps(&self, all: bool) -> Vec<Gap> {
        let ripe = |it: &Untold| all || it.grew.elapsed() >= OVER_AFTER || it.since.elapsed() >= TOLD_WITHIN;
        let mut gaps = self.gaps.lock().unwrap_or_else(PoisonError::into_inner);
        gaps.extract_if(.., |it| ripe(it)).map(|it| it.gap).collect()
    }

    /// Gives back what could not be told. Its counts stand already.
    pub fn untold(&self, gaps: Vec<Gap>) {
        gaps.into_iter().for_each(|gap| self.hold(gap));
    }

    fn hold(&self, gap: Gap) {
        let now = Instant::now();
        let mut gaps = self.gaps.lock().unwrap_or_else(PoisonError::into_inner);
        match gaps.iter_mut().find(|known| known.gap.why == gap.why) {
            None => gaps.push(Untold { gap, since: now, grew: now }),
            Some(known) => {
                known.grew = now;
                known.gap.events += gap.events;
                known.gap.bodies += gap.bodies;
                known.gap.from_ms = known.gap.from_ms.min(gap.from_ms);
                known.gap.to_ms = known.gap.to_ms.max(gap.to_ms);
            }
        }
    }

    pub(super) fn moved_aside(&self, moved: MovedAside) {
        self.moved_aside.fetch_add(1, Ordering::Relaxed);
        let now = now_ms();
        if moved.unreadable > 0 {
            self.missing(Gap { why: Why::Damaged, events: moved.unreadable, bodies: 0, from_ms: now, to_ms: now });
        }
    }
}
