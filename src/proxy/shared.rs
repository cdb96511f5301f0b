//! What all connections of the data path share, by concern.

use std::sync::Arc;

use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::admission::Admission;
use super::agent_limits::AgentLimits;
use super::forwarding::Forwarding;
use super::interception::Interception;
use super::upstream::{Origins, Pool};
use crate::capture::Recording;

/// What every connection of the data path shares.
pub struct Shared {
    /// Where exchanges are recorded.
    pub recording: Arc<Recording>,
    /// Who may use the proxy, and how much.
    pub admission: Admission,
    /// How long agents may take, and how much they may send.
    pub agent_limits: AgentLimits,
    /// Which tunnels are decrypted, and with which certificates.
    pub interception: Interception,
    /// How requests are checked and changed on their way.
    pub forwarding: Forwarding,
    /// How connections to origins are made.
    pub origins: Origins,
    /// Idle connections to origins.
    pub pool: Pool,
    /// How the data path stops.
    pub lifecycle: Lifecycle,
}

/// How the data path stops: first no new requests, then no requests at all.
#[derive(Default)]
pub struct Lifecycle {
    /// Cancelled when no new requests are accepted.
    pub stop: CancellationToken,
    /// Cancelled when the requests in flight are cut off.
    pub cut: CancellationToken,
    /// All tasks that serve agents.
    pub tasks: TaskTracker,
}
