//! Counts refusals of one kind, and decides when to log them: once a minute, with their number.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use parking_lot::Mutex;

/// How often refusals are logged.
const LOG_EVERY: Duration = Duration::from_secs(60);

/// Refusals of one kind since the start.
#[derive(Default)]
pub(super) struct Refusals {
    count: AtomicU64,
    logged: Mutex<Option<Logged>>,
}

/// The last time that refusals were logged, and their total then.
struct Logged {
    at: Instant,
    refused: u64,
}

impl Refusals {
    /// Counts one more. `Some`: log this number of refusals since the last time.
    pub(super) fn note(&self) -> Option<u64> {
        let refused = self.count.fetch_add(1, Ordering::Relaxed) + 1;
        self.to_log(refused, Instant::now())
    }

    /// How many there were since the start.
    pub(super) fn count(&self) -> u64 {
        self.count.load(Ordering::Relaxed)
    }

    fn to_log(&self, refused: u64, now: Instant) -> Option<u64> {
        let mut logged = self.logged.lock();
        let before = match &*logged {
            Some(last) if now.duration_since(last.at) < LOG_EVERY => return None,
            Some(last) => last.refused,
            None => 0,
        };
        *logged = Some(Logged { at: now, refused });
        Some(refused.saturating_sub(before))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn refusals_are_logged_once_a_minute_with_their_number() {
        let (refusals, now) = (Refusals::default(), Instant::now());
        assert_eq!(refusals.to_log(1, now), Some(1));
        assert_eq!(refusals.to_log(2, now + Duration::from_secs(59)), None);
        assert_eq!(refusals.to_log(9, now + Duration::from_secs(60)), Some(8));
    }
}
