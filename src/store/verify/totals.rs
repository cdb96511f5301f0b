//! The sums that are kept, and the rows that they are of.

use rusqlite::{Connection, params};

use super::fault::{Fault, Report};
use crate::store::sql::ROW_BYTES;

/// Compares the sums with the rows, as they are at one moment.
pub(super) fn check(connection: &Connection, report: &mut Report<'_>) -> rusqlite::Result<()> {
    let transaction = connection.unchecked_transaction()?;
    let number = |sql: &str| transaction.query_row(sql, params![], |row| row.get::<_, i64>(0));
    let settled = format!("SELECT coalesce(sum({ROW_BYTES}), 0) FROM events WHERE state IN (1, 3)");
    for (what, kept, found) in [
        ("bytes of delivered and kept events", "SELECT delivered_bytes FROM tally", &*settled),
        ("chunks", "SELECT chunks FROM tally", "SELECT count(*) FROM chunks"),
        ("bytes of chunks", "SELECT chunk_bytes FROM tally", "SELECT coalesce(sum(length(data)), 0) FROM chunks"),
        (
            "bytes of the texts of chunks",
            "SELECT distinct_bytes FROM tally",
            "SELECT coalesce(sum(bytes), 0) FROM chunks",
        ),
        (
            "bytes of the texts of bodies",
            "SELECT logical_bytes FROM tally",
            "SELECT coalesce(sum(bytes * refs), 0) FROM chunk_refs",
        ),
        (
            "bytes of chunks that undelivered events were the first to store",
            "SELECT waiting_bytes FROM tally",
            "SELECT coalesce(sum(body_bytes), 0) FROM events WHERE state IN (0, 2)",
        ),
    ] {
        let (kept, found) = (number(kept)?, number(found)?);
        if kept != found {
            report.add(&Fault::Tally { what, kept, found });
        }
    }
    // Events of sessions without a key are kept, and not counted by themselves.
    sessions(&transaction, "pending", "total - delivered - dead", "state = 0", "key_id <> ''", report)?;
    sessions(&transaction, "dead", "dead", "state = 2", "1", report)
}

/// Compares a count of each session with its events.
fn sessions(
    connection: &Connection,
    what: &'static str,
    count: &str,
    events: &str,
    which: &str,
    report: &mut Report<'_>,
) -> rusqlite::Result<()> {
    let sql = format!(
        "SELECT id, {count}, coalesce(found, 0) FROM sessions
         LEFT JOIN (SELECT session, count(*) AS found FROM events WHERE {events} GROUP BY session) ON session = id
         WHERE {which} AND {count} <> coalesce(found, 0) ORDER BY id"
    );
    let mut query = connection.prepare(&sql)?;
    let mut rows = query.query([])?;
    while let Some(row) = rows.next()? {
        report.add(&Fault::Session { session: row.get(0)?, what, kept: row.get(1)?, found: row.get(2)? });
    }
    Ok(())
}
