//! Admits only clients from some networks (`listen.allow_clients`). Refused connections are counted, and logged once a
//! minute.

use std::net::IpAddr;

use ipnet::IpNet;
use parking_lot::RwLock;

use super::refusals::Refusals;

/// Admits connections by their source address.
pub(super) struct Networks {
    /// Empty: every network.
    allowed: RwLock<Vec<IpNet>>,
    refused: Refusals,
}

impl Networks {
    pub(super) fn new(allowed: Vec<IpNet>) -> Self {
        Self { allowed: RwLock::new(allowed), refused: Refusals::default() }
    }

    /// From now on connections from these networks are admitted.
    pub(super) fn allow(&self, allowed: Vec<IpNet>) {
        *self.allowed.write() = allowed;
    }

    /// Whether a connection from this address is admitted.
    pub(super) fn admit(&self, from: IpAddr) -> bool {
        let from = from.to_canonical();
        {
            let allowed = self.allowed.read();
            if allowed.is_empty() || allowed.iter().any(|net| net.contains(&from)) {
                return true;
            }
        }
        if let Some(count) = self.refused.note() {
            tracing::warn!(%from, count, "closed connections from addresses outside `listen.allow_clients` (logged once a minute)");
        }
        false
    }

    /// How many connections were refused.
    pub(super) fn refused(&self) -> u64 {
        self.refused.count()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_networks_that_are_named_are_let_in() {
        let networks = Networks::new(vec!["10.1.0.0/16".parse().unwrap(), "fd00::1/128".parse().unwrap()]);
        let admit = |from: &str| networks.admit(from.parse().unwrap());
        assert!(admit("10.1.2.3") && admit("::ffff:10.1.2.3") && admit("fd00::1"));
        assert!(!admit("10.2.0.1") && !admit("127.0.0.1") && !admit("fd00::2"));
        assert_eq!(networks.refused(), 3);
        networks.allow(vec!["10.2.0.0/16".parse().unwrap()]);
        assert!(networks.admit([10, 2, 0, 1].into()) && !networks.admit([10, 1, 2, 3].into()));
        assert!(Networks::new(Vec::new()).admit([192, 0, 2, 1].into()));
    }
}
