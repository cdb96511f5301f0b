//! The request line of a head that is refused.

use bytes::Bytes;
use http::{Method, Uri};

use super::target;
use super::verbatim::Verbatim;

/// The request line of a refused head, as far as it can be read. It goes into the record.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::proxy) struct RequestLine {
    /// `None`: it is not a method.
    pub(in crate::proxy) method: Option<Method>,
    pub(in crate::proxy) path: String,
    pub(in crate::proxy) query: Option<String>,
    /// The host of an absolute target.
    pub(in crate::proxy) host: Option<String>,
}

/// How much of the request line is read.
const READ_MAX_BYTES: usize = 4 << 10;

/// Reads the request line of a refused head as far as possible.
pub(in crate::proxy) fn request_line(head: &[u8]) -> RequestLine {
    let line = head.split(|byte| matches!(byte, b'\r' | b'\n')).find(|line| !line.is_empty()).unwrap_or_default();
    let mut words =
        line[..line.len().min(READ_MAX_BYTES)].split(|byte| *byte == b' ').filter(|word| !word.is_empty());
    let method = words.next().and_then(|word| Method::from_bytes(word).ok());
    let target = words.next().unwrap_or_default();
    // The target of a CONNECT has no path.
    let path = target::after_authority(target).unwrap_or(target.len());
    let host = Uri::try_from(&target[..path]).ok().and_then(|uri| uri.host().map(str::to_ascii_lowercase));
    let written = Some(&target[path..]).filter(|written| !written.is_empty()).unwrap_or(b"/");
    let (path, query) = Verbatim::new(Bytes::copy_from_slice(written), Bytes::new()).shown();
    RequestLine { method, path, query, host }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_request_line_is_read_as_far_as_possible() {
        let of = |head: &str| {
            let RequestLine { method, path, query, host } = request_line(head.as_bytes());
            (method.map(|m| m.to_string()), path, query, host)
        };
        let some = |text: &str| Some(text.to_owned());
        assert_eq!(
            of("\r\nPOST http://u:p@API.test:80/a/b?c=d HTTP/1.1\r\nHost: x y\r\n\r\n"),
            (some("POST"), "/a/b".to_owned(), some("c=d"), some("api.test"))
        );
        assert_eq!(of("GET  /x"), (some("GET"), "/x".to_owned(), None, None));
        assert_eq!(of("CONNECT a:1 HTTP/1.1\r\n"), (some("CONNECT"), "/".to_owned(), None, some("a")));
        assert_eq!(of("\x16\x03\x01 \x7f"), (None, "/".to_owned(), None, None));
        assert_eq!(of(""), (None, "/".to_owned(), None, None));
    }
}
