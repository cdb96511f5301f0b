//! What tests of other rooms need of this one.

#![allow(clippy::unwrap_used, reason = "a test says what it expects by it")]

use std::time::Duration;

use super::{Fingerprint, Redactor};
use crate::redact::Redact;

/// Our own rules, with a key of tests and more time than any test takes.
pub(crate) fn redactor() -> &'static Redactor {
    static RULES: std::sync::LazyLock<Redactor> =
        std::sync::LazyLock::new(|| Redactor::new(&settings(), &[], Fingerprint::new(b"test")).unwrap());
    &RULES
}

/// Nothing but our own rules.
pub(crate) fn settings() -> Redact {
    let (headers, keys, patterns, allow) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
    Redact { headers, keys, patterns, allow, budget: Duration::from_secs(60) }
}

/// A text with the tags of its masks left out.
#[cfg(test)]
pub(crate) fn untagged(text: &str) -> String {
    regex::Regex::new(r"(\*\*\*\*[^#\s]{0,4})#[0-9a-f]{8}").unwrap().replace_all(text, "$1").into_owned()
}
