//! Who is calling: what is known of the agent at the other end of a connection, for as long as anything of it is served.

use std::net::SocketAddr;
use std::sync::{Arc, OnceLock};
use std::time::Instant;

use tokio::net::TcpStream;
use tokio::sync::OwnedSemaphorePermit;

use super::admission::Admission;
use super::error::ProxyError;
use super::quota::{Quotas, Slot};
use crate::capture::{AgentProcess, Caller};
use crate::peer::{AgentRules, Ends, Process, ProcessLookup};

/// The agent of one TCP connection, shared by all that is served on it: its requests, its tunnel, its upgraded stream.
pub(super) struct Agent {
    /// Its socket.
    pub(super) address: SocketAddr,
    /// Both ends of its connection.
    pub(super) ends: Ends,
    /// Its process, which is looked for beside the connection.
    pub(super) process_lookup: ProcessLookup,
    /// Whose calls are on this connection, unless each says so itself.
    pub(super) caller: Caller,
    /// Its place among `proxy.max_connections`.
    _permit: OwnedSemaphorePermit,
    /// Its place among those of the one who calls (`proxy.agent_connections`), once that is known.
    slot: OnceLock<Result<Slot, ProxyError>>,
}

impl Agent {
    /// Identifies the agent of a new connection. `None`: it may not connect, or it has left. Waits for the process lookup only if
    /// the process decides who the caller is.
    pub(super) async fn identify(
        admission: &Admission,
        stream: &TcpStream,
        address: SocketAddr,
        permit: OwnedSemaphorePermit,
    ) -> Option<Self> {
        let ends = Ends::new(address, stream.local_addr().ok()?);
        let process_lookup = admission.peers.meet(ends).await?;
        let caller = match &admission.agent_processes {
            Some(rules) => calling_process(&process_lookup, rules).await,
            None => Caller::Proxy,
        };
        Some(Self { address, ends, process_lookup, caller, _permit: permit, slot: OnceLock::new() })
    }

    /// Lets a request of `caller` pass if that is within its share.
    ///
    /// # Errors
    /// When it has too many connections, or asks too often.
    pub(super) fn admit_request(&self, quotas: &Arc<Quotas>, caller: &Caller) -> Result<(), ProxyError> {
        self.claim_slot(quotas, caller)?;
        quotas.request(caller, self.address.ip(), Instant::now())
    }

    /// Takes the connection's place among those of `caller`, when that is known for the first time.
    ///
    /// # Errors
    /// When there is none left.
    pub(super) fn claim_slot(&self, quotas: &Arc<Quotas>, caller: &Caller) -> Result<(), ProxyError> {
        let slot = self.slot.get_or_init(|| quotas.connect(caller, self.address.ip()));
        slot.as_ref().map(|_| ()).map_err(Clone::clone)
    }

    /// Its process, once it was looked for: soon after it has connected, see [`ProcessLookup::wait`]. `None`: it is not known, or not on
    /// this machine.
    pub(super) async fn process(&self) -> Option<Arc<Process>> {
        self.process_lookup.wait().await
    }
}

/// The agent process, once it was looked for. One that is not to be found is nobody in particular.
async fn calling_process(lookup: &ProcessLookup, rules: &AgentRules) -> Caller {
    match lookup.wait().await {
        Some(process) => Caller::Process(AgentProcess(process.agent_process(rules).clone())),
        None => Caller::Proxy,
    }
}
