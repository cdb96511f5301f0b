//! The data path: an agent's connection in, the origin's connection out, bytes untouched in between.

mod body;
mod connection;
mod error;
mod forward;
mod interim;
mod listener;
mod message;
mod passthrough;
mod relay;
mod respond;
mod sniff;
mod socks;
mod tunnel;
mod upgrade;
mod upstream;

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::capture::Recording;
use crate::tls::{Leaves, OriginTls};

pub use listener::listen;
pub use passthrough::Passthrough;
pub use upstream::{Pool, Tasks as UpstreamTasks};

/// What every connection of the data path shares.
pub struct Shared {
    /// Where exchanges are recorded.
    pub recording: Arc<Recording>,
    /// Certificates for agents.
    pub leaves: Leaves,
    /// TLS towards origins.
    pub origin_tls: OriginTls,
    /// Idle upstream connections.
    pub pool: Pool,
    /// Our own listeners: calls to them are refused.
    pub own_listeners: Vec<SocketAddr>,
    /// Hosts that are relayed blind.
    pub passthrough: Passthrough,
    /// `proxy.connect_timeout_ms`.
    pub connect_timeout: Duration,
    /// `proxy.handshake_timeout_ms`.
    pub handshake_timeout: Duration,
    /// `proxy.via`.
    pub via: bool,
    /// Cancelled when no new request is to be taken.
    pub stop: CancellationToken,
    /// Cancelled when what is still under way is to be cut.
    pub cut: CancellationToken,
    /// What reads and writes upstream connections; ended when the agents are done.
    pub upstream_tasks: UpstreamTasks,
    /// All tasks that serve agents.
    pub tasks: TaskTracker,
}
