//! Appending: one transaction for a batch, one prepared statement for its rows.

use std::collections::HashSet;
use std::sync::Arc;

use rusqlite::{Connection, ErrorCode, OptionalExtension, TransactionBehavior, params};
use uuid::Uuid;

use super::heal::is_corruption;
use super::link::{FileId, Link};
use super::session::{ID_BITS, now_ms};
use super::{NewEvent, SessionRow, Shared, State, StoreError, provisional, sinks};

/// The connection that appends. It belongs to one thread, which groups what came since its last commit.
pub struct Writer {
    pub(super) link: Link,
    pub(super) shared: Arc<Shared>,
    /// The file is a new one in the place of another: ids that were given there must not be given again, for posts
    /// under way are settled by them.
    renumber: bool,
    /// Up to this row, events that wait have no bodies any more (see `tidy`).
    pub(super) bodies_removed_to: i64,
    /// Bytes of events that may come before room is looked for again (see `tidy`).
    pub(super) spare_bytes: u64,
    /// Each commit waits for the disk.
    syncs: bool,
}

const INSERT: &str = "
INSERT INTO events (id, event_id, session, seq, started_at_ms, method, host, path, status_code, latency_ms,
                    request_bytes, response_bytes, error, state, attempts, outline, llm, json)
VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14, 0, ?15, ?16, ?17)";

impl Writer {
    pub(super) fn new(link: Link, shared: Arc<Shared>) -> Self {
        Self { link, shared, renumber: false, bodies_removed_to: 0, spare_bytes: 0, syncs: false }
    }

    /// Appends events as pending, all or none. When it returns they survive this process. A damaged store is replaced.
    ///
    /// # Errors
    /// When the batch cannot be written (a full disk, say); then none of it is, and it may be tried again.
    pub fn append(&mut self, session: SessionRow, events: &[NewEvent<'_>]) -> Result<(), StoreError> {
        self.append_ended(&[(session, events)], &[])
    }

    /// The same for several sessions at once; with it, what was noted of the calls `noted` while they were under way goes ([`Writer::note_open`]).
    ///
    /// # Errors
    /// As [`Writer::append`].
    pub fn append_ended(
        &mut self,
        groups: &[(SessionRow, &[NewEvent<'_>])],
        noted: &[Uuid],
    ) -> Result<(), StoreError> {
        let act = "append events";
        if !self.link.is_current(&self.shared.path) {
            self.relink(None, 0)?;
        }
        match self.insert(groups, noted) {
            Err(error) if is_corruption(&error) => self.relink(self.link.file(), 0)?,
            // After a failed write or sync nothing that this connection believes is certain: a new one reads what is
            // really there, and the events are written again.
            Err(error) if error.sqlite_error_code() == Some(ErrorCode::SystemIoFailure) => self.relink(None, 0)?,
            Err(source) => return Err(StoreError::Query { act, source }),
            // It may have been moved aside in the middle; what was just committed may have missed the salvage.
            Ok(()) if self.link.is_current(&self.shared.path) => return Ok(()),
            Ok(()) => self.relink(None, groups.iter().map(|(_, events)| events.len() as u64).sum())?,
        }
        self.insert(groups, noted).map_err(StoreError::query(act))
    }

    fn relink(&mut self, bad: Option<FileId>, again: u64) -> Result<(), StoreError> {
        self.link = self.shared.relink(&self.link, bad, again)?;
        self.renumber = true;
        self.spare_bytes = 0;
        if self.syncs { self.sync_always() } else { Ok(()) }
    }

    /// From now on an appended event survives a power loss, too: each commit waits until the disk has it.
    ///
    /// # Errors
    /// When the store cannot be set so.
    pub fn sync_always(&mut self) -> Result<(), StoreError> {
        self.syncs = true;
        let set = self.link.connection.pragma_update(None, "synchronous", "FULL");
        set.map_err(StoreError::query("be set to sync each commit"))
    }

    fn insert(&mut self, groups: &[(SessionRow, &[NewEvent<'_>])], noted: &[Uuid]) -> rusqlite::Result<()> {
        if groups.iter().all(|(_, events)| events.is_empty()) && noted.is_empty() {
            return Ok(());
        }
        // Immediate: a transaction that began as a reader cannot wait for another process's lock, it fails at once.
        let transaction = self.link.connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
        {
            let (mut first_id, known) = match self.renumber {
                true => (Some(fresh_id(&transaction)?), waiting(&transaction)?),
                false => (sinks::id_beyond(&transaction)?, HashSet::new()),
            };
            let mut insert = transaction.prepare_cached(INSERT)?;
            let mut count = transaction.prepare_cached("UPDATE sessions SET total = total + ?2 WHERE id = ?1")?;
            for (session, events) in groups {
                let state = state_of(&transaction, *session)?;
                let (mut appended, mut bytes) = (0, 0);
                for event in *events {
                    if known.contains(event.event_id.as_bytes()) {
                        continue;
                    }
                    insert.execute(params![
                        // SQLite gives the following ones.
                        first_id.take(),
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
                        state.code(),
                        event.outline,
                        event.llm,
                        event.json,
                    ])?;
                    appended += 1;
                    bytes += event.json.len() as u64;
                }
                if state == State::Kept {
                    transaction.prepare_cached(TALLY)?.execute([signed(bytes)])?;
                }
                count.execute(params![session.0, signed(appended)])?;
            }
        }
        if !noted.is_empty() {
            provisional::forget(&transaction, noted)?;
        }
        transaction.commit()?;
        self.renumber = false;
        Ok(())
    }
}

/// Bytes of events that nobody waits for any more.
pub(super) const TALLY: &str = "UPDATE tally SET delivered_bytes = delivered_bytes + ?1";

/// Where a session's events begin: without an agent key they are not for OTAS.
pub(super) fn state_of(connection: &Connection, session: SessionRow) -> rusqlite::Result<State> {
    let mut query = connection.prepare_cached("SELECT key_id = '' FROM sessions WHERE id = ?1")?;
    let keyless: Option<bool> = query.query_row([session.0], |row| row.get(0)).optional()?;
    Ok(if keyless == Some(true) { State::Kept } else { State::Pending })
}

/// An id above all that a file before this one can have given: the time, which grows faster than events come.
fn fresh_id(connection: &Connection) -> rusqlite::Result<i64> {
    let last: Option<i64> = connection.query_row("SELECT max(id) FROM events", [], |row| row.get(0))?;
    Ok(last.unwrap_or_default().saturating_add(1).max(now_ms() << ID_BITS))
}

/// What the salvage of a damaged file has brought here: it may hold what is just being appended.
fn waiting(connection: &Connection) -> rusqlite::Result<HashSet<[u8; 16]>> {
    connection.prepare("SELECT event_id FROM events WHERE state = 0")?.query_map([], |row| row.get(0))?.collect()
}

/// SQLite's integers are signed.
pub(super) fn signed(value: u64) -> i64 {
    i64::try_from(value).unwrap_or(i64::MAX)
}
