//! Appending: one transaction for a batch, one prepared statement for its rows.

use rusqlite::{Connection, TransactionBehavior, params};

use super::{NewEvent, SessionRow, State, StoreError};

/// The connection that appends. It belongs to one thread, which groups what came since its last commit.
pub struct Writer {
    connection: Connection,
}

const INSERT: &str = "
INSERT INTO events (event_id, session, seq, started_at_ms, method, host, path, status_code, latency_ms,
                    request_bytes, response_bytes, error, state, attempts, json)
VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, 0, ?14)";

impl Writer {
    pub(super) fn new(connection: Connection) -> Self {
        Self { connection }
    }

    /// Appends events as pending, all or none. When it returns they survive this process.
    ///
    /// # Errors
    /// When the batch cannot be written (a full disk, say); then none of it is, and it may be tried again.
    pub fn append(&mut self, session: SessionRow, events: &[NewEvent<'_>]) -> Result<(), StoreError> {
        self.insert(session, events).map_err(StoreError::query("append events"))
    }

    fn insert(&mut self, session: SessionRow, events: &[NewEvent<'_>]) -> rusqlite::Result<()> {
        if events.is_empty() {
            return Ok(());
        }
        // Immediate: a transaction that began as a reader cannot wait for another process's lock, it fails at once.
        let transaction = self.connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
        {
            let mut insert = transaction.prepare_cached(INSERT)?;
            for event in events {
                insert.execute(params![
                    event.event_id.as_bytes(),
                    session.0,
                    signed(event.seq),
                    event.started_at_ms,
                    event.method,
                    event.host,
                    event.path,
                    event.status_code,
                    event.latency_ms,
                    signed(event.request_bytes),
                    signed(event.response_bytes),
                    event.error,
                    State::Pending.code(),
                    event.json,
                ])?;
            }
            transaction
                .prepare_cached("UPDATE sessions SET total = total + ?2 WHERE id = ?1")?
                .execute(params![session.0, signed(events.len() as u64)])?;
        }
        transaction.commit()
    }
}

/// SQLite's integers are signed.
fn signed(value: u64) -> i64 {
    i64::try_from(value).unwrap_or(i64::MAX)
}
