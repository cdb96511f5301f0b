//! Who may use the proxy, and how much.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use parking_lot::Mutex;
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
    /// How many permits there are.
    max_connections: Mutex<usize>,
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
        let max_connections = Mutex::new(max_connections);
        Self { connections, max_connections, peers, quotas: Arc::default(), unauthorized: AtomicU64::new(0) }
    }

    /// Changes `proxy.max_connections`. Connections beyond a lower limit go on; new ones wait until there are fewer. Must be called
    /// on a Tokio runtime.
    pub fn allow_connections(&self, max: usize) {
        let mut now = self.max_connections.lock();
        let before = std::mem::replace(&mut *now, max);
        self.connections.add_permits(max.saturating_sub(before));
        let fewer = before.saturating_sub(max);
        let in_use = fewer - self.connections.forget_permits(fewer);
        if let (connections, Ok(in_use @ 1..)) = (self.connections.clone(), u32::try_from(in_use)) {
            tokio::spawn(async move {
                // An error means that the proxy has ended.
                let _ = connections.acquire_many_owned(in_use).await.map(|permits| permits.forget());
            });
        }
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

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_lower_limit_waits_for_connections_that_are_open() {
        let peers = Peers::new([127, 0, 0, 1].into(), false, false, Vec::new()).unwrap();
        let admission = Admission::new(4, Arc::new(peers));
        let permit = || admission.connections.clone().acquire_owned();
        let mut open = vec![permit().await.unwrap(), permit().await.unwrap(), permit().await.unwrap()];
        admission.allow_connections(2);
        tokio::task::yield_now().await;
        open.pop();
        tokio::task::yield_now().await;
        assert_eq!(admission.connections.available_permits(), 0, "two are open, and two may be");
        admission.allow_connections(3);
        open.push(permit().await.unwrap());
        assert!(admission.connections.try_acquire().is_err());
        drop(open);
        assert_eq!(admission.connections.available_permits(), 3);
    }
}
