//! Who is at the other end of a connection from this machine: the user that owns the peer's socket, and the process that
//! holds it.
//!
//! ```text
//! accepted connection
//!   | linux/diag      the peer's socket: its owner and inode (sock_diag: one exact request, no dump)
//!   |                 linux/table, where that is not permitted: /proc/net/tcp
//! networks            a connection from outside `listen.allow_clients` is closed, counted, logged
//! gate                another user's connection is closed, counted, logged (`listen.same_user`)
//!   |
//! seeker              from the inode to the process, with the first request: at once, or in a thread beside the connection
//!   | linux/holders     which process has the inode among its descriptors
//!   | linux/lineage     its facts, its ancestors, the leader of its Unix session
//! process             its facts, and which of it and its ancestors is the agent (pure)
//! ```
//!
//! Only Linux reports this. On other systems everything is unknown.

#[cfg_attr(not(target_os = "linux"), allow(dead_code, reason = "only Linux tells command lines"))]
mod command;
mod ends;
mod gate;
#[cfg(target_os = "linux")]
mod linux;
mod lookup;
mod networks;
mod process;
mod refusals;
mod seeker;
#[cfg(not(target_os = "linux"))]
mod unknown;

use std::io;
use std::net::{IpAddr, Ipv4Addr};
use std::sync::{Arc, OnceLock};

#[cfg(target_os = "linux")]
use linux as system;
#[cfg(not(target_os = "linux"))]
use unknown as system;

use gate::Gate;
use ipnet::IpNet;
use networks::Networks;
use seeker::Seeker;

pub use ends::{Ends, Owner, Place, User};
pub use gate::Counts;
pub use lookup::{OpenConnection, ProcessLookup};
pub use process::{AgentRules, Facts, Process};
pub use system::DiagSocket;

/// Whether this system reports which user of this machine owns a connection to a port on loopback.
pub fn tells_users() -> bool {
    system::Sockets::open(IpAddr::V4(Ipv4Addr::LOCALHOST)).know_owners()
}

/// The processes of our own user that have this variable (`NAME=value`) in their environment. Empty where the system
/// does not report it. Blocks.
pub(crate) fn processes_with(variable: &str) -> Vec<u32> {
    system::having(variable)
}

/// Whether this process is one of [`processes_with`] this variable. Blocks.
pub(crate) fn process_has(pid: u32, variable: &str) -> bool {
    system::has(pid, variable)
}

/// An admitted connection.
pub struct Admitted {
    /// Who calls. `None`: unknown.
    pub user: Option<User>,
    /// The lookup of the process that calls, if that is on this machine.
    pub process: ProcessLookup,
    /// To be kept as long as the connection.
    pub open: Arc<OpenConnection>,
}

/// Identifies the agents of one listener.
pub struct Peers {
    sockets: system::Sockets,
    /// The same for the network namespace of a run's command.
    inside: OnceLock<system::Sockets>,
    networks: Networks,
    /// `None`: every user is admitted.
    gate: Option<Gate>,
    /// `None`: no process lookups.
    seeker: Option<Arc<Seeker>>,
}

impl Peers {
    /// For a listener at this address. `same_user`: on loopback, admit only our own user and root. `processes`: look up
    /// the processes that call. `networks`: where agents may call from; empty means from anywhere.
    ///
    /// # Errors
    /// When the system cannot start another thread.
    pub fn new(listening: IpAddr, same_user: bool, processes: bool, networks: Vec<IpNet>) -> io::Result<Self> {
        Ok(Self {
            sockets: system::Sockets::open(listening),
            inside: OnceLock::new(),
            networks: Networks::new(networks),
            gate: (same_user && listening.to_canonical().is_loopback()).then(|| Gate::new(system::own_user())),
            seeker: processes.then(Seeker::start).transpose()?,
        })
    }

    /// From now on agents may call from these networks; empty means from anywhere.
    pub fn allow(&self, networks: Vec<IpNet>) {
        self.networks.allow(networks);
    }

    /// From now on the owners of connections in a network namespace are asked of this socket of sock_diag(7), which was opened there.
    pub fn look_inside(&self, diag: DiagSocket) {
        // An error means that there is one already: a run has one namespace.
        let _ = self.inside.set(system::Sockets::of_namespace(diag));
    }

    /// Checks who has connected. `None`: not admitted, and the connection must be closed.
    ///
    /// Takes some microseconds. It never waits for the lookup of the process.
    pub async fn meet(&self, ends: Ends) -> Option<Admitted> {
        // The rules by which the system redirects say who calls there, and in a namespace there is only the command.
        let is_called = ends.place == Place::ByAddress;
        if is_called && !self.networks.admit(ends.peer.ip()) {
            return None;
        }
        let local = ends.are_of_one_machine();
        let gate = self.gate.as_ref().filter(|_| is_called);
        let asks = local || gate.is_some();
        let owner = if asks { self.owner(ends).await } else { Owner::Unknown };
        if gate.is_some_and(|gate| !gate.admits(owner)) {
            return None;
        }
        let open = Arc::new(OpenConnection);
        let process = match (&self.seeker, owner) {
            (Some(seeker), Owner::Held { uid, inode }) if local => seeker.lookup(uid, inode, &open),
            _ => ProcessLookup::none(),
        };
        Some(Admitted { user: owner.user(ends), process, open })
    }

    /// Whether a process still holds the agent's end of a connection. `None`: unknown, or not on this machine.
    ///
    /// Takes some microseconds.
    pub async fn holds(&self, ends: Ends) -> Option<bool> {
        if !ends.are_of_one_machine() {
            return None;
        }
        match self.owner(ends).await {
            // Without an inode, no process holds it.
            Owner::Held { inode, .. } => Some(inode != 0),
            Owner::Left => Some(false),
            Owner::Unknown => None,
        }
    }

    async fn owner(&self, ends: Ends) -> Owner {
        match (ends.place, self.inside.get()) {
            (Place::Namespace, None) => Owner::Unknown,
            (Place::Namespace, Some(sockets)) => sockets.owner(ends).await,
            _ => self.sockets.owner(ends).await,
        }
    }

    /// Connections that were closed, and agents that stayed unknown.
    pub fn counts(&self) -> Counts {
        let missed = self.seeker.as_ref().map_or(0, |seeker| seeker.missed());
        let other_network = self.networks.refused();
        Counts { processes_missed: missed, other_network, ..self.gate.as_ref().map(Gate::counts).unwrap_or_default() }
    }
}
