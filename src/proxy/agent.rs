//! Who is calling: what is known of the agent at the other end of a connection, for as long as anything of it is served.

use std::net::SocketAddr;

use tokio::sync::OwnedSemaphorePermit;

/// The agent of one TCP connection, shared by all that is served on it: its requests, its tunnel, its upgraded stream.
pub(super) struct Agent {
    /// Its socket.
    pub(super) address: SocketAddr,
    /// Its place among `proxy.max_connections`.
    _permit: OwnedSemaphorePermit,
}

impl Agent {
    pub(super) fn new(address: SocketAddr, permit: OwnedSemaphorePermit) -> Self {
        Self { address, _permit: permit }
    }
}
