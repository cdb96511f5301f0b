//! Idle connections, kept for the next agent connection to the same target.
//!
//! An agent's connection owns its upstream connection. When the agent's connection ends, the upstream connection comes here. So two
//! agents never share an HTTP/1.1 connection at the same time, and a new agent connection may save a handshake. The first request on
//! a pooled connection must be safe to repeat: the origin may be closing the connection, and an agent does not expect that on its
//! own new connection. Connections that are authenticated themselves (`NTLM`, `Negotiate`) never come here.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use parking_lot::Mutex;

use super::connection::Upstream;
use super::target::Target;

/// Shorter than the common keep-alive timeouts of servers (Node: 5 s), so that a connection is rarely reused at the moment when its
/// origin closes it.
const IDLE_LIMIT: Duration = Duration::from_secs(4);
/// The most idle connections for one target.
const PER_TARGET: usize = 32;
/// The most idle connections in total.
const IN_ALL: usize = 512;

/// The idle connections.
#[derive(Default)]
pub struct Pool(Mutex<Idle>);

#[derive(Default)]
struct Idle {
    /// Connections of another [`Origins::generation`](super::Origins::generation) are not kept.
    generation: u32,
    by_target: HashMap<Target, Vec<(Upstream, Instant)>>,
    count: usize,
}

impl Pool {
    /// The most recently used connection to `target` that is still usable.
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

    /// Whether there is a connection to this host and port, with any TLS.
    pub(in crate::proxy) fn knows(&self, host: &str, port: u16) -> bool {
        let idle = self.0.lock();
        idle.by_target.iter().any(|(target, list)| {
            target.origin.port == port
                && *target.origin.host == *host
                && list.iter().any(|(u, since)| since.elapsed() < IDLE_LIMIT && u.is_usable())
        })
    }

    /// Keeps an unused connection, if it can carry another request.
    pub(in crate::proxy) fn keep(&self, upstream: Upstream) {
        if !upstream.is_idle() || upstream.bound_to_agent {
            return;
        }
        let mut idle = self.0.lock();
        if idle.count >= IN_ALL || idle.generation != upstream.generation {
            return;
        }
        let list = idle.by_target.entry(upstream.target.clone()).or_default();
        if list.len() < PER_TARGET {
            list.push((upstream, Instant::now()));
            idle.count += 1;
        }
    }

    /// Closes connections that have been idle for too long. Called periodically.
    pub(crate) fn sweep(&self) {
        let mut idle = self.0.lock();
        idle.by_target.retain(|_, list| {
            list.retain(|(upstream, since)| since.elapsed() < IDLE_LIMIT && upstream.is_usable());
            !list.is_empty()
        });
        idle.count = idle.by_target.values().map(Vec::len).sum();
    }

    /// Closes all connections.
    pub(crate) fn clear(&self) {
        let mut idle = self.0.lock();
        *idle = Idle { generation: idle.generation, ..Idle::default() };
    }

    /// Closes all connections, and from now on keeps only those of this generation.
    pub(in crate::proxy) fn renew(&self, generation: u32) {
        *self.0.lock() = Idle { generation, ..Idle::default() };
    }
}
