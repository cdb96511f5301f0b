//! Passwords in the user information of URLs.

use std::ops::Range;

use super::reach::looked;
use super::work::steps;

/// The rule on user information in URLs.
pub(super) const USERINFO: &str = "url.userinfo";
/// The sign before the authority of a URL, which may contain a password.
pub(super) const AUTHORITY: &str = "://";
/// Longer user information is not searched for, in bytes.
const USERINFO_MAX_BYTES: usize = 1024;

/// The user information of the authority that begins at `start`, if it has a password. A user name alone is not a secret.
pub(super) fn user_information(text: &[u8], start: usize, cut: bool) -> Option<Range<usize>> {
    let reach = &text[start..text.len().min(start + USERINFO_MAX_BYTES)];
    let ends = |byte: &u8| {
        matches!(byte, b'/' | b'?' | b'#' | b'\\' | b'"' | b'\'' | b'<' | b'>' | b'`')
            || byte.is_ascii_whitespace()
            || byte.is_ascii_control()
    };
    let end = reach.iter().position(ends).unwrap_or(reach.len());
    looked(start..start + end + 1);
    steps(end);
    let authority = &reach[..end];
    match authority.iter().rposition(|byte| *byte == b'@') {
        Some(at) => {
            let colon = authority[..at].iter().position(|byte| *byte == b':')?;
            (colon + 1 < at).then_some(start..start + at)
        }
        // A cut: `postgres://user:half-a-passw`.
        None if cut && start + end == text.len() && authority.contains(&b':') => Some(start..start + end),
        None => None,
    }
}
