//! Calls under way, as far as they are known: what is noted of a process that is no more becomes events.
//!
//! A process lives as long as it holds the lock on its first session's file; the system frees it, however the process ends.

use std::fs::{self, File, OpenOptions, TryLockError};
use std::io;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use rusqlite::{Connection, TransactionBehavior, params};
use serde_json::Value;
use uuid::Uuid;

use super::heal::beside;
use super::write::{TALLY, signed, state_of};
use super::{NewEvent, SessionRow, State, Store, StoreError, Writer, sinks};
use crate::event::Llm;

/// Where an event says which place it has in its session.
const PLACE: &str = "/metadata/event/seq";

/// The sign that a process lives.
pub(super) struct Alive {
    /// Its first session.
    holder: SessionRow,
    path: PathBuf,
    _file: File,
}

impl Alive {
    /// Taken when the first session begins.
    pub(super) fn of(store: &Path, holder: SessionRow) -> io::Result<Self> {
        let path = sign(store, holder);
        loop {
            let file = OpenOptions::new().create(true).append(true).mode(0o600).open(&path)?;
            file.lock()?;
            // Somebody who looked for the dead may have removed it in between.
            if fs::metadata(&path).is_ok_and(|found| file.metadata().is_ok_and(|ours| found.ino() == ours.ino())) {
                return Ok(Self { holder, path, _file: file });
            }
        }
    }
}

impl Alive {
    /// The first session of its process.
    pub(super) fn holder(&self) -> SessionRow {
        self.holder
    }
}

impl Drop for Alive {
    fn drop(&mut self) {
        // A leftover is removed by whoever looks for the dead.
        let _ = fs::remove_file(&self.path);
    }
}

fn sign(store: &Path, holder: SessionRow) -> PathBuf {
    let store = fs::canonicalize(store).unwrap_or_else(|_| store.to_owned());
    beside(&store, &format!(".run-{}.lock", holder.0))
}

/// Whether nobody lives any more who holds this sign; if so, it is removed.
fn is_dead(store: &Path, holder: SessionRow) -> bool {
    let path = sign(store, holder);
    let Ok(file) = OpenOptions::new().append(true).open(&path) else { return true };
    match file.try_lock() {
        Ok(()) => {
            let _ = fs::remove_file(&path);
            true
        }
        Err(TryLockError::WouldBlock) => false,
        // A file system without locks: better an event too late than one of a call that goes on.
        Err(TryLockError::Error(_)) => false,
    }
}

impl Writer {
    /// Notes calls that are under way, in place of what was noted of them before.
    ///
    /// # Errors
    /// When they cannot be written; then none is.
    pub fn note_open(&mut self, session: SessionRow, calls: &[NewEvent<'_>]) -> Result<(), StoreError> {
        if calls.is_empty() {
            return Ok(());
        }
        let holder = self.shared.alive.get().map(Alive::holder);
        note_open(&mut self.link.connection, (session, holder), calls)
            .map_err(StoreError::query("note calls under way"))
    }
}

fn note_open(
    connection: &mut Connection,
    (session, holder): (SessionRow, Option<SessionRow>),
    calls: &[NewEvent<'_>],
) -> rusqlite::Result<()> {
    let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
    {
        let mut insert = transaction.prepare_cached(
            "INSERT OR REPLACE INTO open_exchanges (event_id, session, started_at_ms, method, host, path, status_code,
                 latency_ms, request_bytes, response_bytes, error, json, holder)
             VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13)",
        )?;
        for call in calls {
            insert.execute(params![
                call.event_id.as_bytes(),
                session.0,
                call.started_at_ms,
                call.method,
                call.host,
                call.path,
                call.status_code,
                call.latency_ms,
                signed(call.request_bytes),
                signed(call.response_bytes),
                call.error,
                call.json,
                holder.map(|holder| holder.0),
            ])?;
        }
    }
    transaction.commit()
}

impl Store {
    /// Makes events of what is noted of calls whose process is no more. Tells how many.
    ///
    /// # Errors
    /// When the store cannot be read or written; what was done until then stays done.
    pub fn recover_interrupted(&self) -> Result<usize, StoreError> {
        let act = "record interrupted calls";
        let noted: Vec<(SessionRow, SessionRow)> = self
            .connection()
            .prepare_cached("SELECT DISTINCT coalesce(holder, session), session FROM open_exchanges ORDER BY 1")
            .and_then(|mut query| {
                query.query_map([], |row| Ok((SessionRow(row.get(0)?), SessionRow(row.get(1)?))))?.collect()
            })
            .map_err(self.failed(act))?;
        let mut recovered = 0;
        for of_one in noted.chunk_by(|(one, _), (other, _)| one == other) {
            let holder = of_one[0].0;
            if self.is_mine(holder) || !is_dead(self.path(), holder) {
                continue;
            }
            for (_, session) in of_one {
                recovered += recover(&mut self.connection(), *session, holder).map_err(self.failed(act))?;
            }
        }
        Ok(recovered)
    }
}

/// In one transaction, so that of several who recover a session one does.
fn recover(connection: &mut Connection, session: SessionRow, holder: SessionRow) -> rusqlite::Result<usize> {
    const THEIRS: &str = "session = ?1 AND coalesce(holder, session) = ?2";
    let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
    let calls: Vec<(Vec<u8>, Vec<u8>)> = transaction
        .prepare(&format!("SELECT event_id, json FROM open_exchanges WHERE {THEIRS} ORDER BY started_at_ms"))?
        .query_map([session.0, holder.0], |row| Ok((row.get(0)?, row.get(1)?)))?
        .collect::<rusqlite::Result<_>>()?;
    let last: i64 = transaction
        .query_row("SELECT total + dropped FROM sessions WHERE id = ?1", [session.0], |row| row.get(0))
        .unwrap_or(0);
    let (state, mut first_id, mut bytes) = (state_of(&transaction, session)?, sinks::id_beyond(&transaction)?, 0);
    // A call that had ended has its place already. Those that had not come behind all others.
    let places: Vec<i64> = calls.iter().map(|(_, json)| place_of(json)).collect();
    let ended = places.iter().filter(|place| **place > 0);
    let mut next = ended.clone().copied().max().unwrap_or(0).max(last + signed(ended.count() as u64));
    for ((event_id, json), place) in calls.iter().zip(places) {
        let (seq, json) = match place {
            0 => {
                next += 1;
                (next, numbered(json, next))
            }
            place => (place, json.clone()),
        };
        bytes += json.len() as u64;
        transaction.execute(
            "INSERT INTO events (id, event_id, session, seq, started_at_ms, method, host, path, status_code, latency_ms,
                 request_bytes, response_bytes, error, state, attempts, json, llm)
             SELECT ?4, event_id, session, ?2, started_at_ms, method, host, path, status_code, latency_ms,
                 request_bytes, response_bytes, error, ?5, 0, ?3, ?6 FROM open_exchanges WHERE event_id = ?1",
            params![event_id, seq, json, first_id.take(), state.code(), Llm::of_event(&json)],
        )?;
    }
    if state == State::Kept {
        transaction.execute(TALLY, [signed(bytes)])?;
    }
    transaction.execute(&format!("DELETE FROM open_exchanges WHERE {THEIRS}"), [session.0, holder.0])?;
    transaction.execute(
        "UPDATE sessions SET total = total + ?2 WHERE id = ?1",
        params![session.0, signed(calls.len() as u64)],
    )?;
    transaction.commit()?;
    Ok(calls.len())
}

/// The place of a call among those that had ended; 0: it was under way.
fn place_of(json: &[u8]) -> i64 {
    let event = serde_json::from_slice::<Value>(json).unwrap_or_default();
    event.pointer(PLACE).and_then(Value::as_i64).unwrap_or(0)
}

fn numbered(json: &[u8], seq: i64) -> Vec<u8> {
    let Ok(mut event) = serde_json::from_slice::<Value>(json) else { return json.to_vec() };
    if let Some(place) = event.pointer_mut(PLACE) {
        *place = seq.into();
    }
    serde_json::to_vec(&event).unwrap_or_else(|_| json.to_vec())
}

/// Removes the notes of calls that have ended, in the transaction that appends their events.
pub(super) fn forget(transaction: &Connection, ended: &[Uuid]) -> rusqlite::Result<()> {
    let mut delete = transaction.prepare_cached("DELETE FROM open_exchanges WHERE event_id = ?1")?;
    ended.iter().try_for_each(|id| delete.execute([id.as_bytes()]).map(drop))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn call(json: &[u8]) -> NewEvent<'_> {
        NewEvent { error: "proxy_interrupted: x", ..NewEvent::plain(json) }
    }

    const JSON: &[u8] =
        br#"{"path":"/","custom_properties":{"gen_ai.request.model":"m"},"metadata":{"event":{"seq":0}}}"#;

    #[test]
    fn what_a_dead_process_had_under_way_becomes_events_once_and_what_a_living_one_has_stays() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("events.db");
        let (dying, living, looking) =
            (Store::open(&path).unwrap(), Store::open(&path).unwrap(), Store::open(&path).unwrap());
        let (dead, alive) =
            (dying.begin_session("dead", "k", "{}").unwrap(), living.begin_session("alive", "k", "{}").unwrap());
        let mut writer = dying.writer().unwrap();
        writer.append(dead, &[call(JSON)]).unwrap();
        let (ended, open) = (call(JSON), call(JSON));
        writer.note_open(dead, &[ended, open]).unwrap();
        writer.note_open(dead, &[open]).unwrap();
        writer.append_ended(&[(dead, &[ended])], &[ended.event_id]).unwrap();
        living.writer().unwrap().note_open(alive, &[call(JSON)]).unwrap();
        assert_eq!(looking.recover_interrupted().unwrap(), 0);
        drop((writer, dying));
        assert_eq!(looking.recover_interrupted().unwrap(), 1);
        assert_eq!(looking.recover_interrupted().unwrap(), 0);
        let waiting = looking.waiting("k", &[], 10).unwrap();
        assert_eq!(waiting.len(), 3);
        let last = looking.pending_event(waiting[2].0).unwrap().unwrap();
        assert_eq!(last.session, dead);
        assert!(String::from_utf8(last.json).unwrap().contains(r#""seq":3"#));
        let calls = looking.viewer().calls(&crate::store::Filter { limit: 9, ..Default::default() }, None).unwrap();
        assert_eq!(calls[0].call.llm, r#"{"gen_ai.request.model":"m"}"#);
        assert_eq!(looking.counts(Some(dead)).unwrap().pending, 3);
        assert_eq!(looking.counts(Some(alive)).unwrap().pending, 0);
    }

    #[test]
    fn a_process_of_many_sessions_holds_one_lock_also_for_those_that_it_has_closed() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("events.db");
        let (dying, looking) = (Store::open(&path).unwrap(), Store::open(&path).unwrap());
        let sessions: Vec<_> =
            (0..50).map(|n| dying.begin_session(&format!("run-{n}"), "k", "{}").unwrap()).collect();
        let signs = || {
            let files = fs::read_dir(folder.path()).unwrap().map(|file| file.unwrap().file_name());
            files.filter(|name| name.to_string_lossy().contains(".run-")).count()
        };
        assert_eq!(signs(), 1);
        let mut writer = dying.writer().unwrap();
        for session in &sessions[48..] {
            writer.note_open(*session, &[call(JSON)]).unwrap();
        }
        dying.close_session(sessions[49]).unwrap();
        for store in [&dying, &looking] {
            assert_eq!(store.recover_interrupted().unwrap(), 0, "its process lives");
        }
        drop((writer, dying));
        assert_eq!(looking.recover_interrupted().unwrap(), 2);
        assert_eq!((looking.counts(Some(sessions[49])).unwrap().pending, signs()), (1, 0));
    }
}
