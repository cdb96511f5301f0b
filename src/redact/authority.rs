//! Passwords in the user information of URLs.

use std::ops::Range;

use super::reach::looked;
use super::work::steps;

/// The rule on user information in URLs.
pub(super) const USERINFO: &str = "url.userinfo";
/// The sign before the authority of a URL, which may contain a password.
pub(super) const AUTHORITY: &str = "://";
/// The same sign behind percent-escapes, in the ways in which it is written, and how often it is escaped.
pub(super) const ESCAPED_AUTHORITIES: [(&str, u8); 4] =
    [("%3A%2F%2F", 1), ("%3A//", 1), (":%2F%2F", 1), ("%253A%252F%252F", 2)];
/// Longer user information is not searched for, in bytes.
const USERINFO_MAX_BYTES: usize = 1024;
/// The longest escape of one byte, such as `%252F`.
const LONGEST_ESCAPE_BYTES: usize = 5;

/// The user information of the authority that begins at `start`, if it has a password. A user name alone is not a secret.
pub(super) fn user_information(text: &[u8], start: usize, cut: bool) -> Option<Range<usize>> {
    let reach = &text[start..text.len().min(start + USERINFO_MAX_BYTES)];
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

/// The same behind percent-escapes: `u%3Apassword%40host`. `times`: how often each character is escaped.
pub(super) fn escaped_user_information(text: &[u8], start: usize, times: u8, cut: bool) -> Option<Range<usize>> {
    let limit = text.len().min(start + USERINFO_MAX_BYTES);
    let (mut at, mut colon, mut sign) = (start, None, None);
    while at < limit {
        let (byte, end) = unescaped(text, at, times);
        let is_end = ends(&byte) || (end == at + 1 && byte == b'&');
        if is_end {
            break;
        }
        match byte {
            b':' => colon = colon.or(Some(end)),
            b'@' => sign = Some(at),
            _ => {}
        }
        at = end;
    }
    looked(start..at + LONGEST_ESCAPE_BYTES);
    steps(at - start);
    let end = match sign {
        Some(sign) => sign,
        None if cut && at == text.len() => at,
        None => return None,
    };
    (colon? < end).then_some(start..end)
}

/// A byte that may be escaped, and where it ends.
fn unescaped(text: &[u8], at: usize, times: u8) -> (u8, usize) {
    let escaped = || {
        let mut rest = text[at..].strip_prefix(b"%")?;
        for _ in 1..times {
            rest = rest.strip_prefix(b"25")?;
        }
        let [high, low, rest @ ..] = rest else { return None };
        let digit = |byte: &u8| char::from(*byte).to_digit(16).and_then(|digit| u8::try_from(digit).ok());
        Some((digit(high)? * 16 + digit(low)?, text.len() - rest.len()))
    };
    escaped().unwrap_or((text[at], at + 1))
}

/// Whether a byte ends an authority.
fn ends(byte: &u8) -> bool {
    matches!(byte, b'/' | b'?' | b'#' | b'\\' | b'"' | b'\'' | b'<' | b'>' | b'`')
        || byte.is_ascii_whitespace()
        || byte.is_ascii_control()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_password_behind_percent_escapes_is_found() {
        for (text, times, found) in [
            ("u%3Apw%40h%2F", 1, Some("u%3Apw")),
            ("u%3ap%2540w%40h/", 1, Some("u%3ap%2540w")),
            ("u:p%2Fw@h", 1, None),
            ("u%253Ap%25252Fw%2540h%252F", 2, Some("u%253Ap%25252Fw")),
            ("u%40h%2Fa%3Ab%40c", 1, None),
            ("h%3A80%2Fa%40b", 1, None),
            ("h%3A80&mail=a%40b", 1, None),
            ("u%3A%40h", 1, None),
            ("u%3Apw%4", 1, None),
            ("%3", 1, None),
        ] {
            let range = escaped_user_information(text.as_bytes(), 0, times, false);
            assert_eq!(range.map(|range| &text[range]), found, "{text}");
        }
        assert_eq!(escaped_user_information(b"u%3Apass", 0, 1, true), Some(0..8));
        assert_eq!(escaped_user_information(b"host%3A", 0, 1, true), None);
    }
}
