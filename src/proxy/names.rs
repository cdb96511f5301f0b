//! The host names of a request: in its target (the CONNECT, or the absolute URL), in its TLS ClientHello (SNI), and in `Host`.
//! Normally they are equal. If they differ, the request may pretend to be for another host.

use std::borrow::Cow;
use std::net::IpAddr;

use http::HeaderMap;
use http::header::HOST;

use super::error::ProxyError;
use crate::capture::HostNames;

/// The names of a request for the host `target`. `None`: all are equal. `authority`: the host of the URI inside a tunnel.
pub(super) fn of_request(
    target: &str,
    sni: Option<&str>,
    authority: Option<&str>,
    headers: &HeaderMap,
) -> Option<HostNames> {
    let field = headers.get(HOST).map(|value| match str::from_utf8(value.as_bytes()) {
        Ok(field) => Cow::Borrowed(host_of(field)),
        Err(_) => String::from_utf8_lossy(value.as_bytes()),
    });
    // Over HTTP/2 there may be both, and they must be equal (RFC 9113 8.3.1).
    let host = match (authority, field) {
        (Some(authority), Some(field)) if !same(authority, &field) => {
            Some(Cow::Owned(format!("{authority}, {field}")))
        }
        (_, Some(field)) => Some(field),
        (authority, None) => authority.map(Cow::Borrowed),
    };
    differing(target, sni, host.as_deref())
}

/// The names of a tunnel. `None`: they are equal.
pub(super) fn of_tunnel(target: &str, sni: Option<&str>) -> Option<HostNames> {
    differing(target, sni, None)
}

/// Checks names that differ (`proxy.strict_host`). Agents that resolve names themselves send an address as the target. Then the SNI
/// is compared instead, because the origin's certificate was checked for it.
///
/// # Errors
/// When the names are different hosts.
pub(super) fn check(names: &HostNames) -> Result<(), ProxyError> {
    let vouched = is_address(&names.target) && names.sni.is_some();
    let HostNames { target, sni, host } = names;
    let all = [Some(target).filter(|_| !vouched), sni.as_ref(), host.as_ref()];
    let mut named = all.into_iter().flatten();
    let first = named.next();
    match named.all(|name| first.is_none_or(|first| same(first, name))) {
        true => Ok(()),
        false => Err(ProxyError::HostMismatch { names: names.to_string() }),
    }
}

fn differing(target: &str, sni: Option<&str>, host: Option<&str>) -> Option<HostNames> {
    let as_target = |name: &str| same(name, target);
    if sni.is_none_or(as_target) && host.is_none_or(as_target) {
        return None;
    }
    Some(HostNames { target: target.into(), sni: sni.map(Into::into), host: host.map(Into::into) })
}

/// The host of a `Host` field. Ports are not compared, because we dial the port of the target.
fn host_of(field: &str) -> &str {
    match field.rsplit_once(':') {
        Some((host, port)) if port.bytes().all(|byte| byte.is_ascii_digit()) && !host.ends_with(':') => host,
        _ => field,
    }
}

fn same(one: &str, other: &str) -> bool {
    bare(one).eq_ignore_ascii_case(bare(other))
}

fn bare(name: &str) -> &str {
    name.trim().trim_start_matches('[').trim_end_matches(']').trim_end_matches('.')
}

fn is_address(name: &str) -> bool {
    bare(name).parse::<IpAddr>().is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(host: Option<&'static str>) -> HeaderMap {
        host.map(|host| (HOST, http::HeaderValue::from_static(host))).into_iter().collect()
    }

    #[test]
    fn names_are_one_whatever_their_case_port_and_last_dot() {
        for (target, host) in [
            ("a.example", None),
            ("a.example", Some("A.Example:8443")),
            ("a.example.", Some("a.example")),
            ("::1", Some("[::1]:80")),
            ("::1", Some("[::1]")),
        ] {
            assert_eq!(of_request(target, None, None, &headers(host)), None, "{target} {host:?}");
        }
    }

    #[test]
    fn differing_names_are_all_reported_and_refused_if_the_settings_say_so() {
        let names = of_request("a.example", None, None, &headers(Some("b.example:80"))).unwrap();
        assert_eq!(
            (&*names.target, names.sni.as_deref(), names.host.as_deref()),
            ("a.example", None, Some("b.example"))
        );
        assert!(check(&names).is_err());
        let strict_of = |target, sni, host| differing(target, sni, host).map(|names| check(&names).is_ok());
        assert_eq!(strict_of("a", Some("a"), Some("a")), None);
        assert_eq!(strict_of("a", Some("b"), None), Some(false));
        assert_eq!(strict_of("a", Some("b"), Some("b")), Some(false));
        assert_eq!(strict_of("10.0.0.1", Some("b"), Some("b")), Some(true), "the certificate vouches for it");
        assert_eq!(strict_of("10.0.0.1", Some("b"), Some("c")), Some(false));
        assert_eq!(strict_of("10.0.0.1", None, Some("b")), Some(false));
    }
}
