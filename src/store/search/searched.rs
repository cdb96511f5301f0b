//! Whether a search in bodies was complete.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use crate::search::NEEDLE_MAX_BYTES;

/// A search in bodies ends after this time. What it has not looked through is unknown, and counted.
pub(super) const LONGEST: Duration = Duration::from_secs(5);

/// What the last query of a filter has not looked through. Clones of a filter share it.
#[derive(Debug, Clone, Default)]
pub struct Searched(Arc<Missed>);

#[derive(Debug, Default)]
struct Missed {
    events: AtomicU64,
    too_long: AtomicBool,
}

/// It is about a query, and not a part of the filter.
impl PartialEq for Searched {
    fn eq(&self, _: &Self) -> bool {
        true
    }
}

impl Searched {
    /// What people should know of an answer that is not complete. `None`: it is complete.
    pub fn note(&self) -> Option<String> {
        let events = self.0.events.load(Ordering::Relaxed);
        let calls = if events == 1 { "call" } else { "calls" };
        if self.0.too_long.load(Ordering::Relaxed) {
            return Some(format!("a text of more than {NEEDLE_MAX_BYTES} bytes is not looked for in bodies"));
        }
        (events > 0).then(|| {
            format!(
                "the search in bodies was stopped after {} s: {events} {calls} could not be looked through. Narrow it, for example \
                 with since:, host: or session:",
                LONGEST.as_secs()
            )
        })
    }

    /// Before a query.
    pub(super) fn begin(&self, too_long: bool) {
        self.0.events.store(0, Ordering::Relaxed);
        self.0.too_long.store(too_long, Ordering::Relaxed);
    }

    /// Counts an event that cannot be looked through.
    pub(super) fn miss(&self) {
        self.0.events.fetch_add(1, Ordering::Relaxed);
    }
}
