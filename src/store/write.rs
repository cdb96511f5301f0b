//! Appending: one transaction for each batch, one prepared statement for its rows.

use std::borrow::Cow;
use std::collections::HashSet;
use std::sync::Arc;
use std::thread;

use rusqlite::{Connection, ErrorCode, TransactionBehavior, params};
use uuid::Uuid;

use super::chunks::{Hasher, Saver, Sums};
use super::link::{FileId, Link};
use super::packed::Packer;
use super::sql::{ID_BITS, TALLY, WAITING_TALLY, first_state, is_corruption, signed};
use super::{NewEvent, SessionRow, Shared, State, StoreError, sinks};
use crate::clock::now_ms;
use crate::event::with_bodies;

/// The connection that appends. It belongs to one thread, which groups events into batches.
pub struct Writer {
    pub(super) link: Link,
    pub(super) shared: Arc<Shared>,
    /// The file has replaced another one. Ids of the old file must not be used again, because posts in flight are settled by
    /// them.
    renumber: bool,
    /// Up to this row, pending events have no bodies left (see `retention`).
    pub(super) bodies_removed_to: i64,
    /// Bytes that may be appended before the free space is measured again (see `retention`).
    pub(super) spare_bytes: u64,
    /// Each commit waits for the disk.
    syncs: bool,
    /// Stores the texts of bodies.
    pub(super) saver: Saver,
    /// Compresses long JSON.
    packer: Packer,
}

const INSERT: &str = "
INSERT INTO events (id, event_id, session, seq, started_at_ms, method, host, path, status_code, latency_ms,
                    request_bytes, response_bytes, error, state, attempts, outline, llm, json, parts, body_bytes)
VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14, 0, ?15, ?16, ?17, ?18, ?19)";

impl Writer {
    pub(super) fn new(link: Link, shared: Arc<Shared>) -> Self {
        let saver = Saver::new(shared.health.damage.clone());
        Self {
            link,
            shared,
            renumber: false,
            bodies_removed_to: 0,
            spare_bytes: 0,
            syncs: false,
            saver,
            packer: Packer::default(),
        }
    }

    /// Appends events as pending, all or none. Once it returns, they survive this process. A damaged store is replaced.
    ///
    /// # Errors
    /// When the batch cannot be written, for example because the disk is full. Then none of it is written, and the caller may
    /// retry.
    pub fn append(&mut self, session: SessionRow, events: &[NewEvent<'_>]) -> Result<(), StoreError> {
        self.append_ended(&[(session, events)], &[], Pace::AtOnce)
    }

    /// Appends events of several sessions in one transaction. It also removes the provisional notes of the calls `noted`, which have
    /// ended ([`Writer::note_open`]).
    ///
    /// # Errors
    /// As [`Writer::append`].
    pub fn append_ended(
        &mut self,
        groups: &[(SessionRow, &[NewEvent<'_>])],
        noted: &[Uuid],
        pace: Pace,
    ) -> Result<(), StoreError> {
        let act = "append events";
        if !self.link.is_current(&self.shared.path) {
            self.relink(None, 0)?;
        }
        let inserted = self.insert(groups, noted, pace);
        if inserted.is_err() {
            // The chunks of a transaction that was rolled back are not there.
            self.saver.clear();
        }
        match inserted {
            Err(error) if is_corruption(&error) => self.relink(self.link.file(), 0)?,
            // After a failed write or sync, this connection's view of the file is uncertain. A new connection reads what is
            // really there, and the events are written again.
            Err(error) if error.sqlite_error_code() == Some(ErrorCode::SystemIoFailure) => self.relink(None, 0)?,
            Err(source) => return Err(StoreError::Query { act, source }),
            // The file may have been moved aside during the commit, so the salvage may have missed the new rows.
            Ok(()) if self.link.is_current(&self.shared.path) => return Ok(()),
            Ok(()) => self.relink(None, groups.iter().map(|(_, events)| events.len() as u64).sum())?,
        }
        self.insert(groups, noted, pace).map_err(StoreError::query(act))
    }

    fn relink(&mut self, bad: Option<FileId>, again: u64) -> Result<(), StoreError> {
        self.link = self.shared.relink(&self.link, bad, again)?;
        self.renumber = true;
        self.saver.clear();
        self.spare_bytes = 0;
        if self.syncs { self.sync_commits(true) } else { Ok(()) }
    }

    /// Whether an appended event also survives a power loss from now on: then each commit waits until the disk has it.
    ///
    /// # Errors
    /// When the setting cannot be changed.
    pub fn sync_commits(&mut self, syncs: bool) -> Result<(), StoreError> {
        let mode = if syncs { "FULL" } else { "NORMAL" };
        let set = self.link.connection.pragma_update(None, "synchronous", mode);
        set.map_err(StoreError::query("change whether each commit is synced"))?;
        self.syncs = syncs;
        Ok(())
    }

    /// Whether each commit is synced.
    pub fn syncs_commits(&self) -> bool {
        self.syncs
    }

    fn insert(
        &mut self,
        groups: &[(SessionRow, &[NewEvent<'_>])],
        noted: &[Uuid],
        pace: Pace,
    ) -> rusqlite::Result<()> {
        if groups.iter().all(|(_, events)| events.is_empty()) && noted.is_empty() {
            return Ok(());
        }
        // Immediate: a transaction that begins as a reader fails at once when another process holds the lock.
        let transaction = self.link.connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
        {
            let (mut first_id, known) = match self.renumber {
                true => (Some(fresh_id(&transaction)?), waiting(&transaction)?),
                false => (sinks::id_beyond(&transaction)?, HashSet::new()),
            };
            let hasher = Hasher::of(&transaction)?;
            self.saver.begin();
            let mut sums = Sums::default();
            let mut insert = transaction.prepare_cached(INSERT)?;
            let mut count = transaction.prepare_cached("UPDATE sessions SET total = total + ?2 WHERE id = ?1")?;
            for (session, events) in groups {
                let state = first_state(&transaction, *session)?;
                let (mut appended, mut bytes, mut waiting_bytes) = (0_u64, 0, 0);
                for event in *events {
                    if known.contains(event.event_id.as_bytes()) {
                        continue;
                    }
                    let saved = self.saver.save(&transaction, &hasher, event.bodies)?;
                    let json = match saved.parts {
                        Some(_) => Cow::Borrowed(event.json),
                        None => Cow::Owned(with_bodies(event.json, event.bodies)),
                    };
                    let json = self.packer.pack(json);
                    insert.execute(params![
                        // SQLite assigns the following ids.
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
                        &*json,
                        saved.parts,
                        saved.sums.stored_bytes,
                    ])?;
                    appended += 1;
                    if pace == Pace::InSteps && appended.is_multiple_of(STEP) {
                        thread::yield_now();
                    }
                    bytes += (json.len() + saved.parts.as_ref().map_or(0, Vec::len)) as u64;
                    waiting_bytes += saved.sums.stored_bytes;
                    sums += saved.sums;
                }
                match state {
                    State::Kept => transaction.prepare_cached(TALLY)?.execute([signed(bytes)])?,
                    _ => transaction.prepare_cached(WAITING_TALLY)?.execute([waiting_bytes])?,
                };
                count.execute(params![session.0, signed(appended)])?;
            }
            self.saver.finish(&transaction)?;
            sums.add(&transaction)?;
        }
        if !noted.is_empty() {
            remove_notes(&transaction, noted)?;
        }
        transaction.commit()?;
        self.renumber = false;
        Ok(())
    }
}

/// How events are appended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Pace {
    /// Without a pause.
    AtOnce,
    /// The thread yields now and then, so that calls need not wait for it if they have no other processor.
    InSteps,
}

/// Events between two yields.
const STEP: u64 = 8;

/// Removes the provisional notes of calls that have ended, in the transaction that appends their events.
fn remove_notes(transaction: &Connection, ended: &[Uuid]) -> rusqlite::Result<()> {
    let mut delete = transaction.prepare_cached("DELETE FROM open_exchanges WHERE event_id = ?1")?;
    ended.iter().try_for_each(|id| delete.execute([id.as_bytes()]).map(drop))
}

/// An id above all ids of earlier files. It is made from the time, which grows faster than events arrive.
fn fresh_id(connection: &Connection) -> rusqlite::Result<i64> {
    let last: Option<i64> = connection.query_row("SELECT max(id) FROM events", [], |row| row.get(0))?;
    Ok(last.unwrap_or_default().saturating_add(1).max(now_ms() << ID_BITS))
}

/// The salvaged events of a damaged file. They may include the ones that are just being appended.
fn waiting(connection: &Connection) -> rusqlite::Result<HashSet<[u8; 16]>> {
    connection.prepare("SELECT event_id FROM events WHERE state = 0")?.query_map([], |row| row.get(0))?.collect()
}
