//! Delivery: stored events go to OTAS, each under the session of its own run, in order, at the pace it can take, until it
//! has them.
//!
//! ```text
//!  client       the contract's three calls                   reply     what came back, or how the call failed
//!  verdict      what a reply means for an event (pure)       backoff   how long to wait (pure)
//!  pace         how many posts may be under way (pure)       queue     what waits in memory, and its fate (pure)
//!  bodies       an event as it is posted (pure)              token     a session token's claims (pure)
//!  seal         a token as it is kept (pure)                 sessions  the sessions of the events, with their tokens
//!  credentials  the key, and the file it may change in       session   what is asked of UASAM
//!  worker       the loop that joins them                 examine   whether it would work, without an event
//! ```
//!
//! Of all processes that share a store, one at a time delivers the events of an agent key, for OTAS's pace is one for all;
//! the others wait to take over within a second.
//!
//! An event leaves the store's `pending` only after OTAS said yes, or said never. An answer that is lost on the way
//! may double a row in OTAS, which cannot deduplicate; such posts are counted ([`Status::lost_answers`]).

pub(crate) mod backoff;
mod bodies;
mod client;
mod credentials;
mod examine;
mod pace;
mod queue;
pub(crate) mod reply;
mod seal;
mod session;
mod sessions;
mod several;
mod status;
mod token;
mod verdict;
mod worker;

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use thiserror::Error;
use tokio::sync::{Notify, oneshot, watch};
use tokio::task::JoinHandle;
use tokio::time::{Instant, timeout_at};
use tokio_util::sync::CancellationToken;

use crate::config;
use crate::store::{SessionRow, Store};

pub use examine::{Examined, Finding, examine};
pub use reply::{Reply, TransportClass, TransportError};
pub use several::{Deliveries, Watch};
pub use status::{SessionState, Status, Verdicts};
pub use token::{Claims, TokenError, agent_of_token, check_token, seal_token, unseal_token};
pub use verdict::{Blame, Known, Scope, TokenOrigin, Verdict, verdict};

/// What delivery needs.
pub struct DeliverOptions {
    /// Where the events are.
    pub store: Store,
    /// This process's own session: its state is shown, and `otas.session_token` is its token.
    pub session_row: Option<SessionRow>,
    /// The first session that this process began. The events of all sessions that it began are counted and waited for, and the
    /// key is proved at the start. `None`: it makes no events, and all events of the agent key count.
    pub process: Option<SessionRow>,
    /// Where to, and as whom.
    pub otas: config::Otas,
    /// How.
    pub delivery: config::Delivery,
    /// Which certificates OTAS may show.
    pub tls: rustls::ClientConfig,
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
    stop: oneshot::Sender<CancellationToken>,
    task: JoinHandle<()>,
}

/// What the outside tells the worker.
#[derive(Default)]
struct Signals {
    /// Rows were appended.
    appended: Notify,
    /// Somebody waits: try now instead of at the end of the back-off.
    hurry: Notify,
    /// Who is to be told when the store has been looked at.
    asking: Mutex<Vec<oneshot::Sender<()>>>,
}

impl Signals {
    fn ask(&self, reply: oneshot::Sender<()>) {
        self.asking.lock().unwrap_or_else(PoisonError::into_inner).push(reply);
        self.hurry.notify_one();
    }

    fn asking(&self) -> Vec<oneshot::Sender<()>> {
        std::mem::take(&mut self.asking.lock().unwrap_or_else(PoisonError::into_inner))
    }
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
        let worker = worker::Worker::new(options, status_sender)?;
        let task = tokio::spawn(worker.run(signals.clone(), stopped));
        Ok(Self { signals, status, stop, task })
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

    /// Waits until nothing that counts here (see [`DeliverOptions::process`]) is pending, whoever delivers it, or
    /// `within` is over, and tells how things stand then. OTAS is tried once at once, even in the middle of a back-off.
    pub async fn drained(&self, within: Duration) -> Status {
        let deadline = Instant::now() + within;
        let (reply, looked) = oneshot::channel();
        // What is known may be older than the last rows: the worker looks first.
        self.signals.ask(reply);
        let _ = timeout_at(deadline, looked).await;
        let mut status = self.status.clone();
        let _ = timeout_at(deadline, status.wait_for(|status| status.counts.pending == 0)).await;
        self.status()
    }

    /// Stops: no new posts, those under way get a few seconds for their answers, which are written down; after `hurry` they get
    /// no time. What is pending stays so.
    pub async fn stop_unless_hurried(self, hurry: CancellationToken) {
        // Both fail only when the worker is gone, which is what is wanted.
        let _ = self.stop.send(hurry);
        let _ = self.task.await;
    }

    /// As [`Deliverer::stop_unless_hurried`], without a hurry.
    pub async fn stop(self) {
        self.stop_unless_hurried(CancellationToken::new()).await;
    }
}
