//! The wall clock, in the unit that files, tokens and events use.

use std::time::{SystemTime, UNIX_EPOCH};

/// Now in Unix milliseconds. A clock set before 1970 counts as 1970.
pub(crate) fn now_ms() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_millis()).unwrap_or(i64::MAX)
}
