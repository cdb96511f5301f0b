//! TLS sessions with origins that can be resumed. So a new connection takes less work, and with TLS 1.2 a round trip less. A session
//! is resumed only for the target that it was made for: the same user, caller, host, port and ALPN offer.

use std::sync::Arc;

use quick_cache::sync::Cache;
use rustls::ClientConfig;
use rustls::client::{ClientSessionMemoryCache, Resumption};

use super::target::Target;

/// Targets whose sessions are kept.
const TARGETS: usize = 256;

/// The TLS sessions with origins.
pub struct TlsSessions(Cache<Target, Arc<ClientSessionMemoryCache>>);

impl Default for TlsSessions {
    fn default() -> Self {
        Self(Cache::new(TARGETS))
    }
}

impl TlsSessions {
    /// `config`, with which a connection to `target` resumes a session of this target, or none.
    pub(super) fn resuming(&self, config: &ClientConfig, target: &Target) -> Arc<ClientConfig> {
        let mut config = config.clone();
        config.resumption = match &target.sharer {
            Some(_) => Resumption::store(self.of(target)),
            None => Resumption::disabled(),
        };
        Arc::new(config)
    }

    fn of(&self, target: &Target) -> Arc<ClientSessionMemoryCache> {
        if let Some(known) = self.0.get(target) {
            return known;
        }
        let sessions = Arc::new(ClientSessionMemoryCache::new(1));
        self.0.insert(target.clone(), sessions.clone());
        sessions
    }
}
