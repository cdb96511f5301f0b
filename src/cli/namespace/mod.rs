//! `run --netns`: the command runs in a network namespace of its own. Only Linux has them.

#[cfg(target_os = "linux")]
mod linux;
#[cfg(not(target_os = "linux"))]
mod unknown;

use std::fmt;

use serde_json::{Value, json};
use tokio::process::Child;

#[cfg(target_os = "linux")]
use linux as system;
#[cfg(not(target_os = "linux"))]
use unknown as system;

pub(super) use system::{PROXY, enter, is_asked_for, start};

/// A command that was started, and its namespace if it has one.
pub(super) struct Started {
    pub(super) child: Child,
    namespace: Option<system::Namespace>,
}

impl Started {
    /// A command without a namespace of its own.
    pub(super) fn outside(child: Child) -> Self {
        Self { child, namespace: None }
    }

    /// What its namespace refused. `None`: it has none, or the system does not say it.
    pub(super) fn refused(&self) -> Option<Refused> {
        self.namespace.as_ref()?.refused()
    }
}

/// Packets that a namespace refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Refused {
    /// To UDP port 443, where HTTP/3 is spoken.
    quic: u64,
    /// To other UDP ports.
    other: u64,
}

impl Refused {
    /// Whether there was any.
    pub(super) fn any(self) -> bool {
        self.quic + self.other > 0
    }

    /// For programs.
    pub(super) fn json(self) -> Value {
        let Self { quic, other } = self;
        json!({"port_443": quic, "other": other})
    }
}

impl fmt::Display for Refused {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { quic, other } = self;
        let all = quic + other;
        write!(f, "otas-proxy: {all} UDP {} refused", if all == 1 { "packet was" } else { "packets were" })?;
        match quic {
            0 => Ok(()),
            quic => write!(f, ", {quic} of them to port 443 (HTTP/3; clients fall back to TCP)"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn refused_packets_are_counted_in_words() {
        let refused = |quic, other| Refused { quic, other }.to_string();
        assert_eq!(refused(0, 1), "otas-proxy: 1 UDP packet was refused");
        assert_eq!(
            refused(2, 1),
            "otas-proxy: 3 UDP packets were refused, 2 of them to port 443 (HTTP/3; clients fall back to TCP)"
        );
    }
}
