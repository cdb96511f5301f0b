//! The lookup of the process that calls: before it begins, while it runs, and after.

use std::sync::{Arc, Weak};

use parking_lot::Mutex;
use tokio::sync::SetOnce;

use super::Process;

/// The lookup of a process. It begins with the first request of a connection. Cheap to clone; its result lives as long as a clone
/// does.
#[derive(Clone)]
pub struct ProcessLookup(Option<Arc<Lookup>>);

struct Lookup {
    /// Starts it. Taken when it begins.
    start: Mutex<Option<Start>>,
    result: SetOnce<Option<Arc<Process>>>,
}

type Start = Box<dyn FnOnce(Finder) + Send>;

/// Lives as long as the agent's connection. When it is dropped, the agent may use the descriptor of its socket again.
pub struct OpenConnection;

/// Sets the result of a lookup. When dropped without a result, no process was found.
pub(super) struct Finder(Weak<Lookup>);

impl ProcessLookup {
    /// No lookup: there is no process to find.
    pub fn none() -> Self {
        Self(None)
    }

    /// A lookup that `start` starts.
    pub(super) fn new(start: impl FnOnce(Finder) + Send + 'static) -> Self {
        Self(Some(Arc::new(Lookup { start: Mutex::new(Some(Box::new(start))), result: SetOnce::new() })))
    }

    /// Begins the lookup, unless it has begun. Takes some microseconds, mostly with the result; otherwise it goes on in the background.
    pub fn begin(&self) {
        let Some(lookup) = &self.0 else { return };
        let start = lookup.start.lock().take();
        if let Some(start) = start {
            start(Finder(Arc::downgrade(lookup)));
        }
    }

    /// The process, if it was found by now. Never waits.
    pub fn found(&self) -> Option<Arc<Process>> {
        self.0.as_ref()?.result.get()?.clone()
    }

    /// Waits for the end of the lookup: usually some microseconds, at most a second of processor time. `None`: not found.
    pub async fn wait(&self) -> Option<Arc<Process>> {
        self.begin();
        self.0.as_ref()?.result.wait().await.clone()
    }
}

impl Finder {
    /// Ends the lookup.
    pub(super) fn set(self, process: Option<Arc<Process>>) {
        self.end(process);
    }

    /// Whether all clones of the lookup were dropped.
    pub(super) fn is_abandoned(&self) -> bool {
        self.0.strong_count() == 0
    }

    fn end(&self, process: Option<Arc<Process>>) {
        if let Some(lookup) = self.0.upgrade() {
            // An error means that it has a result already.
            let _ = lookup.result.set(process);
        }
    }
}

impl Drop for Finder {
    fn drop(&mut self) {
        self.end(None);
    }
}

#[cfg(test)]
mod tests {
    use super::super::process::tests::process;
    use super::*;

    /// A lookup that runs, and the way to set its result.
    fn running() -> (ProcessLookup, Finder) {
        let finder = Arc::<Mutex<Option<Finder>>>::default();
        let started = finder.clone();
        let lookup = ProcessLookup::new(move |finder| *started.lock() = Some(finder));
        assert!(finder.lock().is_none(), "nothing has begun it");
        lookup.begin();
        lookup.begin();
        let finder = finder.lock().take().unwrap();
        (lookup, finder)
    }

    #[tokio::test]
    async fn the_result_reaches_those_who_wait_and_those_who_ask_later() {
        let (lookup, finder) = running();
        assert!(lookup.found().is_none());
        let waiting = tokio::spawn({
            let lookup = lookup.clone();
            async move { lookup.wait().await }
        });
        tokio::task::yield_now().await;
        finder.set(Some(Arc::new(process(7))));
        assert_eq!(waiting.await.unwrap().unwrap().facts.pid, 7);
        assert_eq!(lookup.found().unwrap().facts.pid, 7);
    }

    #[tokio::test]
    async fn who_waits_begins_the_lookup() {
        let lookup = ProcessLookup::new(|finder| finder.set(Some(Arc::new(process(7)))));
        assert!(lookup.found().is_none());
        assert_eq!(lookup.wait().await.unwrap().facts.pid, 7);
    }

    #[tokio::test]
    async fn waiting_ends_when_the_finder_is_gone_or_there_is_no_lookup() {
        let (lookup, finder) = running();
        assert!(!finder.is_abandoned());
        drop(finder);
        assert!(lookup.wait().await.is_none());
        assert!(ProcessLookup::none().wait().await.is_none());
        let (lookup, finder) = running();
        drop(lookup);
        assert!(finder.is_abandoned());
    }
}
