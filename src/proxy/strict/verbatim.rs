//! The parts of a request that bypass the HTTP library, as the agent wrote them.

use bytes::{BufMut, Bytes, BytesMut};
use percent_encoding::percent_encode_byte;

/// The parts of a request that bypass the HTTP library, as the agent wrote them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::proxy) struct Verbatim {
    /// From the end of the authority to the end of the target.
    path_and_query: Bytes,
    /// Lines of fields with their line ends.
    lines: Bytes,
}

impl Verbatim {
    /// `lines`: with their line ends.
    pub(in crate::proxy) fn new(path_and_query: Bytes, lines: Bytes) -> Self {
        Self { path_and_query, lines }
    }

    /// The lines of fields with their line ends.
    pub(in crate::proxy) fn lines(&self) -> Bytes {
        self.lines.clone()
    }

    /// Name and value of each of these fields.
    pub(in crate::proxy) fn fields(&self) -> impl Iterator<Item = (&[u8], &[u8])> {
        self.lines.split_inclusive(|byte| *byte == b'\n').filter_map(field)
    }

    /// The part of an absolute-form target that follows the authority.
    pub(in crate::proxy) fn after_authority(&self) -> Bytes {
        self.path_and_query.clone()
    }

    /// The target in origin form (RFC 9112 3.2.1), or `*` for a whole server (RFC 9112 3.2.4).
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

/// Name and value of a field's line, which is given with its line end.
pub(super) fn field(line: &[u8]) -> Option<(&[u8], &[u8])> {
    let line = line.strip_suffix(b"\r\n")?;
    let colon = memchr::memchr(b':', line)?;
    Some((&line[..colon], line[colon + 1..].trim_ascii()))
}

fn text(bytes: &[u8]) -> String {
    let mut text = String::with_capacity(bytes.len());
    for chunk in bytes.utf8_chunks() {
        text.push_str(chunk.valid());
        text.extend(chunk.invalid().iter().map(|byte| percent_encode_byte(*byte)));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_shown_as_it_was_written_and_sent_in_either_form() {
        let of = |text: &'static [u8]| Verbatim::new(Bytes::from_static(text), Bytes::new());
        assert_eq!(of(b"/a`?b?c").shown(), ("/a`".to_owned(), Some("b?c".to_owned())));
        assert_eq!(of(b"/\xe9\xc3\xa9").shown(), ("/%E9é".to_owned(), None));
        assert_eq!((of(b"?<").shown().0, &of(b"?<").origin_form()[..]), ("/".to_owned(), &b"/?<"[..]));
        assert_eq!((&of(b"").origin_form()[..], &of(b"").after_authority()[..]), (&b"*"[..], &b""[..]));
    }
}
