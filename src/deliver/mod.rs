//! Delivery: stored events of one session go to OTAS, in order, at the pace it can take, until it has them.
//!
//! ```text
//!  client    the contract's three calls                      reply     what came back, or how the call failed
//!  verdict   what a reply means for an event (pure)          backoff   how long to wait (pure)
//!  pace      how many posts may be under way (pure)          queue     what waits in memory, and its fate (pure)
//!  token     a session token's claims (pure)                 session   opening one
//!  worker    the loop that joins them
//! ```
//!
//! An event leaves the store's `pending` only after OTAS said yes, or said never. An answer that is lost on the way
//! may double a row in OTAS, which cannot deduplicate; such posts are counted ([`Status::lost_answers`]).

mod backoff;
mod client;
mod pace;
mod queue;
mod reply;
mod session;
mod status;
mod token;
mod verdict;
mod worker;

use std::sync::Arc;
use std::time::Duration;

use serde_json::Value;
use thiserror::Error;
use tokio::sync::{Notify, oneshot, watch};
use tokio::task::JoinHandle;
use tokio::time::{Instant, timeout_at};

use crate::config;
use crate::store::{Counts, SessionRow, Store};

pub use reply::{Reply, TransportClass, TransportError};
pub use status::{SessionState, Status};
pub use token::{Claims, TokenError, check_token};
pub use verdict::{Blame, Verdict, verdict};

/// What delivery needs.
pub struct DeliverOptions {
    /// Where the events are.
    pub store: Store,
    /// Whose events to deliver.
    pub session_row: SessionRow,
    /// Where to, and as whom.
    pub otas: config::Otas,
    /// How.
    pub delivery: config::Delivery,
    /// Which certificates OTAS may show.
    pub tls: rustls::ClientConfig,
    /// The OTAS session's `meta`, a JSON object.
    pub meta: Value,
}

/// Why delivery cannot start.
#[derive(Debug, Error)]
pub enum DeliverError {
    /// The HTTP client could not be made.
    #[error("cannot set up the HTTP client for OTAS")]
    Client(#[source] reqwest::Error),
    /// A base URL that no path can be joined to.
    #[error("`{0}` is no base URL for OTAS: give one like http://localhost:8002")]
    Url(url::Url),
}

/// A running delivery. Dropping it stops it as well, without waiting for posts under way.
pub struct Deliverer {
    signals: Arc<Signals>,
    status: watch::Receiver<Status>,
    store: Store,
    session_row: SessionRow,
    stop: oneshot::Sender<()>,
    task: JoinHandle<()>,
}

/// What the outside tells the worker.
#[derive(Default)]
struct Signals {
    /// Rows were appended.
    appended: Notify,
    /// Somebody waits: try now instead of at the end of the back-off.
    hurry: Notify,
}

/// Tells delivery that rows were appended: cheap, never blocks, from any thread.
#[derive(Clone)]
pub struct Waker(Arc<Signals>);

impl Waker {
    /// Call it after each append.
    pub fn wake(&self) {
        self.0.appended.notify_one();
    }
}

impl Deliverer {
    /// Starts delivering; must be called on a Tokio runtime.
    ///
    /// # Errors
    /// When the HTTP client cannot be set up. Whatever OTAS does later is no error: it shows in [`Status`].
    pub fn start(options: DeliverOptions) -> Result<Self, DeliverError> {
        let (status_sender, status) = watch::channel(Status::default());
        let (stop, stopped) = oneshot::channel();
        let signals = Arc::new(Signals::default());
        let (store, session_row) = (options.store.clone(), options.session_row);
        let worker = worker::Worker::new(options, status_sender)?;
        let task = tokio::spawn(worker.run(signals.clone(), stopped));
        Ok(Self { signals, status, store, session_row, stop, task })
    }

    /// Tells that rows were appended.
    pub fn wake(&self) {
        self.signals.appended.notify_one();
    }

    /// A handle for the thread that appends.
    pub fn waker(&self) -> Waker {
        Waker(self.signals.clone())
    }

    /// How delivery goes.
    pub fn status(&self) -> Status {
        self.status.borrow().clone()
    }

    /// How delivery goes, to be followed.
    pub fn watch(&self) -> watch::Receiver<Status> {
        self.status.clone()
    }

    /// Waits until nothing of this session is pending, or `within` is over, and tells how things stand then. OTAS is
    /// tried once at once, even in the middle of a back-off.
    pub async fn drained(&self, within: Duration) -> Status {
        let deadline = Instant::now() + within;
        let mut status = self.status.clone();
        self.signals.appended.notify_one();
        self.signals.hurry.notify_one();
        loop {
            let seen = status.borrow_and_update().clone();
            // Asked of the store itself: the worker may not have seen the last rows yet.
            let counts = self.counts().await.unwrap_or(seen.counts);
            if counts.pending == 0 || !matches!(timeout_at(deadline, status.changed()).await, Ok(Ok(()))) {
                let latest = status.borrow().clone();
                return Status { counts, ..latest };
            }
        }
    }

    /// Stops: no new posts, those under way get a few seconds for their answers, which are written down. What is
    /// pending stays so.
    pub async fn stop(self) {
        // Both fail only when the worker is gone, which is what is wanted.
        let _ = self.stop.send(());
        let _ = self.task.await;
    }

    async fn counts(&self) -> Option<Counts> {
        let (store, session_row) = (self.store.clone(), self.session_row);
        tokio::task::spawn_blocking(move || store.counts(Some(session_row))).await.ok()?.ok()
    }
}
