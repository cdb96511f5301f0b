//! Delivery with several agent keys, each independent: a refused or slow key does not delay the others.

use std::sync::Arc;
use std::time::Duration;

use parking_lot::{Mutex, RwLock};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use super::{DeliverError, DeliverOptions, Deliverer, Status, Waker};

/// What others hold of the deliveries. It grows when an agent with another key is added.
#[derive(Default)]
struct Handles {
    wakers: Vec<Waker>,
    statuses: Vec<watch::Receiver<Status>>,
}

/// The status of several deliveries.
#[derive(Clone)]
pub struct Watch(Arc<RwLock<Handles>>);

impl Watch {
    /// The combined status.
    pub fn now(&self) -> Status {
        let handles = self.0.read();
        handles.statuses.iter().map(|one| one.borrow().clone()).reduce(Status::and).unwrap_or_default()
    }

    /// The status under the proxy's own key, to be followed.
    pub fn own(&self) -> Option<watch::Receiver<Status>> {
        self.0.read().statuses.first().cloned()
    }
}

/// All deliveries of a process. The first one uses the proxy's own key.
#[derive(Default)]
pub struct Deliveries {
    all: Mutex<Vec<Deliverer>>,
    handles: Arc<RwLock<Handles>>,
}

impl Deliveries {
    /// Starts them; must be called on a Tokio runtime.
    ///
    /// # Errors
    /// As [`Deliverer::start`].
    pub fn start(all: Vec<DeliverOptions>) -> Result<Self, DeliverError> {
        let deliveries = Self::default();
        all.into_iter().try_for_each(|options| deliveries.add(&mut deliveries.all.lock(), options))?;
        Ok(deliveries)
    }

    fn add(&self, all: &mut Vec<Deliverer>, options: DeliverOptions) -> Result<(), DeliverError> {
        let deliverer = Deliverer::start(options)?;
        let mut handles = self.handles.write();
        handles.wakers.push(deliverer.waker());
        handles.statuses.push(deliverer.watch());
        all.push(deliverer);
        Ok(())
    }

    /// Goes on with these settings, and starts a delivery for each further key. A key that is not among them any more keeps its
    /// delivery, because its events may wait. Must be called on a Tokio runtime.
    ///
    /// # Errors
    /// As [`Deliverer::start`].
    pub fn follow(&self, all: Vec<DeliverOptions>) -> Result<(), DeliverError> {
        let mut running = self.all.lock();
        for options in all {
            match running.iter().find(|one| one.has_key_of(&options.otas)) {
                Some(one) => one.adjust(options),
                None => self.add(&mut running, options)?,
            }
        }
        Ok(())
    }

    /// Whether nothing is delivered.
    pub fn is_empty(&self) -> bool {
        self.all.lock().is_empty()
    }

    /// A handle that wakes all of them.
    pub fn waker(&self) -> impl Fn() + Clone + Send + Sync + use<> {
        let handles = self.handles.clone();
        move || handles.read().wakers.iter().for_each(Waker::wake)
    }

    /// Their status, now and later.
    pub fn watch(&self) -> Watch {
        Watch(self.handles.clone())
    }

    /// The combined status.
    pub fn status(&self) -> Status {
        self.watch().now()
    }

    /// Waits until nothing is pending, the time is over, or `hurry` is set. `progress` receives the status.
    pub async fn drained(&self, within: Duration, hurry: &CancellationToken, progress: impl Fn(&Status)) -> Status {
        const TELL: Duration = Duration::from_millis(100);
        let waits: Vec<_> = self.all.lock().iter().map(|one| one.drained(within)).collect();
        let drained = futures_util::future::join_all(waits);
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
    pub async fn stop(&self, hurry: &CancellationToken) {
        let all = std::mem::take(&mut *self.all.lock());
        let stopping = all.into_iter().map(|one| one.stop_unless_hurried(hurry.clone()));
        futures_util::future::join_all(stopping).await;
    }
}
