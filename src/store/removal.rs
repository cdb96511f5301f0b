//! Removing events so that all counts stay right: those of sessions, sinks, chunks and bytes. Each function belongs in a
//! transaction.

use rusqlite::{Connection, Row};

use super::chunks::Sums;
use super::sql::{ROW_BYTES, TALLY_LESS, WAITING_TALLY};
use super::{chunks, sinks};

/// Rows that one step looks at: a few milliseconds of work.
pub(super) const STEP_ROWS: i64 = 64;
/// Bytes of events that one step removes.
const STEP_BYTES: i64 = 2 << 20;
/// References to chunks that one step removes: a large body has thousands.
const STEP_REFERENCES: i64 = 4 << 10;

/// A row that a step may remove.
pub(super) struct Candidate {
    pub(super) id: i64,
    bytes: i64,
    pub(super) started_at_ms: i64,
    session: i64,
    /// Bytes of the chunks that it was the first to store.
    body_bytes: i64,
    /// It is delivered or kept.
    is_settled: bool,
    /// References to chunks.
    references: i64,
}

/// The columns of a candidate.
pub(super) fn candidate_columns() -> String {
    format!("id, {ROW_BYTES}, started_at_ms, session, body_bytes, state IN (1, 3), parts")
}

fn candidate(row: &Row<'_>) -> rusqlite::Result<Candidate> {
    Ok(Candidate {
        id: row.get(0)?,
        bytes: row.get(1)?,
        started_at_ms: row.get(2)?,
        session: row.get(3)?,
        body_bytes: row.get(4)?,
        is_settled: row.get(5)?,
        references: row.get_ref(6)?.as_blob_or_null()?.map_or(0, chunks::references_of),
    })
}

/// The first rows of a query for [`candidate_columns`], as many as one step handles.
pub(super) fn candidates(
    connection: &Connection,
    sql: &str,
    values: impl rusqlite::Params,
) -> rusqlite::Result<Vec<Candidate>> {
    let (mut bytes, mut references) = (0, 0_i64);
    let mut query = connection.prepare_cached(sql)?;
    let mut taken = Vec::new();
    for row in query.query_map(values, candidate)? {
        let row = row?;
        bytes += row.bytes + row.body_bytes;
        references = references.saturating_add(row.references);
        taken.push(row);
        if bytes > STEP_BYTES || references > STEP_REFERENCES {
            break;
        }
    }
    Ok(taken)
}

/// Removes events. Sessions still count those that were delivered or kept; the others count as dropped.
pub(super) fn remove(connection: &Connection, rows: &[Candidate]) -> rusqlite::Result<()> {
    sinks::note_missed(connection, rows.iter().map(|row| row.id))?;
    for row in rows.iter().filter(|row| !row.is_settled) {
        connection
            .prepare_cached(
                "UPDATE sessions SET total = total - 1, dropped = dropped + 1,
                        dead = dead - (SELECT state = 2 FROM events WHERE id = ?2) WHERE id = ?1",
            )?
            .execute([row.session, row.id])?;
    }
    delete(connection, rows)?;
    let bytes: i64 = rows.iter().filter(|row| row.is_settled).map(|row| row.bytes).sum();
    connection.prepare_cached(TALLY_LESS)?.execute([bytes])?;
    no_longer_wait(connection, rows)
}

/// Removes pending events, as if they had never been appended.
pub(super) fn remove_unsettled(connection: &Connection, rows: &[Candidate]) -> rusqlite::Result<()> {
    for row in rows {
        connection.prepare_cached("UPDATE sessions SET total = total - 1 WHERE id = ?1")?.execute([row.session])?;
    }
    delete(connection, rows)?;
    no_longer_wait(connection, rows)
}

/// Deletes rows, and the chunks that no other event has. Counts of sessions and sinks stay.
pub(super) fn delete(connection: &Connection, rows: &[Candidate]) -> rusqlite::Result<()> {
    let mut delete = connection.prepare_cached("DELETE FROM events WHERE id = ?1 RETURNING parts")?;
    let mut sums = Sums::default();
    for row in rows {
        let parts: Option<Vec<u8>> = delete.query_row([row.id], |row| row.get(0))?;
        if let Some(parts) = parts {
            sums += chunks::forget(connection, &parts)?;
        }
    }
    sums.add(connection)
}

/// The chunks that these undelivered events were the first to store count as shared from now on.
pub(super) fn no_longer_wait(connection: &Connection, rows: &[Candidate]) -> rusqlite::Result<()> {
    let bytes: i64 = rows.iter().filter(|row| !row.is_settled).map(|row| row.body_bytes).sum();
    connection.prepare_cached(WAITING_TALLY)?.execute([-bytes]).map(drop)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use bytestring::ByteString;

    use crate::event::{BodyText, with_bodies};
    use crate::store::{Bounds, Inspector, NewEvent, Outcome, SessionRow, Settlement, Store, Writer, testing};

    const JSON: &[u8] = br#"{"request_body":""}"#;
    const ALL: Bounds =
        Bounds { max_bytes: 1 << 40, min_free_bytes: 0, keep: Duration::MAX, keep_bytes: 1 << 40, may_drop: true };

    /// A conversation that is sent again with each of 80 calls. All but the last are delivered.
    struct Case {
        _folder: tempfile::TempDir,
        store: Store,
        writer: Writer,
        session: SessionRow,
        last: Vec<u8>,
    }

    impl Case {
        fn new() -> Self {
            let (folder, store) = testing::store();
            let session = store.begin_session("run", "key", "{}").unwrap();
            let (mut writer, mut text) = (store.writer().unwrap(), String::new());
            let mut body = [BodyText { at: 17, text: ByteString::new() }];
            for turn in 1..=80 {
                text += &testing::text_that_takes(8_000 + turn);
                body[0].text = text.clone().into();
                let event = NewEvent { bodies: &body, started_at_ms: turn as i64, ..NewEvent::plain(JSON) };
                writer.append(session, &[event]).unwrap();
            }
            let outcome = Outcome::Delivered { otas_event_id: "e".into() };
            let settled: Vec<_> =
                (1..80).map(|id| Settlement { id, attempts: 1, outcome: outcome.clone() }).collect();
            store.settle(&settled).unwrap();
            Self { _folder: folder, store, writer, session, last: with_bodies(JSON, &body) }
        }

        /// The bytes that count as retained, as they are in the rows.
        fn retained(&self) -> i64 {
            let sql = format!(
                "SELECT (SELECT coalesce(sum({ROW_BYTES}), 0) FROM events WHERE state IN (1, 3))
                      + (SELECT coalesce(sum(length(data)), 0) FROM chunks)
                      - (SELECT coalesce(sum(body_bytes), 0) FROM events WHERE state IN (0, 2))"
            );
            self.store.connection().query_row(&sql, [], |row| row.get(0)).unwrap()
        }

        fn tidy(&mut self, bounds: &Bounds) {
            while self.writer.tidy(bounds, 0).unwrap().more {}
            Inspector::open(self.store.path()).unwrap().verify(&mut |fault| panic!("{fault}")).unwrap();
        }
    }

    #[test]
    fn chunks_of_removed_events_are_freed_and_shared_ones_stay() {
        let mut case = Case::new();
        let (before, used) = (case.retained(), case.writer.size_bytes().unwrap().1);
        assert!(before > 500_000, "{before}");
        // All chunks but the ends of bodies are those of the last call, too.
        case.tidy(&Bounds { keep: Duration::from_secs(60), ..ALL });
        assert_eq!(case.store.counts(None).unwrap().pending, 1);
        assert_eq!(case.store.pending_event(80).unwrap().unwrap().json, case.last);
        let sizes = case.store.viewer().sizes().unwrap();
        assert_eq!(
            (sizes.events, sizes.logical_bytes, sizes.shared_bytes > 0),
            (1, case.last.len() as u64 - 19, false)
        );
        // Then nothing has them.
        let outcome = Outcome::Delivered { otas_event_id: "e".into() };
        case.store.settle(&[Settlement { id: 80, attempts: 1, outcome }]).unwrap();
        case.tidy(&Bounds { keep: Duration::from_secs(60), ..ALL });
        let sizes = case.store.viewer().sizes().unwrap();
        assert_eq!((sizes.events, sizes.chunks, sizes.logical_bytes, case.retained()), (0, 0, 0, 0));
        let freed = used - case.writer.size_bytes().unwrap().1;
        assert!(freed as i64 > before, "{freed} of {before}");
    }

    #[test]
    fn retention_by_size_stops_at_the_size() {
        let mut case = Case::new();
        let first = case.retained();
        // An event of its own that began before all others.
        let text =
            [BodyText { at: 17, text: ("another ".repeat(9_000) + &testing::text_that_takes(300_000)).into() }];
        let event = NewEvent { bodies: &text, started_at_ms: 0, ..NewEvent::plain(JSON) };
        case.writer.append(case.session, &[event]).unwrap();
        let outcome = Outcome::Delivered { otas_event_id: "e".into() };
        case.store.settle(&[Settlement { id: 81, attempts: 1, outcome }]).unwrap();
        assert!(case.retained() > first + 250_000);
        case.tidy(&Bounds { keep_bytes: first as u64 + 1_000, ..ALL });
        let left = case.store.counts(None).unwrap();
        assert!(case.retained() <= first + 1_000, "{}", case.retained());
        assert!(case.store.event(81).is_err() && left.delivered == 80, "{left:?}");
        assert!(case.store.viewer().sizes().unwrap().events > 10, "one step removed the rest");
    }

    #[test]
    fn a_step_is_bounded_by_references_to_chunks() {
        let (_folder, store) = testing::store();
        let session = store.begin_session("run", "", "{}").unwrap();
        // Each has the same chunk very often.
        let body = [BodyText { at: 17, text: "0123456789abcdef".repeat(1 << 20).into() }];
        let event = NewEvent { bodies: &body, ..NewEvent::plain(JSON) };
        store.writer().unwrap().append(session, &[event; 20]).unwrap();
        let sql = format!("SELECT {} FROM events ORDER BY id LIMIT 64", candidate_columns());
        let rows = candidates(&store.connection(), &sql, []).unwrap();
        let references: i64 = rows.iter().map(|row| row.references).sum();
        assert!(rows.len() < 20 && references >= STEP_REFERENCES, "{} rows, {references}", rows.len());
    }
}
