//! How fast OTAS has taken events lately: the counter of this process, looked at now and then.

use std::collections::VecDeque;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use tokio_util::sync::CancellationToken;

use crate::deliver::Watch;

/// How often the counter is looked at.
const EVERY: Duration = Duration::from_secs(5);
/// How many looks are remembered: ten minutes.
const KEPT: usize = 121;

/// What was seen.
#[derive(Default)]
pub(super) struct Rates(Mutex<VecDeque<(Instant, u64)>>);

impl Rates {
    /// Looks until `stop`.
    pub(super) async fn watch(&self, delivery: Watch, stop: CancellationToken) {
        let mut every = tokio::time::interval(EVERY);
        loop {
            tokio::select! {
                _ = every.tick() => self.note(Instant::now(), delivery.now().verdicts.delivered),
                () = stop.cancelled() => return,
            }
        }
    }

    fn note(&self, at: Instant, delivered: u64) {
        let mut seen = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if seen.len() == KEPT {
            seen.pop_front();
        }
        seen.push_back((at, delivered));
    }

    /// Events a second between each two looks, the oldest first.
    pub(super) fn per_second(&self) -> Vec<f64> {
        let seen = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let pairs = seen.iter().zip(seen.iter().skip(1));
        pairs
            .map(|((from, before), (to, after))| {
                let seconds = to.saturating_duration_since(*from).as_secs_f64();
                if seconds > 0.0 { after.saturating_sub(*before) as f64 / seconds } else { 0.0 }
            })
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_delivered_between_two_looks_is_a_rate_and_old_looks_are_forgotten() {
        let rates = Rates::default();
        let start = Instant::now();
        for (second, delivered) in [(0, 0), (5, 50), (10, 50)] {
            rates.note(start + Duration::from_secs(second), delivered);
        }
        assert_eq!(rates.per_second(), [10.0, 0.0]);
        for second in 0..300 {
            rates.note(start + Duration::from_secs(20 + second), 100);
        }
        assert_eq!(rates.per_second().len(), KEPT - 1);
    }
}
