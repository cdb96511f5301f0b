//! What connections to origins are made with.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use super::resolve::Resolver;
use super::tasks::Tasks;
use super::tls_sessions::TlsSessions;
use super::websockets::Websockets;
use crate::capture::Origin;
use crate::config::{NextProxy, NextProxyScheme, Upstream};
use crate::proxy::egress::Egress;
use crate::tls::OriginTls;

/// What connections to origins are made with.
pub struct Origins {
    /// Raised by new settings. A connection that was opened under earlier ones is not used for further calls.
    pub generation: u32,
    /// TLS towards origins.
    pub tls: Arc<OriginTls>,
    /// TLS sessions that can be resumed.
    pub tls_sessions: Arc<TlsSessions>,
    /// Which targets accept extended CONNECT, as far as that is remembered.
    pub websockets: Websockets,
    /// Looks up the addresses of hosts.
    pub resolver: Resolver,
    /// Our own listeners. Calls to them are refused.
    pub own_listeners: Vec<SocketAddr>,
    /// The next proxy, the hosts that are called without it, and whether connections are kept.
    pub next_proxies: Upstream,
    /// Which origins agents may call.
    pub egress: Egress,
    /// `proxy.connect_timeout_ms`
    pub connect_timeout: Duration,
    /// The tasks that read and write the connections. They end when the agents are done.
    pub tasks: Tasks,
}

impl Origins {
    /// The next proxy on the way to `origin`. `None`: it is called directly.
    pub(in crate::proxy) fn next_proxy_for(&self, origin: &Origin) -> Option<&NextProxy> {
        self.next_proxies.proxy_for(origin.scheme, &origin.host, origin.port)
    }

    /// Whether requests for `origin`, whose scheme is `http`, are sent to the next proxy itself. Otherwise they go through a
    /// tunnel, or directly.
    pub(in crate::proxy) fn asks_next_proxy(&self, origin: &Origin) -> bool {
        self.next_proxy_for(origin).is_some_and(|proxy| proxy.scheme != NextProxyScheme::Socks5)
    }
}
