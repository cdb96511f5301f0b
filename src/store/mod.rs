//! Where events wait: one SQLite file (WAL) that several processes may share.
//!
//! Rows go `pending -> delivered | dead` and leave `pending` only after OTAS said yes, or said never.
//!
//! What survives: from the return of [`Writer::append`] on, an event survives the death of this process (kill -9).
//! With `synchronous = NORMAL` the last commits before a *power loss* may be gone (those since SQLite last synced its
//! write-ahead log, which it does at each checkpoint); the file itself stays whole.
//!
//! [`Store`] is a cheap handle; [`Writer`] is the one connection made for speed, owned by the thread that appends.
//! All calls block: keep them off the async threads.

mod error;
mod event;
mod open;
mod read;
mod schema;
mod session;
mod settle;
mod steer;
mod write;

use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use rusqlite::Connection;

pub use error::StoreError;
pub use event::{EventRow, NewEvent, PendingEvent, State};
pub use read::{Counts, Filter};
pub use session::{SessionRow, key_id};
pub use settle::{Outcome, Settlement};
pub use steer::SteerError;
pub use write::Writer;

/// A handle on the store: clones share one connection, used for everything but appending.
#[derive(Clone)]
pub struct Store {
    shared: Arc<Shared>,
}

struct Shared {
    path: Box<Path>,
    connection: Mutex<Connection>,
}

impl Store {
    /// Opens the store, and creates it (file 0600, missing folders 0700) when there is none.
    ///
    /// # Errors
    /// When the file cannot be opened, is no store of ours, or was written by a newer version.
    pub fn open(path: &Path) -> Result<Self, StoreError> {
        let connection = Mutex::new(open::open(path)?);
        Ok(Self { shared: Arc::new(Shared { path: path.into(), connection }) })
    }

    /// A connection of its own for the thread that appends.
    ///
    /// # Errors
    /// As [`Store::open`].
    pub fn writer(&self) -> Result<Writer, StoreError> {
        Ok(Writer::new(open::open(self.path())?))
    }

    /// The file.
    pub fn path(&self) -> &Path {
        &self.shared.path
    }

    /// A holder that panicked has left no half-done transaction behind (they roll back when dropped), so a poisoned
    /// lock is as good as any.
    fn connection(&self) -> MutexGuard<'_, Connection> {
        self.shared.connection.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
