//! Delivery: stored events are posted to OTAS until it accepts them, each in its own session, in order, and as fast as OTAS can
//! process them.
//!
//! ```text
//!  client       the contract's three calls                   reply     the reply, or why there is none
//!  verdict      judges a reply for its event (pure)          backoff   the wait after failures (pure)
//!  pace         the limit of posts in flight (pure)          queue     the backlog in memory (pure)
//!  bodies       an event without its bodies (pure)           token     a session token's claims (pure)
//!  seal         encrypts tokens in the store (pure)          sessions  sessions and their tokens
//!  credentials  the key, and the file it may change in       session   questions to UASAM
//!  worker       the loop that joins them                     examine   a dry run for `check`
//!  publish      the same into the queue of a fleet
//! ```
//!
//! Of all processes that share a store, one at a time delivers the events of an agent key, because OTAS's capacity is shared by
//! all. Another process takes over within a second.
//!
//! An event leaves `pending` only when OTAS has accepted it or refused it for good. When an answer is lost, the event may be
//! stored twice, because OTAS cannot deduplicate. Such posts are counted ([`Status::lost_answers`]).

pub(crate) mod backoff;
mod bodies;
mod client;
mod credentials;
mod examine;
mod pace;
#[cfg(feature = "nats")]
pub(crate) mod publish;
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

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use thiserror::Error;
use tokio::sync::{Notify, mpsc, oneshot, watch};
use tokio::task::JoinHandle;
use tokio::time::{Instant, timeout_at};
use tokio_util::sync::CancellationToken;

use crate::config;
use crate::secret::Secret;
use crate::store::{Fate, SessionRow, Store, StoreError};

pub(crate) use pace::Ceiling;

pub use examine::{Examined, Finding, examine};
pub use reply::{Reply, TransportClass, TransportError};
pub use several::{Deliveries, Watch};
pub use status::{SessionState, Status, Verdicts};
pub use token::{Claims, TokenError, agent_of_token, check_token, seal_token, unseal_token};
pub use verdict::{Blame, CredentialFacts, Scope, TokenOrigin, Verdict, verdict};

/// How often to check whether other processes have appended events or released the lock.
const POLL: Duration = Duration::from_millis(250);

/// The pause after the store failed, for example because the disk is full.
const STORE_PAUSE: Duration = Duration::from_secs(1);

/// How long calls in flight may take when delivery stops.
const STOP_GRACE: Duration = Duration::from_secs(5);

/// The inputs of delivery.
pub struct DeliverOptions {
    /// The event store.
    pub store: Store,
    /// This process's own session. Its state is shown, and `otas.session_token` is its token.
    pub session_row: Option<SessionRow>,
    /// The first session that this process began. The events of all its sessions are counted and awaited, and the key is
    /// verified at the start. `None`: this process makes no events, and all events of the agent key count.
    pub process: Option<SessionRow>,
    /// OTAS's addresses, and the credentials.
    pub otas: config::Otas,
    /// Back-off, concurrency and order.
    pub delivery: config::Delivery,
    /// Which certificates are accepted from OTAS.
    pub tls: rustls::ClientConfig,
    /// Its part in a fleet.
    pub fleet: Fleet,
}

/// A part in a fleet. The default has none.
#[derive(Clone, Default)]
pub struct Fleet {
    /// Where the events go. `None`: to OTAS.
    #[cfg(feature = "nats")]
    pub(crate) target: Option<publish::Target>,
    /// A limit of posts that this delivery shares with others.
    pub(crate) ceiling: Option<Arc<Ceiling>>,
    /// Gets what became of events that OTAS has accepted or refused for good, after that was recorded. Their rows may be gone by then:
    /// retention removes what is settled.
    pub(crate) settled: Option<mpsc::UnboundedSender<Vec<Fate>>>,
}

/// Why delivery cannot start.
#[derive(Debug, Error)]
pub enum DeliverError {
    /// The HTTP client could not be created.
    #[error("cannot set up the HTTP client for OTAS")]
    Client(#[source] reqwest::Error),
    /// The store cannot be read.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// A base URL without a path.
    #[error("`{0}` is not a base URL for OTAS: use one like http://localhost:8002")]
    Url(url::Url),
}

/// New settings of a running delivery.
struct Adjustment {
    project_id: Option<String>,
    delivery: config::Delivery,
    tls: rustls::ClientConfig,
}

/// A running delivery. Dropping it stops it without waiting for posts in flight.
pub struct Deliverer {
    /// The agent key at the start, and its file.
    key: (Option<Secret>, Option<PathBuf>),
    signals: Arc<Signals>,
    status: watch::Receiver<Status>,
    stop: oneshot::Sender<CancellationToken>,
    task: JoinHandle<()>,
}

/// Signals to the worker.
#[derive(Default)]
struct Signals {
    /// Rows were appended.
    appended: Notify,
    /// A caller is waiting: try now, even during a back-off.
    hurry: Notify,
    /// Callers to notify once the store has been read.
    asking: Mutex<Vec<oneshot::Sender<()>>>,
    /// New settings that the worker has not seen yet.
    adjustment: Mutex<Option<Adjustment>>,
}

impl Signals {
    fn ask(&self, reply: oneshot::Sender<()>) {
        self.asking.lock().push(reply);
        self.hurry.notify_one();
    }

    fn asking(&self) -> Vec<oneshot::Sender<()>> {
        std::mem::take(&mut self.asking.lock())
    }
}

/// Tells delivery about appended rows. Cheap, never blocks, from any thread.
#[derive(Clone)]
pub struct Waker(Arc<Signals>);

impl Waker {
    /// Call it after each append.
    pub fn wake(&self) {
        self.0.appended.notify_one();
    }
}

impl Deliverer {
    /// Starts delivery. Must be called on a Tokio runtime.
    ///
    /// # Errors
    /// When the HTTP client cannot be set up. Later OTAS failures show in [`Status`].
    pub fn start(options: DeliverOptions) -> Result<Self, DeliverError> {
        let (status_sender, status) = watch::channel(Status::default());
        let (stop, stopped) = oneshot::channel();
        let signals = Arc::new(Signals::default());
        let key = (options.otas.agent_key.clone(), options.otas.agent_key_file.clone());
        #[cfg(feature = "nats")]
        let task = match options.fleet.target.clone() {
            Some(target) => {
                let publisher = publish::Publisher::new(options, target, status_sender)?;
                tokio::spawn(publisher.run(signals.clone(), stopped))
            }
            None => tokio::spawn(worker::Worker::new(options, status_sender)?.run(signals.clone(), stopped)),
        };
        #[cfg(not(feature = "nats"))]
        let task = tokio::spawn(worker::Worker::new(options, status_sender)?.run(signals.clone(), stopped));
        Ok(Self { key, signals, status, stop, task })
    }

    /// Whether it delivers what belongs to the key in these settings: the same key, or the key in the same file.
    fn has_key_of(&self, otas: &config::Otas) -> bool {
        let (key, file) = &self.key;
        match file.is_some() {
            true => *file == otas.agent_key_file,
            false => *key == otas.agent_key,
        }
    }

    /// From now on it works with these settings. Posts in flight end as they began.
    fn adjust(&self, options: DeliverOptions) {
        let DeliverOptions { otas, delivery, tls, .. } = options;
        *self.signals.adjustment.lock() = Some(Adjustment { project_id: otas.project_id, delivery, tls });
        self.wake();
    }

    /// Tells delivery about appended rows.
    pub fn wake(&self) {
        self.signals.appended.notify_one();
    }

    /// A handle for the thread that appends.
    pub fn waker(&self) -> Waker {
        Waker(self.signals.clone())
    }

    /// The current status.
    pub fn status(&self) -> Status {
        self.status.borrow().clone()
    }

    /// The status, to be followed.
    pub fn watch(&self) -> watch::Receiver<Status> {
        self.status.clone()
    }

    /// Waits until nothing that counts here (see [`DeliverOptions::process`]) is pending or in the queue, whichever process delivers it, or
    /// until `within` is over. Returns the status. OTAS is tried once at the start, even during a back-off.
    pub fn drained(&self, within: Duration) -> impl Future<Output = Status> + use<> {
        let (signals, mut status) = (self.signals.clone(), self.status.clone());
        async move {
            let deadline = Instant::now() + within;
            let (reply, looked) = oneshot::channel();
            // The status may be older than the last rows, so the worker reads the store first.
            signals.ask(reply);
            let _ = timeout_at(deadline, looked).await;
            // What is in the queue of a fleet is a relay's to deliver.
            let is_drained = |status: &Status| status.counts.pending <= status.in_queue;
            let _ = timeout_at(deadline, status.wait_for(is_drained)).await;
            status.borrow().clone()
        }
    }

    /// Stops: starts no new posts. Posts in flight get a few seconds to be answered and recorded; after `hurry` they get no
    /// time. The backlog stays pending.
    pub async fn stop_unless_hurried(self, hurry: CancellationToken) {
        // Both fail only if the worker has ended already.
        let _ = self.stop.send(hurry);
        let _ = self.task.await;
    }

    /// As [`Deliverer::stop_unless_hurried`], without `hurry`.
    pub async fn stop(self) {
        self.stop_unless_hurried(CancellationToken::new()).await;
    }
}
