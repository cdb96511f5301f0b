//! Connections to origins, kept for the next agent connection of the same caller to the same target.
//!
//! HTTP/1.1: an agent's connection owns its upstream connection. When the agent's connection ends, the upstream connection comes here.
//! So two agents never share an HTTP/1.1 connection at the same time, and a new agent connection may save the handshakes. HTTP/2: the
//! connection is here from its beginning, and the caller's agent connections use it at the same time, within [`super::load`].
//!
//! A connection serves only the user and the caller that it was opened for (`Target::sharer`). The first request of another agent
//! connection on it must be safe to repeat: the origin may be closing the connection, and an agent does not expect that on its
//! own new connection. Connections that are authenticated themselves (`NTLM`, `Negotiate`) are never shared.

use std::collections::HashMap;
use std::time::Duration;

use http::Version;
use parking_lot::Mutex;

use super::connection::Upstream;
use super::idle::IdleSince;
use super::load::Load;
use super::target::{Sharer, Target};

/// How long a connection is kept idle, if its origin does not close it earlier.
const IDLE_LIMIT: Duration = Duration::from_secs(60);
/// For this long, all connections of a burst are kept. After that, only [`LONG_PER_TARGET`].
const BURST: Duration = Duration::from_secs(4);
/// The most connections for one target that are idle for longer than [`BURST`].
const LONG_PER_TARGET: usize = 4;
/// The most connections for one target.
const PER_TARGET: usize = 32;
/// The most connections in total.
const IN_ALL: usize = 512;

/// The kept connections.
#[derive(Default)]
pub struct Pool(Mutex<Inner>);

#[derive(Default)]
struct Inner {
    /// Connections of another [`Origins::generation`](super::Origins::generation) are not kept.
    generation: u32,
    /// Of each target the oldest first.
    by_target: HashMap<Target, Vec<Kept>>,
    count: usize,
}

struct Kept {
    upstream: Box<Upstream>,
    /// When it came here.
    since: IdleSince,
}

impl Kept {
    /// Since when nobody uses it. `None`: somebody does (HTTP/2).
    fn idle_since(&self) -> Option<IdleSince> {
        match self.upstream.load() {
            Some(load) => load.idle_since(),
            None => Some(self.since),
        }
    }

    fn is_fresh(&self) -> bool {
        let is_silent = || self.upstream.load().is_some_and(Load::is_silent);
        self.upstream.is_usable()
            && self.idle_since().is_none_or(|since| since.elapsed() < IDLE_LIMIT && !is_silent())
    }
}

impl Pool {
    /// The most recently kept connection to `target` that is usable. `version`: its HTTP version, if that is fixed already.
    pub(in crate::proxy) fn take(
        &self,
        target: &Target,
        generation: u32,
        version: Option<Version>,
    ) -> Option<Box<Upstream>> {
        let mut inner = self.0.lock();
        if inner.generation != generation {
            return None;
        }
        let list = inner.by_target.get_mut(target)?;
        let before = list.len();
        list.retain(Kept::is_fresh);
        let mut found: Option<Box<Upstream>> = None;
        for at in (0..list.len()).rev() {
            let Some(kept) = list.get(at).filter(|kept| version.is_none_or(|v| v == kept.upstream.version())) else {
                continue;
            };
            found = match kept.upstream.load() {
                Some(_) => kept.upstream.for_another_agent(),
                None => Some(list.remove(at).upstream),
            };
            if found.is_some() {
                break;
            }
        }
        let gone = before - list.len();
        if list.is_empty() {
            inner.by_target.remove(target);
        }
        inner.count -= gone;
        let mut found = found?;
        found.lent = true;
        Some(found)
    }

    /// Whether there is a connection to this host and port for this caller, with any TLS.
    pub(in crate::proxy) fn knows(&self, sharer: &Sharer, generation: u32, host: &str, port: u16) -> bool {
        let inner = self.0.lock();
        inner.generation == generation
            && inner.by_target.iter().any(|(target, list)| {
                target.at.is_none()
                    && target.origin.port == port
                    && *target.origin.host == *host
                    && target.sharer.as_ref() == Some(sharer)
                    && list.iter().any(|kept| kept.is_fresh() && kept.upstream.has_room())
            })
    }

    /// Keeps a connection for the caller's other agent connections: an unused one, or one of HTTP/2 that may be in use.
    pub(in crate::proxy) fn keep(&self, upstream: Box<Upstream>) {
        let kept = match upstream.load() {
            Some(_) => upstream.for_the_pool(),
            None => upstream.is_idle().then_some(upstream),
        };
        let Some(upstream) = kept.filter(|u| u.target.sharer.is_some() && u.is_usable() && !u.bound_to_agent) else {
            return;
        };
        let mut inner = self.0.lock();
        if inner.count >= IN_ALL || inner.generation != upstream.generation {
            return;
        }
        let list = inner.by_target.entry(upstream.target.clone()).or_default();
        if list.len() < PER_TARGET && list.iter().all(|kept| kept.upstream.id() != upstream.id()) {
            list.push(Kept { upstream, since: IdleSince::now() });
            inner.count += 1;
        }
    }

    /// Removes a connection that must not be used again.
    pub(in crate::proxy) fn forget(&self, upstream: &Upstream) {
        let mut inner = self.0.lock();
        let Some(list) = inner.by_target.get_mut(&upstream.target) else { return };
        let before = list.len();
        list.retain(|kept| kept.upstream.id() != upstream.id());
        let gone = before - list.len();
        inner.count -= gone;
    }

    /// Closes connections that have been idle for too long. Called periodically.
    pub(crate) fn sweep(&self) {
        let mut inner = self.0.lock();
        inner.by_target.retain(|_, list| {
            list.retain(Kept::is_fresh);
            let is_long = |kept: &Kept| kept.idle_since().is_some_and(|since| since.elapsed() >= BURST);
            let mut surplus = list.iter().filter(|kept| is_long(kept)).count().saturating_sub(LONG_PER_TARGET);
            list.retain(|kept| {
                let goes = surplus > 0 && is_long(kept);
                surplus -= usize::from(goes);
                !goes
            });
            !list.is_empty()
        });
        inner.count = inner.by_target.values().map(Vec::len).sum();
    }

    /// Closes all connections.
    pub(crate) fn clear(&self) {
        let mut inner = self.0.lock();
        *inner = Inner { generation: inner.generation, ..Inner::default() };
    }

    /// Closes all connections, and from now on keeps only those of this generation.
    pub(in crate::proxy) fn renew(&self, generation: u32) {
        *self.0.lock() = Inner { generation, ..Inner::default() };
    }
}
