//! What was read of calls before. A stored call does not change, so a run that is shown again, or goes on, is read quickly. Bounded.

use quick_cache::Weighter;
use quick_cache::sync::Cache;
use uuid::Uuid;

use super::build::Loaded;
use crate::store::Call;

/// The bytes of calls that are kept.
const CALLS_MAX_BYTES: u64 = 32 << 20;
/// About as many calls take that.
const CALLS_EXPECTED: usize = 8_000;
/// Reasons of cache misses that are kept: sentences.
const REASONS_MAX: usize = 2_000;
/// What a call takes besides its texts, in bytes.
const CALL_BYTES: u64 = 1_024;

/// What was read of calls before.
pub struct Memory {
    calls: Cache<i64, Loaded, Weight>,
    /// By the event of the call, and the row of the call before it.
    reasons: Cache<(Uuid, i64), Option<String>>,
}

#[derive(Clone)]
struct Weight;

impl Weighter<i64, Loaded> for Weight {
    fn weight(&self, _: &i64, of: &Loaded) -> u64 {
        CALL_BYTES + (of.call.llm.len() + of.call.outline.len() + of.gist.bytes()) as u64
    }
}

impl Default for Memory {
    fn default() -> Self {
        Self {
            calls: Cache::with_weighter(CALLS_EXPECTED, CALLS_MAX_BYTES, Weight),
            reasons: Cache::new(REASONS_MAX),
        }
    }
}

impl Memory {
    /// What was read of this call. Another store may have had another call in its row.
    pub(super) fn call(&self, call: &Call) -> Option<Loaded> {
        self.calls.get(&call.id).filter(|known| known.call == *call)
    }

    pub(super) fn keep(&self, of: &Loaded) {
        self.calls.insert(of.call.id, of.clone());
    }

    /// Why this call missed the cache after the call `previous`. The inner `None`: it was not found out.
    pub(super) fn reason(&self, event: Uuid, previous: i64) -> Option<Option<String>> {
        self.reasons.get(&(event, previous))
    }

    pub(super) fn keep_reason(&self, event: Uuid, previous: i64, reason: Option<String>) {
        self.reasons.insert((event, previous), reason);
    }
}
