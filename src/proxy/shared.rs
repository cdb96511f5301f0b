//! What all connections of the data path share, by concern.

use std::sync::Arc;

use arc_swap::ArcSwap;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::admission::Admission;
use super::interception::Interception;
use super::rules::Rules;
use super::upstream::Pool;
use crate::capture::Recording;

/// What every connection of the data path shares.
pub struct Shared {
    /// Where exchanges are recorded.
    pub recording: Arc<Recording>,
    /// Who uses the proxy, and how much.
    pub admission: Admission,
    /// The certificates that agents are shown.
    pub interception: Interception,
    /// Kept connections to origins.
    pub pool: Pool,
    /// How the data path stops.
    pub lifecycle: Lifecycle,
    rules: ArcSwap<Rules>,
}

impl Shared {
    /// Puts the parts together. `rules` are those that the settings give now.
    pub fn new(
        recording: Arc<Recording>,
        admission: Admission,
        interception: Interception,
        rules: Rules,
    ) -> Arc<Self> {
        let (pool, lifecycle) = (Pool::default(), Lifecycle::default());
        Arc::new(Self { recording, admission, interception, pool, lifecycle, rules: ArcSwap::from_pointee(rules) })
    }

    /// The rules in force. Asked once for each call and for each connection, which then keeps them.
    pub fn rules(&self) -> Arc<Rules> {
        self.rules.load_full()
    }

    /// From now on calls begin with these rules.
    pub fn follow(&self, rules: Rules) {
        if rules.origins.generation != self.rules.load().origins.generation {
            self.pool.renew(rules.origins.generation);
        }
        self.rules.store(Arc::new(rules));
    }
}

/// How the data path stops: first no new requests, then no requests at all.
#[derive(Default)]
pub struct Lifecycle {
    /// Cancelled when no new requests are accepted.
    pub stop: CancellationToken,
    /// Cancelled when the requests in flight are cut off.
    pub cut: CancellationToken,
    /// All tasks that serve agents.
    pub tasks: TaskTracker,
}
