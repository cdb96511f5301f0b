//! Targets that clients send and origins accept, but the HTTP library refuses or changes: with a raw `"`, `<`, `>`, `` ` ``,
//! UTF-8 or a fragment in path or query, or longer than 64 KiB. They bypass the library and go on byte for byte.

use std::ops::Range;

/// The longest target that `http::Uri` can hold.
const HELD_BYTES: usize = u16::MAX as usize - 1;

/// The range of the path and query in `head`, if they must bypass the library. `None`: the library takes the target as it is, or
/// the target may not be sent at all.
pub(super) fn to_bypass(head: &[u8]) -> Option<Range<usize>> {
    let place = place(head)?;
    let start = memchr::memchr(b' ', head)? + 1;
    let rest = &head[place.clone()];
    if rest.is_empty() {
        return head.starts_with(b"OPTIONS ").then_some(place);
    }
    let held = place.end - start <= HELD_BYTES && rest.iter().copied().all(is_plain);
    (!held).then_some(place)
}

/// The range of the path and query in `head`. `None`: the target has none, or may not be sent at all.
pub(super) fn place(head: &[u8]) -> Option<Range<usize>> {
    let line = &head[..memchr::memchr(b'\r', head)?];
    let start = memchr::memchr(b' ', line)? + 1;
    let end = start + memchr::memchr(b' ', &line[start..])?;
    let path = start + after_authority(&line[start..end])?;
    line[path..end].iter().copied().all(may_be_sent).then_some(path..end)
}

/// Whether a path and query in origin form must bypass the library.
pub(in crate::proxy) fn must_bypass(path: &[u8]) -> bool {
    let held = path.len() <= HELD_BYTES && path.iter().copied().all(is_plain);
    !held && path.starts_with(b"/") && path.iter().copied().all(may_be_sent)
}

/// Where the path begins in a target. `None`: the target is neither in origin form nor in absolute form.
pub(super) fn after_authority(target: &[u8]) -> Option<usize> {
    if target.starts_with(b"/") {
        return Some(0);
    }
    let authority = memchr::memmem::find(target, b"://")? + 3;
    let rest = &target[authority..];
    let length = rest.iter().position(|byte| matches!(byte, b'/' | b'?' | b'#')).unwrap_or(rest.len());
    (length > 0).then_some(authority + length)
}

/// Whether the library accepts a byte in path and query, and returns it unchanged.
fn is_plain(byte: u8) -> bool {
    matches!(byte, b'!' | b'$'..=b';' | b'=' | b'?'..=b'Z' | b'_' | b'a'..=b'z' | b'~')
}

/// Whether a byte is neither a space nor a control character.
fn may_be_sent(byte: u8) -> bool {
    matches!(byte, b'!'..=b'~' | 0x80..)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bypassed(target: &str) -> Option<String> {
        let head = format!("GET {target} HTTP/1.1\r\nHost: a\r\n\r\n");
        to_bypass(head.as_bytes()).map(|range| head[range].to_owned())
    }

    #[test]
    fn targets_that_the_library_refuses_bypass_it() {
        for (target, path) in [
            ("/a`b", "/a`b"),
            ("/a?q=\"<x>\"", "/a?q=\"<x>\""),
            ("http://u:p@a:81/{a}|b\\^", "/{a}|b\\^"),
            ("http://a?<", "?<"),
            ("http://a#<", "#<"),
            ("/a#b", "/a#b"),
            ("/bücher", "/bücher"),
            ("//a`b", "//a`b"),
        ] {
            assert_eq!(bypassed(target).as_deref(), Some(path), "{target}");
        }
        let long = format!("/{}", "a".repeat(HELD_BYTES));
        assert_eq!(bypassed(&long), Some(long));
        for other in ["/a", "http://a/b?c=d", "http://a", "*", "a:1", "/a\x7f`", "/\u{1}", "http://", "`", "", "a`:1"]
        {
            assert_eq!(bypassed(other), None, "{other}");
        }
        assert_eq!(to_bypass(b"OPTIONS http://a:1 HTTP/1.1\r\n\r\n"), Some(18..18));
        assert_eq!(to_bypass(b"GET /a`\r\n\r\n"), None);
    }

    #[test]
    fn plain_targets_round_trip_through_the_library() {
        for byte in (0..=u8::MAX).filter(|byte| is_plain(*byte)) {
            for target in [[b"/a", &[byte][..], b"b"].concat(), [b"/?a", &[byte][..], b"b"].concat()] {
                let uri = http::Uri::try_from(&target[..]).unwrap();
                assert_eq!(uri.to_string().as_bytes(), target, "{byte:#x}");
            }
        }
    }
}
