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
