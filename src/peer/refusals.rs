//! Counts refusals of one kind, and says when they are to be told: once a minute, with how many there were.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use parking_lot::Mutex;

/// How often refusals are told.
const TELL_EVERY: Duration = Duration::from_secs(60);

/// Refusals of one kind since the start.
#[derive(Default)]
pub(super) struct Refusals {
    count: AtomicU64,
    told: Mutex<Option<Told>>,
}

/// When refusals were told last, and how many there had been.
struct Told {
    at: Instant,
    refused: u64,
}

impl Refusals {
    /// One more. Some: those since the last time are to be told now.
    pub(super) fn note(&self) -> Option<u64> {
        let refused = self.count.fetch_add(1, Ordering::Relaxed) + 1;
        self.to_tell(refused, Instant::now())
    }

    /// How many there were.
    pub(super) fn count(&self) -> u64 {
        self.count.load(Ordering::Relaxed)
    }

    fn to_tell(&self, refused: u64, now: Instant) -> Option<u64> {
        let mut told = self.told.lock();
        let before = match &*told {
            Some(last) if now.duration_since(last.at) < TELL_EVERY => return None,
            Some(last) => last.refused,
            None => 0,
        };
        *told = Some(Told { at: now, refused });
        Some(refused.saturating_sub(before))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn refusals_are_told_once_a_minute_with_how_many_there_were() {
        let (refusals, now) = (Refusals::default(), Instant::now());
        assert_eq!(refusals.to_tell(1, now), Some(1));
        assert_eq!(refusals.to_tell(2, now + Duration::from_secs(59)), None);
        assert_eq!(refusals.to_tell(9, now + Duration::from_secs(60)), Some(8));
    }
}
