//! The work of the search, counted in examined bytes, must stay in proportion to the text, whatever the text is.

use std::sync::LazyLock;

use super::testing::new_redactor;
use super::{Redactor, work};

/// Steps that a search may take for each byte of a text.
pub(super) const STEPS_A_BYTE: u64 = 16;
/// The length of a repeated text.
const REPEATED_BYTES: usize = 16 << 10;
/// Steps that even a short text may take.
const STEPS_AT_LEAST: u64 = 10_000;

/// A redactor that remembers nothing, so that the same text takes the same steps again.
fn forgetful() -> &'static Redactor {
    static RULES: LazyLock<Redactor> = LazyLock::new(|| {
        let rules = new_redactor();
        rules.remember_at_most(0);
        rules
    });
    &RULES
}

/// The steps of a search.
pub(super) fn steps_of(text: &str) -> u64 {
    work::taken();
    let _ = forgetful().masking("api.test", 443, "/").message(text);
    work::taken()
}

/// Searches a text once as it is and once repeated, which shows slow pieces.
pub fn masking_time(data: &[u8]) {
    let text = String::from_utf8_lossy(data);
    if text.is_empty() {
        return;
    }
    let repeated = text.repeat(REPEATED_BYTES.div_ceil(text.len()));
    for text in [&*text, &repeated] {
        let steps = steps_of(text);
        let most = STEPS_A_BYTE * text.len() as u64 + STEPS_AT_LEAST;
        assert!(steps <= most, "{steps} steps for {} bytes", text.len());
    }
}
