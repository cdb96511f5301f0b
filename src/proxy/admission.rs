//! Who may use the proxy, and how much.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use tokio::sync::Semaphore;

use super::credentials::Credentials;
use super::quota::{Quotas, Share};
use crate::peer::{AgentRules, Peers};

/// Who may use the proxy, and how much, by the settings.
pub struct CallerRules {
    /// Which process of an agent counts as its caller (`session.scope = "process"`). `None`: processes are not callers.
    pub agent_processes: Option<AgentRules>,
    /// The credentials that callers must show. `None`: everyone who reaches the proxy may use it.
    pub credentials: Option<Credentials>,
    /// Limits for each agent.
    pub share: Share,
}

/// Who uses the proxy, and how much.
pub struct Admission {
    /// `proxy.max_connections`: a permit for each agent connection.
    pub connections: Arc<Semaphore>,
    /// Finds the process and the user of each agent.
    pub peers: Arc<Peers>,
    /// What each agent uses.
    pub quotas: Arc<Quotas>,
    /// Requests refused because they had no valid credentials.
    unauthorized: AtomicU64,
}

impl Admission {
    /// `max_connections`: `proxy.max_connections`.
    pub fn new(max_connections: usize, peers: Arc<Peers>) -> Self {
        let connections = Arc::new(Semaphore::new(max_connections));
        Self { connections, peers, quotas: Arc::default(), unauthorized: AtomicU64::new(0) }
    }

    /// Requests refused so far because they had no valid credentials.
    pub fn unauthorized(&self) -> u64 {
        self.unauthorized.load(Ordering::Relaxed)
    }

    /// Counts a request that had no valid credentials.
    pub(super) fn count_unauthorized(&self) {
        self.unauthorized.fetch_add(1, Ordering::Relaxed);
    }
}
