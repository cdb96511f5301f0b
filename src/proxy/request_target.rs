//! Reads the target of a request: absolute form, or the `host:port` of a CONNECT. Pure.

use http::Uri;
use http::uri::Authority;

use super::error::ProxyError;
use crate::capture::Origin;

/// The origin that an absolute-form target names (RFC 9112 3.2.2).
pub(super) fn absolute_target(uri: &Uri) -> Result<Origin, ProxyError> {
    let (scheme, default_port) = match uri.scheme_str() {
        Some("http") => ("http", 80),
        Some("https") => ("https", 443),
        Some(_) => return Err(bad("only http and https URLs can be forwarded")),
        None => {
            return Err(bad(
                "the request's target is not an absolute URL; this is a forward proxy: set HTTP_PROXY and HTTPS_PROXY to \
                 it and call the service's own URL",
            ));
        }
    };
    let authority = uri.authority().ok_or_else(|| bad("the request's target names no host"))?;
    Ok(Origin { scheme, host: host(authority)?.into(), port: port(authority)?.unwrap_or(default_port) })
}

/// The host and port that a CONNECT names; both are required (RFC 9110 9.3.6).
pub(super) fn connect_target(uri: &Uri) -> Result<(String, u16), ProxyError> {
    let authority = uri.authority().ok_or_else(|| bad("CONNECT needs a target of the form host:port"))?;
    if uri.scheme().is_some() || authority.as_str().contains('@') {
        return Err(bad("CONNECT needs a target of the form host:port"));
    }
    let port = port(authority)?.ok_or_else(|| bad("CONNECT needs a port: host:port"))?;
    Ok((host(authority)?, port))
}

/// The host of `host:port`, IPv6 literals without brackets.
pub(super) fn host_alone(authority: &str) -> &str {
    match authority.strip_prefix('[').and_then(|literal| literal.split_once(']')) {
        Some((literal, _)) => literal,
        None => authority.rsplit_once(':').map_or(authority, |(host, _)| host),
    }
}

/// The host in lower case, IPv6 literals without brackets.
fn host(authority: &Authority) -> Result<String, ProxyError> {
    let host = unbracketed(authority.host()).ok_or_else(|| bad("the target's host is malformed"))?;
    if host.is_empty() { Err(bad("the target names no host")) } else { Ok(host.to_ascii_lowercase()) }
}

/// A host without the brackets of an IPv6 literal. `None`: it has brackets, but is not an IPv6 literal (RFC 3986 3.2.2).
pub(super) fn unbracketed(host: &str) -> Option<&str> {
    match host.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')) {
        Some(literal) => literal.parse::<std::net::Ipv6Addr>().is_ok().then_some(literal),
        None => (!host.contains(['[', ']'])).then_some(host),
    }
}

fn port(authority: &Authority) -> Result<Option<u16>, ProxyError> {
    let after_host = authority.as_str().rsplit_once('@').map_or(authority.as_str(), |(_, a)| a);
    let after_host = &after_host[authority.host().len().min(after_host.len())..];
    match after_host.strip_prefix(':') {
        None => Ok(None),
        Some(digits) => match digits.parse::<u16>() {
            Ok(port) if port != 0 && digits.bytes().all(|b| b.is_ascii_digit()) => Ok(Some(port)),
            _ => Err(bad("the target's port is not a number from 1 to 65535")),
        },
    }
}

fn bad(reason: &'static str) -> ProxyError {
    ProxyError::BadRequest { reason: reason.into() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn targets_are_read_strictly() {
        let absolute = |s: &str| absolute_target(&s.parse::<Uri>().unwrap());
        let origin = absolute("http://Example.COM/x").unwrap();
        assert_eq!((&*origin.host, origin.port), ("example.com", 80));
        assert_eq!(&*absolute("https://[::1]:8443/").unwrap().host, "::1");
        assert_eq!(absolute("http://user:pw@h:81/").unwrap().port, 81);
        for bad in ["ftp://a/", "http://a:0/", "http://a:/", "http://a:99999/", "/only/path"] {
            assert!(bad.parse::<Uri>().map_or(true, |u| absolute_target(&u).is_err()), "{bad}");
        }
        for (authority, host) in [("a.test", "a.test"), ("a.test:1", "a.test"), ("[::1]:1", "::1"), ("[::1]", "::1")]
        {
            assert_eq!(host_alone(authority), host);
        }
        let connect = |s: &str| s.parse::<Uri>().ok().and_then(|u| connect_target(&u).ok());
        assert_eq!(connect("a.example:443"), Some(("a.example".to_owned(), 443)));
        assert_eq!(connect("[::1]:1"), Some(("::1".to_owned(), 1)));
        for bad in ["a.example", "a.example:", "a.example:x", "a.example:0", "a.example:65536", "u@a:1"] {
            assert_eq!(connect(bad), None, "{bad}");
        }
    }
}
