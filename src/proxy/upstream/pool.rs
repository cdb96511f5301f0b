//! Connections that nobody uses just now, kept for the next agent connection to the same target.
//!
//! While an agent's connection lives it keeps its own upstream connection; only when it ends does the upstream one
//! come here. So requests of two agents are never mixed on one HTTP/1.1 connection at the same time, and an agent's
//! new connection need not pay for a handshake with an origin that we are connected to already. Only a request that may be
//! repeated is the first on such a connection: its origin may be closing it just then, and the agent, whose own connection is
//! new, does not expect that. Connections whose authentication belongs to the connection (`NTLM`, `Negotiate`) never come here.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use parking_lot::Mutex;

use super::connection::Upstream;
use super::target::Target;

/// Below the shortest keep-alive time-out that servers commonly have (Node: 5 s), so that a connection is hardly ever
/// taken in the moment in which its origin closes it.
const IDLE_LIMIT: Duration = Duration::from_secs(4);
/// For each target.
const PER_TARGET: usize = 32;
/// In all.
const IN_ALL: usize = 512;

/// The idle connections.
#[derive(Default)]
pub struct Pool(Mutex<Idle>);

#[derive(Default)]
struct Idle {
    by_target: HashMap<Target, Vec<(Upstream, Instant)>>,
    count: usize,
}

impl Pool {
    /// The connection to `target` that was used last, if one is still good.
    pub(in crate::proxy) fn take(&self, target: &Target) -> Option<Upstream> {
        let mut idle = self.0.lock();
        let list = idle.by_target.get_mut(target)?;
        let before = list.len();
        let mut found = None;
        while let Some((upstream, since)) = list.pop() {
            if since.elapsed() < IDLE_LIMIT && upstream.is_usable() {
                found = Some(Upstream { lent: true, ..upstream });
                break;
            }
        }
        let gone = before - list.len();
        if list.is_empty() {
            idle.by_target.remove(target);
        }
        idle.count -= gone;
        found
    }

    /// Whether there is a connection to this host and port, whatever its TLS.
    pub(in crate::proxy) fn knows(&self, host: &str, port: u16) -> bool {
        let idle = self.0.lock();
        idle.by_target.iter().any(|(target, list)| {
            target.origin.port == port
                && *target.origin.host == *host
                && list.iter().any(|(u, since)| since.elapsed() < IDLE_LIMIT && u.is_usable())
        })
    }

    /// Keeps a connection that nobody uses any more, if it is good for another request.
    pub(in crate::proxy) fn keep(&self, upstream: Upstream) {
        if !upstream.is_idle() || upstream.bound_to_agent {
            return;
        }
        let mut idle = self.0.lock();
        if idle.count >= IN_ALL {
            return;
        }
        let list = idle.by_target.entry(upstream.target.clone()).or_default();
        if list.len() < PER_TARGET {
            list.push((upstream, Instant::now()));
            idle.count += 1;
        }
    }

    /// Closes what has been idle for too long. Called from time to time.
    pub(crate) fn sweep(&self) {
        let mut idle = self.0.lock();
        idle.by_target.retain(|_, list| {
            list.retain(|(upstream, since)| since.elapsed() < IDLE_LIMIT && upstream.is_usable());
            !list.is_empty()
        });
        idle.count = idle.by_target.values().map(Vec::len).sum();
    }

    /// Closes all.
    pub(crate) fn clear(&self) {
        *self.0.lock() = Idle::default();
    }
}
