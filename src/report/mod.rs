//! The seam between the data path and the reporting path: finished exchanges are queued without waiting, and one
//! thread makes events of them, redacts them and appends them to the store in groups. What has much to search for secrets is
//! searched by other threads beside it, fairly by caller. Between groups it keeps the store
//! within its bounds, tells what is missing, and notes what has been under way for long. On the way it links calls that belong
//! together.

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

pub use handoff::{Handoff, Promise};
use parking_lot::Mutex;
use tokio_util::sync::CancellationToken;

use crate::callers::Callers;
use crate::capture::Recording;
use crate::prices::Prices;
use crate::redact::Redactor;
use crate::store::{Bounds, Store, StoreError};

/// What goes into every event of this process.
pub struct Facts {
    /// Whose events belong to which session.
    pub callers: Arc<Callers>,
    /// This process's own name for itself.
    pub run_id: String,
    /// `event.error_from_status`.
    pub error_from_status: u16,
    /// `event.properties`.
    pub properties: BTreeMap<String, String>,
    /// `event.prices_file`.
    pub prices: Option<Prices>,
    /// What is masked in events.
    pub redactor: Arc<Redactor>,
    /// How large the store may become.
    pub bounds: Bounds,
}

/// The reporting thread.
pub struct Reporter {
    thread: JoinHandle<()>,
    handoff: Handoff,
    tally: Arc<Tally>,
    stop: Arc<Stop>,
}

/// How long bodies are searched when nothing comes any more.
const SEARCH_AT_THE_END: Duration = Duration::from_secs(5);

/// The end of the reporting thread.
#[derive(Default)]
struct Stop(Mutex<Option<(Instant, CancellationToken)>>);

impl Stop {
    /// Whether what was not searched yet is to be withheld.
    fn hurries(&self) -> bool {
        let end = self.0.lock();
        end.as_ref().is_some_and(|(deadline, hurry)| hurry.is_cancelled() || Instant::now() >= *deadline)
    }
}

/// What became of the exchanges that were handed off.
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

    /// Those of them whose call ended with an error.
    pub fn with_error(&self) -> u64 {
        self.with_error.load(Ordering::Relaxed)
    }

    /// Calls that are to have no event here: to OTAS itself, and into the project's domain.
    pub fn unlogged(&self) -> u64 {
        self.unlogged.load(Ordering::Relaxed)
    }

    /// Events that the store refused to the end.
    pub fn lost(&self) -> u64 {
        self.lost.load(Ordering::Relaxed)
    }
}

/// Why nothing can be reported.
#[derive(Debug, thiserror::Error)]
pub enum ReportError {
    /// The store cannot be opened once more.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The system gives no thread.
    #[error("cannot start the reporting thread")]
    Thread(#[from] io::Error),
}

impl Reporter {
    /// Starts the thread. `appended` is called after each group that was committed.
    ///
    /// # Errors
    /// When the store cannot be opened once more, or the system gives no thread.
    pub fn start(
        recording: Arc<Recording>,
        handoff: Handoff,
        store: &Store,
        facts: Facts,
        appended: impl Fn() + Send + 'static,
    ) -> Result<Self, ReportError> {
        let tally = Arc::new(Tally::default());
        let mut writer = store.writer()?;
        if handoff.promise().strict {
            writer.sync_always()?;
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

    /// What became of the exchanges so far.
    pub fn tally(&self) -> &Arc<Tally> {
        &self.tally
    }

    /// Ends the thread once everything that was handed off is in the store. Bodies that are not searched for secrets within five
    /// seconds, or when `hurry` is cancelled, are withheld from their events. Blocks.
    pub fn finish(self, hurry: CancellationToken) {
        let end = (Instant::now() + SEARCH_AT_THE_END, hurry);
        *self.stop.0.lock() = Some(end);
        self.handoff.close();
        if self.thread.join().is_err() {
            tracing::error!("the reporting thread had panicked; events since then are missing");
        }
    }
}
