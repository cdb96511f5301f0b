//! Lists of hosts in settings: names, globs and networks, with or without a port.
//!
//! ```text
//! api.example.com       that name           10.0.0.0/8        addresses of that network
//! *.example.com         all names below     [2001:db8::]:443  that address, at that port
//! api-*.example.com:443 a glob, at a port   *:22              every host, at that port
//! ```

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use ipnet::IpNet;
use url::Host;
use wildmatch::WildMatch;

/// One entry of a list of hosts.
#[derive(Debug, Clone, PartialEq)]
pub struct HostRule {
    host: Pattern,
    /// `None`: every port.
    port: Option<u16>,
}

#[derive(Debug, Clone, PartialEq)]
enum Pattern {
    /// Normalised: lower case, international names in ASCII form, no trailing dot.
    Name(String),
    /// A normalised name with `*` (any characters) and `?` (any one character).
    Glob(WildMatch),
    /// A network. An address is a network of one.
    Net(IpNet),
}

/// A list of hosts.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct HostRules(Vec<HostRule>);

impl HostRules {
    /// Makes a list.
    pub fn new(rules: Vec<HostRule>) -> Self {
        Self(rules)
    }

    /// Adds entries.
    pub fn extended(mut self, more: impl IntoIterator<Item = HostRule>) -> Self {
        self.0.extend(more);
        self
    }

    /// Whether there is no entry.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The usual names and addresses of this machine.
    pub fn loopback() -> Self {
        let nets =
            [IpNet::new_assert(Ipv4Addr::new(127, 0, 0, 0).into(), 8), IpAddr::from(Ipv6Addr::LOCALHOST).into()];
        let nets = nets.map(|net| HostRule { host: Pattern::Net(net), port: None });
        let name = HostRule { host: Pattern::Name("localhost".to_owned()), port: None };
        Self([name].into_iter().chain(nets).collect())
    }

    /// Whether an entry matches `host` (lower case; an address without brackets) at `port`.
    pub fn matches(&self, host: &str, port: u16) -> bool {
        let host = host.trim_end_matches('.');
        let address = host.parse::<IpAddr>().ok();
        self.0.iter().any(|rule| rule.is_for(port) && rule.names(host, address))
    }

    /// Whether an entry matches `host` at some port, or is a network that its addresses may be in.
    pub fn may_mean(&self, host: &str) -> bool {
        let host = host.trim_end_matches('.');
        self.0.iter().any(|rule| matches!(rule.host, Pattern::Net(_)) || rule.names(host, None))
    }

    /// Whether a network of the list contains `address`, at `port`.
    pub fn matches_address(&self, address: IpAddr, port: u16) -> bool {
        self.0.iter().any(|rule| rule.is_for(port) && rule.has(address))
    }
}

impl HostRule {
    /// Parses an entry.
    ///
    /// # Errors
    /// Why the text is not a valid entry. The message does not repeat the text.
    pub fn parse(text: &str) -> Result<Self, &'static str> {
        if text.contains("://") {
            return Err("it is a URL; write only the host");
        }
        let (host, port) = split_port(text)?;
        Ok(Self { host: pattern(host)?, port })
    }

    fn is_for(&self, port: u16) -> bool {
        self.port.is_none_or(|wanted| wanted == port)
    }

    fn names(&self, host: &str, address: Option<IpAddr>) -> bool {
        match &self.host {
            Pattern::Name(name) => name == host,
            Pattern::Glob(glob) => glob.matches(host),
            Pattern::Net(_) => address.is_some_and(|address| self.has(address)),
        }
    }

    fn has(&self, address: IpAddr) -> bool {
        matches!(&self.host, Pattern::Net(net) if net.contains(&address.to_canonical()))
    }
}

impl fmt::Display for HostRule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (&self.host, self.port) {
            (Pattern::Net(net @ IpNet::V6(_)), Some(_)) => write!(f, "[{}]", network(net))?,
            (Pattern::Net(net), _) => f.write_str(&network(net))?,
            (Pattern::Name(name), _) => f.write_str(name)?,
            (Pattern::Glob(glob), _) => write!(f, "{glob}")?,
        }
        self.port.map_or(Ok(()), |port| write!(f, ":{port}"))
    }
}

impl fmt::Display for HostRules {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.0.iter().map(ToString::to_string)).finish()
    }
}

/// A network of one address is shown as the address.
fn network(net: &IpNet) -> String {
    if net.prefix_len() == net.max_prefix_len() { net.addr().to_string() } else { net.to_string() }
}

/// `host:port`, `[v6]:port`, or either without a port. More than one colon without brackets is an IPv6 address.
fn split_port(text: &str) -> Result<(&str, Option<u16>), &'static str> {
    let (host, port) = match text.strip_prefix('[') {
        Some(rest) => match rest.split_once(']').ok_or("its bracket `[` is not closed")? {
            (host, "") => (host, None),
            (host, port) => (host, Some(port.strip_prefix(':').ok_or("only `:` and a port may follow a bracket")?)),
        },
        None if text.matches(':').count() > 1 => (text, None),
        None => text.split_once(':').map_or((text, None), |(host, port)| (host, Some(port))),
    };
    let port = match port {
        None => None,
        Some(digits) if digits.bytes().all(|b| b.is_ascii_digit()) => {
            Some(digits.parse().ok().filter(|port| *port != 0).ok_or("its port is not a number from 1 to 65535")?)
        }
        Some(_) => return Err("its port is not a number from 1 to 65535"),
    };
    Ok((host, port))
}

fn pattern(text: &str) -> Result<Pattern, &'static str> {
    if let Ok(address) = text.parse::<IpAddr>() {
        return Ok(Pattern::Net(address.to_canonical().into()));
    }
    if text.contains('/') {
        return text
            .parse::<IpNet>()
            .map(|net| Pattern::Net(net.trunc()))
            .map_err(|_| "not a host or a network such as `10.0.0.0/8`");
    }
    let labels = text.strip_suffix('.').unwrap_or(text).split('.').map(label);
    let name = labels.collect::<Result<Vec<_>, _>>()?.join(".");
    Ok(if is_glob(&name) { Pattern::Glob(WildMatch::new(&name)) } else { Pattern::Name(name) })
}

fn is_glob(text: &str) -> bool {
    text.contains(['*', '?'])
}

/// Normalises a label: RFC 1123 2.1, and underscores, which real names have.
fn label(text: &str) -> Result<String, &'static str> {
    let bad = "it is not a valid host name";
    let label = match is_glob(text) {
        true => text.to_ascii_lowercase(),
        false => match Host::parse(text).map_err(|_| bad)? {
            Host::Domain(name) => name,
            // A label may be a number. It stays as written.
            Host::Ipv4(_) | Host::Ipv6(_) => text.to_owned(),
        },
    };
    let fits = (1..=63).contains(&label.len());
    let known = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'*' | b'?');
    if fits && label.bytes().all(known) { Ok(label) } else { Err(bad) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rules(texts: &[&str]) -> HostRules {
        HostRules::new(texts.iter().map(|text| HostRule::parse(text).unwrap()).collect())
    }

    #[test]
    fn entries_are_normalised() {
        let cases = [
            ("API.Example.com", "api.example.com"),
            ("*.Example.COM", "*.example.com"),
            ("example.com.", "example.com"),
            ("bücher.example", "xn--bcher-kva.example"),
            ("*.bücher.example", "*.xn--bcher-kva.example"),
            ("my_host:8080", "my_host:8080"),
            ("7.example", "7.example"),
            ("10.0.0.1", "10.0.0.1"),
            ("::ffff:10.0.0.1", "10.0.0.1"),
            ("10.1.2.3/8:5432", "10.0.0.0/8:5432"),
            ("::1", "::1"),
            ("[2001:DB8::1]", "2001:db8::1"),
            ("[2001:DB8::1]:443", "[2001:db8::1]:443"),
            ("2001:db8::/32", "2001:db8::/32"),
            ("*:22", "*:22"),
        ];
        for (given, expected) in cases {
            assert_eq!(HostRule::parse(given).map(|rule| rule.to_string()).as_deref(), Ok(expected), "{given}");
        }
    }

    #[test]
    fn entries_that_can_never_match_a_host_are_refused() {
        for given in [
            "",
            ".",
            "a..b",
            "a b",
            "https://example.com",
            "example.com/x",
            "10.0.0.0/33",
            "a:0",
            "a:65536",
            "a:x",
            "a:+1",
            "[::1",
            "[::1]x",
            "exa%mple",
        ] {
            assert!(HostRule::parse(given).is_err(), "{given:?}");
        }
    }

    #[test]
    fn names_globs_networks_and_ports() {
        let list = rules(&[
            "bank.example",
            "*.pinned.example",
            "api-?.example:8443",
            "10.0.0.0/8",
            "[2001:db8::/32]:443",
            "*:22",
        ]);
        for (host, port, covered) in [
            ("bank.example", 1, true),
            ("www.bank.example", 1, false),
            ("a.pinned.example", 1, true),
            ("a.b.pinned.example.", 1, true),
            ("pinned.example", 1, false),
            ("notpinned.example", 1, false),
            ("api-1.example", 8443, true),
            ("api-1.example", 443, false),
            ("api-12.example", 8443, false),
            ("10.7.7.7", 1, true),
            ("::ffff:10.7.7.7", 1, true),
            ("11.0.0.1", 1, false),
            ("2001:db8::9", 443, true),
            ("2001:db8::9", 80, false),
            ("any.example", 22, true),
        ] {
            assert_eq!(list.matches(host, port), covered, "{host}:{port}");
        }
        assert!(list.matches_address("10.1.1.1".parse().unwrap(), 1));
        assert!(!list.matches_address("192.0.2.1".parse().unwrap(), 22), "a glob is for names");
    }
}
