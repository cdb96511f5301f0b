//! What recorders and model readers share: the sink of finished exchanges, the limits and the memory of captures, and whether
//! the proxy is shutting down.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use super::keeper::{Budget, Keeper, Limits};
use super::sink::{Finished, Sink};

/// One for a process.
pub(super) struct Shared {
    sink: Box<dyn Sink>,
    limits: Limits,
    budget: Arc<Budget>,
    shutting_down: AtomicBool,
}

impl Shared {
    pub(super) fn new(sink: impl Sink, limits: Limits, budget: Arc<Budget>) -> Self {
        Self { sink: Box::new(sink), limits, budget, shutting_down: AtomicBool::new(false) }
    }

    pub(super) fn sink(&self) -> &dyn Sink {
        &*self.sink
    }

    pub(super) fn budget(&self) -> &Arc<Budget> {
        &self.budget
    }

    /// A copy of one body's first and last bytes, within the limits.
    pub(super) fn keeper(&self) -> Keeper {
        Keeper::new(self.limits, self.budget.clone())
    }

    /// A copy of a text, whole within the limits.
    pub(super) fn text_keeper(&self) -> Keeper {
        Keeper::of_text(self.limits, self.budget.clone())
    }

    pub(super) fn limits(&self) -> Limits {
        self.limits
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
