//! The event store: one SQLite file (WAL) that several processes may share.
//!
//! Rows go `pending -> delivered | dead`. They leave `pending` only when OTAS has accepted the event or refused it for good.
//! Events of sessions without an agent key are `kept` from the start. Each sink also has its own position among the rows
//! (`sinks`).
//!
//! Durability: once [`Writer::append`] has returned, an event survives the death of this process (kill -9). With `synchronous =
//! NORMAL`, a *power loss* may lose the last commits: those since SQLite last synced its write-ahead log, which it does at each
//! checkpoint. The file itself stays intact.
//!
//! A damaged file is moved aside (`recovery`), and all handles of all processes switch to the new one.
//!
//! [`Store`] is a cheap handle. [`Writer`] is the connection for appending, owned by one thread. All calls block: keep them off
//! the async threads.

mod ack;
mod chunks;
mod clear;
mod commands;
mod compact;
mod entries;
mod error;
mod event;
mod facts;
mod files;
mod filter;
mod health;
mod history;
mod inspect;
mod key;
mod ledger;
mod link;
mod lock;
mod notes;
mod open;
mod packed;
mod patrol;
mod pending;
mod provisional;
mod read;
mod reading;
mod recovery;
mod related;
mod removal;
mod retention;
mod schema;
mod search;
mod session;
mod sinks;
mod sizes;
mod sql;
mod survey;
#[cfg(test)]
mod testing;
mod travel;
mod vanished;
mod varint;
mod verify;
mod viewer;
mod write;

use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};

use parking_lot::{Mutex, MutexGuard};
use rusqlite::Connection;

use chunks::Loader;
use link::Link;
use provisional::AliveLock;
use session::OwnSession;

pub use ack::{Outcome, Settlement};
pub use clear::{Clearable, Selection};
pub use commands::CommandError;
pub use error::StoreError;
pub use event::{EventRow, NewEvent, PendingEvent, SessionRow, State};
pub use facts::{Entry, Facts};
pub use filter::{Condition, Fact, Figure, Filter, Relation, StatusClass};
pub use health::{Gap, Health, LossReason};
pub use history::PastVerdict;
pub use inspect::Inspector;
pub use key::{KeySource, key_id};
pub use lock::DeliveryLock;
pub use notes::NOTE_MAX_BYTES;
pub use patrol::Patrol;
pub use pending::DataVersion;
pub use read::Counts;
pub use recovery::MovedAside;
pub use retention::{Bounds, TidyStep};
pub(crate) use retention::{free_disk_bytes, left_free_bytes};
pub use search::{Indexer, IndexerStep, SearchBounds, Searched};
pub use session::{KeptToken, SessionRecord};
pub use sinks::SinkPlace;
pub use sizes::Sizes;
pub use survey::{Column, SURVEYED, Sort, Sums};
pub use travel::{Fate, Travelling};
pub use verify::{Fault, Verified};
pub use viewer::{Call, Listed, SessionInfo, Viewer};
pub use write::{Pace, Writer};

/// A handle on the store. Clones share one connection, used for everything but appending.
#[derive(Clone)]
pub struct Store {
    shared: Arc<Shared>,
}

/// What a handle may do with the file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Access {
    /// Create it, migrate it, and replace it when it is damaged: a proxy.
    Recover,
    /// Change what is in it: a command.
    Change,
    /// Nothing: a command that only reads.
    Read,
}

struct Shared {
    path: Box<Path>,
    access: Access,
    link: Mutex<Link>,
    /// The file behind `link` was found damaged.
    suspect: AtomicBool,
    health: Health,
    /// The open sessions of this process. They are written again into a store that replaces this one.
    sessions: Mutex<Vec<OwnSession>>,
    /// The first session of this process. All later ones refer to it.
    first: OnceLock<SessionRow>,
    /// While this is held, no other process takes this process's calls for interrupted.
    alive: OnceLock<AliveLock>,
}

impl Store {
    /// Opens the store. Creates it (file 0600, missing folders 0700) if it does not exist. A damaged store is moved aside; see
    /// [`Store::health`].
    ///
    /// # Errors
    /// When the file cannot be opened or created, is another program's database, or was written by a newer version.
    pub fn open(path: &Path) -> Result<Self, StoreError> {
        let (link, moved) = recovery::open_or_replace(path, None)?;
        let store = Self::of(path, Access::Recover, link);
        moved.into_iter().for_each(|moved| store.health().moved_aside(moved));
        Ok(store)
    }

    fn of(path: &Path, access: Access, link: Link) -> Self {
        let (link, suspect, health) = (Mutex::new(link), AtomicBool::new(false), Health::default());
        let (sessions, first, alive) = (Mutex::default(), OnceLock::new(), OnceLock::new());
        let path = path.into();
        Self { shared: Arc::new(Shared { path, access, link, suspect, health, sessions, first, alive }) }
    }

    /// A separate connection for the thread that appends.
    ///
    /// # Errors
    /// As [`Store::open`].
    pub fn writer(&self) -> Result<Writer, StoreError> {
        let (link, moved) = recovery::open_or_replace(self.path(), None)?;
        moved.into_iter().for_each(|moved| self.shared.health.moved_aside(moved));
        Ok(Writer::new(link, self.shared.clone()))
    }

    /// The store's file.
    pub fn path(&self) -> &Path {
        &self.shared.path
    }

    /// Reads bodies, and notes damage for this process.
    fn loader<'a>(&'a self, connection: &'a Connection) -> Loader<'a> {
        Loader::new(connection, &self.health().damage)
    }

    /// Losses and repairs of this process.
    pub fn health(&self) -> &Health {
        &self.shared.health
    }

    /// The connection. It is opened again if the file was replaced.
    fn connection(&self) -> Connected<'_> {
        // A holder that panics leaves no half-done transaction: dropping one rolls it back.
        let mut held = self.shared.link.lock();
        let suspect = self.shared.suspect.swap(false, Ordering::Relaxed);
        let is_elsewhere =
            !held.is_current(self.path()) && (self.shared.access == Access::Recover || self.path().exists());
        if suspect || is_elsewhere {
            match self.shared.relink(&held, suspect.then(|| held.file()).flatten(), 0) {
                Ok(link) => *held = link.in_place_of(&held),
                // The caller's next statement fails as well and reports why.
                Err(error) => tracing::error!(%error, "the event store cannot be opened again"),
            }
        }
        Connected(held)
    }

    /// Whether this process began the session and has not closed it. Its first session always counts.
    fn is_mine(&self, session: SessionRow) -> bool {
        let sessions = self.shared.sessions.lock();
        self.shared.alive.get().is_some_and(|alive| alive.holder() == session)
            || sessions.iter().any(|noted| noted.row() == session)
    }

    /// For `map_err`: names the operation that failed. If the error means damage, the file is checked at the next use.
    fn failed(&self, act: &'static str) -> impl FnOnce(rusqlite::Error) -> StoreError {
        move |source| {
            if sql::is_corruption(&source) {
                if self.shared.access != Access::Recover {
                    return StoreError::Damaged { path: self.path().into(), source: Some(source) };
                }
                self.shared.suspect.store(true, Ordering::Relaxed);
            }
            StoreError::Query { act, source }
        }
    }
}

impl Shared {
    /// Opens the current file in place of `old`. If that is still the `bad` file, it is replaced. `again` is the number of
    /// events in the old file that will be written again.
    fn relink(&self, old: &Link, bad: Option<link::FileId>, again: u64) -> Result<Link, StoreError> {
        let (mut link, moved) = match self.access {
            Access::Recover => recovery::open_or_replace(&self.path, bad)?,
            Access::Change => (recovery::open_existing(&self.path)?, None),
            Access::Read => return Link::open_to_read(&self.path),
        };
        self.health.damage.clear();
        match moved {
            Some(moved) => self.health.moved_aside(moved),
            None => {
                let first = self.first.get().copied();
                let losses = vanished::losses(&self.path, old, &mut link, first, again);
                let losses = losses.map_err(StoreError::query("count lost events"))?;
                losses.into_iter().for_each(|gap| self.health.record_loss(gap));
            }
        }
        let sessions = self.sessions.lock();
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
