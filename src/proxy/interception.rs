//! Which tunnels are decrypted, and with which certificates.

use std::net::IpAddr;
use std::time::{Duration, Instant};

use super::refusals::Refusals;
use crate::capture::Blind;
use crate::hosts::HostRules;
use crate::tls::Leaves;

/// Which tunnels are decrypted, and with which certificates.
pub struct Interception {
    /// The certificates that agents are shown.
    pub leaves: Leaves,
    /// What to do about an agent that refuses these certificates.
    pub trust_hint: String,
    /// Hosts for which agents refused our certificate.
    pub refusals: Refusals,
}

/// Which tunnels are relayed without decryption, by the settings.
pub struct Passthrough {
    /// `tls.passthrough`
    pub hosts: HostRules,
    /// `tls.learn_passthrough`: for how long after agents have refused our certificate. `None`: never.
    pub learn_for: Option<Duration>,
}

impl Passthrough {
    /// Why a host is relayed without decryption. `None`: it is decrypted.
    pub(super) fn relays_blind(&self, refusals: &Refusals, host: &str, port: u16) -> Option<Blind> {
        if self.hosts.matches(host, port) {
            return Some(Blind::Configured);
        }
        refusals.learned(host, port, self.learn_for, Instant::now()).then_some(Blind::Learned)
    }

    /// Why a host at this address is relayed without decryption. `None`: its address does not matter.
    pub(super) fn relays_address_blind(&self, address: IpAddr, port: u16) -> Option<Blind> {
        self.hosts.matches_address(address, port).then_some(Blind::Configured)
    }
}
