//! The thread that looks for processes: reading `/proc` blocks, and one thread keeps a burst of connections from reading it
//! many times at once.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{SyncSender, sync_channel};

use super::sought::{Finder, Sought};
use super::system;

/// How many connections may wait to be looked up; those beyond stay unknown.
const WAITING: usize = 1024;

/// Looks for processes, one after the other. The thread ends when this is dropped.
pub(super) struct Seeker {
    wanted: SyncSender<Wanted>,
    missed: Arc<AtomicU64>,
}

struct Wanted {
    uid: u32,
    inode: u64,
    finder: Finder,
}

impl Seeker {
    /// Starts the thread.
    ///
    /// # Errors
    /// When there can be no further thread.
    pub(super) fn start() -> io::Result<Self> {
        let (wanted, asked) = sync_channel::<Wanted>(WAITING);
        let missed = Arc::<AtomicU64>::default();
        let counted = missed.clone();
        let look = move || {
            let mut processes = system::Processes::default();
            while let Ok(Wanted { uid, inode, finder }) = asked.recv() {
                if finder.is_forgotten() {
                    continue;
                }
                let found = processes.find(uid, inode);
                if found.is_none() && processes.gave_up() {
                    counted.fetch_add(1, Ordering::Relaxed);
                }
                finder.tell(found);
            }
        };
        std::thread::Builder::new().name("peers".to_owned()).spawn(look)?;
        Ok(Self { wanted, missed })
    }

    /// Looks for the process that holds the socket with this inode, made by this user.
    pub(super) fn seek(&self, uid: u32, inode: u64) -> Sought {
        let (sought, finder) = Sought::begin();
        if self.wanted.try_send(Wanted { uid, inode, finder }).is_err() {
            self.missed.fetch_add(1, Ordering::Relaxed);
        }
        sought
    }

    /// How many were not looked for, or not to the end.
    pub(super) fn missed(&self) -> u64 {
        self.missed.load(Ordering::Relaxed)
    }
}
