//! The time of a thread. Only unsafe code can ask Windows for its processor time, so time that passes stands in for it.

use std::sync::LazyLock;
use std::time::{Duration, Instant};

static BEGUN: LazyLock<Instant> = LazyLock::new(Instant::now);

/// The time since the first call. On a busy machine, a search with a limit ends after less work.
pub(crate) fn thread_time() -> Duration {
    BEGUN.elapsed()
}
