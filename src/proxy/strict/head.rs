//! Reads the complete head of one request, whose lines end in CR LF.

use std::borrow::Cow;
use std::mem::MaybeUninit;

use http::Uri;
use http::uri::Authority;

use super::bypass::{self, Bypass};
use super::target;
use super::violation::Violation;
use crate::proxy::request_target::unbracketed;

/// The most fields of a head. The limit for responses is the same.
pub(super) const FIELDS: usize = 512;

/// What follows a head.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Follows {
    /// This many bytes of content.
    Length(u64),
    /// Content in chunks.
    Chunked,
    /// A tunnel. Its bytes are not read as HTTP.
    Tunnel,
}

/// A valid head.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Head {
    /// What follows it.
    pub(super) follows: Follows,
    /// The parts that bypass the library.
    pub(super) bypass: Option<Bypass>,
}

/// Reads a head, from its request line to its empty line.
///
/// # Errors
/// What is wrong with it.
pub(super) fn read(head: &[u8]) -> Result<Head, Violation> {
    let bypass = target::to_bypass(head).map(|target| Bypass { target, lines: Vec::new() });
    match read_without(head, bypass) {
        // Checked only now, because heads rarely have control characters.
        Err(refused) => match bypass::with_lines(head) {
            Some(bypass) => read_without(head, Some(bypass)),
            None => Err(refused),
        },
        read => read,
    }
}

fn read_without(head: &[u8], bypass: Option<Bypass>) -> Result<Head, Violation> {
    let passes = bypass.as_ref().map_or(Cow::Borrowed(head), |bypass| Cow::Owned(bypass.without(head)));
    Ok(Head { follows: follows(&passes)?, bypass })
}

fn follows(head: &[u8]) -> Result<Follows, Violation> {
    // Few are used, so the others are not written.
    let mut fields = [const { MaybeUninit::uninit() }; FIELDS];
    let mut request = httparse::Request::new(&mut []);
    match request.parse_with_uninit_headers(head, &mut fields) {
        Ok(httparse::Status::Complete(length)) if length == head.len() => {}
        Ok(_) => return Err(Violation::malformed("the request's head does not end at its empty line")),
        Err(httparse::Error::TooManyHeaders) => {
            return Err(Violation::TooLarge(format!("the request has more than {FIELDS} header fields").into()));
        }
        Err(httparse::Error::Token | httparse::Error::Version) if has_blank_target(head) => {
            return Err(Violation::malformed(
                "the request's target has a space or a control character, which must be percent-encoded (RFC 9112 3.2)",
            ));
        }
        Err(error) => return Err(Violation::Malformed(words(error).into())),
    }
    let is_http_11 = request.version == Some(1);
    let is_connect = request.method == Some("CONNECT");
    target(request.path.unwrap_or_default(), is_connect)?;
    host(request.headers, is_http_11)?;
    let follows = content(request.headers, is_http_11)?;
    match (is_connect, follows) {
        (false, follows) => Ok(follows),
        (true, Follows::Length(0)) => Ok(Follows::Tunnel),
        (true, _) => Err(Violation::malformed("a CONNECT request has no content (RFC 9110 9.3.6)")),
    }
}

/// Whether the target contains a space or a control character.
fn has_blank_target(head: &[u8]) -> bool {
    let line = head.split(|byte| *byte == b'\r').next().unwrap_or_default();
    let method = line.iter().position(|byte| *byte == b' ');
    let version = line.iter().rposition(|byte| *byte == b' ');
    method.zip(version).is_some_and(|(method, version)| {
        let between = line.get(method + 1..version).unwrap_or_default();
        between.iter().any(|byte| *byte == b' ' || byte.is_ascii_control())
    })
}

fn words(error: httparse::Error) -> &'static str {
    match error {
        httparse::Error::HeaderName => {
            "a header field's name is malformed: it is empty, folded, or has a space in or after it (RFC 9112 5.1)"
        }
        httparse::Error::HeaderValue => "a header field's value has a forbidden character (RFC 9110 5.5)",
        httparse::Error::Version => "the HTTP version is not supported (RFC 9112 2.3)",
        httparse::Error::NewLine => "a line does not end in CR LF (RFC 9112 2.2)",
        _ => "the request line is malformed (RFC 9112 3)",
    }
}

fn target(target: &str, is_connect: bool) -> Result<(), Violation> {
    let uri = target.parse::<Uri>();
    let bad = || Violation::malformed("the request's target is not a URI (RFC 9112 3.2)");
    let uri = uri.map_err(|_| bad())?;
    // Only CONNECT has a target in authority form, and it has no other form (RFC 9112 3.2.3).
    let is_authority = uri.scheme().is_none() && uri.authority().is_some();
    if is_authority == is_connect { Ok(()) } else { Err(bad()) }
}

/// RFC 9112 3.2: exactly one valid `Host` in HTTP/1.1, at most one in HTTP/1.0.
fn host(fields: &[httparse::Header<'_>], is_http_11: bool) -> Result<(), Violation> {
    let mut hosts = fields.iter().filter(|field| field.name.eq_ignore_ascii_case("host"));
    match (hosts.next(), hosts.next()) {
        (None, _) if is_http_11 => Err(Violation::malformed("an HTTP/1.1 request needs a Host field (RFC 9112 3.2)")),
        (None, _) => Ok(()),
        (Some(_), Some(_)) => Err(Violation::malformed("the request has more than one Host field (RFC 9112 3.2)")),
        (Some(host), None) if is_host(host.value) => Ok(()),
        _ => Err(Violation::malformed("the Host field is not a host and a port (RFC 9112 3.2)")),
    }
}

/// `uri-host [":" port]`, or empty if the target has no authority.
fn is_host(value: &[u8]) -> bool {
    let is_sound = |a: Authority| has_port_or_none(&a) && unbracketed(a.host()).is_some();
    value.is_empty() || (!value.contains(&b'@') && Authority::try_from(value).is_ok_and(is_sound))
}

fn has_port_or_none(authority: &Authority) -> bool {
    let rest = authority.as_str().strip_prefix(authority.host()).unwrap_or_default();
    rest.is_empty() || rest == ":" || authority.port_u16().is_some()
}

/// What follows the head (RFC 9112 6.3, without its lenient cases).
fn content(fields: &[httparse::Header<'_>], is_http_11: bool) -> Result<Follows, Violation> {
    let named = |name: &'static str| fields.iter().filter(move |field| field.name.eq_ignore_ascii_case(name));
    let mut codings = named("transfer-encoding");
    let mut lengths = named("content-length");
    match (codings.next(), lengths.next()) {
        (Some(_), Some(_)) => {
            Err(Violation::malformed("the request has both Transfer-Encoding and Content-Length (RFC 9112 6.1)"))
        }
        (Some(_), None) if !is_http_11 => {
            Err(Violation::malformed("an HTTP/1.0 request cannot have Transfer-Encoding (RFC 9112 6.1)"))
        }
        (Some(coding), None) if coding.value.eq_ignore_ascii_case(b"chunked") && codings.next().is_none() => {
            Ok(Follows::Chunked)
        }
        (Some(_), None) => {
            Err(Violation::malformed("the only Transfer-Encoding of a request is `chunked` (RFC 9112 6.1)"))
        }
        (None, Some(first)) => {
            let same = lengths.all(|other| other.value == first.value);
            let length = same.then(|| decimal(first.value)).flatten();
            length
                .map(Follows::Length)
                .ok_or_else(|| Violation::malformed("Content-Length is not one decimal number (RFC 9112 6.3)"))
        }
        (None, None) => Ok(Follows::Length(0)),
    }
}

fn decimal(value: &[u8]) -> Option<u64> {
    let digits = str::from_utf8(value).ok().filter(|text| text.bytes().all(|b| b.is_ascii_digit()))?;
    // hyper keeps the highest values for itself.
    digits.parse().ok().filter(|length| *length <= u64::MAX - 2)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn follows(head: &str) -> Option<Follows> {
        read(head.as_bytes()).ok().map(|head| head.follows)
    }

    #[test]
    fn the_framing_fields_say_what_follows_a_head() {
        let get = |fields: &str| follows(&format!("POST / HTTP/1.1\r\nHost: a:80\r\n{fields}\r\n"));
        assert_eq!(get(""), Some(Follows::Length(0)));
        assert_eq!(get("content-LENGTH: 12\r\n"), Some(Follows::Length(12)));
        assert_eq!(get("Content-Length: 12\r\nContent-Length: 12\r\n"), Some(Follows::Length(12)));
        assert_eq!(get("Transfer-Encoding: Chunked\r\n"), Some(Follows::Chunked));
        assert_eq!(follows("CONNECT a:1 HTTP/1.1\r\nHost: a:1\r\n\r\n"), Some(Follows::Tunnel));
        assert_eq!(follows("GET http://a/ HTTP/1.0\r\n\r\n"), Some(Follows::Length(0)));
        assert_eq!(follows("OPTIONS * HTTP/1.1\r\nHost:\r\n\r\n"), Some(Follows::Length(0)));
    }

    #[test]
    fn ambiguous_input_is_refused() {
        for bad in [
            "Content-Length: 1\r\nContent-Length: 2\r\n",
            "Content-Length: 1, 1\r\n",
            "Content-Length: +1\r\n",
            "Content-Length: 0x1\r\n",
            "Content-Length: 99999999999999999999\r\n",
            "Content-Length: \r\n",
            "Content-Length: 1\r\nTransfer-Encoding: chunked\r\n",
            "Transfer-Encoding: chunked\r\nContent-Length: 1\r\n",
            "Transfer-Encoding: gzip, chunked\r\n",
            "Transfer-Encoding: chunked, gzip\r\n",
            "Transfer-Encoding: xchunked\r\n",
            "Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n",
            "Transfer-Encoding:\x0bchunked\r\n",
            "Host: b\r\n",
            " folded: x\r\n",
            "X: a\r\n folded\r\n",
            "X : a\r\n",
            "X: a\0b\r\n",
            "X: a\rb\r\n",
            ": empty\r\n",
        ] {
            let head = format!("POST / HTTP/1.1\r\nHost: a\r\n{bad}\r\n");
            assert_eq!(follows(&head), None, "{bad:?}");
        }
        for bad in [
            "GET / HTTP/1.1\r\n\r\n",
            "GET / HTTP/1.1\r\nHost: a b\r\n\r\n",
            "GET / HTTP/1.1\r\nHost: u@a\r\n\r\n",
            "GET / HTTP/1.1\r\nHost: a:x\r\n\r\n",
            "GET / HTTP/1.1\r\nHost: a/b\r\n\r\n",
            "GET / HTTP/1.1\r\nHost: a[1]:80\r\n\r\n",
            "GET / HTTP/1.1\r\nHost: [a]\r\n\r\n",
            "GET / HTTP/1.1\r\n Host: a\r\n\r\n",
            "GET  / HTTP/1.1\r\nHost: a\r\n\r\n",
            "GET / HTTP/1.2\r\nHost: a\r\n\r\n",
            "GET / http/1.1\r\nHost: a\r\n\r\n",
            "GET a:80 HTTP/1.1\r\nHost: a\r\n\r\n",
            "CONNECT / HTTP/1.1\r\nHost: a\r\n\r\n",
            "CONNECT a:1 HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\n\r\n",
            "GET /\x7f HTTP/1.1\r\nHost: a\r\n\r\n",
            "G(T / HTTP/1.1\r\nHost: a\r\n\r\n",
            "GET / HTTP/1.0\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n",
        ] {
            assert_eq!(follows(bad), None, "{bad:?}");
        }
    }
}
