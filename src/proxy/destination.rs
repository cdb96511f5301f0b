//! The destinations that OTAS distinguishes: OTAS itself, the project's domain (whose servers log the call), and the outside (whose
//! calls we log).

use std::collections::HashMap;
use std::sync::Arc;

use url::Url;

use crate::capture::{Caller, SessionTokens};

/// The kind of destination of a call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Destination {
    /// Any other server.
    Outside,
    /// The domain of the caller's project.
    InDomain,
    /// OTAS itself.
    Otas,
}

/// The hosts of OTAS, and the domains of the projects.
pub struct Destinations {
    /// UASAM and Brain: host and port.
    otas: Vec<(String, u16)>,
    /// The domain of the project that the proxy's own agent belongs to.
    own: Option<ProjectDomain>,
    /// The domains of `[[agents]]`, by name.
    agents: HashMap<String, ProjectDomain>,
    /// Whether we log calls into a domain anyway.
    pub(super) log_in_domain: bool,
    /// Gives the tokens for such calls.
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

/// The server that a call is for.
#[derive(Clone, Copy)]
pub(super) struct Addressee<'a> {
    /// `http` or `https`.
    pub(super) scheme: &'a str,
    pub(super) port: u16,
    /// The name that TLS has verified (without TLS: the host that was called), then the names in the request. Servers that share an
    /// address choose by any of them, so all must have the same destination.
    pub(super) names: [&'a str; 3],
}

impl ProjectDomain {
    /// The domain of a base URL. `subdomains`: also all names below its host. Cleartext calls belong to it only if the URL is
    /// `http`.
    pub fn new(url: &Url, subdomains: bool) -> Option<Self> {
        let scheme = if url.scheme() == "http" { "http" } else { "https" };
        let host = url.host_str()?.trim_matches(['[', ']']).trim_end_matches('.').to_ascii_lowercase();
        Some(Self { scheme, host, port: url.port_or_known_default()?, subdomains })
    }

    fn matches(&self, to: &Addressee<'_>) -> bool {
        // A token for a TLS domain must never be sent in clear.
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
    /// `otas`: the URLs of UASAM and Brain. `own`: the domain of the proxy's own agent. `agents`: those of `[[agents]]`.
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

    /// The destination of a call of `caller`.
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
