//! How many posts may be under way: up to a limit while OTAS takes them, one probe at a time while it does not.

use tokio::time::Instant;

use super::backoff::Backoff;

/// The gate that every call to OTAS passes. It knows nothing of events or replies.
///
/// Calls under way together fail together; that is one failure, not many. So each call carries the `epoch` it was
/// started in, each failure begins a new one, and only the current epoch's calls move the gate.
#[derive(Debug)]
pub(super) struct Pace {
    limit: usize,
    backoff: Backoff,
    epoch: u64,
    failures: u32,
    gate: Gate,
}

#[derive(Debug, Clone, Copy)]
enum Gate {
    Open,
    Closed { until: Instant },
}

/// Whether a call may start.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Permit {
    /// Yes.
    Now,
    /// Not before then.
    After(Instant),
    /// Not before one that is under way has ended.
    Full,
}

impl Pace {
    pub(super) fn new(limit: usize, backoff: Backoff) -> Self {
        Self { limit: limit.max(1), backoff, epoch: 0, failures: 0, gate: Gate::Open }
    }

    pub(super) fn limit(&self) -> usize {
        self.limit
    }

    pub(super) fn epoch(&self) -> u64 {
        self.epoch
    }

    pub(super) fn permit(&self, now: Instant, in_flight: usize) -> Permit {
        match self.gate {
            Gate::Open if in_flight < self.limit => Permit::Now,
            Gate::Open => Permit::Full,
            Gate::Closed { .. } if in_flight > 0 => Permit::Full,
            Gate::Closed { until } if now < until => Permit::After(until),
            Gate::Closed { .. } => Permit::Now,
        }
    }

    /// When the next call may be made.
    pub(super) fn next_at(&self, now: Instant) -> Instant {
        match self.gate {
            Gate::Open => now,
            Gate::Closed { until } => until.max(now),
        }
    }

    /// A post was taken. True when this opened the gate.
    pub(super) fn success(&mut self, epoch: u64) -> bool {
        if epoch != self.epoch {
            return false;
        }
        self.failures = 0;
        matches!(std::mem::replace(&mut self.gate, Gate::Open), Gate::Closed { .. })
    }

    /// A call failed: back off. True when this is news.
    pub(super) fn failure(&mut self, epoch: u64, now: Instant, random: f64) -> bool {
        if epoch != self.epoch {
            return false;
        }
        self.failures = self.failures.saturating_add(1);
        self.close(now + self.backoff.delay(self.failures, random));
        self.failures == 1
    }

    /// A person is needed: only slow probes from here on.
    pub(super) fn slow_down(&mut self, epoch: u64, now: Instant) {
        if epoch == self.epoch {
            self.close(now + self.backoff.slowest());
        }
    }

    /// The next probe need not wait. Failures in a row stay counted: nothing has been taken yet.
    pub(super) fn probe_at_once(&mut self, now: Instant) {
        if let Gate::Closed { until } = &mut self.gate {
            *until = now;
        }
    }

    fn close(&mut self, until: Instant) {
        self.epoch += 1;
        self.gate = Gate::Closed { until };
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn pace(limit: usize) -> Pace {
        Pace::new(limit, Backoff::new(Duration::from_secs(1), Duration::from_secs(60)))
    }

    #[test]
    fn an_open_gate_lets_the_limit_through() {
        let (pace, now) = (pace(2), Instant::now());
        assert_eq!(pace.permit(now, 1), Permit::Now);
        assert_eq!(pace.permit(now, 2), Permit::Full);
        assert_eq!(super::Pace::new(0, pace.backoff).permit(now, 0), Permit::Now);
    }

    #[test]
    fn after_a_failure_one_probe_at_a_time() {
        let (mut pace, now) = (pace(4), Instant::now());
        assert!(pace.failure(0, now, 1.0));
        let due = now + Duration::from_secs(2);
        assert_eq!(pace.permit(now, 0), Permit::After(due));
        assert_eq!(pace.permit(due, 1), Permit::Full);
        assert_eq!(pace.permit(due, 0), Permit::Now);
        assert!(pace.success(pace.epoch()));
        assert_eq!(pace.permit(now, 3), Permit::Now);
    }

    #[test]
    fn calls_that_fail_together_are_one_failure() {
        let (mut pace, now) = (pace(4), Instant::now());
        let epoch = pace.epoch();
        for _ in 0..4 {
            pace.failure(epoch, now, 1.0);
        }
        assert_eq!(pace.next_at(now), now + Duration::from_secs(2));
    }

    #[test]
    fn a_late_success_does_not_open_the_gate() {
        let (mut pace, now) = (pace(4), Instant::now());
        let epoch = pace.epoch();
        pace.failure(epoch, now, 1.0);
        assert!(!pace.success(epoch));
        assert_ne!(pace.permit(now, 0), Permit::Now);
    }

    #[test]
    fn probing_at_once_forgets_the_wait_but_not_the_failures() {
        let (mut pace, now) = (pace(4), Instant::now());
        pace.failure(pace.epoch(), now, 1.0);
        pace.probe_at_once(now);
        assert_eq!(pace.permit(now, 0), Permit::Now);
        assert!(!pace.failure(pace.epoch(), now, 1.0));
        assert_eq!(pace.next_at(now), now + Duration::from_secs(4));
        pace.slow_down(pace.epoch(), now);
        assert_eq!(pace.next_at(now), now + Duration::from_secs(60));
    }
}
