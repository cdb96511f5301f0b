//! Limits for agents.

use std::time::Duration;

/// How long an agent may take, and how much it may send.
#[derive(Debug, Clone, Copy)]
pub struct AgentLimits {
    /// `proxy.max_header_bytes`
    pub header_bytes: usize,
    /// `proxy.header_timeout_ms`: from a head's first byte to its last.
    pub header: Duration,
    /// `proxy.handshake_timeout_ms`: for a TLS or SOCKS handshake.
    pub handshake: Duration,
    /// `proxy.idle_timeout_ms`: between two requests.
    pub idle: Duration,
    /// `proxy.stall_timeout_ms`: between two pieces of a request's content.
    pub stall: Duration,
    /// `proxy.max_streams`: requests in flight on one HTTP/2 connection.
    pub streams: u32,
}
