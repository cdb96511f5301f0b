//! The handle to what the collector has stored: the database's blocking work is done off the async threads here.

use std::path::PathBuf;
use std::sync::Arc;

use serde_json::Value;
use tokio::sync::watch;
use uuid::Uuid;

use super::book::Book;
use super::key::RandomError;
use super::{Agent, CollectorOptions};

/// What the collector has stored. Cheap to clone; a file can also be opened just to list it, while a collector writes it.
#[derive(Clone)]
pub struct Ledger(Arc<Book>);

/// An event as it was taken.
#[derive(Debug, Clone, PartialEq)]
pub struct StoredEvent {
    /// The id that the sender was answered.
    pub event_id: Uuid,
    /// When it arrived: RFC 3339, UTC, with microseconds.
    pub event_time: String,
    /// The session of the token that it came with.
    pub session_id: Uuid,
    /// The agent of the key that it came with.
    pub agent_id: Uuid,
    /// The project of that agent, whatever the event says.
    pub project_id: Uuid,
    /// The event itself, as received.
    pub body: Value,
}

/// A session as it was opened.
#[derive(Debug, Clone, PartialEq)]
pub struct StoredSession {
    /// The session's id, as in its token and its events.
    pub session_id: Uuid,
    /// The agent that opened it.
    pub agent_id: Uuid,
    /// When it was opened: RFC 3339, UTC, with microseconds.
    pub created_at: String,
    /// The `meta` that it was opened with.
    pub meta: Value,
}

impl Ledger {
    /// Opens or makes the database, and registers the agents given.
    ///
    /// # Errors
    /// When the file cannot be made, opened or written, is of another version, or a key is not of OTAS's form.
    pub async fn open(options: CollectorOptions) -> Result<Self, LedgerError> {
        let book = blocking(move || {
            let book = Book::open(options.db.as_deref())?;
            options.agents.iter().try_for_each(|agent| book.register(agent).map(drop))?;
            Ok::<_, LedgerError>(book)
        });
        Ok(Self(Arc::new(book.await??)))
    }

    /// Accepts an agent from now on and returns its id. A known one (by project and name) keeps its id and gets the key
    /// given, which revokes the key that it had.
    ///
    /// # Errors
    /// When the key is not of OTAS's form, or the database cannot be written.
    pub async fn register(&self, agent: Agent) -> Result<Uuid, LedgerError> {
        self.run(move |book| book.register(&agent)).await?
    }

    /// At most `limit` events of one session, or of all, in the order in which they arrived.
    ///
    /// # Errors
    /// When the database cannot be read.
    pub async fn events(&self, session_id: Option<Uuid>, limit: usize) -> Result<Vec<StoredEvent>, LedgerError> {
        self.run(move |book| book.events(session_id, limit)).await?
    }

    /// All sessions, in the order in which they were opened.
    ///
    /// # Errors
    /// When the database cannot be read.
    pub async fn sessions(&self) -> Result<Vec<StoredSession>, LedgerError> {
        self.run(|book| book.sessions()).await?
    }

    /// Follows the number of events saved since this ledger was opened.
    pub fn saved(&self) -> watch::Receiver<u64> {
        self.0.saved()
    }

    /// Does blocking work with the book on a thread that may block.
    pub(super) async fn run<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Book) -> T + Send + 'static,
    ) -> Result<T, LedgerError> {
        let book = Arc::clone(&self.0);
        blocking(move || work(&book)).await
    }
}

/// Why the collector's database could not do what was asked.
#[derive(Debug, thiserror::Error)]
pub enum LedgerError {
    /// The file could not be made, or its permissions not be set.
    #[error("making the collector's database {path} failed; check the directory and its permissions")]
    File {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// SQLite refused.
    #[error("{act} failed in the collector's database")]
    Sql {
        /// What was being done.
        act: &'static str,
        /// What SQLite said.
        source: rusqlite::Error,
    },
    /// The file is another version's, or not the collector's at all.
    #[error("the collector's database has schema {found}, this version writes {expected}; give it another file")]
    Schema {
        /// What the file has.
        found: i64,
        /// What this version can read.
        expected: i64,
    },
    /// A key to register is no agent key.
    #[error("the key of agent {agent:?} is not of the form agent_<prefix>_<secret>; issue one")]
    KeyForm {
        /// The agent's name.
        agent: String,
    },
    /// A token could not be written.
    #[error("writing a session token failed")]
    Token(#[source] serde_json::Error),
    /// No signing secret could be made.
    #[error(transparent)]
    Random(#[from] RandomError),
    /// The runtime is shutting down, or the work panicked.
    #[error("the collector's database work was cut short")]
    CutShort(#[source] tokio::task::JoinError),
}

async fn blocking<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> Result<T, LedgerError> {
    tokio::task::spawn_blocking(work).await.map_err(LedgerError::CutShort)
}
