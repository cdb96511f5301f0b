//! Where a call goes, as OTAS has it: to OTAS itself, into the project's domain (whose own servers log it), or outside, which
//! is ours to log.

use std::collections::HashMap;
use std::sync::Arc;

use url::Url;

use crate::capture::{Caller, SessionTokens};

/// Where a call goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Destination {
    /// To others.
    Outside,
    /// Into the domain of the caller's project.
    InDomain,
    /// To OTAS.
    Otas,
}

/// What is whose.
pub struct Destinations {
    /// UASAM and Brain: host and port.
    otas: Vec<(String, u16)>,
    /// The domain of the project that the proxy's own agent belongs to.
    own: Option<ProjectDomain>,
    /// Those of `[[agents]]`, by name.
    agents: HashMap<String, ProjectDomain>,
    /// Whether calls into a domain are logged all the same.
    pub(super) log_in_domain: bool,
    /// Where the tokens are that such calls carry.
    pub(super) tokens: Arc<dyn SessionTokens>,
}

/// The servers of a project.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ProjectDomain {
    scheme: &'static str,
    host: String,
    port: u16,
    subdomains: bool,
}

/// Whom a call is for.
#[derive(Clone, Copy)]
pub(super) struct Addressee<'a> {
    /// `http` or `https`.
    pub(super) scheme: &'a str,
    pub(super) port: u16,
    /// The names that it goes by: that of the server that has shown who it is (of the one that was called, where none has), and
    /// those that the request says. Servers that share an address choose by any of them, so all must be of one destination.
    pub(super) names: [&'a str; 3],
}

impl ProjectDomain {
    /// That of a base URL; with `subdomains`, of all names below its host, too. In clear only if the URL is `http`.
    pub fn new(url: &Url, subdomains: bool) -> Option<Self> {
        let scheme = if url.scheme() == "http" { "http" } else { "https" };
        let host = url.host_str()?.trim_matches(['[', ']']).trim_end_matches('.').to_ascii_lowercase();
        Some(Self { scheme, host, port: url.port_or_known_default()?, subdomains })
    }

    fn matches(&self, to: &Addressee<'_>) -> bool {
        // What is meant for TLS never goes out in clear.
        let safe = to.scheme == "https" || (self.scheme == "http" && to.scheme == "http");
        safe && to.port == self.port && to.names.iter().all(|name| self.has(name))
    }

    fn has(&self, name: &str) -> bool {
        let name = name.trim_end_matches('.').as_bytes();
        let Some((prefix, host)) = name.len().checked_sub(self.host.len()).map(|at| name.split_at(at)) else {
            return false;
        };
        host.eq_ignore_ascii_case(self.host.as_bytes())
            && (prefix.is_empty() || (self.subdomains && prefix.len() > 1 && prefix.ends_with(b".")))
    }
}

impl Destinations {
    /// `otas`: the URLs of UASAM and Brain. `own` and `agents`: whose domains are whose.
    pub fn new(
        otas: [&Url; 2],
        own: Option<ProjectDomain>,
        agents: HashMap<String, ProjectDomain>,
        log_in_domain: bool,
        tokens: Arc<dyn SessionTokens>,
    ) -> Self {
        let place = |url: &Url| {
            let host = url.host_str()?.trim_matches(['[', ']']).to_ascii_lowercase();
            Some((host, url.port_or_known_default()?))
        };
        Self { otas: otas.into_iter().filter_map(place).collect(), own, agents, log_in_domain, tokens }
    }

    /// Where a call of `caller` goes.
    pub(super) fn of(&self, caller: &Caller, to: &Addressee<'_>) -> Destination {
        let domain = match caller {
            Caller::Credential(of) => self.agents.get(&of.agent).or(self.own.as_ref()),
            Caller::Proxy | Caller::Process(_) => self.own.as_ref(),
        };
        let is_all = |host: &str| to.names.iter().all(|name| name.trim_end_matches('.').eq_ignore_ascii_case(host));
        if self.otas.iter().any(|(host, port)| *port == to.port && is_all(host)) {
            Destination::Otas
        } else if domain.is_some_and(|domain| domain.matches(to)) {
            Destination::InDomain
        } else {
            Destination::Outside
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn matches(domain: &str, subdomains: bool, scheme: &'static str, host: &str, port: u16) -> bool {
        let to = Addressee { scheme, port, names: [host; 3] };
        ProjectDomain::new(&domain.parse().unwrap(), subdomains).unwrap().matches(&to)
    }

    #[test]
    fn a_call_that_goes_by_several_names_is_inside_only_if_all_are() {
        let domain = ProjectDomain::new(&"https://usc.test".parse().unwrap(), true).unwrap();
        for (names, inside) in [
            (["usc.test", "USC.test.", "usc.test"], true),
            (["usc.test", "api.usc.test", "usc.test"], true),
            (["usc.test", "evil.test", "usc.test"], false),
            (["evil.test", "usc.test", "usc.test"], false),
            (["usc.test", "usc.test", ""], false),
            (["usc.test", "usc.test", "user@usc.test"], false),
        ] {
            let to = Addressee { scheme: "https", port: 443, names };
            assert_eq!(domain.matches(&to), inside, "{names:?}");
        }
    }

    #[test]
    fn a_domain_is_its_host_and_port_and_what_is_below_only_if_wanted() {
        assert!(matches("https://usc.test", false, "https", "usc.test", 443));
        assert!(matches("https://USC.test.", false, "https", "usc.test", 443));
        assert!(matches("https://usc.test:8443", false, "https", "usc.test", 8443));
        assert!(!matches("https://usc.test", false, "https", "api.usc.test", 443));
        assert!(matches("https://usc.test", true, "https", "api.usc.test", 443));
        assert!(matches("https://usc.test", true, "https", "a.b.usc.test.", 443));
        for (host, port) in
            [("notusc.test", 443), (".usc.test", 443), ("usc.test.evil.test", 443), ("usc.test", 8443)]
        {
            assert!(!matches("https://usc.test", true, "https", host, port), "{host}");
        }
    }

    #[test]
    fn a_token_goes_out_in_clear_only_to_a_domain_that_is_named_so() {
        assert!(!matches("https://usc.test:80", false, "http", "usc.test", 80));
        assert!(matches("http://usc.test", false, "http", "usc.test", 80));
        assert!(matches("http://usc.test:443", false, "https", "usc.test", 443));
    }
}
