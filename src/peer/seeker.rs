//! Looks processes up: at once if the process is where it is expected, otherwise in one thread. Searching `/proc` takes long, and with
//! one thread a burst of connections does not search it many times at once.

use std::io;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::sync::{Arc, Weak};

use parking_lot::Mutex;

use super::lookup::{Finder, OpenConnection, ProcessLookup};
use super::system;

/// Lookups that may wait. Beyond that, processes stay unknown.
const WAITING: usize = 1024;

/// Looks processes up. The thread ends when this is dropped.
pub(super) struct Seeker {
    found: Arc<Found>,
    wanted: SyncSender<Wanted>,
}

/// What the thread shares with those who ask.
#[derive(Default)]
struct Found {
    processes: Mutex<system::Processes>,
    missed: AtomicU64,
}

struct Wanted {
    uid: u32,
    inode: u64,
    connection: Weak<OpenConnection>,
    finder: Finder,
}

impl Seeker {
    /// Starts the thread.
    ///
    /// # Errors
    /// When the system cannot start another thread.
    pub(super) fn start() -> io::Result<Arc<Self>> {
        let (wanted, asked) = sync_channel(WAITING);
        let found = Arc::<Found>::default();
        let finding = found.clone();
        std::thread::Builder::new().name("peers".to_owned()).spawn(move || finding.serve(&asked))?;
        Ok(Arc::new(Self { found, wanted }))
    }

    /// The lookup of the process that holds the socket with this inode, which this user created. `connection`: ends with the
    /// connection.
    pub(super) fn lookup(self: &Arc<Self>, uid: u32, inode: u64, connection: &Arc<OpenConnection>) -> ProcessLookup {
        let (seeker, connection) = (self.clone(), Arc::downgrade(connection));
        ProcessLookup::new(move |finder| seeker.seek(Wanted { uid, inode, connection, finder }))
    }

    fn seek(&self, wanted: Wanted) {
        // Never waits for a search.
        let recalled =
            self.found.processes.try_lock().and_then(|mut all| all.recall(wanted.inode, &wanted.connection));
        if recalled.is_some() {
            return wanted.finder.set(recalled);
        }
        if self.wanted.try_send(wanted).is_err() {
            self.found.missed.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// Lookups that were dropped or given up.
    pub(super) fn missed(&self) -> u64 {
        self.found.missed.load(Ordering::Relaxed)
    }
}

impl Found {
    fn serve(&self, asked: &Receiver<Wanted>) {
        while let Ok(Wanted { uid, inode, connection, finder }) = asked.recv() {
            if finder.is_abandoned() {
                continue;
            }
            let mut processes = self.processes.lock();
            // Nobody holds the socket of a connection that has ended, except perhaps a child that inherited it.
            let ended = connection.strong_count() == 0;
            let found = if ended { None } else { processes.find(uid, inode, connection) };
            if found.is_none() && (ended || processes.gave_up()) {
                self.missed.fetch_add(1, Ordering::Relaxed);
            }
            drop(processes);
            finder.set(found);
        }
    }
}
