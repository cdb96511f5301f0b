//! Reading: counts and lists.

use std::path::Path;

use rusqlite::{Connection, Row, params_from_iter};
use uuid::Uuid;

use super::chunks::Loader;
use super::sql::{COLUMN_COUNT, JSON_AT, WITH_NOTE, unsigned};
use super::{EventRow, Filter, SessionRow, State, Store, StoreError, search};

/// The number of events in each delivery state.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Counts {
    /// All that were appended.
    pub total: u64,
    /// Not yet acknowledged.
    pub pending: u64,
    /// Acknowledged by OTAS.
    pub delivered: u64,
    /// Refused for good.
    pub dead: u64,
    /// Not for OTAS.
    pub kept: u64,
}

impl Counts {
    /// The sum of two counts.
    pub fn and(self, other: Self) -> Self {
        Self {
            total: self.total + other.total,
            pending: self.pending + other.pending,
            delivered: self.delivered + other.delivered,
            dead: self.dead + other.dead,
            kept: self.kept + other.kept,
        }
    }
}

impl Store {
    /// The number of events of one session, or of all. Cheap: it scans sessions, not events.
    ///
    /// # Errors
    /// When the store cannot be read.
    pub fn counts(&self, session: Option<SessionRow>) -> Result<Counts, StoreError> {
        counts(&self.connection(), session).map_err(self.failed("count its events"))
    }

    /// Events, newest first.
    ///
    /// # Errors
    /// When the store cannot be read.
    pub fn list(&self, filter: &Filter) -> Result<Vec<EventRow>, StoreError> {
        let connection = self.connection();
        list(&connection, self.path(), &mut self.loader(&connection), filter).map_err(self.failed("list its events"))
    }
}

pub(super) fn counts(connection: &Connection, session: Option<SessionRow>) -> rusqlite::Result<Counts> {
    connection
        .prepare_cached(
            "SELECT coalesce(sum(total), 0), coalesce(sum(delivered), 0), coalesce(sum(dead), 0),
                    coalesce(sum(total) FILTER (WHERE key_id = ''), 0)
             FROM sessions WHERE ?1 IS NULL OR id = ?1",
        )?
        .query_row([session.map(|row| row.0)], |row| {
            let (total, delivered, dead, kept) =
                (unsigned(row, 0)?, unsigned(row, 1)?, unsigned(row, 2)?, unsigned(row, 3)?);
            Ok(Counts { total, pending: total.saturating_sub(delivered + dead + kept), delivered, dead, kept })
        })
}

fn list(
    connection: &Connection,
    path: &Path,
    loader: &mut Loader<'_>,
    filter: &Filter,
) -> rusqlite::Result<Vec<EventRow>> {
    let clauses = filter.clauses();
    let sql = format!("SELECT {WITH_NOTE} FROM events WHERE 1{} ORDER BY id DESC LIMIT ?", clauses.sql);
    let _function = search::attach(connection, path, &clauses, &filter.searched)?;
    let values = clauses.values_and_limit(filter.limit);
    connection.prepare_cached(&sql)?.query_map(params_from_iter(values), |row| event_row(loader, row))?.collect()
}

/// A row of [`WITH_NOTE`]. `loader` has the connection that it is read from, so its bodies are of the same moment.
pub(super) fn event_row(loader: &mut Loader<'_>, row: &Row<'_>) -> rusqlite::Result<EventRow> {
    let parts: Option<Vec<u8>> = row.get(JSON_AT + 1)?;
    Ok(EventRow {
        id: row.get(0)?,
        event_id: Uuid::from_bytes(row.get(1)?),
        session: row.get(2)?,
        seq: unsigned(row, 3)?,
        started_at_ms: row.get(4)?,
        method: row.get(5)?,
        host: row.get(6)?,
        path: row.get(7)?,
        status_code: row.get(8)?,
        latency_ms: row.get(9)?,
        request_bytes: unsigned(row, 10)?,
        response_bytes: unsigned(row, 11)?,
        error: row.get(12)?,
        state: State::from_code(row.get(13)?),
        attempts: row.get(14)?,
        verdict: row.get(15)?,
        next_try_at_ms: row.get(16)?,
        otas_event_id: row.get(17)?,
        note: row.get(COLUMN_COUNT)?,
        json: loader.whole(row.get(JSON_AT)?, parts.as_deref())?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::{NewEvent, Outcome, Settlement, testing};

    fn store() -> (tempfile::TempDir, Store, SessionRow) {
        let (folder, store) = testing::store();
        let session = store.begin_session("run", "key", r#"{"a":1}"#).unwrap();
        (folder, store, session)
    }

    fn event(seq: u64) -> NewEvent<'static> {
        NewEvent {
            event_id: Uuid::now_v7(),
            seq,
            started_at_ms: 1_700_000_000_000,
            method: "POST",
            host: "api.example.com",
            path: "/v1/ünïcode",
            status_code: 429,
            latency_ms: 12.25,
            request_bytes: 3,
            response_bytes: 5_000_000_000,
            error: "http_429",
            outline: "",
            llm: "",
            json: br#"{"path":"/v1"}"#,
            bodies: &[],
        }
    }

    fn append(store: &Store, session: SessionRow, count: u64) {
        let events: Vec<_> = (0..count).map(event).collect();
        store.writer().unwrap().append(session, &events).unwrap();
    }

    fn settlement(id: i64, outcome: Outcome) -> Settlement {
        Settlement { id, attempts: 1, outcome }
    }

    #[test]
    fn an_appended_event_is_listed_unchanged() {
        let (_folder, store, session) = store();
        let given = event(7);
        store.writer().unwrap().append(session, &[given]).unwrap();
        let listed = store.list(&Filter { limit: 10, ..Filter::default() }).unwrap();
        let expected = EventRow {
            id: 1,
            event_id: given.event_id,
            session: session.id(),
            seq: 7,
            started_at_ms: given.started_at_ms,
            method: "POST".into(),
            host: "api.example.com".into(),
            path: "/v1/ünïcode".into(),
            status_code: 429,
            latency_ms: 12.25,
            request_bytes: 3,
            response_bytes: 5_000_000_000,
            error: "http_429".into(),
            state: State::Pending,
            attempts: 0,
            verdict: None,
            next_try_at_ms: None,
            otas_event_id: None,
            note: None,
            json: br#"{"path":"/v1"}"#.to_vec(),
        };
        assert_eq!(listed, [expected]);
    }

    #[test]
    fn settled_rows_leave_pending_and_are_counted() {
        let (_folder, store, session) = store();
        append(&store, session, 4);
        let again = Outcome::Again { verdict: "unreachable".into(), next_try_at_ms: 42 };
        let settlements = [
            settlement(1, Outcome::Delivered { otas_event_id: "e-1".into() }),
            settlement(2, Outcome::Dead { verdict: "invalid_json".into() }),
            settlement(3, again),
        ];
        store.settle(&settlements).unwrap();
        let expected = Counts { total: 4, pending: 2, delivered: 1, dead: 1, kept: 0 };
        assert_eq!(store.counts(Some(session)).unwrap(), expected);
        assert_eq!(store.counts(None).unwrap(), expected);
        let rows = store.list(&Filter { limit: 10, ..Filter::default() }).unwrap();
        let seen: Vec<_> = rows
            .iter()
            .map(|row| (row.id, row.state, row.verdict.as_deref(), row.next_try_at_ms, row.otas_event_id.as_deref()))
            .collect();
        assert_eq!(
            seen,
            [
                (4, State::Pending, None, None, None),
                (3, State::Pending, Some("unreachable"), Some(42), None),
                (2, State::Dead, Some("invalid_json"), None, None),
                (1, State::Delivered, Some("delivered"), None, Some("e-1")),
            ]
        );
    }

    #[test]
    fn a_settled_row_stays_settled() {
        let (_folder, store, session) = store();
        append(&store, session, 1);
        let delivered = Outcome::Delivered { otas_event_id: "e-1".into() };
        store.settle(&[settlement(1, delivered.clone())]).unwrap();
        store.settle(&[settlement(1, delivered), settlement(1, Outcome::Dead { verdict: "late".into() })]).unwrap();
        assert_eq!(store.counts(None).unwrap(), Counts { total: 1, pending: 0, delivered: 1, dead: 0, kept: 0 });
    }

    #[test]
    fn lists_are_filtered_by_state_and_session() {
        let (_folder, store, session) = store();
        let other = store.begin_session("other", "key", "{}").unwrap();
        append(&store, session, 2);
        append(&store, other, 2);
        store.settle(&[settlement(2, Outcome::Dead { verdict: "no".into() })]).unwrap();
        let ids = |state, session, limit| -> Vec<i64> {
            store
                .list(&Filter { state, session, limit, ..Filter::default() })
                .unwrap()
                .iter()
                .map(|row| row.id)
                .collect()
        };
        assert_eq!(ids(None, None, 3), [4, 3, 2]);
        assert_eq!(ids(Some(State::Pending), Some(session), 9), [1]);
        assert_eq!(ids(Some(State::Dead), None, 9), [2]);
        assert_eq!(ids(Some(State::Delivered), Some(other), 9), [0; 0]);
        assert_eq!(ids(None, Some(other), 9), [4, 3]);
    }

    #[test]
    fn a_batch_is_appended_whole_or_not_at_all() {
        let (_folder, store, session) = store();
        let mut second = event(1);
        // SQLite has no NaN: it becomes NULL, which the column refuses.
        second.latency_ms = f64::NAN;
        assert!(store.writer().unwrap().append(session, &[event(0), second]).is_err());
        assert_eq!(store.counts(None).unwrap(), Counts::default());
        assert!(store.list(&Filter { limit: 9, ..Filter::default() }).unwrap().is_empty());
    }

    #[test]
    fn events_outlive_the_handles() {
        let (folder, store, session) = store();
        append(&store, session, 3);
        drop(store);
        let store = Store::open(&folder.path().join("events.db")).unwrap();
        assert_eq!(store.counts(Some(session)).unwrap().pending, 3);
    }
}
