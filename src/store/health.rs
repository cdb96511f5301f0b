//! Repairs and losses: damaged stores that were moved aside, and gaps that must be reported.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use parking_lot::Mutex;

use super::MovedAside;
use super::chunks::Damage;
use crate::clock::now_ms;

/// Counters of one process since its start.
#[derive(Default)]
pub struct Health {
    moved_aside: AtomicU64,
    events_lost: AtomicU64,
    bodies_removed: AtomicU64,
    gaps: Mutex<Vec<OpenGap>>,
    /// The chunks of bodies that were found damaged.
    pub(super) damage: Arc<Damage>,
}

/// A gap that has not been reported yet.
struct OpenGap {
    gap: Gap,
    since: Instant,
    grew: Instant,
}

/// A gap has ended when nothing more was lost for this long.
const OVER_AFTER: Duration = Duration::from_secs(1);
/// A gap that lasts longer is reported in parts, at this interval.
const REPORT_INTERVAL: Duration = Duration::from_secs(60);

/// Why events are lost.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LossReason {
    /// The store was damaged, and part of it could not be read.
    Damaged,
    /// The store had reached its limit, or the disk was nearly full.
    Full,
    /// The store's file was deleted or moved away while in use.
    Vanished,
    /// Calls ended faster than events could be stored.
    Overrun,
}

impl LossReason {
    /// For people.
    pub fn text(self) -> &'static str {
        match self {
            Self::Damaged => "the event store was damaged",
            Self::Full => "the event store was full",
            Self::Vanished => "the event store was deleted, or its folder renamed, while in use",
            Self::Overrun => "calls ended faster than they could be stored, or the store could not be written",
        }
    }
}

/// A loss. One event reports it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Gap {
    /// The reason.
    pub reason: LossReason,
    /// Lost events.
    pub events: u64,
    /// Events that lost their bodies.
    pub bodies: u64,
    /// When the first of these calls began, in Unix milliseconds.
    pub from_ms: i64,
    /// When the last one began, in Unix milliseconds.
    pub to_ms: i64,
}

impl Health {
    /// Damaged stores that were moved aside.
    pub fn stores_moved_aside(&self) -> u64 {
        self.moved_aside.load(Ordering::Relaxed)
    }

    /// Events lost for any reason.
    pub fn events_lost(&self) -> u64 {
        self.events_lost.load(Ordering::Relaxed)
    }

    /// Events whose bodies were removed to make room.
    pub fn bodies_removed(&self) -> u64 {
        self.bodies_removed.load(Ordering::Relaxed)
    }

    /// Records a loss. Losses with the same reason are merged.
    pub fn record_loss(&self, gap: Gap) {
        self.events_lost.fetch_add(gap.events, Ordering::Relaxed);
        self.bodies_removed.fetch_add(gap.bodies, Ordering::Relaxed);
        self.hold(gap);
    }

    /// The gaps to report: those that have ended, or all. The caller reports them, or gives them back with [`Health::put_back`].
    pub fn take_gaps(&self, all: bool) -> Vec<Gap> {
        let ripe = |it: &OpenGap| all || it.grew.elapsed() >= OVER_AFTER || it.since.elapsed() >= REPORT_INTERVAL;
        let mut gaps = self.gaps.lock();
        gaps.extract_if(.., |it| ripe(it)).map(|it| it.gap).collect()
    }

    /// Takes back gaps that could not be reported. They are not counted again.
    pub fn put_back(&self, gaps: Vec<Gap>) {
        gaps.into_iter().for_each(|gap| self.hold(gap));
    }

    fn hold(&self, gap: Gap) {
        let now = Instant::now();
        let mut gaps = self.gaps.lock();
        match gaps.iter_mut().find(|known| known.gap.reason == gap.reason) {
            None => gaps.push(OpenGap { gap, since: now, grew: now }),
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
            self.record_loss(Gap {
                reason: LossReason::Damaged,
                events: moved.unreadable,
                bodies: 0,
                from_ms: now,
                to_ms: now,
            });
        }
    }
}
