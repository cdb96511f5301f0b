//! Calls in flight. They are noted while they run; if their process dies, the notes become events.
//!
//! A process is alive as long as it holds the lock on the file of its first session. The system releases the lock however the
//! process ends.

use std::fs::{self, File, OpenOptions, TryLockError};
use std::io;
use std::path::{Path, PathBuf};

use rusqlite::{Connection, TransactionBehavior, params};
use serde_json::Value;

use super::files::{beside, open_to_lock};
use super::link::FileId;
use super::sql::{TALLY, first_state, signed};
use super::{NewEvent, SessionRow, State, Store, StoreError, Writer, sinks};
use crate::event::{Llm, for_otas};

/// The path of an event's number in its session.
const NUMBER: &str = "/metadata/event/seq";

/// The lock that shows that a process is alive.
pub(super) struct AliveLock {
    /// Its first session.
    holder: SessionRow,
    path: PathBuf,
    _file: File,
}

impl AliveLock {
    /// Takes the lock for the process whose first session is `holder`.
    pub(super) fn of(store: &Path, holder: SessionRow) -> io::Result<Self> {
        let path = sign(store, holder);
        loop {
            let file = open_to_lock(&path)?;
            file.lock()?;
            // A process that searched for dead ones may have removed the file in between.
            if FileId::of(&path).is_some_and(|found| FileId::of_open(&file) == Some(found)) {
                return Ok(Self { holder, path, _file: file });
            }
        }
    }
}

impl AliveLock {
    /// The first session of its process.
    pub(super) fn holder(&self) -> SessionRow {
        self.holder
    }
}

impl Drop for AliveLock {
    fn drop(&mut self) {
        // A leftover file is removed by the next process that searches for dead ones.
        let _ = fs::remove_file(&self.path);
    }
}

fn sign(store: &Path, holder: SessionRow) -> PathBuf {
    beside(store, &format!(".run-{}.lock", holder.0))
}

/// Whether the process is dead. If so, its lock file is removed.
fn is_dead(store: &Path, holder: SessionRow) -> bool {
    let path = sign(store, holder);
    let Ok(file) = OpenOptions::new().read(true).append(true).open(&path) else { return true };
    match file.try_lock() {
        Ok(()) => {
            let _ = fs::remove_file(&path);
            true
        }
        Err(TryLockError::WouldBlock) => false,
        // The file system has no locks. A late report is better than one of a call that is still in flight.
        Err(TryLockError::Error(_)) => false,
    }
}

/// Whether a process that makes events uses the store.
pub(super) fn is_in_use(store: &Path) -> bool {
    let locks = beside(store, ".run-");
    let (folder, first) = (locks.parent().unwrap_or(Path::new("/")), locks.file_name().unwrap_or_default());
    let is_lock = |file: &std::ffi::OsStr| {
        let file = file.as_encoded_bytes();
        file.starts_with(first.as_encoded_bytes()) && file.ends_with(b".lock")
    };
    let files = fs::read_dir(folder).into_iter().flatten().flatten();
    files.filter(|file| is_lock(&file.file_name())).any(|file| {
        let opened = OpenOptions::new().read(true).append(true).open(file.path());
        opened.is_ok_and(|opened| opened.try_lock().is_err())
    })
}

impl Writer {
    /// Notes calls in flight. A newer note replaces the older one of the same call.
    ///
    /// # Errors
    /// When the store cannot be written. Then none is noted.
    pub fn note_open(&mut self, session: SessionRow, calls: &[NewEvent<'_>]) -> Result<(), StoreError> {
        if calls.is_empty() {
            return Ok(());
        }
        let holder = self.shared.alive.get().map(AliveLock::holder);
        note_open(&mut self.link.connection, session, holder, calls)
            .map_err(StoreError::query("note calls in flight"))
    }
}

fn note_open(
    connection: &mut Connection,
    session: SessionRow,
    holder: Option<SessionRow>,
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
                for_otas(call.json, call.bodies),
                holder.map(|holder| holder.0),
            ])?;
        }
    }
    transaction.commit()
}

impl Store {
    /// Turns the notes of dead processes into events. Returns how many.
    ///
    /// # Errors
    /// When the store cannot be read or written. Sessions that were done before stay done.
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

/// One transaction, so that only one of several processes recovers a session.
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
    let (state, mut first_id, mut bytes) = (first_state(&transaction, session)?, sinks::id_beyond(&transaction)?, 0);
    // A call that had ended has a number already. Calls in flight get the numbers after all others.
    let numbers: Vec<i64> = calls.iter().map(|(_, json)| number_of(json)).collect();
    let ended = numbers.iter().filter(|number| **number > 0);
    let mut next = ended.clone().copied().max().unwrap_or(0).max(last + signed(ended.count() as u64));
    for ((event_id, json), number) in calls.iter().zip(numbers) {
        let (seq, json) = match number {
            0 => {
                next += 1;
                (next, numbered(json, next))
            }
            number => (number, json.clone()),
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

/// The number of a call in its session. 0: it was still in flight, so it has none yet.
fn number_of(json: &[u8]) -> i64 {
    let event = serde_json::from_slice::<Value>(json).unwrap_or_default();
    event.pointer(NUMBER).and_then(Value::as_i64).unwrap_or(0)
}

/// Sets the event's number in its session.
fn numbered(json: &[u8], seq: i64) -> Vec<u8> {
    let Ok(mut event) = serde_json::from_slice::<Value>(json) else { return json.to_vec() };
    if let Some(number) = event.pointer_mut(NUMBER) {
        *number = seq.into();
    }
    serde_json::to_vec(&event).unwrap_or_else(|_| json.to_vec())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::Pace;

    fn call(json: &[u8]) -> NewEvent<'_> {
        NewEvent { error: "proxy_interrupted: x", ..NewEvent::plain(json) }
    }

    const JSON: &[u8] =
        br#"{"path":"/","custom_properties":{"gen_ai.request.model":"m"},"metadata":{"event":{"seq":0}}}"#;

    #[test]
    fn calls_of_a_dead_process_become_events_once_and_those_of_a_living_one_stay() {
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
        writer.append_ended(&[(dead, &[ended])], &[ended.event_id], Pace::InSteps).unwrap();
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
    fn a_process_holds_one_lock_for_all_its_sessions_even_closed_ones() {
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
            assert_eq!(store.recover_interrupted().unwrap(), 0, "its process is alive");
        }
        drop((writer, dying));
        assert_eq!(looking.recover_interrupted().unwrap(), 2);
        assert_eq!((looking.counts(Some(sessions[49])).unwrap().pending, signs()), (1, 0));
    }
}
