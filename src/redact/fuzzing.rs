//! What must hold of the search for secrets whatever the text: its work, counted in bytes that were looked at, stays in proportion.

use super::testing::redactor;
use super::work;

/// Steps that a search may take for each byte of a text.
pub(super) const STEPS_A_BYTE: u64 = 16;
/// What is repeated has so many bytes together.
const REPEATED_BYTES: usize = 16 << 10;
/// Steps that a text may take however short it is.
const STEPS_AT_LEAST: u64 = 10_000;

/// The steps of a search.
pub(super) fn steps_of(text: &str) -> u64 {
    work::taken();
    let _ = redactor().masking("api.test", 443, "/").message(text);
    work::taken()
}

/// A text as it is, and repeated, so that what is slow shows.
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
