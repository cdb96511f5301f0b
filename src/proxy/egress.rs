//! Which hosts agents may call (`[egress]`). A name is checked before it is resolved. Each address that it resolves to is checked
//! before it is dialled, so no name can lead to a denied address.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use url::Host;

use crate::config;
use crate::hosts::{HostRule, HostRules};

/// Metadata services of clouds, which give a machine its credentials: link-local addresses (AWS, Azure, Google, Oracle, OpenStack
/// and others; containers of ECS and EKS), and services at other addresses.
const METADATA: [&str; 13] = [
    "169.254.0.0/16",
    "fe80::a9fe:a9fe",
    "fd00:ec2::/32",
    "fd20:ce::254",
    "fd00:42::42",
    "100.100.100.200",
    "192.0.0.192",
    "168.63.129.16",
    "metadata.google.internal",
    "metadata.goog",
    "instance-data.ec2.internal",
    "metadata.azure.internal",
    "metadata.tencentyun.com",
];

/// Which hosts agents may call.
pub struct Egress {
    deny: HostRules,
    allow: HostRules,
    metadata: HostRules,
}

/// Why an agent may not call a host.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Denied {
    /// It is listed in `egress.deny`.
    Listed,
    /// It is not listed in `egress.allow`.
    NotListed,
    /// It is a metadata service, which gives out this machine's credentials (`egress.allow_metadata`).
    Metadata,
}

impl Denied {
    /// The reason, as the rest of a sentence about the host.
    pub(super) fn words(self) -> &'static str {
        match self {
            Self::Listed => "may not be called (`egress.deny`)",
            Self::NotListed => "is not in the list of allowed hosts (`egress.allow`)",
            Self::Metadata => {
                "is a metadata service, which gives out this machine's credentials (`egress.allow_metadata`)"
            }
        }
    }
}

impl Egress {
    /// The rules of the settings, and those for metadata services.
    pub fn new(settings: &config::Egress) -> Self {
        let metadata = METADATA.iter().filter(|_| !settings.allow_metadata);
        Self {
            deny: settings.deny.clone(),
            allow: settings.allow.clone(),
            metadata: HostRules::new(metadata.filter_map(|rule| HostRule::parse(rule).ok()).collect()),
        }
    }

    /// Checks a name before it is resolved. An international name is also checked in its ASCII form.
    pub(super) fn admits_name(&self, host: &str, port: u16) -> Result<(), Denied> {
        self.judge(host, literal_address(host), port)?;
        match (host.is_ascii(), Host::parse(host)) {
            (false, Ok(Host::Domain(ascii))) => self.judge(&ascii, literal_address(&ascii), port),
            _ => Ok(()),
        }
    }

    /// Whether an agent may ask for the addresses of `host`: no rule denies it at every port, and one may allow it.
    pub(super) fn may_be_asked_for(&self, host: &str) -> bool {
        self.admits_name(host, 0).is_ok() && (self.allow.is_empty() || self.allow.may_mean(host))
    }

    /// Checks whether `address`, one of the addresses of `host`, may be dialled.
    pub(super) fn admits(&self, host: &str, address: IpAddr, port: u16) -> Result<(), Denied> {
        self.judge(host, Some(address), port)?;
        self.allows(host, Some(address), port)
    }

    /// Checks whether `host` may be called through a proxy that resolves names itself. Only the name is known.
    pub(super) fn admits_unresolved(&self, host: &str, port: u16) -> Result<(), Denied> {
        self.admits_name(host, port)?;
        self.allows(host, literal_address(host), port)
    }

    /// Whether `address` may be called whatever its name is, as far as the list of allowed hosts says.
    pub(super) fn allows_address(&self, address: IpAddr, port: u16) -> bool {
        self.allow.is_empty() || matches(&self.allow, address, port)
    }

    fn judge(&self, host: &str, address: Option<IpAddr>, port: u16) -> Result<(), Denied> {
        let has = |rules: &HostRules| {
            rules.matches(host, port)
                || address.is_some_and(|address| reachable_by(address).any(|ip| matches(rules, ip, port)))
        };
        match () {
            () if has(&self.deny) => Err(Denied::Listed),
            () if has(&self.metadata) => Err(Denied::Metadata),
            () => Ok(()),
        }
    }

    fn allows(&self, host: &str, address: Option<IpAddr>, port: u16) -> Result<(), Denied> {
        let listed = self.allow.is_empty()
            || self.allow.matches(host, port)
            || address.is_some_and(|address| matches(&self.allow, address, port));
        if listed { Ok(()) } else { Err(Denied::NotListed) }
    }
}

/// Whether a rule matches the address, or a glob matches its text.
fn matches(rules: &HostRules, address: IpAddr, port: u16) -> bool {
    rules.matches_address(address, port) || rules.matches(&address.to_canonical().to_string(), port)
}

/// The address that `host` spells out, in any notation: `127.0.0.1`, `0x7f.1`, `017700000001`, `2130706433`. Names of this machine
/// (RFC 6761 6.3) count as its address.
pub(super) fn literal_address(host: &str) -> Option<IpAddr> {
    let bare = host.trim_end_matches('.');
    if bare.eq_ignore_ascii_case("localhost") || bare.to_ascii_lowercase().ends_with(".localhost") {
        return Some(Ipv4Addr::LOCALHOST.into());
    }
    host.parse().ok().or_else(|| match Host::parse(bare) {
        Ok(Host::Ipv4(address)) => Some(address.into()),
        Ok(Host::Ipv6(address)) => Some(address.into()),
        Ok(Host::Domain(_)) | Err(_) => None,
    })
}

/// The address, and all addresses that dialling it may reach. The unspecified address reaches this machine (on Linux). A translator
/// may send an IPv6 address to the IPv4 address inside it (RFC 4291 2.5.5, RFC 6052, RFC 8215, RFC 3056).
fn reachable_by(address: IpAddr) -> impl Iterator<Item = IpAddr> {
    let address = address.to_canonical();
    let here = address.is_unspecified().then_some([Ipv4Addr::LOCALHOST.into(), Ipv6Addr::LOCALHOST.into()]);
    let inner = match address {
        IpAddr::V4(_) => None,
        IpAddr::V6(outer) => translated(outer).map(IpAddr::V4),
    };
    std::iter::once(address).chain(inner).chain(here.into_iter().flatten())
}

fn translated(outer: Ipv6Addr) -> Option<Ipv4Addr> {
    match outer.segments() {
        [0, 0, 0, 0, 0, 0, high, _] if high != 0 => {}
        [0x64, 0xff9b, 0, 0, 0, 0, ..] | [0x64, 0xff9b, 1, ..] => {}
        [0x2002, high, low, ..] => return Some(Ipv4Addr::from((u32::from(high) << 16) | u32::from(low))),
        _ => return None,
    }
    let [.., a, b, c, d] = outer.octets();
    Some(Ipv4Addr::new(a, b, c, d))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn egress(deny: &[&str], allow: &[&str]) -> Egress {
        let rules =
            |texts: &[&str]| HostRules::new(texts.iter().map(|text| HostRule::parse(text).unwrap()).collect());
        Egress::new(&config::Egress { deny: rules(deny), allow: rules(allow), allow_metadata: false })
    }

    fn ip(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    #[test]
    fn the_known_addresses_of_clouds_are_rules() {
        for rule in METADATA {
            HostRule::parse(rule).unwrap();
        }
    }

    #[test]
    fn credentials_of_this_machine_are_denied_by_every_address_that_leads_to_them() {
        let egress = egress(&[], &[]);
        for address in [
            "169.254.169.254",
            "169.254.170.2",
            "169.254.170.23",
            "::ffff:169.254.169.254",
            "::169.254.169.254",
            "64:ff9b::169.254.169.254",
            "64:ff9b:1::a9fe:a9fe",
            "2002:a9fe:a9fe::1",
            "fd00:ec2::254",
            "fd20:ce::254",
            "100.100.100.200",
            "192.0.0.192",
            "168.63.129.16",
        ] {
            assert_eq!(egress.admits("any.example", ip(address), 80), Err(Denied::Metadata), "{address}");
            assert_eq!(egress.admits_unresolved(address, 80), Err(Denied::Metadata), "{address}");
        }
        for name in [
            "metadata.google.internal",
            "metadata.google.internal.",
            "2852039166",
            "0xa9fea9fe",
            "0251.0376.0251.0376",
            "169.254.43518",
            "169.254.169.254.",
        ] {
            assert_eq!(egress.admits_name(name, 80), Err(Denied::Metadata), "{name}");
        }
        for fine in ["127.0.0.1", "10.0.0.1", "::1", "192.0.0.1", "fd00:ec3::254", "64:ff9b::8.8.8.8"] {
            assert_eq!(egress.admits("any.example", ip(fine), 80), Ok(()), "{fine}");
        }
        let allowed =
            config::Egress { deny: HostRules::default(), allow: HostRules::default(), allow_metadata: true };
        assert_eq!(Egress::new(&allowed).admits("any.example", ip("169.254.169.254"), 80), Ok(()));
    }

    #[test]
    fn names_networks_and_ports_can_be_denied() {
        let egress = egress(&["*.bad.example", "10.0.0.0/8", "127.0.0.0/8:22", "*:25"], &[]);
        let (denied, fine) = (Err(Denied::Listed), Ok(()));
        assert_eq!(egress.admits_name("a.bad.example", 443), denied);
        assert_eq!(egress.admits_name("A.bad.example.".to_ascii_lowercase().as_str(), 443), denied);
        assert_eq!(egress.admits_name("mail.example", 25), denied);
        assert_eq!(egress.admits_name("good.example", 443), fine);
        assert_eq!(egress.admits("good.example", ip("10.1.2.3"), 443), denied);
        assert_eq!(egress.admits("good.example", ip("::ffff:10.1.2.3"), 443), denied);
        assert_eq!(egress.admits("good.example", ip("127.0.0.1"), 22), denied);
        assert_eq!(egress.admits("0.0.0.0", ip("0.0.0.0"), 22), denied, "which is this machine");
        assert_eq!(egress.admits("good.example", ip("127.0.0.1"), 80), fine);
        assert_eq!(egress.admits_unresolved("0177.1", 22), denied);
        assert_eq!(egress.admits_unresolved("a.localhost", 22), denied);
    }

    #[test]
    fn an_allow_list_excludes_the_rest_and_overrides_no_denial() {
        let egress = egress(&["secret.api.example"], &["*.api.example:443", "192.0.2.0/24"]);
        let not_listed = Err(Denied::NotListed);
        assert_eq!(egress.admits("a.api.example", ip("198.51.100.1"), 443), Ok(()));
        assert_eq!(egress.admits("a.api.example", ip("198.51.100.1"), 80), not_listed);
        assert_eq!(egress.admits("other.example", ip("198.51.100.1"), 443), not_listed);
        assert_eq!(egress.admits("other.example", ip("192.0.2.7"), 1), Ok(()));
        assert_eq!(egress.admits("secret.api.example", ip("192.0.2.7"), 443), Err(Denied::Listed));
        assert_eq!(egress.admits("a.api.example", ip("169.254.169.254"), 443), Err(Denied::Metadata));
        assert_eq!(egress.admits_unresolved("other.example", 443), not_listed);
        assert_eq!(egress.admits_unresolved("192.0.2.7", 443), Ok(()));
    }
}
