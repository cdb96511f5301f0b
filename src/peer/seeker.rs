//! The thread that looks processes up. Reading `/proc` blocks, and with one thread a burst of connections does not read it many
//! times at once.

use std::io;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{SyncSender, sync_channel};
use std::sync::{Arc, Weak};

use super::lookup::{Finder, OpenConnection, ProcessLookup};
use super::system;

/// Lookups that may wait. Beyond that, processes stay unknown.
const WAITING: usize = 1024;

/// Looks processes up, one after the other. The thread ends when this is dropped.
pub(super) struct Seeker {
    wanted: SyncSender<Wanted>,
    missed: Arc<AtomicU64>,
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
    pub(super) fn start() -> io::Result<Self> {
        let (wanted, asked) = sync_channel::<Wanted>(WAITING);
        let missed = Arc::<AtomicU64>::default();
        let counted = missed.clone();
        let look = move || {
            let mut processes = system::Processes::default();
            while let Ok(Wanted { uid, inode, connection, finder }) = asked.recv() {
                if finder.is_abandoned() {
                    continue;
                }
                let found = processes.find(uid, inode, connection);
                if found.is_none() && processes.gave_up() {
                    counted.fetch_add(1, Ordering::Relaxed);
                }
                finder.set(found);
            }
        };
        std::thread::Builder::new().name("peers".to_owned()).spawn(look)?;
        Ok(Self { wanted, missed })
    }

    /// Looks up the process that holds the socket with this inode, which this user created. `connection`: ends with the connection.
    pub(super) fn seek(&self, uid: u32, inode: u64, connection: &Arc<OpenConnection>) -> ProcessLookup {
        let (lookup, finder) = ProcessLookup::begin();
        if self.wanted.try_send(Wanted { uid, inode, connection: Arc::downgrade(connection), finder }).is_err() {
            self.missed.fetch_add(1, Ordering::Relaxed);
        }
        lookup
    }

    /// Lookups that were dropped or given up.
    pub(super) fn missed(&self) -> u64 {
        self.missed.load(Ordering::Relaxed)
    }
}
