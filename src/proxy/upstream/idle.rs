//! How long something has been idle. The time that the machine slept counts: afterwards, the way to an origin has often forgotten its
//! connections.

use std::time::{Duration, Instant, SystemTime};

/// Since when something is idle.
#[derive(Debug, Clone, Copy)]
pub(super) struct IdleSince {
    running: Instant,
    wall: SystemTime,
}

impl IdleSince {
    pub(super) fn now() -> Self {
        Self { running: Instant::now(), wall: SystemTime::now() }
    }

    /// How long that is, by whichever clock shows more.
    pub(super) fn elapsed(&self) -> Duration {
        // A clock that was set back shows nothing.
        self.running.elapsed().max(self.wall.elapsed().unwrap_or_default())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_time_that_the_machine_slept_counts() {
        let hour = Duration::from_secs(3600);
        let slept = IdleSince { wall: SystemTime::now() - hour, ..IdleSince::now() };
        assert!(slept.elapsed() >= hour);
        let set_back = IdleSince { wall: SystemTime::now() + hour, ..IdleSince::now() };
        assert!(set_back.elapsed() < hour);
    }
}
