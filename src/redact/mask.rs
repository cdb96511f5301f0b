//! The mask that is shown in place of a secret: `****`, the last four characters of a long token, `#` and the tag.

use std::borrow::Cow;

use super::fingerprint::Fingerprint;
use crate::secret::MASK;

/// A secret of at least this many bytes is long enough to show its last four characters, so that people can tell two keys apart.
const TAIL_FROM_BYTES: usize = 20;
/// `#` and the tag.
pub(super) const TAG_BYTES: usize = 9;

/// The longest mask, with four characters of four bytes.
const LONGEST_BYTES: usize = MASK.len() + 16 + TAG_BYTES;

/// Schemes that are shown. An unknown one is masked: it may be the first half of a secret.
const SCHEMES: [&str; 12] = [
    "bearer",
    "basic",
    "digest",
    "negotiate",
    "ntlm",
    "token",
    "apikey",
    "key",
    "dpop",
    "oauth",
    "hawk",
    "aws4-hmac-sha256",
];

impl Fingerprint {
    /// The mask of a secret that a machine made.
    pub(super) fn token(&self, secret: &str) -> String {
        let tail = secret.char_indices().rev().nth(3).map_or("", |(at, _)| &secret[at..]);
        // The tail must not begin inside an escape or end a string.
        let odd = |byte: u8| matches!(byte, b'%' | b'\\' | b'"' | b'&' | b'#');
        let tail = if secret.len() < TAIL_FROM_BYTES || secret.bytes().rev().take(12).any(odd) { "" } else { tail };
        format!("{MASK}{tail}#{}", self.tag(&plain(secret)))
    }

    /// The mask of a secret whose end would reveal too much.
    pub(super) fn password(&self, secret: &str) -> String {
        format!("{MASK}#{}", self.tag(&plain(secret)))
    }

    /// The mask of `Bearer abc`, with the scheme in front. The end of Basic credentials is the end of a password.
    pub(super) fn credentials(&self, value: &str) -> String {
        let Some((scheme, secret)) = value.trim().split_once(' ') else { return self.token(value.trim()) };
        match SCHEMES.iter().find(|known| scheme.eq_ignore_ascii_case(known)) {
            Some(&"basic" | &"digest") => format!("{scheme} {}", self.password(secret.trim())),
            Some(_) => format!("{scheme} {}", self.token(secret.trim())),
            None => self.password(value),
        }
    }
}

/// The secret without JSON's escapes, so that it has the same tag wherever it stands.
fn plain(secret: &str) -> Cow<'_, str> {
    if !secret.contains('\\') {
        return Cow::Borrowed(secret);
    }
    serde_json::from_str(&format!("\"{secret}\"")).map_or(Cow::Borrowed(secret), Cow::Owned)
}

/// Whether a text is one of our masks.
pub(super) fn is_mask(text: &[u8]) -> bool {
    if text.len() > LONGEST_BYTES {
        return false;
    }
    let Some(rest) = text.strip_prefix(MASK.as_bytes()) else { return false };
    let Some(hash) = rest.iter().rposition(|byte| *byte == b'#') else { return rest.is_empty() };
    let shown = std::str::from_utf8(&rest[..hash]).map_or(usize::MAX, |shown| shown.chars().count());
    let tag = &rest[hash + 1..];
    shown <= 4 && tag.len() == 8 && tag.iter().all(u8::is_ascii_hexdigit)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn masks_are_known_again() {
        for mask in ["****", "****#0123abcd", "****WXYZ#0123abcd", "****éééé#0123abcd"] {
            assert!(is_mask(mask.as_bytes()), "{mask}");
        }
        for text in ["", "***", "****secret", "****#0123", "****secret#0123abcd", "****#0123abcd and more"] {
            assert!(!is_mask(text.as_bytes()), "{text}");
        }
    }
}
