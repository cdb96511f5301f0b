//! The names of `tls.passthrough`.

use url::Host;

/// An exact host name, an IP address, or `*.` and a name, in the form that hosts are compared in: lower case,
/// international names in their ASCII form, IPv6 without brackets, no last dot.
///
/// # Errors
/// Why it is none of these, without repeating it.
pub(super) fn pattern(text: &str) -> Result<String, &'static str> {
    match text.strip_prefix("*.") {
        Some(suffix) => match parse(suffix)? {
            Host::Domain(name) => Ok(format!("*.{name}")),
            Host::Ipv4(_) | Host::Ipv6(_) => Err("`*.` goes before a name, not an address"),
        },
        None => Ok(match parse(text)? {
            Host::Domain(name) => name,
            Host::Ipv4(address) => address.to_string(),
            Host::Ipv6(address) => address.to_string(),
        }),
    }
}

fn parse(text: &str) -> Result<Host, &'static str> {
    if let Ok(address) = text.trim_start_matches('[').trim_end_matches(']').parse() {
        return Ok(Host::Ipv6(address));
    }
    if text.contains("://") || text.contains('/') {
        return Err("it is a URL; write the host's name alone");
    }
    if text.contains(':') {
        return Err("it has a port; write the host's name alone");
    }
    if text.contains('*') {
        return Err("`*` may only stand at its beginning, as `*.`");
    }
    let host = Host::parse(text.strip_suffix('.').unwrap_or(text)).map_err(|_| "it is not a host name")?;
    match &host {
        Host::Domain(name) if !name.split('.').all(is_label) => Err("it is not a host name"),
        _ => Ok(host),
    }
}

/// RFC 1123 2.1, and the underscore that real names have.
fn is_label(label: &str) -> bool {
    let length_fits = (1..=63).contains(&label.len());
    length_fits && label.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_'))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_take_the_form_that_hosts_are_compared_in() {
        let cases = [
            ("API.Example.com", "api.example.com"),
            ("*.Example.COM", "*.example.com"),
            ("example.com.", "example.com"),
            ("bücher.example", "xn--bcher-kva.example"),
            ("my_host", "my_host"),
            ("10.0.0.1", "10.0.0.1"),
            ("::1", "::1"),
            ("[2001:DB8::1]", "2001:db8::1"),
        ];
        for (given, expected) in cases {
            assert_eq!(pattern(given).as_deref(), Ok(expected), "{given}");
        }
    }

    #[test]
    fn what_can_never_match_a_host_is_refused() {
        for given in [
            "",
            "*",
            "*.",
            ".",
            "*.*.com",
            "api.*.com",
            "*example.com",
            "a..b",
            "a b",
            "https://example.com",
            "example.com:443",
            "example.com/x",
            "*.10.0.0.1",
            "*.::1",
            "10.0.0.0/8",
        ] {
            assert!(pattern(given).is_err(), "{given:?}");
        }
    }
}
