//! What the data path shares: admission, interception, forwarding, origins.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use super::agents;
use super::certificates::Certificates;
use super::error::{AppError, step};
use crate::capture::Recording;
use crate::config::Config;
use crate::peer::Peers;
use crate::proxy::{
    Admission, AgentLimits, CallerRules, Destinations, Egress, Forwarding, Interception, Origins, Passthrough,
    Refusals, Resolver, Rules, Share, Shared, TlsSessions, UpstreamTasks, Websockets,
};
use crate::tls::Leaves;

/// How often idle upstream connections are checked.
const SWEEP: Duration = Duration::from_secs(2);

/// What other parts give to the data path.
pub(super) struct Given {
    pub(super) recording: Arc<Recording>,
    pub(super) peers: Arc<Peers>,
    pub(super) destinations: Destinations,
    /// Our own ports, which no agent may call.
    pub(super) own_listeners: Vec<SocketAddr>,
}

/// The data path's own parts, by the settings.
///
/// # Errors
/// When the key of leaf certificates cannot be made.
pub(super) fn shared(config: &Config, certificates: Certificates, given: Given) -> Result<Arc<Shared>, AppError> {
    let Certificates { authority, trust_hint, origins, .. } = certificates;
    let Given { recording, peers, destinations, own_listeners } = given;
    let origins = Origins {
        generation: 0,
        tls: Arc::new(origins),
        tls_sessions: Arc::new(TlsSessions::default()),
        websockets: Websockets::default(),
        resolver: Resolver::default(),
        own_listeners,
        next_proxies: config.upstream.clone(),
        egress: Egress::new(&config.egress),
        connect_timeout: config.proxy.connect_timeout,
        tasks: UpstreamTasks::default(),
    };
    let leaves = Leaves::new(authority).map_err(|error| step("make the leaves' key".to_owned(), error))?;
    Ok(Shared::new(
        recording,
        Admission::new(config.proxy.max_connections, peers),
        Interception { leaves, trust_hint, refusals: Refusals::default() },
        rules(config, Arc::new(origins), destinations),
    ))
}

/// What the settings say about calls.
pub(super) fn rules(config: &Config, origins: Arc<Origins>, destinations: Destinations) -> Rules {
    let proxy = &config.proxy;
    Rules {
        callers: CallerRules {
            agent_processes: agents::processes(&config.session),
            credentials: agents::credentials(&config.session, &config.agents),
            share: Share { connections: proxy.agent_connections, per_second: proxy.agent_requests_per_second },
        },
        agent_limits: AgentLimits {
            header_bytes: proxy.max_header_bytes,
            header: proxy.header_timeout,
            handshake: proxy.handshake_timeout,
            idle: proxy.idle_timeout,
            stall: proxy.stall_timeout,
            streams: proxy.max_streams,
        },
        passthrough: Passthrough { hosts: config.tls.passthrough.clone(), learn_for: config.tls.learn_passthrough },
        forwarding: Forwarding {
            strict_host: proxy.strict_host,
            via: proxy.via,
            response_timeout: proxy.response_timeout,
            destinations,
        },
        origins,
    }
}

/// Closes upstream connections that were idle for too long. Returns when the proxy stops.
pub(super) async fn sweep(shared: Arc<Shared>) {
    let mut every = tokio::time::interval(SWEEP);
    loop {
        tokio::select! {
            _ = every.tick() => shared.pool.sweep(),
            () = shared.lifecycle.cut.cancelled() => return,
        }
    }
}
