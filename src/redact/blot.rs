//! Known formats in bytes that are not text.

use std::ops::Range;

use super::authority::{USERINFO, escaped_user_information, user_information};
use super::patterns::Pattern;
use super::runs::Runs;
use super::scan::{Needle, Scanner};

/// How far a format is followed behind a length of one byte: such a text has at most 255 bytes, and what comes behind it can look
/// like a part of it.
const BEHIND_LENGTH_MAX_BYTES: usize = 512;

impl Scanner {
    /// Masks known formats in binary data: each byte of a secret becomes `*`, so all other bytes keep their place.
    pub(super) fn blot(
        &self,
        bytes: &[u8],
        cut: bool,
        mut found: impl FnMut(&'static str) -> bool,
    ) -> Option<Vec<u8>> {
        let mut out: Option<Vec<u8>> = None;
        let mut runs = Runs::of(bytes);
        let mut at = 0;
        while let Some(hit) = self.next(bytes, at..bytes.len()) {
            at = hit.end();
            let secret = match self.needle(hit.pattern()) {
                Needle::Format(pattern, _) => pattern
                    .verify(&mut runs, hit.start(), cut)
                    .or_else(|| behind_its_length(pattern, bytes, hit.start(), cut))
                    .map(|secret| (pattern.id, secret)),
                Needle::Authority => user_information(bytes, hit.end(), cut).map(|secret| (USERINFO, secret)),
                Needle::EscapedAuthority(times) => {
                    escaped_user_information(bytes, hit.end(), times, cut).map(|secret| (USERINFO, secret))
                }
                Needle::Command(_) | Needle::Service(_) | Needle::Word => None,
            };
            if let Some((rule, secret)) = secret
                && found(rule)
            {
                at = secret.end.max(at);
                out.get_or_insert_with(|| bytes.to_vec())[secret].fill(b'*');
            }
        }
        out
    }
}

/// A known format behind one byte that holds its length, as in protobuf or CBOR. That byte can be a letter.
fn behind_its_length(pattern: &Pattern, bytes: &[u8], at: usize, cut: bool) -> Option<Range<usize>> {
    let length = usize::from(*bytes.get(at.checked_sub(1)?)?);
    let reach = bytes.len().min(at + BEHIND_LENGTH_MAX_BYTES) - at;
    let whole = at + reach == bytes.len();
    let found = pattern.verify(&mut Runs::of(&bytes[at..at + reach]), 0, cut && whole)?;
    // The bytes behind the text can look like a part of it.
    (pattern.prefix.len() < length && length <= found.end).then_some(at + found.start..at + found.end)
}
