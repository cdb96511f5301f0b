//! What a fleet needs of the store: whole events to send on, and what became of them.

use rusqlite::{OptionalExtension, Row, TransactionBehavior, params};
use uuid::Uuid;

use super::chunks::Loader;
use super::removal::{candidate_columns, candidates, remove_unsettled};
use super::sql::{as_limit, unsigned};
use super::{SessionRow, State, Store, StoreError};
use crate::event::Event;

/// A pending event with all that another store needs to keep it.
#[derive(Debug, Clone, PartialEq)]
pub struct Travelling {
    /// The run id of its session.
    pub run_id: String,
    /// The `meta` of its session: a JSON object.
    pub meta: String,
    /// Its number in its session.
    pub seq: u64,
    /// The event.
    pub event: Event,
}

/// What became of an event.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fate {
    /// The exchange's UUIDv7.
    pub event_id: Uuid,
    /// Its session.
    pub session: SessionRow,
    /// The delivery state.
    pub state: State,
    /// OTAS's id for it, once delivered.
    pub otas_event_id: Option<String>,
    /// The verdict of the last post.
    pub verdict: Option<String>,
}

/// Rows that one step removes.
const STEP: usize = 256;

impl Store {
    /// The first `limit` pending events of an agent key behind a row, in row order.
    ///
    /// # Errors
    /// When the store cannot be read.
    pub fn waiting_after(
        &self,
        key_id: &str,
        after: i64,
        limit: usize,
    ) -> Result<Vec<(i64, SessionRow)>, StoreError> {
        let connection = self.connection();
        let read = || {
            connection
                .prepare_cached(
                    "SELECT id, session FROM events INDEXED BY events_pending
                     WHERE state = 0 AND id > ?2 AND session IN (SELECT id FROM sessions WHERE key_id = ?1)
                     ORDER BY id LIMIT ?3",
                )?
                .query_map(params![key_id, after, as_limit(limit)], |row| Ok((row.get(0)?, SessionRow(row.get(1)?))))?
                .collect::<rusqlite::Result<Vec<_>>>()
        };
        read().map_err(self.failed("read the backlog"))
    }

    /// A pending event with everything about it.
    ///
    /// # Errors
    /// When the store cannot be read.
    pub fn travelling(&self, id: i64) -> Result<Option<Travelling>, StoreError> {
        let connection = self.connection();
        let read = || {
            connection
                .prepare_cached(
                    "SELECT event_id, run_id, meta, seq, started_at_ms, method, host, path, status_code, latency_ms,
                            request_bytes, response_bytes, error, outline, llm, json, parts
                     FROM events JOIN sessions ON sessions.id = session WHERE events.id = ?1 AND state = 0",
                )?
                .query_row([id], |row| travelling(&mut self.loader(&connection), row))
                .optional()
        };
        read().map_err(self.failed("read a pending event"))
    }

    /// What became of the newest events, the newest first.
    ///
    /// # Errors
    /// When the store cannot be read.
    pub fn newest_fates(&self, limit: usize) -> Result<Vec<Fate>, StoreError> {
        let connection = self.connection();
        let read = || {
            connection
                .prepare_cached(
                    "SELECT event_id, session, state, otas_event_id, verdict FROM events
                     WHERE state <> 0 ORDER BY id DESC LIMIT ?1",
                )?
                .query_map([as_limit(limit)], fate)?
                .collect::<rusqlite::Result<Vec<_>>>()
        };
        read().map_err(self.failed("read what became of events"))
    }

    /// The session with this run id.
    ///
    /// # Errors
    /// When the store cannot be read.
    pub fn session_of_run(&self, run_id: &str) -> Result<Option<SessionRow>, StoreError> {
        self.connection()
            .prepare_cached("SELECT id FROM sessions WHERE run_id = ?1")
            .and_then(|mut query| query.query_row([run_id], |row| row.get(0).map(SessionRow)).optional())
            .map_err(self.failed("look for a session"))
    }

    /// Removes all pending events, as if they had never been appended: they are kept elsewhere.
    ///
    /// # Errors
    /// When the store cannot be written. The steps that were done stay done.
    pub fn withdraw_pending(&self) -> Result<u64, StoreError> {
        let mut withdrawn = 0;
        loop {
            let mut connection = self.connection();
            let mut step = || {
                let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
                let sql = format!("SELECT {} FROM events WHERE state = 0 LIMIT {STEP}", candidate_columns());
                let rows = candidates(&transaction, &sql, [])?;
                remove_unsettled(&transaction, &rows)?;
                transaction.commit()?;
                Ok(rows.len() as u64)
            };
            match step().map_err(self.failed("remove pending events"))? {
                0 => return Ok(withdrawn),
                some => withdrawn += some,
            }
        }
    }
}

fn fate(row: &Row<'_>) -> rusqlite::Result<Fate> {
    Ok(Fate {
        event_id: Uuid::from_bytes(row.get(0)?),
        session: SessionRow(row.get(1)?),
        state: State::from_code(row.get(2)?),
        otas_event_id: row.get(3)?,
        verdict: row.get(4)?,
    })
}

fn travelling(loader: &mut Loader<'_>, row: &Row<'_>) -> rusqlite::Result<Travelling> {
    let parts: Option<Vec<u8>> = row.get(16)?;
    let (json, bodies) = loader.apart(row.get(15)?, parts.as_deref())?;
    Ok(Travelling {
        run_id: row.get(1)?,
        meta: row.get(2)?,
        seq: unsigned(row, 3)?,
        event: Event {
            id: Uuid::from_bytes(row.get(0)?),
            started_at_ms: row.get(4)?,
            method: row.get(5)?,
            host: row.get(6)?,
            path: row.get(7)?,
            status_code: row.get(8)?,
            latency_ms: row.get(9)?,
            request_bytes: unsigned(row, 10)?,
            response_bytes: unsigned(row, 11)?,
            error: row.get(12)?,
            outline: row.get(13)?,
            llm: row.get(14)?,
            json,
            bodies,
        },
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::event::BodyText;
    use crate::store::{NewEvent, Outcome, Settlement, testing};

    const JSON: &[u8] = br#"{"path":"/","request_body":""}"#;

    #[test]
    fn an_event_travels_with_its_bodies_apart() {
        let (_folder, store) = testing::store();
        let session = store.begin_session("run", "key", r#"{"a":1}"#).unwrap();
        let text = testing::text_that_takes(20_000);
        let bodies = [BodyText { at: 28, text: text.clone().into() }];
        let event = NewEvent { seq: 7, bodies: &bodies, ..NewEvent::plain(JSON) };
        store.writer().unwrap().append(session, &[event]).unwrap();
        let found = store.travelling(1).unwrap().unwrap();
        assert_eq!((found.run_id.as_str(), found.meta.as_str(), found.seq), ("run", r#"{"a":1}"#, 7));
        let Event { id, json, bodies: found, .. } = &found.event;
        assert_eq!((*id, &**json, &found[..]), (event.event_id, JSON, &bodies[..]));
        assert_eq!(store.session_of_run("run").unwrap(), Some(session));
        assert_eq!(store.session_of_run("other").unwrap(), None);
    }

    #[test]
    fn withdrawn_events_leave_no_trace_and_settled_ones_stay() {
        let (_folder, store) = testing::store();
        let session = store.begin_session("run", "key", "{}").unwrap();
        let events: Vec<_> = (0..600).map(|seq| NewEvent { seq, ..NewEvent::plain(JSON) }).collect();
        store.writer().unwrap().append(session, &events).unwrap();
        assert_eq!(store.waiting_after("key", 598, 10).unwrap(), [(599, session), (600, session)]);
        let outcome = Outcome::Delivered { otas_event_id: "e".into() };
        store.settle(&[Settlement { id: 600, attempts: 1, outcome }]).unwrap();
        assert_eq!(store.withdraw_pending().unwrap(), 599);
        let counts = store.counts(Some(session)).unwrap();
        assert_eq!((counts.total, counts.pending, counts.delivered), (1, 0, 1));
        let fate = Fate {
            event_id: events[599].event_id,
            session,
            state: State::Delivered,
            otas_event_id: Some("e".into()),
            verdict: Some("delivered".into()),
        };
        assert_eq!(store.newest_fates(10).unwrap(), [fate]);
    }
}
