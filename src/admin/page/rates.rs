//! How fast OTAS accepted events lately: samples of this process's counter.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use tokio_util::sync::CancellationToken;

use crate::deliver::Watch;

/// Time between two samples.
const EVERY: Duration = Duration::from_secs(5);
/// Samples that are kept: ten minutes.
const KEPT: usize = 121;

/// The samples.
#[derive(Default)]
pub(super) struct Rates(Mutex<VecDeque<(Instant, u64)>>);

impl Rates {
    /// Samples until `stop`.
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
        let mut seen = self.0.lock();
        if seen.len() == KEPT {
            seen.pop_front();
        }
        seen.push_back((at, delivered));
    }

    /// Events per second between each two samples, oldest first.
    pub(super) fn per_second(&self) -> Vec<f64> {
        let seen = self.0.lock();
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
    fn rates_come_from_two_samples_and_old_samples_are_dropped() {
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
