//! The parts of a head that bypass the HTTP library: clients send them and origins accept them, but the library refuses or changes
//! them. They are odd targets ([`super::target`]) and field values with control characters. Both go on byte for byte.

use std::ops::Range;

use bytes::Bytes;
use http::HeaderName;

use super::target;
use super::verbatim::{Verbatim, field};
use crate::proxy::message;

/// The parts of a head that bypass the library, as ranges of its bytes. Other messages may stand before the head.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::proxy) struct Bypass {
    /// Path and query. The library gets `/` in their place.
    pub(super) target: Range<usize>,
    /// Lines of fields with their line ends, in order. The library gets nothing in their place.
    pub(super) lines: Vec<Range<usize>>,
}

impl Bypass {
    /// `bytes` as the library gets them.
    pub(in crate::proxy) fn without(&self, bytes: &[u8]) -> Vec<u8> {
        let mut rest = Vec::with_capacity(bytes.len() + 1);
        rest.extend_from_slice(&bytes[..self.target.start]);
        rest.push(b'/');
        let mut from = self.target.end;
        for line in &self.lines {
            rest.extend_from_slice(&bytes[from..line.start]);
            from = line.end;
        }
        rest.extend_from_slice(&bytes[from..]);
        rest
    }

    /// The parts of `bytes` that bypass the library.
    pub(in crate::proxy) fn verbatim(&self, bytes: &[u8]) -> Verbatim {
        let lines: Vec<&[u8]> = self.lines.iter().map(|line| &bytes[line.clone()]).collect();
        Verbatim::new(Bytes::copy_from_slice(&bytes[self.target.clone()]), lines.concat().into())
    }

    /// The same parts, with `before` more bytes in front of the head.
    pub(super) fn after(self, before: usize) -> Self {
        let moved = |part: Range<usize>| part.start + before..part.end + before;
        Self { target: moved(self.target), lines: self.lines.into_iter().map(moved).collect() }
    }
}

/// The parts of a head whose fields the library refuses for control characters in their values. `None`: there are no such fields
/// that may be sent. A field that the proxy reads itself may not.
pub(super) fn with_lines(head: &[u8]) -> Option<Bypass> {
    let target = target::place(head)?;
    let is_whole_server = target.is_empty();
    let mut lines = Vec::new();
    let mut from = memchr::memchr(b'\n', head)? + 1;
    while let Some(length) = memchr::memchr(b'\n', &head[from..]) {
        let end = from + length + 1;
        lines.push(from..end);
        from = end;
    }
    let nominated: Vec<&[u8]> = lines.iter().flat_map(|line| connection_options(&head[line.clone()])).collect();
    lines.retain(|line| bypasses(&head[line.clone()], &nominated));
    (!lines.is_empty() && !is_whole_server).then_some(Bypass { target, lines })
}

/// The options of a `Connection` field. They name fields that are not forwarded (RFC 9110 7.6.1).
fn connection_options(line: &[u8]) -> impl Iterator<Item = &[u8]> {
    let value = field(line).filter(|(name, _)| name.eq_ignore_ascii_case(b"connection")).map(|(_, value)| value);
    value.unwrap_or_default().split(|byte| *byte == b',').map(<[u8]>::trim_ascii)
}

fn bypasses(line: &[u8], nominated: &[&[u8]]) -> bool {
    let Some((name, value)) = field(line) else { return false };
    if nominated.iter().any(|option| option.eq_ignore_ascii_case(name)) {
        return false;
    }
    let is_control = |byte: &u8| byte.is_ascii_control() && *byte != b'\t';
    let breaks = |byte: &u8| matches!(byte, 0 | b'\r' | b'\n');
    value.iter().any(is_control)
        && !value.iter().any(breaks)
        && HeaderName::from_bytes(name).is_ok_and(|name| !message::is_read_here(&name))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_value_with_a_control_character_bypasses_the_library_but_no_field_that_the_proxy_reads() {
        let head = |line: &str| format!("GET /a HTTP/1.1\r\nHost: a\r\n{line}\r\nX: y\r\n\r\n").into_bytes();
        for line in ["Cookie: a=\u{1}; b=2", "X-A:\u{7f}", "user-agent: \u{1b}[0m"] {
            let head = head(line);
            let bypass = with_lines(&head).unwrap();
            assert_eq!(bypass.without(&head), b"GET / HTTP/1.1\r\nHost: a\r\nX: y\r\n\r\n", "{line:?}");
            let verbatim = bypass.verbatim(&head);
            assert_eq!(&verbatim.after_authority()[..], b"/a");
            assert_eq!(verbatim.lines(), format!("{line}\r\n").as_bytes());
        }
        for line in [
            "X: a\0b",
            "X: a\rb",
            "X: plain",
            "X : \u{1}",
            "Content-Length: 5\u{1}",
            "Transfer-Encoding: \u{b}chunked",
            "Host: a\u{1}",
            "Connection: \u{1}",
            "Proxy-Authorization: \u{1}",
            "X-OTAS-Agent-Key: \u{1}",
            "Expect: \u{1}",
            "Connection: close, X-A\r\nX-A: \u{1}",
        ] {
            assert_eq!(with_lines(&head(line)), None, "{line:?}");
        }
    }
}
