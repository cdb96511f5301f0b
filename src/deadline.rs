//! The time limit of a search: of a text for secrets, of a machine for a process.

use std::time::{Duration, Instant};

pub(crate) use crate::system::clock::thread_time as worked;

/// A text of up to this many bytes needs no deadline: searching it takes less time than reading the clocks, at worst a
/// millisecond.
const SHORT_BYTES: usize = 1024;

/// The end of a search, in processor time of the thread, so that a busy machine does not shorten the search. The wall
/// clock is read first, because that is cheaper.
#[derive(Clone, Copy)]
pub(crate) struct Deadline(Option<End>);

#[derive(Clone, Copy)]
struct End {
    wall: Instant,
    work: Duration,
}

impl Deadline {
    /// A deadline after `budget` from now.
    pub(crate) fn after(budget: Duration) -> Self {
        Self(Some(End { wall: Instant::now() + budget, work: worked() + budget }))
    }

    /// A deadline for one text: `budget` for each MiB of it. A short text needs none.
    pub(crate) fn of(text: &str, budget: Duration) -> Self {
        let mebibytes = u32::try_from(text.len().div_ceil(1 << 20)).unwrap_or(u32::MAX);
        if text.len() <= SHORT_BYTES { Self(None) } else { Self::after(budget.saturating_mul(mebibytes)) }
    }

    /// Whether the time is over.
    pub(crate) fn is_over(&self) -> bool {
        self.0.is_some_and(|end| Instant::now() >= end.wall && worked() >= end.work)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn work_counts_and_waiting_does_not() {
        assert!(Deadline::after(Duration::ZERO).is_over());
        let deadline = Deadline::after(Duration::from_millis(20));
        std::thread::park_timeout(Duration::from_millis(30));
        let began = Instant::now();
        while !deadline.is_over() {
            assert!(began.elapsed() < Duration::from_secs(20));
        }
        assert!(worked() >= deadline.0.unwrap().work);
    }

    #[test]
    fn short_texts_need_none() {
        assert!(!Deadline::of(&"x".repeat(SHORT_BYTES), Duration::ZERO).is_over());
        assert!(Deadline::of(&"x".repeat(SHORT_BYTES + 1), Duration::ZERO).is_over());
    }
}
