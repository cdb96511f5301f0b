//! The handle on the collector's database. It runs the blocking work off the async threads.

use std::sync::Arc;

use tokio::sync::watch;
use uuid::Uuid;

use super::database::Database;
use super::error::LedgerError;
use super::stored::{StoredEvent, StoredSession};
use super::{Agent, CollectorOptions};

/// The collector's database. Cheap to clone. A file may also be opened to list it while a collector writes it.
#[derive(Clone)]
pub struct Ledger(Arc<Database>);

impl Ledger {
    /// Opens or creates the database, and registers the given agents.
    ///
    /// # Errors
    /// When the file cannot be created, opened or written, has another version, or a key is malformed.
    pub async fn open(options: CollectorOptions) -> Result<Self, LedgerError> {
        let database = blocking(move || {
            let database = Database::open(options.db.as_deref())?;
            options.agents.iter().try_for_each(|agent| database.register(agent).map(drop))?;
            Ok::<_, LedgerError>(database)
        });
        Ok(Self(Arc::new(database.await??)))
    }

    /// Accepts an agent from now on and returns its id. A known agent (same project and name) keeps its id and gets the new
    /// key, which revokes the old one.
    ///
    /// # Errors
    /// When the key is malformed, or the database cannot be written.
    pub async fn register(&self, agent: Agent) -> Result<Uuid, LedgerError> {
        self.run(move |database| database.register(&agent)).await?
    }

    /// At most `limit` events of one session, or of all, in order of arrival.
    ///
    /// # Errors
    /// When the database cannot be read.
    pub async fn events(&self, session_id: Option<Uuid>, limit: usize) -> Result<Vec<StoredEvent>, LedgerError> {
        self.run(move |database| database.events(session_id, limit)).await?
    }

    /// All sessions, in the order in which they were opened.
    ///
    /// # Errors
    /// When the database cannot be read.
    pub async fn sessions(&self) -> Result<Vec<StoredSession>, LedgerError> {
        self.run(|database| database.sessions()).await?
    }

    /// Follows the number of events saved since this ledger was opened.
    pub fn saved(&self) -> watch::Receiver<u64> {
        self.0.saved()
    }

    /// Runs blocking work with the database on a blocking thread.
    pub(super) async fn run<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Database) -> T + Send + 'static,
    ) -> Result<T, LedgerError> {
        let database = Arc::clone(&self.0);
        blocking(move || work(&database)).await
    }
}

async fn blocking<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> Result<T, LedgerError> {
    tokio::task::spawn_blocking(work).await.map_err(LedgerError::CutShort)
}
