//! Delivery with several agent keys, each independent: a refused or slow key does not delay the others.

use std::time::Duration;

use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use super::{DeliverError, DeliverOptions, Deliverer, Status, Waker};

/// The status of several deliveries.
#[derive(Clone)]
pub struct Watch(Vec<watch::Receiver<Status>>);

impl Watch {
    /// The combined status.
    pub fn now(&self) -> Status {
        self.0.iter().map(|one| one.borrow().clone()).reduce(Status::and).unwrap_or_default()
    }

    /// The status under the proxy's own key, to be followed.
    pub fn own(&self) -> Option<watch::Receiver<Status>> {
        self.0.first().cloned()
    }
}

/// All deliveries of a process. The first one uses the proxy's own key.
pub struct Deliveries(Vec<Deliverer>);

impl Deliveries {
    /// Starts them; must be called on a Tokio runtime.
    ///
    /// # Errors
    /// As [`Deliverer::start`].
    pub fn start(all: Vec<DeliverOptions>) -> Result<Self, DeliverError> {
        all.into_iter().map(Deliverer::start).collect::<Result<_, _>>().map(Self)
    }

    /// Whether nothing is delivered.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// A handle that wakes all of them.
    pub fn waker(&self) -> impl Fn() + Clone + Send + Sync + use<> {
        let wakers: Vec<Waker> = self.0.iter().map(Deliverer::waker).collect();
        move || wakers.iter().for_each(Waker::wake)
    }

    /// Their status, now and later.
    pub fn watch(&self) -> Watch {
        Watch(self.0.iter().map(Deliverer::watch).collect())
    }

    /// The combined status.
    pub fn status(&self) -> Status {
        self.watch().now()
    }

    /// Waits until nothing is pending, the time is over, or `hurry` is set. `progress` receives the status.
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
