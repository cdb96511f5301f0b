//! The backlog, oldest first, as the deliverer of an agent key reads it.

use rusqlite::{Connection, OptionalExtension, Row, params};
use uuid::Uuid;

use super::chunks::Loader;
use super::sql::as_limit;
use super::{PendingEvent, SessionRow, Store, StoreError};

impl Store {
    /// The first `limit` pending events of all sessions of an agent key, in row order, except those of the sessions in
    /// `without`. Their JSON may be large, so it is read one by one ([`Store::pending_event`]).
    ///
    /// # Errors
    /// When the store cannot be read.
    pub fn waiting(
        &self,
        key_id: &str,
        without: &[SessionRow],
        limit: usize,
    ) -> Result<Vec<(i64, SessionRow)>, StoreError> {
        waiting(&self.connection(), key_id, without, limit).map_err(self.failed("read the backlog"))
    }

    /// One event, if it is still pending.
    ///
    /// # Errors
    /// When the store cannot be read.
    pub fn pending_event(&self, id: i64) -> Result<Option<PendingEvent>, StoreError> {
        let connection = self.connection();
        connection
            .prepare_cached(
                "SELECT id, session, attempts, json, parts, event_id FROM events WHERE id = ?1 AND state = 0",
            )
            .and_then(|mut query| {
                query.query_row([id], |row| pending_row(&mut self.loader(&connection), row)).optional()
            })
            .map_err(self.failed("read a pending event"))
    }

    /// Changes when another connection, of any process, has changed the store, or when another file has taken its place. Cheaper
    /// than a query for new events.
    ///
    /// # Errors
    /// When the store cannot be read.
    pub fn data_version(&self) -> Result<DataVersion, StoreError> {
        let connection = self.connection();
        connection
            .query_row("PRAGMA data_version", [], |row| row.get(0))
            .map(|of_connection| DataVersion { link: connection.0.number(), of_connection })
            .map_err(self.failed("check for changes"))
    }
}

/// What a handle sees of the store's content. SQLite's number has a meaning only within one connection.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub struct DataVersion {
    link: u64,
    of_connection: i64,
}

/// Without `INDEXED BY` the planner would walk the whole table in row order.
const WAITING: &str = "
SELECT id, session FROM events INDEXED BY events_pending
WHERE state = 0 AND session IN (SELECT id FROM sessions WHERE key_id = ?1)
  AND session NOT IN (SELECT value FROM json_each(?2))
ORDER BY id LIMIT ?3";

fn waiting(
    connection: &Connection,
    key_id: &str,
    without: &[SessionRow],
    limit: usize,
) -> rusqlite::Result<Vec<(i64, SessionRow)>> {
    let without: Vec<String> = without.iter().map(|session| session.0.to_string()).collect();
    let without = format!("[{}]", without.join(","));
    connection
        .prepare_cached(WAITING)?
        .query_map(params![key_id, without, as_limit(limit)], |row| Ok((row.get(0)?, SessionRow(row.get(1)?))))?
        .collect()
}

fn pending_row(loader: &mut Loader<'_>, row: &Row<'_>) -> rusqlite::Result<PendingEvent> {
    let parts: Option<Vec<u8>> = row.get(4)?;
    let json = loader.for_otas(row.get(3)?, parts.as_deref())?;
    Ok(PendingEvent {
        id: row.get(0)?,
        event_id: Uuid::from_bytes(row.get(5)?),
        session: SessionRow(row.get(1)?),
        attempts: row.get(2)?,
        json,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::{NewEvent, Outcome, Settlement, testing};

    fn store() -> (tempfile::TempDir, Store, SessionRow) {
        let (folder, store) = testing::store();
        let session = store.begin_session("run", "key", "{}").unwrap();
        (folder, store, session)
    }

    fn append(store: &Store, session: SessionRow, count: u64) {
        let event = |seq| NewEvent { seq, ..NewEvent::plain(br#"{"path":"/"}"#) };
        let events: Vec<_> = (0..count).map(event).collect();
        store.writer().unwrap().append(session, &events).unwrap();
    }

    #[test]
    fn the_backlog_of_a_key_is_read_oldest_first_over_all_its_sessions() {
        let (_folder, store, one) = store();
        let other = store.begin_session("other", "key", "{}").unwrap();
        let foreign = store.begin_session("foreign", "another key", "{}").unwrap();
        for (session, count) in [(one, 2), (other, 1), (foreign, 2), (one, 1)] {
            append(&store, session, count);
        }
        assert_eq!(store.waiting("key", &[], 10).unwrap(), [(1, one), (2, one), (3, other), (6, one)]);
        assert_eq!(store.waiting("key", &[], 2).unwrap(), [(1, one), (2, one)]);
        assert_eq!(store.waiting("key", &[one], 10).unwrap(), [(3, other)]);
        assert_eq!(store.waiting("none", &[], 10).unwrap(), []);
        let event = store.pending_event(3).unwrap().unwrap();
        assert_eq!((event.session, event.attempts, &*event.json), (other, 0, &br#"{"path":"/"}"#[..]));
    }

    #[test]
    fn settled_events_leave_the_backlog() {
        let (_folder, store, session) = store();
        append(&store, session, 2);
        let outcome = Outcome::Delivered { otas_event_id: "e".into() };
        store.settle(&[Settlement { id: 1, attempts: 1, outcome }]).unwrap();
        assert_eq!(store.waiting("key", &[], 10).unwrap(), [(2, session)]);
        assert_eq!(store.pending_event(1).unwrap(), None);
    }

    #[test]
    fn changes_by_other_connections_are_noticed_and_our_own_are_not() {
        let (_folder, store, session) = store();
        let before = store.data_version().unwrap();
        store.close_session(session).unwrap();
        assert_eq!(store.data_version().unwrap(), before);
        append(&store, session, 1);
        assert_ne!(store.data_version().unwrap(), before);
    }

    #[test]
    fn the_backlog_query_reads_only_the_partial_index() {
        let (_folder, store, _session) = store();
        let plan: Vec<String> = store
            .connection()
            .prepare(&format!("EXPLAIN QUERY PLAN {WAITING}"))
            .unwrap()
            .query_map(params!["key", "[]", 10], |row| row.get(3))
            .unwrap()
            .collect::<Result<_, _>>()
            .unwrap();
        assert!(plan[0].contains("USING COVERING INDEX events_pending"), "{plan:?}");
        assert!(!plan.iter().any(|step| step.contains("ORDER BY")), "{plan:?}");
    }
}
