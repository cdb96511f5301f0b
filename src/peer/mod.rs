//! Who is at the other end of a connection from this machine: the user that owns the peer's socket, and the process that
//! holds it.
//!
//! ```text
//! accepted connection
//!   | linux/diag      the peer's socket: its owner and inode (sock_diag: one exact question, no dump)
//!   |                 linux/table, where that is not permitted: /proc/net/tcp
//! networks            one from elsewhere than `listen.allow_clients` is closed, counted, told
//! gate                another user's connection is closed, counted, told (`listen.same_user`)
//!   |
//! seeker              one thread: from the inode to the process, beside the connection
//!   | linux/holders     which process has the inode among its descriptors
//!   | linux/lineage     its facts, its ancestors, the leader of its session
//! process             what is known of it, and which of them is the agent (pure)
//! ```
//!
//! Only Linux tells; elsewhere everything is unknown.

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

#[cfg(target_os = "linux")]
use linux as system;
#[cfg(not(target_os = "linux"))]
use unknown as system;

use gate::Gate;
use ipnet::IpNet;
use networks::Networks;
use seeker::Seeker;

pub use ends::{Ends, Owner};
pub use gate::Counts;
pub use lookup::ProcessLookup;
pub use process::{AgentRules, Facts, Process};

/// Whether it can be told which user of this machine has a connection to a port on loopback.
pub fn tells_users() -> bool {
    system::Sockets::open(IpAddr::V4(Ipv4Addr::LOCALHOST)).tell()
}

/// The processes of our own user that were started with this variable (`NAME=value`) in their environment. None where the system
/// does not tell. Blocks.
pub(crate) fn processes_with(variable: &str) -> Vec<u32> {
    system::having(variable)
}

/// Whether this process is one of [`processes_with`] the variable. Blocks.
pub(crate) fn process_has(pid: u32, variable: &str) -> bool {
    system::has(pid, variable)
}

/// Tells who the agents of one listener are.
pub struct Peers {
    sockets: system::Sockets,
    networks: Networks,
    /// `None`: every user may call.
    gate: Option<Gate>,
    /// `None`: processes are not looked up.
    seeker: Option<Seeker>,
}

impl Peers {
    /// For a listener at this address. `same_user`: on loopback, only our own user (and root) may call. `processes`: the
    /// processes that call are looked up. `networks`: where agents may call from; if there are none, from anywhere.
    ///
    /// # Errors
    /// When there can be no further thread.
    pub fn new(listening: IpAddr, same_user: bool, processes: bool, networks: Vec<IpNet>) -> io::Result<Self> {
        Ok(Self {
            sockets: system::Sockets::open(listening),
            networks: Networks::new(networks),
            gate: (same_user && listening.to_canonical().is_loopback()).then(|| Gate::new(system::own_user())),
            seeker: processes.then(Seeker::start).transpose()?,
        })
    }

    /// Sees who has connected. `None`: it may not, and the connection is to be closed. Otherwise its process, which is looked
    /// for from now on if it is one of this machine's.
    ///
    /// Takes some microseconds, and never waits for the process.
    pub async fn meet(&self, ends: Ends) -> Option<ProcessLookup> {
        if !self.networks.admit(ends.peer.ip()) {
            return None;
        }
        let seeker = self.seeker.as_ref().filter(|_| ends.are_of_one_machine());
        if self.gate.is_none() && seeker.is_none() {
            return Some(ProcessLookup::none());
        }
        let owner = self.sockets.owner(ends).await;
        if self.gate.as_ref().is_some_and(|gate| !gate.admits(owner)) {
            return None;
        }
        Some(match (seeker, owner) {
            (Some(seeker), Owner::Held { uid, inode }) => seeker.seek(uid, inode),
            _ => ProcessLookup::none(),
        })
    }

    /// Whether a process still has the agent's end of a connection. `None`: that cannot be told, or not from here.
    ///
    /// Takes some microseconds.
    pub async fn holds(&self, ends: Ends) -> Option<bool> {
        if !ends.are_of_one_machine() {
            return None;
        }
        match self.sockets.owner(ends).await {
            // Without an inode no process has it.
            Owner::Held { inode, .. } => Some(inode != 0),
            Owner::Left => Some(false),
            Owner::Unknown => None,
        }
    }

    /// Who was not let in, and who could not be told.
    pub fn counts(&self) -> Counts {
        let missed = self.seeker.as_ref().map_or(0, Seeker::missed);
        let other_network = self.networks.refused();
        Counts { processes_missed: missed, other_network, ..self.gate.as_ref().map(Gate::counts).unwrap_or_default() }
    }
}
