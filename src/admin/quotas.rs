//! Quotas that were stated before this process started, from the store.

use crate::event::Stored;
use crate::quotas::Quotas;
use crate::store::{Condition, Fact, Filter, StoreError, Viewer};

/// The number of calls that are read: the newest ones.
const CALLS: usize = 200;

/// Notes what the newest model calls in the store state.
pub(super) fn recall(quotas: &Quotas, viewer: &Viewer) -> Result<(), StoreError> {
    let filter = Filter { conditions: vec![Condition::Is(Fact::Llm)], limit: CALLS, ..Filter::default() };
    for row in viewer.events_without_bodies(&filter)? {
        quotas.note_event(&row.host, &Stored::parse(&row.json), row.started_at_ms);
    }
    Ok(())
}
