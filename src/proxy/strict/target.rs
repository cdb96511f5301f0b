//! Targets that the HTTP library refuses or changes, though clients send them and origins take them: with a raw `"`, `<`, `>`,
//! `` ` ``, UTF-8 or a fragment in path or query, or longer than 64 KiB. They pass as they were written.

use std::ops::Range;

use bytes::{BufMut, Bytes, BytesMut};
use percent_encoding::percent_encode_byte;

use super::kept;

/// The longest target that `http::Uri` holds.
const HELD_BYTES: usize = u16::MAX as usize - 1;

/// A path and query as the agent wrote them, from the end of the authority to the end of the target.
/// With it go the lines of fields that the library does not take either.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::proxy) struct Written {
    path_and_query: Bytes,
    lines: Bytes,
}

impl Written {
    /// As they stand in the head; `lines`: with their ends.
    pub(in crate::proxy) fn new(path_and_query: Bytes, lines: Bytes) -> Self {
        Self { path_and_query, lines }
    }

    /// The lines of fields with their ends.
    pub(in crate::proxy) fn lines(&self) -> Bytes {
        self.lines.clone()
    }

    /// Name and value of each of these fields.
    pub(in crate::proxy) fn fields(&self) -> impl Iterator<Item = (&[u8], &[u8])> {
        self.lines.split_inclusive(|byte| *byte == b'\n').filter_map(kept::field)
    }

    /// What follows the authority in a target in absolute form.
    pub(in crate::proxy) fn after_authority(&self) -> Bytes {
        self.path_and_query.clone()
    }

    /// A target in origin form (RFC 9112 3.2.1), or `*` for a whole server (RFC 9112 3.2.4).
    pub(in crate::proxy) fn origin_form(&self) -> Bytes {
        match self.path_and_query.first() {
            None => Bytes::from_static(b"*"),
            Some(b'/') => self.path_and_query.clone(),
            Some(_) => {
                let mut form = BytesMut::with_capacity(self.path_and_query.len() + 1);
                form.put_u8(b'/');
                form.extend_from_slice(&self.path_and_query);
                form.freeze()
            }
        }
    }

    /// Path and query as text. A byte that is not UTF-8 is shown percent-encoded.
    pub(in crate::proxy) fn shown(&self) -> (String, Option<String>) {
        let form = self.origin_form();
        match memchr::memchr(b'?', &form) {
            Some(at) => (text(&form[..at]), Some(text(&form[at + 1..]))),
            None => (text(&form), None),
        }
    }
}

fn text(bytes: &[u8]) -> String {
    let mut text = String::with_capacity(bytes.len());
    for chunk in bytes.utf8_chunks() {
        text.push_str(chunk.valid());
        text.extend(chunk.invalid().iter().map(|byte| percent_encode_byte(*byte)));
    }
    text
}

/// Where in `head` the path and query stand that must be kept from the library; `None`: it takes the target as it is, or the
/// target is not one that may be sent at all.
pub(super) fn to_keep(head: &[u8]) -> Option<Range<usize>> {
    let place = place(head)?;
    let start = memchr::memchr(b' ', head)? + 1;
    let rest = &head[place.clone()];
    if rest.is_empty() {
        return head.starts_with(b"OPTIONS ").then_some(place);
    }
    let held = place.end - start <= HELD_BYTES && rest.iter().copied().all(is_plain);
    (!held).then_some(place)
}

/// Where in `head` path and query stand; `None`: the target has none, or is not one that may be sent at all.
pub(super) fn place(head: &[u8]) -> Option<Range<usize>> {
    let line = &head[..memchr::memchr(b'\r', head)?];
    let start = memchr::memchr(b' ', line)? + 1;
    let end = start + memchr::memchr(b' ', &line[start..])?;
    let path = start + after_authority(&line[start..end])?;
    line[path..end].iter().copied().all(may_be_sent).then_some(path..end)
}

/// Whether a path and query in origin form must be kept from the library.
pub(in crate::proxy) fn is_kept(path: &[u8]) -> bool {
    let held = path.len() <= HELD_BYTES && path.iter().copied().all(is_plain);
    !held && path.starts_with(b"/") && path.iter().copied().all(may_be_sent)
}

/// Where in a target its path begins; `None`: it is neither in origin form nor in absolute form.
pub(super) fn after_authority(target: &[u8]) -> Option<usize> {
    if target.starts_with(b"/") {
        return Some(0);
    }
    let authority = memchr::memmem::find(target, b"://")? + 3;
    let rest = &target[authority..];
    let length = rest.iter().position(|byte| matches!(byte, b'/' | b'?' | b'#')).unwrap_or(rest.len());
    (length > 0).then_some(authority + length)
}

/// What the library takes in a path and in a query, and gives back unchanged.
fn is_plain(byte: u8) -> bool {
    matches!(byte, b'!' | b'$'..=b';' | b'=' | b'?'..=b'Z' | b'_' | b'a'..=b'z' | b'~')
}

/// Neither a space nor a control character.
fn may_be_sent(byte: u8) -> bool {
    matches!(byte, b'!'..=b'~' | 0x80..)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn kept(target: &str) -> Option<String> {
        let head = format!("GET {target} HTTP/1.1\r\nHost: a\r\n\r\n");
        to_keep(head.as_bytes()).map(|range| head[range].to_owned())
    }

    #[test]
    fn what_the_library_does_not_take_is_kept_from_it() {
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
            assert_eq!(kept(target).as_deref(), Some(path), "{target}");
        }
        let long = format!("/{}", "a".repeat(HELD_BYTES));
        assert_eq!(kept(&long), Some(long));
        for other in ["/a", "http://a/b?c=d", "http://a", "*", "a:1", "/a\x7f`", "/\u{1}", "http://", "`", "", "a`:1"]
        {
            assert_eq!(kept(other), None, "{other}");
        }
        assert_eq!(to_keep(b"OPTIONS http://a:1 HTTP/1.1\r\n\r\n"), Some(18..18));
        assert_eq!(to_keep(b"GET /a`\r\n\r\n"), None);
    }

    #[test]
    fn what_is_plain_comes_back_from_the_library_as_it_was() {
        for byte in (0..=u8::MAX).filter(|byte| is_plain(*byte)) {
            for target in [[b"/a", &[byte][..], b"b"].concat(), [b"/?a", &[byte][..], b"b"].concat()] {
                let uri = http::Uri::try_from(&target[..]).unwrap();
                assert_eq!(uri.to_string().as_bytes(), target, "{byte:#x}");
            }
        }
    }

    #[test]
    fn it_is_shown_as_it_was_written_and_sent_in_the_form_that_is_asked_for() {
        let of = |text: &'static [u8]| Written::new(Bytes::from_static(text), Bytes::new());
        assert_eq!(of(b"/a`?b?c").shown(), ("/a`".to_owned(), Some("b?c".to_owned())));
        assert_eq!(of(b"/\xe9\xc3\xa9").shown(), ("/%E9é".to_owned(), None));
        assert_eq!((of(b"?<").shown().0, &of(b"?<").origin_form()[..]), ("/".to_owned(), &b"/?<"[..]));
        assert_eq!((&of(b"").origin_form()[..], &of(b"").after_authority()[..]), (&b"*"[..], &b""[..]));
    }
}
