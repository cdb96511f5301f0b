//! Delivery under several agent keys at once, each by itself: one that is refused or slow holds up no other.

use std::time::Duration;

use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use super::{DeliverError, DeliverOptions, Deliverer, Status, Waker};

/// How several deliveries go.
#[derive(Clone)]
pub struct Watch(Vec<watch::Receiver<Status>>);

impl Watch {
    /// How they go together.
    pub fn now(&self) -> Status {
        self.0.iter().map(|one| one.borrow().clone()).reduce(Status::and).unwrap_or_default()
    }

    /// That under the proxy's own key, to be followed.
    pub fn own(&self) -> Option<watch::Receiver<Status>> {
        self.0.first().cloned()
    }
}

/// All deliveries of a process: the first is that of the proxy's own key.
pub struct Deliveries(Vec<Deliverer>);

impl Deliveries {
    /// Starts them; must be called on a Tokio runtime.
    ///
    /// # Errors
    /// As [`Deliverer::start`].
    pub fn start(all: Vec<DeliverOptions>) -> Result<Self, DeliverError> {
        all.into_iter().map(Deliverer::start).collect::<Result<_, _>>().map(Self)
    }

    /// Whether nothing is delivered at all.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// For whoever appends: wakes them all.
    pub fn waker(&self) -> impl Fn() + Clone + Send + Sync + use<> {
        let wakers: Vec<Waker> = self.0.iter().map(Deliverer::waker).collect();
        move || wakers.iter().for_each(Waker::wake)
    }

    /// How they go, now and from now on.
    pub fn watch(&self) -> Watch {
        Watch(self.0.iter().map(Deliverer::watch).collect())
    }

    /// How they go together.
    pub fn status(&self) -> Status {
        self.watch().now()
    }

    /// Waits until nothing is pending, the time is over or there is a hurry; `progress` is told how it goes.
    pub async fn drained(&self, within: Duration, hurry: &CancellationToken, progress: impl Fn(&Status)) -> Status {
        const TELL: Duration = Duration::from_millis(100);
        let drained = futures_util::future::join_all(self.0.iter().map(|one| one.drained(within)));
        tokio::pin!(drained);
        let mut tell = tokio::time::interval(TELL);
        loop {
            tokio::select! {
                biased;
                _ = &mut drained => return self.status(),
                () = hurry.cancelled() => return self.status(),
                _ = tell.tick() => progress(&self.status()),
            }
        }
    }

    /// Stops them: see [`Deliverer::stop_unless_hurried`].
    pub async fn stop(self, hurry: &CancellationToken) {
        let stopping = self.0.into_iter().map(|one| one.stop_unless_hurried(hurry.clone()));
        futures_util::future::join_all(stopping).await;
    }
}
