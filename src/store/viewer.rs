//! Reading for people: lists, totals, single events. Viewers use read-only connections of their own, so a reader never blocks
//! appends or delivery. No query takes longer than [`LONGEST`].

use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use rusqlite::{Connection, OptionalExtension, Row, params, params_from_iter};
use uuid::Uuid;

use super::chunks::{Damage, Loader};
use super::commands::{OLDEST_PENDING, SESSION_NAMED};
use super::ledger::Ledger;
use super::link::Link;
use super::read::{counts, event_row};
use super::sql::{NOTE, WITH_NOTE, as_limit, unsigned};
use super::{Counts, EventRow, Filter, PastVerdict, SessionRow, State, Store, StoreError, history, search};

/// Longer queries are aborted: a long-lived reader keeps the write-ahead log from being truncated.
const LONGEST: Duration = Duration::from_secs(10);

/// SQLite instructions between two checks of the deadline.
const STEPS: i32 = 10_000;

/// Idle connections that are kept.
const IDLE: usize = 4;

/// A reader of a store. All calls block: keep them off the async threads.
pub struct Viewer {
    path: Box<Path>,
    idle: Mutex<Vec<Link>>,
    pub(super) ledger: Ledger,
    pub(super) damage: Arc<Damage>,
}

/// A call, as lists show it.
#[derive(Debug, Clone, PartialEq)]
pub struct Call {
    /// The event's row.
    pub id: i64,
    /// The session's row.
    pub session: i64,
    /// When the request arrived, in Unix milliseconds.
    pub started_at_ms: i64,
    /// The request's method.
    pub method: String,
    /// The host that was called.
    pub host: String,
    /// The request's path.
    pub path: String,
    /// The response's status code; 0 if there was none.
    pub status_code: u16,
    /// The latency of the call.
    pub latency_ms: f64,
    /// Size of the request's body.
    pub request_bytes: u64,
    /// Size of the response's body.
    pub response_bytes: u64,
    /// OTAS's `error`; empty on success.
    pub error: String,
    /// The column of `event::Outline`.
    pub outline: String,
    /// The column of `event::Llm`.
    pub llm: String,
}

impl Call {
    /// When it ended, in Unix milliseconds.
    pub fn ended_at_ms(&self) -> i64 {
        self.started_at_ms.saturating_add(self.latency_ms.max(0.0) as i64)
    }
}

/// A call with its delivery state.
#[derive(Debug, Clone, PartialEq)]
pub struct Listed {
    /// The call.
    pub call: Call,
    /// The delivery state.
    pub state: State,
    /// Posts so far.
    pub attempts: u32,
    /// The verdict of the last post.
    pub verdict: Option<String>,
    /// The note that a person wrote on it.
    pub note: Option<String>,
}

/// A session, as people see it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SessionInfo {
    /// Its row.
    pub row: SessionRow,
    /// Its run id.
    pub run_id: String,
    /// The short name of its agent key.
    pub key_id: String,
    /// OTAS's agent id, if known.
    pub agent_id: Option<String>,
    /// OTAS's session id, once the session is open.
    pub otas_session_id: Option<String>,
    /// Its `meta`: a JSON object.
    pub meta: String,
    /// When it began, in Unix milliseconds.
    pub opened_at_ms: i64,
    /// When it ended, in Unix milliseconds, if recorded.
    pub closed_at_ms: Option<i64>,
    /// Its events.
    pub counts: Counts,
    /// Events that were dropped before delivery.
    pub dropped: u64,
}

impl Store {
    /// A reader of this store.
    pub fn viewer(&self) -> Viewer {
        Viewer::new(self.path(), self.health().damage.clone())
    }
}

impl Viewer {
    /// Of the store at this path. Damage is noted in `damage`.
    pub(super) fn new(path: &Path, damage: Arc<Damage>) -> Self {
        Self { path: path.into(), idle: Mutex::default(), ledger: Ledger::default(), damage }
    }

    /// The store's file.
    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// Reads bodies, and notes damage for this process.
    pub(super) fn loader<'a>(&'a self, connection: &'a Connection) -> Loader<'a> {
        Loader::new(connection, &self.damage)
    }

    /// How many chunks of bodies were found damaged or missing since this process started, and are still in use.
    ///
    /// # Errors
    /// As [`Viewer::calls`].
    pub fn damaged_chunks(&self) -> Result<u64, StoreError> {
        self.look("count its damaged chunks", |connection| {
            // Another process may have repaired one, or removed its events.
            self.damage.retain(|chunk| self.is_damaged(connection, chunk))?;
            Ok(self.damage.count())
        })
    }

    /// Calls that match `filter`, newest first; with `before`, only older ones.
    ///
    /// # Errors
    /// When the store cannot be read in time.
    pub fn calls(&self, filter: &Filter, before: Option<i64>) -> Result<Vec<Listed>, StoreError> {
        self.list(filter, before.map(|id| format!(" AND id < {id}")).unwrap_or_default())
    }

    /// Calls after row `after` up to row `up_to` that match `filter`, newest first. If there are more than the filter's limit,
    /// the newest ones.
    ///
    /// # Errors
    /// As [`Viewer::calls`].
    pub fn calls_between(&self, filter: &Filter, after: i64, up_to: i64) -> Result<Vec<Listed>, StoreError> {
        self.list(filter, format!(" AND id > {after} AND id <= {up_to}"))
    }

    /// The newest row. 0 if there is none.
    ///
    /// # Errors
    /// As [`Viewer::calls`].
    pub fn newest(&self) -> Result<i64, StoreError> {
        self.look("find its newest event", |connection| {
            connection.prepare_cached("SELECT coalesce(max(id), 0) FROM events")?.query_row([], |row| row.get(0))
        })
    }

    /// The calls of these rows. Missing rows are skipped.
    ///
    /// # Errors
    /// As [`Viewer::calls`].
    pub fn calls_with(&self, ids: &[i64]) -> Result<Vec<Listed>, StoreError> {
        let ids: Vec<String> = ids.iter().map(i64::to_string).collect();
        let filter = Filter { limit: usize::MAX, ..Filter::default() };
        self.list(&filter, format!(" AND id IN ({})", ids.join(",")))
    }

    /// Calls `see` with the call of each of these rows. Cheaper than [`Viewer::calls_with`], because delivery states are not looked
    /// up.
    ///
    /// # Errors
    /// As [`Viewer::calls`].
    pub fn each_of(&self, ids: &[i64], mut see: impl FnMut(Call)) -> Result<(), StoreError> {
        let sql = format!("SELECT {CALL} FROM events INDEXED BY events_listed WHERE id = ?1");
        self.look("read its events", |connection| {
            let mut query = connection.prepare_cached(&sql)?;
            for id in ids {
                query.query_row([id], call).optional()?.map(&mut see);
            }
            Ok(())
        })
    }

    fn list(&self, filter: &Filter, which: String) -> Result<Vec<Listed>, StoreError> {
        let clauses = filter.clauses();
        let sql = format!(
            "SELECT {CALL}, state, attempts, verdict, {NOTE} FROM events INDEXED BY events_listed
             WHERE 1{which}{} ORDER BY id DESC LIMIT ?",
            clauses.sql
        );
        self.look("list its events", |connection| {
            let _function = search::attach(connection, &self.path, &clauses, &filter.searched)?;
            let values = clauses.values_and_limit(filter.limit);
            connection.prepare(&sql)?.query_map(params_from_iter(values), listed)?.collect()
        })
    }

    /// Calls `see` with each call that matches `filter`, newest first. Cheaper than a list, because delivery states are not
    /// looked up.
    ///
    /// # Errors
    /// As [`Viewer::calls`].
    pub fn each(&self, filter: &Filter, mut see: impl FnMut(Call)) -> Result<(), StoreError> {
        let clauses = filter.clauses();
        let sql = format!(
            "SELECT {CALL} FROM events INDEXED BY events_listed WHERE 1{} ORDER BY id DESC LIMIT ?",
            clauses.sql
        );
        self.look("summarise its events", |connection| {
            let _function = search::attach(connection, &self.path, &clauses, &filter.searched)?;
            let values = clauses.values_and_limit(filter.limit);
            let mut query = connection.prepare(&sql)?;
            let mut rows = query.query(params_from_iter(values))?;
            while let Some(row) = rows.next()? {
                see(call(row)?);
            }
            Ok(())
        })
    }

    /// One event with all its columns. `None` if there is none.
    ///
    /// # Errors
    /// As [`Viewer::calls`].
    pub fn event(&self, id: i64) -> Result<Option<EventRow>, StoreError> {
        self.look("read an event", |connection| {
            let sql = format!("SELECT {WITH_NOTE} FROM events WHERE id = ?1");
            connection
                .prepare_cached(&sql)?
                .query_row([id], |row| event_row(&mut self.loader(connection), row))
                .optional()
        })
    }

    /// The newest events that match `filter` without their long bodies, which is cheaper. Newest first.
    ///
    /// # Errors
    /// As [`Viewer::calls`].
    pub fn events_without_bodies(&self, filter: &Filter) -> Result<Vec<EventRow>, StoreError> {
        let found = self.calls(filter, None)?;
        self.look("read its events", |connection| {
            let columns = WITH_NOTE.replace(" parts,", " NULL,");
            let mut query = connection.prepare_cached(&format!("SELECT {columns} FROM events WHERE id = ?1"))?;
            let mut loader = self.loader(connection);
            let rows = found
                .iter()
                .map(|listed| query.query_row([listed.call.id], |row| event_row(&mut loader, row)).optional());
            rows.filter_map(Result::transpose).collect()
        })
    }

    /// OTAS's answers to the posts of an event, oldest first. Empty if the first post was accepted.
    ///
    /// # Errors
    /// As [`Viewer::calls`].
    pub fn history(&self, id: i64) -> Result<Vec<PastVerdict>, StoreError> {
        self.look("read an event's history", |connection| history::of(connection, id))
    }

    /// Calls that have been in flight for a second or more, newest first, at most half a second out of date. Each is shown as
    /// the event that it would be if it ended now. They have no row numbers yet.
    ///
    /// # Errors
    /// As [`Viewer::calls`].
    pub fn calls_in_flight(&self, limit: usize) -> Result<Vec<EventRow>, StoreError> {
        self.look("list calls in flight", |connection| {
            let sql = format!("SELECT {OPEN} FROM open_exchanges ORDER BY started_at_ms DESC LIMIT ?1");
            connection.prepare_cached(&sql)?.query_map([as_limit(limit)], open_row)?.collect()
        })
    }

    /// One call in flight. `None` if it is not, or no longer, in flight.
    ///
    /// # Errors
    /// As [`Viewer::calls`].
    pub fn call_in_flight(&self, event_id: Uuid) -> Result<Option<EventRow>, StoreError> {
        self.look("read a call in flight", |connection| {
            let sql = format!("SELECT {OPEN} FROM open_exchanges WHERE event_id = ?1");
            connection.prepare_cached(&sql)?.query_row([event_id.as_bytes()], open_row).optional()
        })
    }

    /// The row of the event with this id, if it is among the newest.
    ///
    /// # Errors
    /// As [`Viewer::calls`].
    pub fn row_of(&self, event_id: Uuid) -> Result<Option<i64>, StoreError> {
        self.row_before(event_id, i64::MAX)
    }

    /// The row of the event with this id, if it is among the newest before row `before`.
    ///
    /// # Errors
    /// As [`Viewer::calls`].
    pub fn row_before(&self, event_id: Uuid, before: i64) -> Result<Option<i64>, StoreError> {
        self.look("find an event", |connection| {
            connection
                .prepare_cached(
                    "SELECT id FROM (SELECT id, event_id FROM events WHERE id < ?2 ORDER BY id DESC LIMIT 5000)
                     WHERE event_id = ?1",
                )?
                .query_row(params![event_id.as_bytes(), before], |row| row.get(0))
                .optional()
        })
    }

    /// The session with this number, run id or OTAS session id.
    ///
    /// # Errors
    /// As [`Viewer::calls`].
    pub fn session_named(&self, name: &str) -> Result<Option<SessionRow>, StoreError> {
        self.look("look up a session", |connection| {
            let given = params![name.parse::<i64>().ok(), name];
            connection.query_row(SESSION_NAMED, given, |row| row.get(0).map(SessionRow)).optional()
        })
    }

    /// One session. `None` if it does not exist.
    ///
    /// # Errors
    /// As [`Viewer::calls`].
    pub fn session(&self, row: SessionRow) -> Result<Option<SessionInfo>, StoreError> {
        self.look("read a session", |connection| {
            let sql = format!("SELECT {SESSION} FROM sessions WHERE id = ?1");
            connection.prepare_cached(&sql)?.query_row([row.0], session).optional()
        })
    }

    /// The newest sessions, newest first.
    ///
    /// # Errors
    /// As [`Viewer::calls`].
    pub fn sessions(&self, limit: usize) -> Result<Vec<SessionInfo>, StoreError> {
        self.look("list its sessions", |connection| {
            let sql = format!("SELECT {SESSION} FROM sessions ORDER BY id DESC LIMIT ?1");
            connection.prepare_cached(&sql)?.query_map([as_limit(limit)], session)?.collect()
        })
    }

    /// The number of events of all sessions.
    ///
    /// # Errors
    /// As [`Viewer::calls`].
    pub fn counts(&self) -> Result<Counts, StoreError> {
        self.look("count its events", |connection| counts(connection, None))
    }

    /// When the request of the oldest pending event arrived, in Unix milliseconds. `None`: nothing is pending.
    ///
    /// # Errors
    /// As [`Viewer::calls`].
    pub fn oldest_pending_ms(&self) -> Result<Option<i64>, StoreError> {
        self.look("find its oldest pending event", |connection| {
            connection.prepare_cached(OLDEST_PENDING)?.query_row([], |row| row.get(0)).optional()
        })
    }

    /// Events of all sessions that were dropped before delivery.
    ///
    /// # Errors
    /// As [`Viewer::calls`].
    pub fn dropped(&self) -> Result<u64, StoreError> {
        self.look("count dropped events", |connection| {
            connection.query_row("SELECT coalesce(sum(dropped), 0) FROM sessions", [], |row| unsigned(row, 0))
        })
    }

    /// The last verdicts of the newest `limit` events in this state, with their counts, most frequent first.
    ///
    /// # Errors
    /// As [`Viewer::calls`].
    pub fn verdicts(&self, state: State, limit: usize) -> Result<Vec<(String, u64)>, StoreError> {
        let sql = format!(
            "SELECT verdict, count(*) FROM (SELECT verdict FROM events WHERE state = {} ORDER BY id DESC LIMIT ?1)
             WHERE verdict IS NOT NULL GROUP BY verdict ORDER BY 2 DESC LIMIT 20",
            state.code()
        );
        self.look("count verdicts", |connection| {
            connection
                .prepare_cached(&sql)?
                .query_map([as_limit(limit)], |row| Ok((row.get(0)?, unsigned(row, 1)?)))?
                .collect()
        })
    }

    /// Runs one query within the time limit, on a connection that no other query uses.
    pub(super) fn look<T>(
        &self,
        act: &'static str,
        look: impl FnOnce(&Connection) -> rusqlite::Result<T>,
    ) -> Result<T, StoreError> {
        let mut view = self.connect().map_err(StoreError::query(act))?;
        let until = Instant::now() + LONGEST;
        let seen = view
            .connection
            .progress_handler(STEPS, Some(move || Instant::now() > until))
            .and_then(|()| look(&view.connection))
            .map_err(StoreError::query(act))?;
        let mut idle = self.idle.lock();
        if idle.len() < IDLE {
            idle.push(view);
        }
        Ok(seen)
    }

    /// A connection to the current file.
    fn connect(&self) -> rusqlite::Result<Link> {
        let mut idle = self.idle.lock();
        idle.retain(|view| view.is_current(&self.path));
        if let Some(view) = idle.pop() {
            return Ok(view);
        }
        drop(idle);
        let view = Link::connect_to_read(&self.path)?;
        view.connection.busy_timeout(LONGEST / 2)?;
        Ok(view)
    }
}

/// The columns of a [`Call`]. All are in the index `events_listed`.
const CALL: &str = "id, session, started_at_ms, method, host, path, status_code, latency_ms, request_bytes, \
                    response_bytes, error, outline, llm";

fn call(row: &Row<'_>) -> rusqlite::Result<Call> {
    Ok(Call {
        id: row.get(0)?,
        session: row.get(1)?,
        started_at_ms: row.get(2)?,
        method: row.get(3)?,
        host: row.get(4)?,
        path: row.get(5)?,
        status_code: row.get(6)?,
        latency_ms: row.get(7)?,
        request_bytes: unsigned(row, 8)?,
        response_bytes: unsigned(row, 9)?,
        error: row.get(10)?,
        outline: row.get(11)?,
        llm: row.get(12)?,
    })
}

fn listed(row: &Row<'_>) -> rusqlite::Result<Listed> {
    Ok(Listed {
        call: call(row)?,
        state: State::from_code(row.get(13)?),
        attempts: row.get(14)?,
        verdict: row.get(15)?,
        note: row.get(16)?,
    })
}

/// The columns of a call in flight.
const OPEN: &str = "event_id, session, started_at_ms, method, host, path, status_code, latency_ms, request_bytes, \
                    response_bytes, json";

fn open_row(row: &Row<'_>) -> rusqlite::Result<EventRow> {
    Ok(EventRow {
        id: 0,
        event_id: Uuid::from_bytes(row.get(0)?),
        session: row.get(1)?,
        seq: 0,
        started_at_ms: row.get(2)?,
        method: row.get(3)?,
        host: row.get(4)?,
        path: row.get(5)?,
        status_code: row.get(6)?,
        latency_ms: row.get(7)?,
        request_bytes: unsigned(row, 8)?,
        response_bytes: unsigned(row, 9)?,
        error: String::new(),
        state: State::Pending,
        attempts: 0,
        verdict: None,
        next_try_at_ms: None,
        otas_event_id: None,
        note: None,
        json: row.get(10)?,
    })
}

/// The columns of a [`SessionInfo`].
const SESSION: &str = "id, run_id, key_id, agent_id, otas_session_id, meta, opened_at_ms, closed_at_ms, total, \
                       delivered, dead, dropped";

fn session(row: &Row<'_>) -> rusqlite::Result<SessionInfo> {
    let (total, delivered, dead) = (unsigned(row, 8)?, unsigned(row, 9)?, unsigned(row, 10)?);
    let key_id: String = row.get(2)?;
    let kept = if key_id.is_empty() { total } else { 0 };
    Ok(SessionInfo {
        row: SessionRow(row.get(0)?),
        run_id: row.get(1)?,
        key_id,
        agent_id: row.get(3)?,
        otas_session_id: row.get(4)?,
        meta: row.get(5)?,
        opened_at_ms: row.get(6)?,
        closed_at_ms: row.get(7)?,
        counts: Counts { total, pending: total.saturating_sub(delivered + dead + kept), delivered, dead, kept },
        dropped: unsigned(row, 11)?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::{NewEvent, Outcome, Settlement};

    fn store(events: u64) -> (tempfile::TempDir, Store, SessionRow) {
        let folder = tempfile::tempdir().unwrap();
        let store = Store::open(&folder.path().join("events.db")).unwrap();
        let session = store.begin_session("run", "key", r#"{"command":"agent"}"#).unwrap();
        let events: Vec<_> = (0..events).map(|seq| NewEvent { seq, ..NewEvent::plain(b"{}") }).collect();
        store.writer().unwrap().append(session, &events).unwrap();
        (folder, store, session)
    }

    fn ids(listed: Vec<Listed>) -> Vec<i64> {
        listed.iter().map(|listed| listed.call.id).collect()
    }

    #[test]
    fn calls_are_paged_both_ways_and_their_states_follow() {
        let (_folder, store, session) = store(6);
        let viewer = store.viewer();
        let filter = Filter { limit: 2, session: Some(session), ..Filter::default() };
        assert_eq!(ids(viewer.calls(&filter, None).unwrap()), [6, 5]);
        assert_eq!(ids(viewer.calls(&filter, Some(3)).unwrap()), [2, 1]);
        assert_eq!(ids(viewer.calls_between(&filter, 3, 5).unwrap()), [5, 4]);
        assert_eq!(ids(viewer.calls_between(&filter, 5, viewer.newest().unwrap()).unwrap()), [6]);
        let outcome = Outcome::Delivered { otas_event_id: "e".into() };
        store.settle(&[Settlement { id: 2, attempts: 1, outcome }]).unwrap();
        let again = viewer.calls_with(&[2, 9, 1]).unwrap();
        assert_eq!((again[0].state, again[1].state, again.len()), (State::Delivered, State::Pending, 2));
        let mut seen = 0;
        viewer.each(&Filter { limit: usize::MAX, ..Filter::default() }, |_| seen += 1).unwrap();
        assert_eq!(seen, 6);
    }

    #[test]
    fn sessions_and_verdicts_are_listed() {
        let (_folder, store, session) = store(3);
        let dead =
            |id, verdict: &str| Settlement { id, attempts: 1, outcome: Outcome::Dead { verdict: verdict.into() } };
        store.settle(&[dead(1, "no"), dead(2, "no"), dead(3, "never")]).unwrap();
        let viewer = store.viewer();
        let info = viewer.session(session).unwrap().unwrap();
        assert_eq!((&*info.run_id, info.counts.dead, info.dropped), ("run", 3, 0));
        assert_eq!(viewer.sessions(9).unwrap(), [info]);
        assert_eq!(viewer.verdicts(State::Dead, 9).unwrap(), [("no".to_owned(), 2), ("never".to_owned(), 1)]);
        assert_eq!(viewer.session_named("run").unwrap(), Some(session));
        assert_eq!(viewer.session_named("none").unwrap(), None);
    }

    #[test]
    fn a_viewer_cannot_write_and_follows_a_replaced_store() {
        let (_folder, store, _) = store(1);
        let viewer = store.viewer();
        assert!(viewer.look("try", |connection| connection.execute("DELETE FROM events", [])).is_err());
        assert_eq!(ids(viewer.calls(&Filter { limit: 9, ..Filter::default() }, None).unwrap()), [1]);
        for side in ["", "-wal", "-shm"] {
            let _ = std::fs::remove_file(super::super::files::with_suffix(store.path(), side));
        }
        drop(Store::open(store.path()).unwrap());
        assert_eq!(ids(viewer.calls(&Filter { limit: 9, ..Filter::default() }, None).unwrap()), [0; 0]);
    }

    #[test]
    fn lists_read_only_the_index() {
        let (_folder, store, _) = store(1);
        let plan = |sql: &str| -> Vec<String> {
            let connection = store.connection();
            let mut plan = connection.prepare(&format!("EXPLAIN QUERY PLAN {sql}")).unwrap();
            plan.query_map([], |row| row.get(3)).unwrap().collect::<Result<_, _>>().unwrap()
        };
        let all =
            plan(&format!("SELECT {CALL} FROM events INDEXED BY events_listed WHERE llm <> '' ORDER BY id DESC"));
        assert!(all.len() == 1 && all[0].contains("COVERING INDEX events_listed"), "{all:?}");
    }
}
