//! What recorders and model readers share: the sink of finished exchanges, the limits and the memory of captures, and whether
//! the proxy is shutting down.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use parking_lot::RwLock;

use super::budget::Budget;
use super::keeper::Limits;
use super::sink::{Finished, Sink};

/// One for a process.
pub(super) struct Shared {
    sink: Box<dyn Sink>,
    /// Those of exchanges that begin now.
    limits: RwLock<Limits>,
    budget: Arc<Budget>,
    shutting_down: AtomicBool,
}

impl Shared {
    pub(super) fn new(sink: impl Sink, limits: Limits, budget: Arc<Budget>) -> Self {
        Self { sink: Box::new(sink), limits: RwLock::new(limits), budget, shutting_down: AtomicBool::new(false) }
    }

    pub(super) fn sink(&self) -> &dyn Sink {
        &*self.sink
    }

    pub(super) fn budget(&self) -> &Arc<Budget> {
        &self.budget
    }

    pub(super) fn limits(&self) -> Limits {
        *self.limits.read()
    }

    pub(super) fn limit_to(&self, limits: Limits) {
        *self.limits.write() = limits;
    }

    pub(super) fn shut_down(&self) {
        self.shutting_down.store(true, Ordering::Relaxed);
    }

    pub(super) fn is_shutting_down(&self) -> bool {
        self.shutting_down.load(Ordering::Relaxed)
    }

    /// Hands a finished exchange to the sink.
    pub(super) fn hand_over(&self, finished: Finished) {
        self.sink.take(finished);
    }
}
