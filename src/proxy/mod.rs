//! The data path: an agent's connection in, the origin's connection out, bytes untouched in between.

mod acknowledge;
mod activity;
mod agent;
mod body;
mod connection;
mod credentials;
mod departure;
mod direction;
mod egress;
mod error;
mod flushed;
mod forward;
#[cfg(any(test, fuzzing))]
pub(crate) mod fuzzing;
mod guard;
mod h2;
mod hello;
mod hops;
mod interim;
mod lenient;
mod listener;
mod message;
mod names;
mod outgoing;
mod pulse;
mod quota;
mod refusals;
mod relay;
mod respond;
mod retry;
mod rewound;
mod send;
mod sniff;
mod socks;
mod strict;
mod territory;
mod trailing;
mod tunnel;
mod upgrade;
mod upstream;

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::time::Duration;

use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::capture::{Origin, Recording};
use crate::config::{NextProxy, NextProxyScheme, Upstream};
use crate::hosts::HostRules;
use crate::peer::{AgentRules, Peers};
use crate::tls::{Leaves, OriginTls};

pub use credentials::{Credentials, RUN};
pub use egress::Egress;
pub use guard::AgentLimits;
pub use listener::listen;
pub use quota::Quotas;
pub use refusals::{Refusals, trust_hint};
pub(crate) use respond::run_ended;
pub use territory::{ProjectDomain, Territories};
pub use upstream::{Pool, Resolver, Tasks as UpstreamTasks};

/// What every connection of the data path shares.
pub struct Shared {
    /// Where exchanges are recorded.
    pub recording: Arc<Recording>,
    /// Certificates for agents.
    pub leaves: Leaves,
    /// What an agent that refuses them is to be told of our CA.
    pub trust_hint: String,
    /// TLS towards origins.
    pub origin_tls: OriginTls,
    /// Idle upstream connections.
    pub pool: Pool,
    /// Looks origins' names up.
    pub resolver: Resolver,
    /// Our own listeners: calls to them are refused.
    pub own_listeners: Vec<SocketAddr>,
    /// Who the agents are.
    pub peers: Arc<Peers>,
    /// Hosts that are relayed blind.
    pub passthrough: HostRules,
    /// Hosts for which agents refused our certificate.
    pub refusals: Refusals,
    /// The next proxy, and the hosts that are called without it.
    pub upstream: Upstream,
    /// Which origins agents may call.
    pub egress: Egress,
    /// How much each agent may take.
    pub quotas: Arc<Quotas>,
    /// `proxy.strict_host`.
    pub strict_host: bool,
    /// `proxy.connect_timeout_ms`.
    pub connect_timeout: Duration,
    /// `proxy.handshake_timeout_ms`.
    pub handshake_timeout: Duration,
    /// Who may use the proxy. `None`: whoever reaches it.
    pub credentials: Option<Credentials>,
    /// How agents are told from what they were started by, where each is a caller of its own (`session.scope = "process"`).
    pub agent_processes: Option<AgentRules>,
    /// Requests without credentials that are known.
    pub unauthorized: AtomicU64,
    /// Which calls are into the project's domain, and which to OTAS.
    pub territories: Territories,
    /// How long agents may take, and how much they may send.
    pub agent_limits: AgentLimits,
    /// `proxy.response_timeout_ms`.
    pub response_timeout: Duration,
    /// `proxy.max_connections`: a permit for each agent connection.
    pub connections: Arc<Semaphore>,
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

impl Shared {
    /// The proxy that `origin` is reached through, if it is not called directly.
    fn next_proxy_for(&self, origin: &Origin) -> Option<&NextProxy> {
        self.upstream.proxy_for(origin.scheme, &origin.host, origin.port)
    }

    /// Whether `origin` is asked for at the next proxy, rather than through a tunnel: as HTTP proxies have it for `http`.
    fn asks_next_proxy(&self, origin: &Origin) -> bool {
        self.next_proxy_for(origin).is_some_and(|proxy| proxy.scheme != NextProxyScheme::Socks5)
    }
}
