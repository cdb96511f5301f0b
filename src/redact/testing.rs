//! Helpers for tests of other modules.

#![allow(clippy::unwrap_used, reason = "a test may panic")]

use std::time::Duration;

use super::{Fingerprint, Redactor};
use crate::redact::Redact;

/// Our own rules, with a fixed key and a budget that no test reaches.
pub(crate) fn redactor() -> &'static Redactor {
    static RULES: std::sync::LazyLock<Redactor> = std::sync::LazyLock::new(new_redactor);
    &RULES
}

/// The same rules, with nothing remembered.
pub(crate) fn new_redactor() -> Redactor {
    Redactor::new(&settings(), &[], Fingerprint::new(b"test")).unwrap()
}

/// Settings without rules of the operator.
pub(crate) fn settings() -> Redact {
    let (headers, keys, patterns, allow) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
    Redact { headers, keys, patterns, allow, budget: Duration::from_secs(60) }
}

/// A text without the tags of its masks.
#[cfg(test)]
pub(crate) fn untagged(text: &str) -> String {
    regex::Regex::new(r"(\*\*\*\*[^#\s]{0,4})#[0-9a-f]{8}").unwrap().replace_all(text, "$1").into_owned()
}
