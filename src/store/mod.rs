//! Where events wait: one SQLite file (WAL) that several processes may share.
//!
//! Rows go `pending -> delivered | dead` and leave `pending` only after OTAS said yes, or said never. Those of sessions without
//! an agent key are `kept` from the start. Beside that, each sink has its place among them (`sinks`).
//!
//! What survives: from the return of [`Writer::append`] on, an event survives the death of this process (kill -9).
//! With `synchronous = NORMAL` the last commits before a *power loss* may be gone (those since SQLite last synced its
//! write-ahead log, which it does at each checkpoint); the file itself stays whole.
//!
//! A damaged file is moved aside (`heal`), and all handles of all processes go over to the new one.
//!
//! [`Store`] is a cheap handle; [`Writer`] is the one connection made for speed, owned by the thread that appends.
//! All calls block: keep them off the async threads.

mod error;
mod event;
mod filter;
mod heal;
mod health;
mod history;
mod key;
mod link;
mod lock;
mod open;
mod pending;
mod provisional;
mod read;
mod schema;
mod session;
mod settle;
mod sinks;
mod steer;
mod tidy;
mod vanished;
mod viewer;
mod write;

use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};

use rusqlite::Connection;

use link::Link;
use provisional::Alive;
use session::Noted;

pub use error::StoreError;
pub use event::{EventRow, NewEvent, PendingEvent, State};
pub use filter::{Filter, StatusClass};
pub use heal::MovedAside;
pub use health::{Gap, Health, Why};
pub use history::Said;
pub use key::{KeySource, key_id};
pub use lock::DeliveryLock;
pub use read::Counts;
pub use session::{KeptToken, SessionRecord, SessionRow};
pub use settle::{Outcome, Settlement};
pub use sinks::SinkPlace;
pub use steer::SteerError;
pub use tidy::{Bounds, Tidied};
pub(crate) use tidy::{free_disk_bytes, left_free_bytes};
pub use viewer::{Call, Listed, SessionInfo, Viewer};
pub use write::Writer;

/// A handle on the store: clones share one connection, used for everything but appending.
#[derive(Clone)]
pub struct Store {
    shared: Arc<Shared>,
}

struct Shared {
    path: Box<Path>,
    link: Mutex<Link>,
    /// The file that `link` leads to was found damaged.
    suspect: AtomicBool,
    health: Health,
    /// The sessions that this process has begun: a new store must know them, too.
    sessions: Mutex<Vec<Noted>>,
    /// The first session that this process began: all others are noted with it.
    first: OnceLock<SessionRow>,
    /// Nobody takes this process's calls for interrupted while it is here.
    alive: OnceLock<Alive>,
}

impl Store {
    /// Opens the store, and creates it (file 0600, missing folders 0700) when there is none. A damaged one is moved
    /// aside; see [`Store::health`].
    ///
    /// # Errors
    /// When the file cannot be opened or made, is another program's database, or was written by a newer version.
    pub fn open(path: &Path) -> Result<Self, StoreError> {
        let (link, moved) = heal::open_or_replace(path, None)?;
        let health = Health::default();
        moved.into_iter().for_each(|moved| health.moved_aside(moved));
        let (link, suspect) = (Mutex::new(link), AtomicBool::new(false));
        let (sessions, first, alive) = (Mutex::default(), OnceLock::new(), OnceLock::new());
        Ok(Self { shared: Arc::new(Shared { path: path.into(), link, suspect, health, sessions, first, alive }) })
    }

    /// A connection of its own for the thread that appends.
    ///
    /// # Errors
    /// As [`Store::open`].
    pub fn writer(&self) -> Result<Writer, StoreError> {
        let (link, moved) = heal::open_or_replace(self.path(), None)?;
        moved.into_iter().for_each(|moved| self.shared.health.moved_aside(moved));
        Ok(Writer::new(link, self.shared.clone()))
    }

    /// The file.
    pub fn path(&self) -> &Path {
        &self.shared.path
    }

    /// What the store had to do to go on.
    pub fn health(&self) -> &Health {
        &self.shared.health
    }

    /// The connection, to the file that is the store now.
    fn connection(&self) -> Connected<'_> {
        // A holder that panicked has left no half-done transaction behind (they roll back when dropped), so a poisoned
        // lock is as good as any.
        let mut held = self.shared.link.lock().unwrap_or_else(PoisonError::into_inner);
        let suspect = self.shared.suspect.swap(false, Ordering::Relaxed);
        if suspect || !held.is_current(self.path()) {
            match self.shared.relink(&held, suspect.then(|| held.file()).flatten(), 0) {
                Ok(link) => *held = link,
                // What is tried next fails as well, and says why.
                Err(error) => tracing::error!(%error, "the event store cannot be opened again"),
            }
        }
        Connected(held)
    }

    /// Whether a session is one that this process has begun, and has not closed unless it was the first.
    fn is_mine(&self, session: SessionRow) -> bool {
        let sessions = self.shared.sessions.lock().unwrap_or_else(PoisonError::into_inner);
        self.shared.alive.get().is_some_and(|alive| alive.holder() == session)
            || sessions.iter().any(|noted| noted.row() == session)
    }

    /// For `map_err`: names the act that failed, and has the file looked at if it is damaged.
    fn failed(&self, act: &'static str) -> impl FnOnce(rusqlite::Error) -> StoreError {
        move |source| {
            if heal::is_corruption(&source) {
                self.shared.suspect.store(true, Ordering::Relaxed);
            }
            StoreError::Query { act, source }
        }
    }
}

impl Shared {
    /// A link to the file that is the store now, in place of `old`; when that is still `bad`, it is replaced. `again`: events in
    /// the old file that will be written once more.
    fn relink(&self, old: &Link, bad: Option<link::FileId>, again: u64) -> Result<Link, StoreError> {
        let (mut link, moved) = heal::open_or_replace(&self.path, bad)?;
        match moved {
            Some(moved) => self.health.moved_aside(moved),
            None => {
                let first = self.first.get().copied();
                let missing = vanished::missing(&self.path, old, &mut link, first, again);
                let missing = missing.map_err(StoreError::query("count what is missing"))?;
                missing.into_iter().for_each(|gap| self.health.missing(gap));
            }
        }
        let sessions = self.sessions.lock().unwrap_or_else(PoisonError::into_inner);
        for session in sessions.iter() {
            session.note_again(&link.connection).map_err(StoreError::query("note the session"))?;
        }
        Ok(link)
    }
}

/// A held connection.
struct Connected<'a>(MutexGuard<'a, Link>);

impl std::ops::Deref for Connected<'_> {
    type Target = Connection;

    fn deref(&self) -> &Connection {
        &self.0.connection
    }
}

impl std::ops::DerefMut for Connected<'_> {
    fn deref_mut(&mut self) -> &mut Connection {
        &mut self.0.connection
    }
}
