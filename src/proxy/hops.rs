//! `Max-Forwards` (RFC 9110 7.6.2): how many hops a TRACE or OPTIONS may still take.

use http::header::{AUTHORIZATION, COOKIE, MAX_FORWARDS, PROXY_AUTHORIZATION};
use http::{HeaderMap, HeaderValue, Method};

/// Whether the request ends here. If not, decrements `Max-Forwards`.
pub(super) fn ends_here(method: &Method, headers: &mut HeaderMap) -> bool {
    if *method != Method::TRACE && *method != Method::OPTIONS {
        return false;
    }
    let left = headers.get(MAX_FORWARDS).and_then(|value| value.to_str().ok()?.trim().parse::<u32>().ok());
    match left {
        Some(0) => return true,
        Some(left) => drop(headers.insert(MAX_FORWARDS, HeaderValue::from(left - 1))),
        // A missing or invalid field stays as it is.
        None => {}
    }
    false
}

/// The response to a TRACE that ends here: the request itself, without secrets (RFC 9110 9.3.8).
pub(super) fn trace(target: &[u8], headers: &HeaderMap) -> Vec<u8> {
    let mut message = [b"TRACE ", target, b" HTTP/1.1\r\n"].concat();
    let is_secret = |name: &http::HeaderName| {
        [AUTHORIZATION, PROXY_AUTHORIZATION, COOKIE].contains(name) || name.as_str().starts_with("x-otas-")
    };
    for (name, value) in headers.iter().filter(|(name, _)| !is_secret(name)) {
        message.extend_from_slice(name.as_str().as_bytes());
        message.extend_from_slice(b": ");
        message.extend_from_slice(value.as_bytes());
        message.extend_from_slice(b"\r\n");
    }
    message.extend_from_slice(b"\r\n");
    message
}
