//! From the data path to the store. Finished exchanges are queued without waiting. One thread makes events of them, with secrets
//! masked, and appends them to the store in groups. Large bodies are searched for secrets by other threads, fairly by caller.
//! Between groups the thread keeps the store within its bounds, reports gaps, and notes calls in flight.
//!
//! ```text
//!  handoff     the bounded queue
//!  thread      the reporting thread
//!    |- events      an exchange -> its event and its row
//!    |- linking     which calls belong together
//!    |- searchers   threads that make the events of large calls   (turns: fair among callers; unsearched: notes until they are done)
//!    |- open        notes of calls in flight
//!    |- gap         the event that reports lost events
//! ```

mod events;
mod gap;
mod handoff;
mod linking;
mod open;
mod searchers;
mod thread;
mod turns;
mod unsearched;

use std::collections::BTreeMap;
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use arc_swap::ArcSwap;
pub use handoff::{Guarantees, Handoff};
use parking_lot::Mutex;
use tokio_util::sync::CancellationToken;

use crate::callers::Callers;
use crate::capture::Recording;
use crate::prices::Prices;
use crate::quotas::Quotas;
use crate::redact::Redactor;
use crate::store::{Bounds, Store, StoreError};

/// The facts in force. New settings replace them; an event is made with those that are in force when it is made.
pub type LiveFacts = Arc<ArcSwap<Facts>>;

/// What goes into every event of this process.
#[derive(Clone)]
pub struct Facts {
    /// The sessions of the callers.
    pub callers: Arc<Callers>,
    /// The id of this run.
    pub run_id: String,
    /// `event.error_from_status`.
    pub error_from_status: u16,
    /// `event.properties`.
    pub properties: BTreeMap<String, String>,
    /// What models cost.
    pub prices: Prices,
    /// Where the quotas that providers state are noted.
    pub quotas: Arc<Quotas>,
    /// Masks secrets in events.
    pub redactor: Arc<Redactor>,
    /// The bounds of the store.
    pub bounds: Bounds,
    /// How many bytes of a text are kept.
    pub text_max_bytes: usize,
}

/// The reporting thread.
pub struct Reporter {
    thread: JoinHandle<()>,
    handoff: Handoff,
    tally: Arc<Tally>,
    stop: Arc<Stop>,
}

/// How long waiting bodies are still searched when the proxy stops.
const SEARCH_AT_THE_END: Duration = Duration::from_secs(5);

/// The deadline of the searches once the proxy stops.
#[derive(Default)]
struct Stop(Mutex<Option<(Instant, CancellationToken)>>);

impl Stop {
    /// Whether bodies that are not searched yet are withheld.
    fn hurries(&self) -> bool {
        let end = self.0.lock();
        end.as_ref().is_some_and(|(deadline, hurry)| hurry.is_cancelled() || Instant::now() >= *deadline)
    }
}

/// Counts of the exchanges that were handed off.
#[derive(Default)]
pub struct Tally {
    stored: AtomicU64,
    with_error: AtomicU64,
    lost: AtomicU64,
    unlogged: AtomicU64,
}

impl Tally {
    /// Events in the store.
    pub fn stored(&self) -> u64 {
        self.stored.load(Ordering::Relaxed)
    }

    /// Stored events with an error.
    pub fn with_error(&self) -> u64 {
        self.with_error.load(Ordering::Relaxed)
    }

    /// Calls that get no event: those to OTAS itself, and those into the project's domain.
    pub fn unlogged(&self) -> u64 {
        self.unlogged.load(Ordering::Relaxed)
    }

    /// Events that the store refused for good.
    pub fn lost(&self) -> u64 {
        self.lost.load(Ordering::Relaxed)
    }
}

/// Why reporting cannot start.
#[derive(Debug, thiserror::Error)]
pub enum ReportError {
    /// The store could not be opened for writing.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The thread could not be started.
    #[error("cannot start the reporting thread")]
    Thread(#[from] io::Error),
}

impl Reporter {
    /// Starts the thread. `appended` is called after each group that was committed.
    ///
    /// # Errors
    /// When the store cannot be opened for writing, or the thread cannot be started.
    pub fn start(
        recording: Arc<Recording>,
        handoff: Handoff,
        store: &Store,
        facts: LiveFacts,
        appended: impl Fn() + Send + 'static,
    ) -> Result<Self, ReportError> {
        let tally = Arc::new(Tally::default());
        let mut writer = store.writer()?;
        if handoff.guarantees().strict {
            writer.sync_commits(true)?;
        }
        let stop = Arc::<Stop>::default();
        let reporting = thread::Reporting::new(
            recording,
            handoff.clone(),
            (store.clone(), writer),
            facts,
            (tally.clone(), stop.clone()),
            Box::new(appended),
        )?;
        let thread = std::thread::Builder::new().name("reporter".to_owned()).spawn(move || reporting.run())?;
        Ok(Self { thread, handoff, tally, stop })
    }

    /// The counts so far.
    pub fn tally(&self) -> &Arc<Tally> {
        &self.tally
    }

    /// Ends the thread when all exchanges that were handed off are stored. Bodies that are not searched for secrets within five
    /// seconds, or before `hurry` is cancelled, are withheld from their events. Blocks.
    pub fn finish(self, hurry: CancellationToken) {
        let end = (Instant::now() + SEARCH_AT_THE_END, hurry);
        *self.stop.0.lock() = Some(end);
        self.handoff.close();
        if self.thread.join().is_err() {
            tracing::error!("the reporting thread panicked: later events are missing");
        }
    }
}
