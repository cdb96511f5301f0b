//! The lookup of the process that calls, while it runs and after.

use std::sync::Arc;

use tokio::sync::watch;

use super::Process;

/// The lookup of a process. Cheap to clone; its result lives as long as a clone does.
#[derive(Clone)]
pub struct ProcessLookup(Option<watch::Receiver<State>>);

#[derive(Clone)]
enum State {
    Running,
    Done(Option<Arc<Process>>),
}

/// Lives as long as the agent's connection. When it is dropped, the agent may use the descriptor of its socket again.
pub struct OpenConnection;

/// Sets the result of a lookup. When dropped without a result, no process was found.
pub(super) struct Finder(watch::Sender<State>);

impl ProcessLookup {
    /// No lookup: there is no process to find.
    pub fn none() -> Self {
        Self(None)
    }

    /// A lookup that runs, and the way to set its result.
    pub(super) fn begin() -> (Self, Finder) {
        let (finder, lookup) = watch::channel(State::Running);
        (Self(Some(lookup)), Finder(finder))
    }

    /// The process, if it was found by now. Never waits.
    pub fn found(&self) -> Option<Arc<Process>> {
        match &*self.0.as_ref()?.borrow() {
            State::Done(process) => process.clone(),
            State::Running => None,
        }
    }

    /// Waits for the end of the lookup: usually tens of microseconds, at most a second of processor time. `None`: not found.
    pub async fn wait(&self) -> Option<Arc<Process>> {
        let mut lookup = self.0.clone()?;
        // An error means that the finder is gone. Then the state does not change any more.
        let _ = lookup.wait_for(|state| matches!(state, State::Done(_))).await;
        self.found()
    }
}

impl Finder {
    /// Ends the lookup.
    pub(super) fn set(self, process: Option<Arc<Process>>) {
        self.0.send_replace(State::Done(process));
    }

    /// Whether all clones of the lookup were dropped.
    pub(super) fn is_abandoned(&self) -> bool {
        self.0.is_closed()
    }
}

#[cfg(test)]
mod tests {
    use super::super::process::tests::process;
    use super::*;

    #[tokio::test]
    async fn the_result_reaches_those_who_wait_and_those_who_ask_later() {
        let (lookup, finder) = ProcessLookup::begin();
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
    async fn waiting_ends_when_the_finder_is_gone_or_there_is_no_lookup() {
        let (lookup, finder) = ProcessLookup::begin();
        assert!(!finder.is_abandoned());
        drop(finder);
        assert!(lookup.wait().await.is_none());
        assert!(ProcessLookup::none().wait().await.is_none());
        let (lookup, finder) = ProcessLookup::begin();
        drop(lookup);
        assert!(finder.is_abandoned());
    }
}
