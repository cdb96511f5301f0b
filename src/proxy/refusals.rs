//! Hosts for which agents refused our certificate. Each host is logged once. With `tls.learn_passthrough`, a host is relayed without
//! decryption for a while after the second refusal.

use std::collections::HashMap;
use std::path::Path;

use std::time::{Duration, Instant};

use parking_lot::Mutex;

use crate::tls::CA_CERT_FILE;

/// After this many refusals a host is relayed without decryption. A single one may be a mistake of the agent.
const ENOUGH: u32 = 2;
/// The most hosts that are remembered, because an agent can invent any number of names.
const HOSTS: usize = 1024;

/// The hint for an agent that refuses our certificate. The agent may trust another CA of ours, in the usual folder, so both are named.
pub fn trust_hint(ca_file: &Path, usual_ca_dir: &Path) -> String {
    let other = usual_ca_dir.join(CA_CERT_FILE);
    let is_other = other.exists() && other.canonicalize().ok() != ca_file.canonicalize().ok();
    let other = match is_other {
        true => format!(" (the one in {} is another CA, which does not help)", other.display()),
        false => String::new(),
    };
    format!(
        "this proxy signs with the CA in {}{other}: if the agent does not trust it, restart the agent with the variables that \
         `otas-proxy env` prints while this proxy runs, or list the host in tls.passthrough",
        ca_file.display()
    )
}

/// The hosts for which agents refused our certificate.
#[derive(Default)]
pub struct Refusals {
    hosts: Mutex<HashMap<(Box<str>, u16), Refused>>,
}

struct Refused {
    times: u32,
    last: Instant,
}

/// The effect of a refusal.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Refusal {
    /// The first refusal for this host. It is logged as a warning.
    First,
    /// Another refusal.
    Another,
    /// The host is relayed without decryption from now on, for this long.
    Learned(Duration),
}

impl Refusals {
    /// Notes that an agent refused our certificate for this host. `learn_for`: how long a host is then relayed without decryption.
    /// `None`: it is always decrypted.
    pub(super) fn note(&self, host: &str, port: u16, learn_for: Option<Duration>, now: Instant) -> Refusal {
        let mut hosts = self.hosts.lock();
        let key = (Box::from(host), port);
        if hosts.len() >= HOSTS && !hosts.contains_key(&key) {
            let oldest = hosts.iter().min_by_key(|(_, refused)| refused.last).map(|(key, _)| key.clone());
            oldest.and_then(|oldest| hosts.remove(&oldest));
        }
        let refused = hosts.entry(key).or_insert(Refused { times: 0, last: now });
        // The learned period is over: agents get another chance to accept our certificate.
        if learn_for.is_some_and(|learn_for| now - refused.last > learn_for) {
            refused.times = 0;
        }
        refused.times = refused.times.saturating_add(1);
        refused.last = now;
        match (refused.times, learn_for) {
            (ENOUGH, Some(learn_for)) => Refusal::Learned(learn_for),
            (1, _) => Refusal::First,
            _ => Refusal::Another,
        }
    }

    /// Whether this host is relayed without decryption now.
    pub(super) fn learned(&self, host: &str, port: u16, learn_for: Option<Duration>, now: Instant) -> bool {
        let Some(learn_for) = learn_for else { return false };
        let hosts = self.hosts.lock();
        // Usually there is no host, so there is nothing to look up.
        !hosts.is_empty()
            && hosts
                .get(&(Box::from(host), port))
                .is_some_and(|refused| refused.times >= ENOUGH && now - refused.last <= learn_for)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn two_refusals_teach_for_a_while() {
        let (minute, now) = (Duration::from_secs(60), Instant::now());
        let (refusals, learn) = (Refusals::default(), Some(minute));
        assert_eq!(refusals.note("a", 443, learn, now), Refusal::First);
        assert!(!refusals.learned("a", 443, learn, now));
        assert_eq!(refusals.note("a", 443, learn, now), Refusal::Learned(minute));
        let learned = |host, port| refusals.learned(host, port, learn, now);
        assert!(learned("a", 443) && !learned("a", 8443) && !learned("b", 443));
        let later = now + minute * 2;
        assert!(!refusals.learned("a", 443, learn, later));
        assert!(!refusals.learned("a", 443, None, now), "learning was switched off meanwhile");
        assert_eq!(refusals.note("a", 443, learn, later), Refusal::First);
    }

    #[test]
    fn the_hint_names_both_cas() {
        let folder = tempfile::tempdir().unwrap();
        let at = |name: &str| folder.path().join(name);
        std::fs::create_dir(at("usual")).unwrap();
        let (ours, usual) = (at("ca.pem"), at("usual/ca.pem"));
        std::fs::write(&ours, "").unwrap();
        let one = trust_hint(&ours, &at("usual"));
        assert!(one.contains(&ours.display().to_string()) && !one.contains("another CA"), "{one}");
        std::fs::write(&usual, "").unwrap();
        assert!(trust_hint(&ours, &at("usual")).contains(&format!("(the one in {} is another CA", usual.display())));
        assert!(!trust_hint(&usual, &at("usual")).contains("another CA"));
    }

    #[test]
    fn nothing_is_learnt_unless_it_is_wanted_and_names_are_forgotten() {
        let (refusals, began) = (Refusals::default(), Instant::now());
        for n in 0..3 * HOSTS {
            let (host, now) = (n.to_string(), began + Duration::from_millis(n as u64));
            assert_eq!(refusals.note(&host, 1, None, now), Refusal::First);
            assert_eq!(refusals.note(&host, 1, None, now), Refusal::Another);
            assert!(!refusals.learned(&host, 1, None, now));
        }
        assert_eq!(refusals.hosts.lock().len(), HOSTS);
    }
}
