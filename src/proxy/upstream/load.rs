//! How many requests an HTTP/2 connection carries, and how many of one caller's agent connections use it.
//!
//! Agent connections that share a connection must not delay each other. A response that its agent does not read may fill its stream's
//! window. So while several agent connections use one, there are at most as many requests as stream windows fit into the connection's
//! window, and not more than the origin admits.

use std::sync::Arc;

use parking_lot::Mutex;

use super::idle::IdleSince;

/// What an HTTP/2 connection carries. Clones share it.
#[derive(Clone)]
pub(in crate::proxy) struct Load(Arc<Mutex<Counts>>);

struct Counts {
    agents: usize,
    streams: usize,
    /// Since when nobody uses the connection.
    idle_since: IdleSince,
}

/// One agent connection that uses the connection. Dropped when it does not any more.
pub(super) struct AgentPlace(Load);

/// One request on the connection, until its response has ended.
pub(in crate::proxy) struct StreamPlace {
    load: Load,
    _agent: Arc<AgentPlace>,
}

impl Load {
    pub(super) fn new() -> Self {
        Self(Arc::new(Mutex::new(Counts { agents: 0, streams: 0, idle_since: IdleSince::now() })))
    }

    /// A place for another agent connection. `None`: it has to use another connection. `limit`: the most requests of several agent
    /// connections.
    pub(super) fn enter(&self, limit: usize) -> Option<AgentPlace> {
        let mut counts = self.0.lock();
        if !counts.admits(limit) {
            return None;
        }
        counts.agents += 1;
        Some(AgentPlace(self.clone()))
    }

    /// Whether [`Self::enter`] would succeed.
    pub(super) fn admits(&self, limit: usize) -> bool {
        self.0.lock().admits(limit)
    }

    /// A place for a request. `None`: it has to use another connection.
    pub(super) fn begin(&self, agent: &Arc<AgentPlace>, limit: usize) -> Option<StreamPlace> {
        let mut counts = self.0.lock();
        if counts.agents > 1 && counts.streams >= limit {
            return None;
        }
        counts.streams += 1;
        Some(StreamPlace { load: self.clone(), _agent: agent.clone() })
    }

    /// Since when no agent connection uses it. `None`: one does.
    pub(super) fn idle_since(&self) -> Option<IdleSince> {
        let counts = self.0.lock();
        (counts.agents == 0).then_some(counts.idle_since)
    }
}

impl Counts {
    fn admits(&self, limit: usize) -> bool {
        self.agents == 0 || self.streams < limit
    }
}

impl Drop for AgentPlace {
    fn drop(&mut self) {
        let mut counts = self.0.0.lock();
        counts.agents -= 1;
        counts.idle_since = IdleSince::now();
    }
}

impl Drop for StreamPlace {
    fn drop(&mut self) {
        self.load.0.lock().streams -= 1;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_agent_connection_may_send_as_much_as_it_likes_and_several_share_the_limit() {
        let load = Load::new();
        assert!(load.idle_since().is_some());
        let first = Arc::new(load.enter(2).unwrap());
        assert!(load.idle_since().is_none());
        let alone: Vec<_> = (0..9).map(|_| load.begin(&first, 2).unwrap()).collect();
        assert!(load.enter(2).is_none(), "the first one uses all of it");
        drop(alone);
        let second = Arc::new(load.enter(2).unwrap());
        let (one, other) = (load.begin(&first, 2).unwrap(), load.begin(&second, 2).unwrap());
        assert!(load.begin(&first, 2).is_none() && load.begin(&second, 2).is_none() && load.enter(2).is_none());
        // The second one's request still counts as its own when it has left.
        drop((second, one));
        let _next = load.begin(&first, 2).unwrap();
        assert!(load.begin(&first, 2).is_none());
        drop(other);
        assert!((0..9).map(|_| load.begin(&first, 2)).collect::<Option<Vec<_>>>().is_some());
    }
}
