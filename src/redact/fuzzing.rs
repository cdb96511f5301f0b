//! The work of the search, counted in examined bytes, must stay in proportion to the text, whatever the text is.

use super::testing::redactor;
use super::work;

/// Steps that a search may take for each byte of a text.
pub(super) const STEPS_A_BYTE: u64 = 16;
/// The length of a repeated text.
const REPEATED_BYTES: usize = 16 << 10;
/// Steps that even a short text may take.
const STEPS_AT_LEAST: u64 = 10_000;

/// The steps of a search.
pub(super) fn steps_of(text: &str) -> u64 {
    work::taken();
    let _ = redactor().masking("api.test", 443, "/").message(text);
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
