//! The search index is made by a thread of its own, beside everything else: nothing waits for it.

use std::io;
use std::sync::mpsc::{self, RecvTimeoutError, Sender};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use crate::config;
use crate::store::{self, Indexer, IndexerStep, SearchBounds, Store};

/// The index may take this part of what the store may take. It usually takes about a tenth of the store's file.
const PART_OF_STORE: u64 = 8;
/// How often new events are looked for.
const EVERY: Duration = Duration::from_secs(1);
/// The pause between two steps, in which others may use the processor and the disk.
const BREATH: Duration = Duration::from_millis(2);
/// The wait after an error.
const AFTER_ERROR: Duration = Duration::from_secs(30);
/// The lowest priority (`nice`).
const LOWEST: i32 = 19;

/// Runs as long as this lives, or until the process ends: a kill harms nothing.
pub(crate) struct Indexing(Option<(Sender<()>, JoinHandle<()>)>);

impl Indexing {
    /// Starts the thread. With `store.search = false`, it removes the index instead.
    ///
    /// # Errors
    /// When the thread cannot be started.
    pub(crate) fn start(store: &Store, settings: &config::Store) -> io::Result<Self> {
        if !settings.search {
            store.remove_search_index();
            return Ok(Self(None));
        }
        let (mut indexer, (stop, stopped)) = (store.indexer(bounds(settings)), mpsc::channel());
        let thread = thread::Builder::new().name("search-index".to_owned()).spawn(move || {
            give_way();
            while stopped.recv_timeout(turn(&mut indexer)) == Err(RecvTimeoutError::Timeout) {}
        })?;
        Ok(Self(Some((stop, thread))))
    }

    /// Goes on with other settings. Waits until the step in progress has ended.
    ///
    /// # Errors
    /// When the thread cannot be started. Then the index is not made any more.
    pub(crate) fn restart(&mut self, store: &Store, settings: &config::Store) -> io::Result<()> {
        if let Some((stop, thread)) = self.0.take() {
            drop(stop);
            // A panic of the old thread does not matter any more.
            let _ = thread.join();
        }
        *self = Self::start(store, settings)?;
        Ok(())
    }
}

/// How much room the index may take.
pub(crate) fn bounds(settings: &config::Store) -> SearchBounds {
    SearchBounds {
        max_bytes: settings.max_bytes / PART_OF_STORE,
        min_free_bytes: store::left_free_bytes(&settings.path, settings.min_free_bytes),
    }
}

/// A step, and the pause after it.
fn turn(indexer: &mut Indexer) -> Duration {
    match indexer.step() {
        Ok(IndexerStep::Worked) => BREATH,
        Ok(IndexerStep::Done | IndexerStep::Elsewhere | IndexerStep::NoRoom) => EVERY,
        Err(error) => {
            tracing::warn!(%error, "the search index does not follow the store; searches read bodies instead");
            AFTER_ERROR
        }
    }
}

/// On Linux, a priority is that of a thread.
#[cfg(target_os = "linux")]
fn give_way() {
    let this = rustix::thread::gettid();
    let lowered = rustix::process::setpriority_process(Some(this), LOWEST);
    lowered.err().inspect(|error| tracing::debug!(%error, "the search index has no lower priority"));
}

#[cfg(not(target_os = "linux"))]
const fn give_way() {
    let _ = LOWEST;
}
