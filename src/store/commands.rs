//! What commands need from the store: one event, new events, and retries of dead events.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use rusqlite::{Connection, OptionalExtension, TransactionBehavior, params, params_from_iter};
use thiserror::Error;

use super::link::Link;
use super::read::event_row;
use super::sql::WITH_NOTE;
use super::{Access, EventRow, Filter, SessionRow, State, Store, StoreError, reading, recovery, search};

/// Why a command failed.
#[derive(Debug, Error)]
pub enum CommandError {
    /// The file does not exist. Commands that read do not create it.
    #[error("event store not found: {0}: nothing was logged with these settings yet, or `store.path` is wrong")]
    Missing(PathBuf),
    /// No row has this id.
    #[error("there is no event {0} in the store; `otas-proxy events` lists them")]
    NoEvent(i64),
    /// No session has this name.
    #[error("session not found: `{0}`: give its number in `otas-proxy events`, a run id or OTAS's session id")]
    NoSession(String),
    /// Only dead events can be retried.
    #[error("event {id} is {state}, not dead: no event was changed")]
    NotDead {
        /// The row.
        id: i64,
        /// Its state.
        state: State,
    },
    /// A proxy uses the store.
    #[error(
        "a proxy uses the event store {0}: stop it first (`serve`, `run`). The whole file is written again, and no call could be \
         stored meanwhile. Without that, the proxy fills the unused space of the file with new events"
    )]
    InUse(PathBuf),
    /// The disk has too little room to write the file again.
    #[error(
        "the disk of the event store {path} has {free_bytes} free bytes, but writing the file again takes {wanted_bytes}: free some \
         space, or delete events first (`otas-proxy store clear`)"
    )]
    NoRoom {
        /// The store's file.
        path: PathBuf,
        /// The bytes that are needed.
        wanted_bytes: u64,
        /// The bytes that there are.
        free_bytes: u64,
    },
    /// A note is too long.
    #[error("a note of {bytes} bytes is too long: at most {max_bytes} bytes are kept")]
    NoteTooLong {
        /// Its size.
        bytes: usize,
        /// The largest size.
        max_bytes: usize,
    },
    /// The store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl Store {
    /// Opens an existing store to change what is in it. A damaged one stays in its place.
    ///
    /// # Errors
    /// [`CommandError::Missing`] when there is no file, otherwise when it is damaged, or as [`Store::open`].
    pub fn open_existing(path: &Path) -> Result<Self, CommandError> {
        if reading::is_missing(path) {
            return Err(CommandError::Missing(path.into()));
        }
        Ok(Self::of(path, Access::Change, recovery::open_existing(path)?))
    }

    /// Opens an existing store to read it. The file is not changed, unless it is a store of an older version that no other process
    /// uses: that is migrated.
    ///
    /// # Errors
    /// As [`Store::open_existing`].
    pub fn open_to_read(path: &Path) -> Result<Self, CommandError> {
        if reading::is_missing(path) {
            return Err(CommandError::Missing(path.into()));
        }
        match Link::open_to_read(path) {
            Ok(link) => Ok(Self::of(path, Access::Read, link)),
            Err(StoreError::Older { .. }) => {
                drop(recovery::open_existing(path)?);
                Ok(Self::of(path, Access::Read, Link::open_to_read(path)?))
            }
            Err(error) => Err(error.into()),
        }
    }

    /// The session with this number, run id or OTAS session id.
    ///
    /// # Errors
    /// [`CommandError::NoSession`] when there is none, or when the store cannot be read.
    pub fn session_named(&self, name: &str) -> Result<SessionRow, CommandError> {
        self.connection()
            .query_row(SESSION_NAMED, params![name.parse::<i64>().ok(), name], |row| row.get(0).map(SessionRow))
            .optional()
            .map_err(self.failed("look up a session"))?
            .ok_or_else(|| CommandError::NoSession(name.to_owned()))
    }

    /// One event with all its columns.
    ///
    /// # Errors
    /// [`CommandError::NoEvent`] when there is none, or when the store cannot be read.
    pub fn event(&self, id: i64) -> Result<EventRow, CommandError> {
        let connection = self.connection();
        connection
            .prepare_cached(&format!("SELECT {WITH_NOTE} FROM events WHERE id = ?1"))
            .and_then(|mut query| {
                query.query_row([id], |row| event_row(&mut self.loader(&connection), row)).optional()
            })
            .map_err(self.failed("read an event"))?
            .ok_or(CommandError::NoEvent(id))
    }

    /// The ids of the newest events that match `filter`, oldest first.
    ///
    /// # Errors
    /// When the store cannot be read.
    pub fn ids(&self, filter: &Filter) -> Result<Vec<i64>, StoreError> {
        let mut ids =
            ids_after(&self.connection(), self.path(), filter, 0, true).map_err(self.failed("list its events"))?;
        ids.reverse();
        Ok(ids)
    }

    /// The ids of the first events after row `after_id` that match `filter`, oldest first.
    ///
    /// # Errors
    /// When the store cannot be read.
    pub fn ids_after(&self, filter: &Filter, after_id: i64) -> Result<Vec<i64>, StoreError> {
        ids_after(&self.connection(), self.path(), filter, after_id, false).map_err(self.failed("list its events"))
    }

    /// Puts dead events back to pending, all or none. They are due at once, with a fresh count of attempts. Returns how many.
    ///
    /// # Errors
    /// [`CommandError::NoEvent`] and [`CommandError::NotDead`] for the first id that is not a dead event's, or when the
    /// store cannot be written.
    pub fn retry(&self, ids: &[i64]) -> Result<u64, CommandError> {
        let ids: BTreeSet<i64> = ids.iter().copied().collect();
        let refused = retry(&mut self.connection(), &ids).map_err(self.failed("retry events"))?;
        match refused {
            None => Ok(ids.len() as u64),
            Some((id, None)) => Err(CommandError::NoEvent(id)),
            Some((id, Some(state))) => Err(CommandError::NotDead { id, state }),
        }
    }

    /// Puts all dead events of one session, or of all, back to pending. Returns how many.
    ///
    /// # Errors
    /// When the store cannot be written.
    pub fn retry_dead(&self, session: Option<SessionRow>) -> Result<u64, StoreError> {
        retry_dead(&mut self.connection(), session).map_err(self.failed("retry dead events"))
    }

    /// When the request of the oldest pending event arrived, in Unix milliseconds. `None`: nothing is pending. Cheap: one read
    /// of the index of pending rows.
    ///
    /// # Errors
    /// When the store cannot be read.
    pub fn oldest_pending_ms(&self) -> Result<Option<i64>, StoreError> {
        self.connection()
            .prepare_cached(OLDEST_PENDING)
            .and_then(|mut query| query.query_row([], |row| row.get(0)).optional())
            .map_err(self.failed("find its oldest pending event"))
    }
}

/// By number (1) or by name (2).
pub(super) const SESSION_NAMED: &str =
    "SELECT id FROM sessions WHERE id = ?1 OR run_id = ?2 OR otas_session_id = ?2 ORDER BY id LIMIT 1";

pub(super) const OLDEST_PENDING: &str =
    "SELECT started_at_ms FROM events INDEXED BY events_pending WHERE state = 0 ORDER BY id LIMIT 1";

fn ids_after(
    connection: &Connection,
    path: &Path,
    filter: &Filter,
    after_id: i64,
    newest_first: bool,
) -> rusqlite::Result<Vec<i64>> {
    let clauses = filter.clauses();
    let order = if newest_first { "DESC" } else { "ASC" };
    let sql = format!("SELECT id FROM events WHERE id > {after_id}{} ORDER BY id {order} LIMIT ?", clauses.sql);
    let _function = search::attach(connection, path, &clauses, &filter.searched)?;
    let values = clauses.values_and_limit(filter.limit);
    connection.prepare(&sql)?.query_map(params_from_iter(values), |row| row.get(0))?.collect()
}

/// The first id that is not a dead event, and its state. Then nothing is changed.
fn retry(connection: &mut Connection, ids: &BTreeSet<i64>) -> rusqlite::Result<Option<(i64, Option<State>)>> {
    let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
    for id in ids {
        let session: Option<i64> = transaction
            .prepare_cached(
                "UPDATE events SET state = 0, attempts = 0, next_try_at_ms = NULL
                 WHERE id = ?1 AND state = 2 RETURNING session",
            )?
            .query_row([id], |row| row.get(0))
            .optional()?;
        let Some(session) = session else {
            // Dropping the transaction rolls back the earlier changes.
            let state = transaction
                .query_row("SELECT state FROM events WHERE id = ?1", [id], |row| row.get(0).map(State::from_code))
                .optional()?;
            return Ok(Some((*id, state)));
        };
        transaction.prepare_cached("UPDATE sessions SET dead = dead - 1 WHERE id = ?1")?.execute([session])?;
    }
    transaction.commit()?;
    Ok(None)
}

fn retry_dead(connection: &mut Connection, session: Option<SessionRow>) -> rusqlite::Result<u64> {
    let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
    let which = params![session.map(|row| row.0)];
    transaction.execute(
        "UPDATE sessions SET dead = dead - (SELECT count(*) FROM events WHERE state = 2 AND session = sessions.id)
         WHERE ?1 IS NULL OR id = ?1",
        which,
    )?;
    let put_back = transaction.execute(
        "UPDATE events SET state = 0, attempts = 0, next_try_at_ms = NULL
         WHERE state = 2 AND (?1 IS NULL OR session = ?1)",
        which,
    )?;
    transaction.commit()?;
    Ok(put_back as u64)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::testing::store;
    use crate::store::{Counts, KeptToken, NewEvent, Outcome, Settlement};

    fn append(store: &Store, session: SessionRow, started: &[i64]) {
        let events: Vec<_> = started
            .iter()
            .map(|started_at_ms| NewEvent { started_at_ms: *started_at_ms, ..NewEvent::plain(b"{}") })
            .collect();
        store.writer().unwrap().append(session, &events).unwrap();
    }

    fn die(store: &Store, ids: &[i64]) {
        let dead = |id| Settlement { id, attempts: 3, outcome: Outcome::Dead { verdict: "answered 400".into() } };
        store.settle(&ids.iter().copied().map(dead).collect::<Vec<_>>()).unwrap();
    }

    fn deliver(store: &Store, id: i64) {
        let outcome = Outcome::Delivered { otas_event_id: "e".into() };
        store.settle(&[Settlement { id, attempts: 1, outcome }]).unwrap();
    }

    fn counts(pending: u64, delivered: u64, dead: u64) -> Counts {
        Counts { total: pending + delivered + dead, pending, delivered, dead, kept: 0 }
    }

    #[test]
    fn dead_events_are_retried_and_counted() {
        let (_folder, store) = store();
        let (a, b) = (store.begin_session("a", "k1", "{}").unwrap(), store.begin_session("b", "k2", "{}").unwrap());
        append(&store, a, &[1, 2, 3]);
        append(&store, b, &[4, 5]);
        die(&store, &[1, 2, 4]);
        assert_eq!(store.retry(&[2, 2]).unwrap(), 1);
        assert_eq!(store.counts(Some(a)).unwrap(), counts(2, 0, 1));
        let row = store.event(2).unwrap();
        assert_eq!((row.state, row.attempts, row.next_try_at_ms), (State::Pending, 0, None));
        assert_eq!(store.retry_dead(Some(b)).unwrap(), 1);
        assert_eq!(store.counts_of_key("k1").unwrap(), counts(2, 0, 1));
        assert_eq!(store.counts_of_key("k2").unwrap(), counts(2, 0, 0));
        assert_eq!(store.retry_dead(None).unwrap(), 1);
        assert_eq!(store.retry_dead(None).unwrap(), 0);
        assert_eq!(store.counts(None).unwrap(), counts(5, 0, 0));
        assert_eq!(store.waiting("k1", &[], 9).unwrap().len(), 3);
    }

    #[test]
    fn retrying_an_event_that_is_not_dead_changes_nothing() {
        let (_folder, store) = store();
        let session = store.begin_session("a", "k", "{}").unwrap();
        append(&store, session, &[1, 2, 3]);
        die(&store, &[1]);
        deliver(&store, 3);
        for (ids, told) in [
            ([1, 2], "event 2 is pending"),
            ([1, 3], "event 3 is delivered"),
            ([1, 9], "there is no event 9 in the store"),
        ] {
            let error = store.retry(&ids).unwrap_err().to_string();
            assert!(error.contains(told), "{error}");
            assert_eq!(store.counts(None).unwrap(), counts(1, 1, 1));
            assert_eq!(store.event(1).unwrap().state, State::Dead);
        }
    }

    #[test]
    fn ids_are_the_newest_in_order_and_those_that_follow() {
        let (_folder, store) = store();
        let (a, b) = (store.begin_session("a", "k", "{}").unwrap(), store.begin_session("b", "k", "{}").unwrap());
        append(&store, a, &[1, 2, 3]);
        append(&store, b, &[4, 5]);
        deliver(&store, 2);
        let filter = |state, session, limit| Filter { state, session, limit, ..Filter::default() };
        assert_eq!(store.ids(&filter(None, None, 3)).unwrap(), [3, 4, 5]);
        assert_eq!(store.ids(&filter(Some(State::Pending), Some(a), 9)).unwrap(), [1, 3]);
        assert_eq!(store.ids_after(&filter(None, None, 2), 2).unwrap(), [3, 4]);
        assert_eq!(store.ids_after(&filter(Some(State::Delivered), None, 9), 0).unwrap(), [2]);
        assert!(matches!(store.event(6), Err(CommandError::NoEvent(6))));
    }

    #[test]
    fn a_session_is_found_by_three_names() {
        let (_folder, store) = store();
        let _first = store.begin_session("run-a", "k", "{}").unwrap();
        let second = store.begin_session("run-b", "k", "{}").unwrap();
        let token =
            KeptToken { otas_session_id: Some("otas-b".into()), sealed: Vec::new(), expires_at_ms: None, mark: None };
        store.keep_token(second, &token).unwrap();
        for name in [&*second.id().to_string(), "run-b", "otas-b"] {
            assert_eq!(store.session_named(name).unwrap(), second);
        }
        assert!(store.session_named("run-c").unwrap_err().to_string().contains("session not found: `run-c`"));
    }

    #[test]
    fn the_oldest_pending_event_is_found_in_any_session() {
        let (_folder, store) = store();
        assert_eq!(store.oldest_pending_ms().unwrap(), None);
        let (a, b) = (store.begin_session("a", "k", "{}").unwrap(), store.begin_session("b", "k", "{}").unwrap());
        append(&store, b, &[10]);
        append(&store, a, &[20]);
        append(&store, b, &[30]);
        assert_eq!(store.oldest_pending_ms().unwrap(), Some(10));
        deliver(&store, 1);
        assert_eq!(store.oldest_pending_ms().unwrap(), Some(20));
        let plan: Vec<String> = store
            .connection()
            .prepare(&format!("EXPLAIN QUERY PLAN {OLDEST_PENDING}"))
            .unwrap()
            .query_map([], |row| row.get(3))
            .unwrap()
            .collect::<Result<_, _>>()
            .unwrap();
        assert!(
            plan.iter().any(|step| step.contains("INDEX events_pending") && step.starts_with("SCAN")),
            "{plan:?}"
        );
    }

    #[test]
    fn a_missing_file_is_not_created() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("none.db");
        for open in [Store::open_existing, Store::open_to_read] {
            assert!(matches!(open(&path), Err(CommandError::Missing(_))));
            assert!(!path.exists());
        }
    }
}
