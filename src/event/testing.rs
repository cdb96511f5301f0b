//! Helpers for tests of events.

use std::collections::BTreeMap;

use super::{Context, Links};
use crate::redact::testing::redactor;

/// What an event holds besides its exchange, for a first call without properties, prices and related calls.
pub(crate) fn context() -> Context<'static> {
    static NO_PROPERTIES: BTreeMap<String, String> = BTreeMap::new();
    Context {
        seq: 1,
        run_id: "r",
        rule: "proxy",
        error_from_status: 400,
        properties: &NO_PROPERTIES,
        prices: None,
        links: Links::default(),
        continues: &|_| None,
        session_of: &|_| None,
        redactor: redactor(),
        text_max_bytes: 1 << 20,
    }
}
