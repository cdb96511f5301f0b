//! A process that is being looked for, or was.

use std::sync::Arc;

use tokio::sync::watch;

use super::Process;

/// A process that is being looked for. Cheap to clone; what was found stays for as long as a clone lives.
#[derive(Clone)]
pub struct Sought(Option<watch::Receiver<State>>);

#[derive(Clone)]
enum State {
    Looking,
    Looked(Option<Arc<Process>>),
}

/// Tells what was found. Dropped without: nothing was.
pub(super) struct Finder(watch::Sender<State>);

impl Sought {
    /// There is nothing to be found.
    pub fn nothing() -> Self {
        Self(None)
    }

    /// Not found yet.
    pub(super) fn begin() -> (Self, Finder) {
        let (finder, sought) = watch::channel(State::Looking);
        (Self(Some(sought)), Finder(finder))
    }

    /// What was found so far; never waits.
    pub fn found(&self) -> Option<Arc<Process>> {
        match &*self.0.as_ref()?.borrow() {
            State::Looked(process) => process.clone(),
            State::Looking => None,
        }
    }

    /// Waits until it was looked for, which takes some tens of microseconds as a rule, a second of work at most. `None`:
    /// it is not to be found.
    pub async fn wait(&self) -> Option<Arc<Process>> {
        let mut sought = self.0.clone()?;
        // An error means that nobody looks any more: then what there is stays as it is.
        let _ = sought.wait_for(|state| matches!(state, State::Looked(_))).await;
        self.found()
    }
}

impl Finder {
    pub(super) fn tell(self, process: Option<Arc<Process>>) {
        self.0.send_replace(State::Looked(process));
    }

    /// Whether nobody wants to know any more.
    pub(super) fn is_forgotten(&self) -> bool {
        self.0.is_closed()
    }
}

#[cfg(test)]
mod tests {
    use super::super::process::tests::process;
    use super::*;

    #[tokio::test]
    async fn who_waits_is_told_and_who_asks_later_knows() {
        let (sought, finder) = Sought::begin();
        assert!(sought.found().is_none());
        let waiting = tokio::spawn({
            let sought = sought.clone();
            async move { sought.wait().await }
        });
        tokio::task::yield_now().await;
        finder.tell(Some(Arc::new(process(7))));
        assert_eq!(waiting.await.unwrap().unwrap().facts.pid, 7);
        assert_eq!(sought.found().unwrap().facts.pid, 7);
    }

    #[tokio::test]
    async fn nobody_waits_for_what_is_not_looked_for() {
        let (sought, finder) = Sought::begin();
        assert!(!finder.is_forgotten());
        drop(finder);
        assert!(sought.wait().await.is_none());
        assert!(Sought::nothing().wait().await.is_none());
        let (sought, finder) = Sought::begin();
        drop(sought);
        assert!(finder.is_forgotten());
    }
}
