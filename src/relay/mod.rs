//! The relay of a fleet: takes events out of the queue and delivers them to OTAS, with the same delivery as a proxy.
//!
//! ```text
//!  lease      one relay works at a time                agents    the keys of agents, by file
//!  intake     messages -> the relay's own store        sessions  a session's token, for the next relay
//!  outcome    verdicts -> the proxies, then the acknowledgement
//!  facts      what the admin port and `relay status` show
//! ```
//!
//! One relay works at a time, because only then the events of a session stay in order and posts stay below OTAS's ceiling. The others
//! wait, and one of them takes over within seconds. It makes new consumers: all that was not acknowledged comes again, in order, and
//! what a relay without the lease still acknowledges has no effect.
//!
//! A message is acknowledged only when OTAS has accepted its event or refused it for good, and the verdict is in the stream of verdicts.
//! Until then its event is pending in the relay's store; at a start such events are removed, because the queue has them.

mod agents;
mod facts;
mod intake;
mod lease;
mod outcome;
mod sessions;

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use async_nats::jetstream::message::Acker;
use parking_lot::Mutex;
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;
use tracing::{error, info, warn};
use uuid::Uuid;

use self::lease::Lease;
use crate::app::{AppError, bounds, step};
use crate::config::{Config, Delivery, Otas};
use crate::deliver::{Ceiling, Deliveries, Watch};
use crate::nats::{Decision, Queue};
use crate::store::{Bounds, SessionRow, Store, StoreError, Writer};

pub use facts::serve;
pub(crate) use facts::{Waiting, holder, taken};

/// How often the folder of keys and the store's bounds are looked at.
const LOOK: Duration = Duration::from_secs(2);

/// At every so many looks the server is asked for what waits, which is a long list in a large fleet.
const LOOKS: u64 = 4;

/// How long verdicts may take to be stored when the relay stops.
const FINISHED_WITHIN: Duration = Duration::from_secs(5);

/// A session without events for so long is closed in the relay's store. Its next event opens it again.
const SESSION_IDLE: Duration = Duration::from_secs(3_600);

/// Verdicts that are remembered, so that an event that comes twice is not delivered twice even if the server has lost the verdict.
const REMEMBERED: usize = 100_000;

/// A running relay.
pub struct Relay {
    shared: Arc<Shared>,
    stop: CancellationToken,
    task: tokio::task::JoinHandle<()>,
}

/// What the parts of a relay share.
struct Shared {
    id: String,
    queue: Queue,
    store: Store,
    writer: Mutex<Writer>,
    bounds: Bounds,
    salt: Vec<u8>,
    otas: Otas,
    delivery: Delivery,
    keys_dir: std::path::PathBuf,
    tls: rustls::ClientConfig,
    ceiling: Arc<Ceiling>,
    held: Mutex<HashMap<Uuid, Held>>,
    /// Events in messages that cannot be read.
    unread: Mutex<HashSet<Uuid>>,
    recent: quick_cache::sync::Cache<Uuid, Decision>,
    sessions: Mutex<HashMap<String, sessions::Used>>,
    agents: Mutex<HashMap<String, agents::Agent>>,
    /// Sessions whose token other relays have.
    kept: Mutex<HashSet<SessionRow>>,
    /// Faults that were reported.
    said: Mutex<HashSet<String>>,
    tally: Tally,
    deliveries: Mutex<Option<Watch>>,
}

/// An event that was taken out of the queue and has no verdict yet.
struct Held {
    proxy: String,
    subject: String,
    /// Its place in the stream.
    sequence: u64,
    /// One for each message that has it.
    ackers: Vec<Acker>,
}

/// Counters, since the start.
#[derive(Default)]
struct Tally {
    taken: AtomicU64,
    delivered: AtomicU64,
    dead: AtomicU64,
    /// Events that came again after their verdict.
    repeated: AtomicU64,
    /// This relay has the lease.
    works: AtomicBool,
    /// Dead events that wait because their stream has no room.
    dead_waiting: AtomicU64,
}

impl Relay {
    /// Starts it. Must be called on a Tokio runtime.
    ///
    /// # Errors
    /// When the store or the credentials cannot be used. It waits for a server that is away.
    pub async fn start(config: &Config, store: Store, tls: rustls::ClientConfig) -> Result<Self, AppError> {
        let queue = Queue::follow(&config.queue, "otas-proxy relay").await;
        let queue = queue.map_err(|error| step("use the queue".to_owned(), error))?;
        let writer = store.writer()?;
        let delivery = config.delivery.clone();
        let ceiling = Ceiling::new(delivery.max_in_flight, delivery.backoff_min, delivery.backoff_max);
        let recent = quick_cache::sync::Cache::new(REMEMBERED);
        for fate in store.newest_fates(REMEMBERED)? {
            recent.insert(fate.event_id, outcome::decision(&fate));
        }
        let shared = Arc::new(Shared {
            id: Uuid::now_v7().to_string(),
            queue,
            salt: store.salt()?,
            writer: Mutex::new(writer),
            // What has no verdict is in the queue as well, and must not vanish from here alone.
            bounds: Bounds { may_drop: false, ..bounds(&config.store) },
            store,
            otas: config.otas.clone(),
            delivery,
            keys_dir: config.queue.keys_dir.clone().unwrap_or_default(),
            tls,
            ceiling: Arc::new(ceiling),
            held: Mutex::default(),
            unread: Mutex::default(),
            recent,
            sessions: Mutex::default(),
            agents: Mutex::default(),
            kept: Mutex::default(),
            said: Mutex::default(),
            tally: Tally::default(),
            deliveries: Mutex::default(),
        });
        let stop = CancellationToken::new();
        let task = tokio::spawn(work(shared.clone(), stop.clone()));
        Ok(Self { shared, stop, task })
    }

    /// Stops: posts in flight get a few seconds. What has no verdict stays in the queue.
    pub async fn stop(self) {
        self.stop.cancel();
        // It fails only if the task panicked, which was logged.
        let _ = self.task.await;
    }
}

/// Waits for the lease, works as long as it has it, and waits again.
async fn work(shared: Arc<Shared>, stop: CancellationToken) {
    while let Some(lease) = Lease::acquire(&shared, &stop).await {
        let lost = CancellationToken::new();
        let keeping = tokio::spawn(lease.keep(shared.clone(), lost.clone(), stop.clone()));
        shared.tally.works.store(true, Ordering::Relaxed);
        info!("this relay delivers the events of the queue");
        if let Err(error) = active(&shared, &lost, &stop).await {
            error!(%error, "the relay cannot work: it lets another one try");
            lost.cancel();
            tokio::time::sleep(LOOK).await;
        }
        shared.tally.works.store(false, Ordering::Relaxed);
        shared.ceiling.close();
        shared.held.lock().clear();
        shared.unread.lock().clear();
        shared.sessions.lock().clear();
        shared.agents.lock().clear();
        shared.kept.lock().clear();
        *shared.deliveries.lock() = None;
        lost.cancel();
        // The lease is given back last, so that the next relay finds nothing in flight.
        let _ = keeping.await;
        if !stop.is_cancelled() {
            warn!("this relay has lost its lease: another one delivers");
        }
    }
}

/// Delivers until the lease is lost or the relay stops.
async fn active(shared: &Arc<Shared>, lost: &CancellationToken, stop: &CancellationToken) -> Result<(), AppError> {
    let store = shared.store.clone();
    // The queue has them.
    blocking(move || store.withdraw_pending()).await?;
    intake::remove_consumers(shared).await.map_err(|why| step("look at the queue's consumers".to_owned(), why))?;
    let deliveries = Deliveries::default();
    *shared.deliveries.lock() = Some(deliveries.watch());
    let (settled, fates) = mpsc::unbounded_channel();
    let finishing = tokio::spawn(outcome::finish(shared.clone(), fates, lost.clone()));
    let mut intakes = JoinSet::new();
    let mut look = tokio::time::interval(LOOK);
    let mut looks = 0_u64;
    loop {
        tokio::select! {
            biased;
            () = stop.cancelled() => break,
            () = lost.cancelled() => break,
            _ = look.tick() => {}
        }
        let found = agents::look(shared).await;
        let options = found.iter().map(|agent| agent.delivery(shared, settled.clone())).collect();
        if let Err(error) = deliveries.follow(options) {
            error!(%error, "cannot set up the delivery of an agent");
        }
        for agent in found {
            let is_new = shared.agents.lock().insert(agent.id.clone(), agent.clone()).is_none();
            if is_new {
                let wake = deliveries.waker();
                intakes.spawn(intake::run(shared.clone(), agent.id, wake, lost.clone()));
            }
        }
        tidy(shared).await;
        if looks.is_multiple_of(LOOKS) {
            facts::report_missing_keys(shared).await;
        }
        looks += 1;
    }
    intakes.shutdown().await;
    let hurry = CancellationToken::new();
    if lost.is_cancelled() {
        hurry.cancel();
    }
    deliveries.stop(&hurry).await;
    drop(deliveries);
    drop(settled);
    // What was delivered until now gets its verdict told. What cannot be told now, the next relay tells.
    let mut finishing = finishing;
    if tokio::time::timeout(FINISHED_WITHIN, &mut finishing).await.is_err() {
        finishing.abort();
    }
    Ok(())
}

/// Keeps the store within its bounds, and closes sessions that are idle.
async fn tidy(shared: &Arc<Shared>) {
    let tidied = shared.clone();
    let done = blocking(move || {
        while tidied.writer.lock().tidy(&tidied.bounds, 0)?.more {}
        Ok(())
    });
    if let Err(error) = done.await {
        warn!(error = error.in_words(), "cannot remove old events from the store");
    }
    sessions::close_idle(shared).await;
}

/// Runs something that blocks.
async fn blocking<T: Send + 'static>(
    act: impl FnOnce() -> Result<T, StoreError> + Send + 'static,
) -> Result<T, StoreError> {
    match tokio::task::spawn_blocking(act).await {
        Ok(done) => done,
        Err(panic) => std::panic::resume_unwind(panic.into_panic()),
    }
}
