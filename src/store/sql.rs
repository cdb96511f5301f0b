//! Helpers for SQL statements: integers as SQLite holds them, and kinds of errors.

use rusqlite::{Connection, ErrorCode, OptionalExtension, Row};

use super::event::{SessionRow, State};

/// Ids made from the time grow by this many bits a millisecond. They stay exact in JSON numbers (53 bits).
pub(super) const ID_BITS: u32 = 10;

/// Adds to the bytes of settled events: those delivered or kept.
pub(super) const TALLY: &str = "UPDATE tally SET delivered_bytes = delivered_bytes + ?1";

/// Takes from the bytes of settled events.
pub(super) const TALLY_LESS: &str = "UPDATE tally SET delivered_bytes = max(0, delivered_bytes - ?1)";

/// Adds to the bytes of chunks that pending and dead events were the first to store.
pub(super) const WAITING_TALLY: &str = "UPDATE tally SET waiting_bytes = max(0, waiting_bytes + ?1)";

/// The note on an event of `events`.
macro_rules! note {
    () => {
        "(SELECT text FROM notes WHERE notes.id = events.id)"
    };
}
pub(super) const NOTE: &str = note!();

/// The size of an event's row, in bytes, without its chunks.
pub(super) const ROW_BYTES: &str = "length(json) + coalesce(length(parts), 0)";

macro_rules! columns {
    () => {
        "id, event_id, session, seq, started_at_ms, method, host, path, status_code, latency_ms, \
         request_bytes, response_bytes, error, state, attempts, verdict, next_try_at_ms, \
         otas_event_id, outline, llm, json, parts, body_bytes"
    };
}

/// All columns of an event.
pub(super) const COLUMNS: &str = columns!();

/// All columns of an event, and the note on it.
pub(super) const WITH_NOTE: &str = concat!(columns!(), ", ", note!());

/// The column `json`. `parts` and `body_bytes` follow it.
pub(super) const JSON_AT: usize = 20;

/// The number of [`COLUMNS`].
pub(super) const COLUMN_COUNT: usize = 23;

/// The state of a session's new events. Without an agent key they are not for OTAS.
pub(super) fn first_state(connection: &Connection, session: SessionRow) -> rusqlite::Result<State> {
    let mut query = connection.prepare_cached("SELECT key_id = '' FROM sessions WHERE id = ?1")?;
    let keyless: Option<bool> = query.query_row([session.0], |row| row.get(0)).optional()?;
    Ok(if keyless == Some(true) { State::Kept } else { State::Pending })
}

/// Copies the one value of a table from a file to the one that replaces it. `loss`: what happens without it.
pub(super) fn copy_secret(old: &Connection, new: &Connection, table: &str, column: &str, loss: &str) {
    if let Ok(value) = old.query_row(&format!("SELECT {column} FROM {table}"), [], |row| row.get::<_, Vec<u8>>(0)) {
        let kept = new.execute(&format!("UPDATE {table} SET {column} = ?1"), [value]);
        kept.err().inspect(|error| tracing::warn!(%error, "the store's {column} could not be copied: {loss}"));
    }
}

/// For a column: SQLite's integers are signed.
pub(super) fn signed(value: u64) -> i64 {
    i64::try_from(value).unwrap_or(i64::MAX)
}

/// From a column. A negative number, which we never write, counts as 0.
pub(super) fn unsigned(row: &Row<'_>, column: usize) -> rusqlite::Result<u64> {
    row.get::<_, i64>(column).map(|value| u64::try_from(value).unwrap_or(0))
}

/// For `LIMIT`.
pub(super) fn as_limit(limit: usize) -> i64 {
    i64::try_from(limit).unwrap_or(i64::MAX)
}

/// Whether an error means that the file is damaged, rather than that it cannot be reached.
pub(super) fn is_corruption(error: &rusqlite::Error) -> bool {
    use rusqlite::Error as E;
    match error {
        // We never write such values.
        E::FromSqlConversionFailure(..)
        | E::IntegralValueOutOfRange(..)
        | E::InvalidColumnType(..)
        | E::Utf8Error(..) => true,
        other => other.sqlite_error().is_some_and(|found| {
            matches!(found.code, ErrorCode::DatabaseCorrupt | ErrorCode::NotADatabase)
                // The file is shorter than its header says.
                || found.extended_code == rusqlite::ffi::SQLITE_IOERR_SHORT_READ
        }),
    }
}

/// The bytes of a database's file, and those of them that are in use.
pub(super) fn size_bytes(connection: &Connection) -> rusqlite::Result<(u64, u64)> {
    let number = |sql| connection.prepare_cached(sql)?.query_row([], |row| row.get::<_, i64>(0));
    let (pages, free, page) =
        (number("PRAGMA page_count")?, number("PRAGMA freelist_count")?, number("PRAGMA page_size")?);
    let bytes = |pages: i64| u64::try_from(pages.saturating_mul(page)).unwrap_or(0);
    Ok((bytes(pages), bytes(pages - free)))
}
