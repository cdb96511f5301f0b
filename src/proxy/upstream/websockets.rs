//! Which origins take WebSockets over HTTP/2. An agent is told so in the first frame that it gets, and its requests wait for that. So
//! what an origin said once is remembered: its next connection need not say it first, which takes a round trip.

use quick_cache::sync::Cache;

use super::target::Target;

/// Targets that are remembered.
const TARGETS: usize = 1024;

/// Which targets accept extended CONNECT (RFC 8441).
pub struct Websockets(Cache<Target, bool>);

impl Default for Websockets {
    fn default() -> Self {
        Self(Cache::new(TARGETS))
    }
}

impl Websockets {
    /// What the origin said the last time.
    pub(super) fn get(&self, target: &Target) -> Option<bool> {
        self.0.get(target)
    }

    /// Remembers what the origin said.
    pub(super) fn note(&self, target: &Target, taken: bool) {
        self.0.insert(target.clone(), taken);
    }
}
