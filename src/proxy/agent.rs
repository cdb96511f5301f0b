//! The agent at the other end of a connection.

use std::net::SocketAddr;
use std::sync::{Arc, OnceLock};
use std::time::Instant;

use tokio::sync::OwnedSemaphorePermit;

use super::admission::{Admission, CallerRules};
use super::error::ProxyError;
use super::quota::{Quotas, Share, Slot};
use crate::capture::{AgentProcess, Caller};
use crate::peer::{Admitted, AgentRules, Ends, OpenConnection, Process, ProcessLookup, User};

/// The agent of one TCP connection. All that is served on the connection shares it: requests, a tunnel, an upgraded stream.
pub(super) struct Agent {
    /// The address of its socket.
    pub(super) address: SocketAddr,
    /// Both ends of its connection.
    pub(super) ends: Ends,
    /// Its user. `None`: unknown.
    pub(super) user: Option<User>,
    /// Finds its process in the background.
    pub(super) process_lookup: ProcessLookup,
    /// The caller of all requests on this connection, unless each request has its own.
    pub(super) caller: Caller,
    /// Tells the lookup of processes when the connection ends.
    _open: Arc<OpenConnection>,
    /// Counts towards `proxy.max_connections`.
    _permit: OwnedSemaphorePermit,
    /// Counts towards the caller's `proxy.agent_connections`, once the caller is known.
    slot: OnceLock<Result<Slot, ProxyError>>,
}

impl Agent {
    /// Identifies the agent of a new connection. `None`: it may not connect, or it has left. Waits for the process lookup only if
    /// the process decides who the caller is.
    pub(super) async fn identify(
        admission: &Admission,
        rules: &CallerRules,
        address: SocketAddr,
        ends: Ends,
        permit: OwnedSemaphorePermit,
    ) -> Option<Self> {
        let Admitted { user, process: process_lookup, open } = admission.peers.meet(ends).await?;
        let caller = match &rules.agent_processes {
            Some(rules) => calling_process(&process_lookup, rules).await,
            None => Caller::Proxy,
        };
        Some(Self {
            address,
            ends,
            user,
            process_lookup,
            caller,
            _open: open,
            _permit: permit,
            slot: OnceLock::new(),
        })
    }

    /// Checks a request of `caller` against its limits.
    ///
    /// # Errors
    /// When it has too many connections, or sends requests too fast.
    pub(super) fn admit_request(
        &self,
        quotas: &Arc<Quotas>,
        share: Share,
        caller: &Caller,
    ) -> Result<(), ProxyError> {
        self.claim_slot(quotas, share, caller)?;
        quotas.request(share, caller, self.address.ip(), Instant::now())
    }

    /// Counts this connection as one of `caller`'s, unless that was done before.
    ///
    /// # Errors
    /// When `caller` has too many connections.
    pub(super) fn claim_slot(&self, quotas: &Arc<Quotas>, share: Share, caller: &Caller) -> Result<(), ProxyError> {
        let slot = self.slot.get_or_init(|| quotas.connect(share, caller, self.address.ip()));
        slot.as_ref().map(|_| ()).map_err(Clone::clone)
    }

    /// Its process. Waits for the lookup, see [`ProcessLookup::wait`]. `None`: it is unknown, or not on this machine.
    pub(super) async fn process(&self) -> Option<Arc<Process>> {
        self.process_lookup.wait().await
    }
}

/// The caller of a connection whose process decides. An unknown process counts as the proxy itself.
async fn calling_process(lookup: &ProcessLookup, rules: &AgentRules) -> Caller {
    match lookup.wait().await {
        Some(process) => Caller::Process(AgentProcess(process.agent_process(rules).clone())),
        None => Caller::Proxy,
    }
}
