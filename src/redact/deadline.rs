//! How long a text may be searched.

use std::time::{Duration, Instant};

use rustix::time::{ClockId, clock_gettime};

/// The end of a search. On a machine that is busy with other things a thread waits more than it works, so the clock on the wall
/// is asked first, being cheap, and the thread's own work decides.
#[derive(Clone, Copy)]
pub(super) struct Deadline {
    wall: Instant,
    work: Duration,
}

impl Deadline {
    /// In so much time from now.
    pub(super) fn after(budget: Duration) -> Self {
        Self { wall: Instant::now() + budget, work: worked() + budget }
    }

    /// The same again, from now on, for a text so short that asking what was worked would cost more than the search.
    pub(super) fn again(&self, budget: Duration) -> Self {
        Self { wall: Instant::now() + budget, work: self.work }
    }

    /// Whether it is over.
    pub(super) fn is_over(&self) -> bool {
        Instant::now() >= self.wall && worked() >= self.work
    }
}

/// What this thread has worked.
fn worked() -> Duration {
    let time = clock_gettime(ClockId::ThreadCPUTime);
    Duration::try_from(time).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn work_ends_it_and_waiting_does_not() {
        assert!(Deadline::after(Duration::ZERO).is_over());
        let deadline = Deadline::after(Duration::from_millis(20));
        std::thread::park_timeout(Duration::from_millis(30));
        let began = Instant::now();
        while !deadline.is_over() {
            assert!(began.elapsed() < Duration::from_secs(20));
        }
        assert!(worked() >= deadline.work);
    }
}
