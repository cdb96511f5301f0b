//! Which tunnels are decrypted, and with which certificates.

use std::net::IpAddr;
use std::time::Instant;

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
    /// Hosts that are relayed without decryption (`tls.passthrough`).
    pub passthrough: HostRules,
    /// Hosts for which agents refused our certificate.
    pub refusals: Refusals,
}

impl Interception {
    /// Why a host is relayed without decryption. `None`: it is decrypted.
    pub(super) fn relays_blind(&self, host: &str, port: u16) -> Option<Blind> {
        if self.passthrough.matches(host, port) {
            return Some(Blind::Configured);
        }
        self.refusals.learned(host, port, Instant::now()).then_some(Blind::Learned)
    }

    /// Why a host at this address is relayed without decryption. `None`: its address does not matter.
    pub(super) fn relays_address_blind(&self, address: IpAddr, port: u16) -> Option<Blind> {
        self.passthrough.matches_address(address, port).then_some(Blind::Configured)
    }
}
