//! Deleting events that a person selects. It works in short steps, so a proxy may use the store meanwhile.

use std::path::Path;
use std::time::Duration;

use rusqlite::types::Value;
use rusqlite::{Connection, TransactionBehavior, params_from_iter};

use super::filter::Clauses;
use super::removal::{STEP_ROWS, candidate_columns, candidates, remove};
use super::sql::unsigned;
use super::{Filter, Store, StoreError, search, sinks};

/// The pause between two steps. A proxy that waits for its turn to append tries again each millisecond.
const PAUSE: Duration = Duration::from_millis(3);

/// Events whose bodies were looked through that are named in one statement.
const FOUND_AT_ONCE: usize = 500;

/// The events to delete.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Selection {
    /// Only this event.
    pub only: Option<i64>,
    /// Which events. Its limit is ignored.
    pub filter: Filter,
    /// Only events that began before this, in Unix milliseconds.
    pub before_ms: Option<i64>,
    /// Also events that OTAS does not have: pending and dead ones.
    pub undelivered: bool,
}

/// What a selection matches.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Clearable {
    /// Events that may be deleted.
    pub events: u64,
    /// Of these, those that OTAS does not have.
    pub undelivered: u64,
    /// Further events that match, but that OTAS does not have, so they stay.
    pub spared: u64,
    /// The newest row. Events that come later are not deleted.
    pub up_to: i64,
}

impl Store {
    /// Counts what [`Store::clear`] would delete.
    ///
    /// # Errors
    /// When the store cannot be read.
    pub fn clearable(&self, selection: &Selection) -> Result<Clearable, StoreError> {
        clearable(&self.connection(), self.path(), selection).map_err(self.failed("count the events to delete"))
    }

    /// Deletes the events that were counted. Returns how many: others may have been deleted meanwhile. Undelivered ones count as
    /// dropped.
    ///
    /// # Errors
    /// When the store cannot be written. The steps that were done stay done.
    pub fn clear(&self, selection: &Selection, counted: &Clearable) -> Result<u64, StoreError> {
        let clauses = selection.clauses();
        if clauses.texts.is_empty() {
            return self.clear_range(selection, &clauses, i64::MIN, counted.up_to);
        }
        // Bodies are looked through before a step takes the right to write.
        let found = found(&self.connection(), self.path(), selection, &clauses, counted.up_to);
        let (found, mut deleted) = (found.map_err(self.failed("find the events to delete"))?, 0);
        for some in found.chunks(FOUND_AT_ONCE) {
            let (Some(first), Some(last)) = (some.first(), some.last()) else { continue };
            let ids: Vec<String> = some.iter().map(i64::to_string).collect();
            let these = Clauses { sql: format!(" AND id IN ({})", ids.join(",")), ..Clauses::default() };
            deleted += self.clear_range(selection, &these, first - 1, *last)?;
        }
        Ok(deleted)
    }

    /// Deletes the events after a row up to another one.
    fn clear_range(&self, selection: &Selection, which: &Clauses, after: i64, up_to: i64) -> Result<u64, StoreError> {
        let (mut deleted, mut after) = (0, after);
        loop {
            // The connection is released between two steps.
            let step = step(&mut self.connection(), selection, which, after, up_to);
            match step.map_err(self.failed("delete events"))? {
                None => return Ok(deleted),
                Some((last, events)) => (after, deleted) = (last, deleted + events),
            }
            std::thread::sleep(PAUSE);
        }
    }
}

/// The ids of the selected events, in order.
fn found(
    connection: &Connection,
    path: &Path,
    selection: &Selection,
    clauses: &Clauses,
    up_to: i64,
) -> rusqlite::Result<Vec<i64>> {
    let _function = search::attach_patiently(connection, path, clauses, &selection.filter.searched)?;
    let sql =
        format!("SELECT id FROM events WHERE id <= {up_to} AND {}{} ORDER BY id", selection.states(), clauses.sql);
    connection.prepare(&sql)?.query_map(params_from_iter(&clauses.values), |row| row.get(0))?.collect()
}

impl Selection {
    /// Conditions on `events`, with which states may be deleted.
    fn clauses(&self) -> Clauses {
        let mut clauses = self.filter.clauses();
        if let Some(id) = self.only {
            clauses.sql += " AND id = ?";
            clauses.values.push(id.into());
        }
        if let Some(before_ms) = self.before_ms {
            clauses.sql += " AND started_at_ms < ?";
            clauses.values.push(before_ms.into());
        }
        clauses
    }

    fn states(&self) -> &'static str {
        if self.undelivered { "1" } else { "state IN (1, 3)" }
    }
}

fn clearable(connection: &Connection, path: &Path, selection: &Selection) -> rusqlite::Result<Clearable> {
    let clauses = selection.clauses();
    let _function = search::attach_patiently(connection, path, &clauses, &selection.filter.searched)?;
    let Clauses { sql, values, .. } = clauses;
    let deleted = selection.states();
    connection.query_row(
        &format!(
            "SELECT count(*) FILTER (WHERE {deleted}), count(*) FILTER (WHERE {deleted} AND state IN (0, 2)),
                    count(*) FILTER (WHERE NOT ({deleted})), coalesce(max(id), 0)
             FROM events WHERE 1{sql}"
        ),
        params_from_iter(values),
        |row| {
            Ok(Clearable {
                events: unsigned(row, 0)?,
                undelivered: unsigned(row, 1)?,
                spared: unsigned(row, 2)?,
                up_to: row.get(3)?,
            })
        },
    )
}

/// Deletes some events after row `after`. Returns the last one and their number. `None`: there are no more.
fn step(
    connection: &mut Connection,
    selection: &Selection,
    which: &Clauses,
    after: i64,
    up_to: i64,
) -> rusqlite::Result<Option<(i64, u64)>> {
    let Clauses { sql, values, .. } = which;
    let values = [after, up_to]
        .map(Value::Integer)
        .into_iter()
        .chain(values.iter().cloned())
        .chain([Value::Integer(STEP_ROWS)]);
    let sql = format!(
        "SELECT {} FROM events WHERE id > ? AND id <= ? AND {}{sql} ORDER BY id LIMIT ?",
        candidate_columns(),
        selection.states(),
    );
    let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
    let rows = candidates(&transaction, &sql, params_from_iter(values))?;
    let Some(last) = rows.last() else { return Ok(None) };
    sinks::keep_ids(&transaction)?;
    remove(&transaction, &rows)?;
    transaction.commit()?;
    Ok(Some((last.id, rows.len() as u64)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::event::BodyText;
    use crate::store::{
        Condition, Counts, Fact, Inspector, NewEvent, Outcome, SessionRow, Settlement, State, testing,
    };

    /// 200 events that share their bodies, begun at 1, 2, 3 … ms: the first 100 are delivered, the next is dead.
    fn store() -> (tempfile::TempDir, Store, SessionRow) {
        let (folder, store) = testing::store();
        let session = store.begin_session("run", "key", "{}").unwrap();
        let text: String = (0..9_000).map(|n| format!("{n} ")).collect();
        let body = [BodyText { at: 17, text: text.into() }];
        let json = br#"{"request_body":""}"#;
        let events: Vec<_> =
            (1..=200).map(|n| NewEvent { started_at_ms: n, bodies: &body, ..NewEvent::plain(json) }).collect();
        store.writer().unwrap().append(session, &events).unwrap();
        let delivered = Outcome::Delivered { otas_event_id: "e".into() };
        let mut settled: Vec<_> =
            (1..=100).map(|id| Settlement { id, attempts: 1, outcome: delivered.clone() }).collect();
        settled.push(Settlement { id: 101, attempts: 1, outcome: Outcome::Dead { verdict: "no".into() } });
        store.settle(&settled).unwrap();
        (folder, store, session)
    }

    fn clear(store: &Store, selection: &Selection) -> u64 {
        let counted = store.clearable(selection).unwrap();
        let deleted = store.clear(selection, &counted).unwrap();
        assert_eq!(deleted, counted.events);
        Inspector::open(store.path()).unwrap().verify(&mut |fault| panic!("{fault}")).unwrap();
        deleted
    }

    fn chunks(store: &Store) -> u64 {
        store.viewer().sizes().unwrap().chunks
    }

    #[test]
    fn undelivered_events_stay_unless_they_are_asked_for() {
        let (_folder, store, _) = store();
        let all = Selection::default();
        let counted = store.clearable(&all).unwrap();
        assert_eq!((counted.events, counted.undelivered, counted.spared), (100, 0, 100));
        assert_eq!(clear(&store, &all), 100);
        let counts = Counts { total: 200, pending: 99, delivered: 100, dead: 1, kept: 0 };
        assert_eq!((store.counts(None).unwrap(), store.viewer().dropped().unwrap()), (counts, 0));
        assert!(chunks(&store) > 0, "others have them");
        let undelivered = Selection { undelivered: true, ..all };
        assert_eq!(store.clearable(&undelivered).unwrap().undelivered, 100);
        assert_eq!(clear(&store, &undelivered), 100);
        let counts = Counts { total: 100, pending: 0, delivered: 100, dead: 0, kept: 0 };
        assert_eq!((store.counts(None).unwrap(), store.viewer().dropped().unwrap()), (counts, 100));
        assert_eq!(chunks(&store), 0);
    }

    #[test]
    fn age_filter_and_number_select() {
        let (_folder, store, session) = store();
        let one = Selection { only: Some(7), ..Selection::default() };
        assert_eq!((clear(&store, &one), clear(&store, &one)), (1, 0));
        let pending = Selection { only: Some(150), ..Selection::default() };
        assert_eq!((clear(&store, &pending), store.clearable(&pending).unwrap().spared), (0, 1));
        assert_eq!(clear(&store, &Selection { before_ms: Some(31), ..Selection::default() }), 29);
        let filter = Filter { state: Some(State::Dead), session: Some(session), ..Filter::default() };
        let dead = Selection { filter, ..Selection::default() };
        assert_eq!((clear(&store, &dead), store.clearable(&dead).unwrap().spared), (0, 1));
        assert_eq!(clear(&store, &Selection { undelivered: true, ..dead }), 1);
        let other = Filter { conditions: vec![Condition::Is(Fact::Host("other".into()))], ..Filter::default() };
        assert_eq!(clear(&store, &Selection { filter: other, ..Selection::default() }), 0);
    }

    #[test]
    fn events_that_arrive_during_a_clear_stay_and_ids_are_not_reused() {
        let (_folder, store, session) = store();
        let mut writer = store.writer().unwrap();
        let all = Selection { undelivered: true, ..Selection::default() };
        let counted = store.clearable(&all).unwrap();
        writer.append(session, &[NewEvent::plain(b"{}")]).unwrap();
        assert_eq!(store.clear(&all, &counted).unwrap(), 200);
        assert_eq!(store.event(201).unwrap().state, State::Pending);
        assert_eq!(clear(&store, &all), 1);
        // The answer to a post of the removed event must not settle another one.
        writer.append(session, &[NewEvent::plain(b"{}"), NewEvent::plain(b"{}")]).unwrap();
        assert_eq!(store.ids(&Filter { limit: 9, ..Filter::default() }).unwrap(), [202, 203]);
    }

    #[test]
    fn a_sink_that_has_not_had_them_counts_them_as_missed() {
        let (_folder, store, _) = store();
        store.begin_sink("s", true).unwrap();
        store.sink_is_at("s", 40, 40, 0).unwrap();
        assert_eq!(clear(&store, &Selection::default()), 100);
        assert_eq!(store.sink_place("s").unwrap().unwrap().missed, 60);
    }
}
