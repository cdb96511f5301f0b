//! Who is calling: what is known of the agent at the other end of a connection, for as long as anything of it is served.

use std::net::SocketAddr;
use std::sync::{Arc, OnceLock};
use std::time::Instant;

use tokio::net::TcpStream;
use tokio::sync::OwnedSemaphorePermit;

use super::error::ProxyError;
use super::quota::{Place, Quotas};
use crate::capture::{AgentProcess, Caller};
use crate::peer::{AgentRules, Ends, Peers, Process, ProcessLookup};

/// The agent of one TCP connection, shared by all that is served on it: its requests, its tunnel, its upgraded stream.
pub(super) struct Agent {
    /// Its socket.
    pub(super) address: SocketAddr,
    /// Both ends of its connection.
    pub(super) ends: Ends,
    /// Its process, which is looked for beside the connection.
    pub(super) sought: ProcessLookup,
    /// Whose calls are on this connection, unless each says so itself.
    pub(super) caller: Caller,
    /// Its place among `proxy.max_connections`.
    _permit: OwnedSemaphorePermit,
    /// Its place among those of the one who calls (`proxy.agent_connections`), once that is known.
    place: OnceLock<Result<Place, ProxyError>>,
}

impl Agent {
    /// The agent that has connected. `None`: it may not, or has gone. `rules`: each agent process is a caller of its own, so that
    /// it is waited for.
    pub(super) async fn meet(
        peers: &Peers,
        rules: Option<&AgentRules>,
        stream: &TcpStream,
        address: SocketAddr,
        permit: OwnedSemaphorePermit,
    ) -> Option<Self> {
        let ends = Ends::new(address, stream.local_addr().ok()?);
        let sought = peers.meet(ends).await?;
        let caller = match rules {
            Some(rules) => calling(&sought, rules).await,
            None => Caller::Proxy,
        };
        Some(Self { address, ends, sought, caller, _permit: permit, place: OnceLock::new() })
    }

    /// Lets a request of `caller` pass if that is within its share.
    ///
    /// # Errors
    /// When it has too many connections, or asks too often.
    pub(super) fn may_ask(&self, quotas: &Arc<Quotas>, caller: &Caller) -> Result<(), ProxyError> {
        self.has_place(quotas, caller)?;
        quotas.request(caller, self.address.ip(), Instant::now())
    }

    /// Takes the connection's place among those of `caller`, when that is known for the first time.
    ///
    /// # Errors
    /// When there is none left.
    pub(super) fn has_place(&self, quotas: &Arc<Quotas>, caller: &Caller) -> Result<(), ProxyError> {
        let place = self.place.get_or_init(|| quotas.connect(caller, self.address.ip()));
        place.as_ref().map(|_| ()).map_err(Clone::clone)
    }

    /// Its process, once it was looked for: soon after it has connected, see [`ProcessLookup::wait`]. `None`: it is not known, or not on
    /// this machine.
    pub(super) async fn process(&self) -> Option<Arc<Process>> {
        self.sought.wait().await
    }
}

/// The agent process, once it was looked for. One that is not to be found is nobody in particular.
async fn calling(sought: &ProcessLookup, rules: &AgentRules) -> Caller {
    match sought.wait().await {
        Some(process) => Caller::Process(AgentProcess(process.agent_process(rules).clone())),
        None => Caller::Proxy,
    }
}
