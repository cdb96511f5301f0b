//! Taking the bodies of salvaged events over from a damaged file.

use std::time::Instant;

use rusqlite::types::Value;
use rusqlite::{Connection, TransactionBehavior, params_from_iter};

use super::parts::Parts;
use super::references::count;
use super::sums::COUNT_AGAIN;
use crate::store::sql::copy_secret;

/// Without the key, the chunks of the damaged file could not be checked.
pub(in crate::store) fn copy_key(old: &Connection, new: &Connection) {
    copy_secret(old, new, "chunk_key", "key", "bodies are lost");
}

/// Copies the chunks of the events that were copied, with their numbers, and counts their references. Those that cannot be read
/// are left out: reading such a body shows a mark in their place.
///
/// # Errors
/// When the new file cannot be written.
pub(in crate::store) fn salvage(old: &Connection, new: &mut Connection, until: Instant) -> rusqlite::Result<()> {
    let transaction = new.transaction_with_behavior(TransactionBehavior::Immediate)?;
    {
        let mut events = transaction.prepare("SELECT parts FROM events WHERE parts IS NOT NULL")?;
        let mut rows = events.query([])?;
        while let Some(row) = rows.next()? {
            let parts = Parts::decode(row.get_ref(0)?.as_blob().unwrap_or_default()).unwrap_or_default();
            for run in parts.runs() {
                let mut left = run.clone();
                while Instant::now() < until
                    && let Some(chunk) = left.next()
                {
                    copy(old, &transaction, chunk)?;
                }
                // Time is up: those that were copied before are referred to all the same.
                if !left.is_empty() {
                    count(&transaction, &left, 1)?;
                }
            }
        }
    }
    transaction.execute_batch("UPDATE events SET body_bytes = 0; UPDATE tally SET waiting_bytes = 0;")?;
    transaction.execute_batch(COUNT_AGAIN)?;
    transaction.commit()
}

/// Copies a chunk, unless that was done, and counts a reference.
fn copy(old: &Connection, new: &Connection, chunk: i64) -> rusqlite::Result<()> {
    if count(new, &(chunk..=chunk), 1)? > 0 {
        return Ok(());
    }
    let found = old
        .prepare_cached("SELECT id, hash, bytes, crc, data FROM chunks WHERE id = ?1")
        .and_then(|mut query| query.query_row([chunk], |row| (0..5).map(|at| row.get(at)).collect()));
    let Ok::<Vec<Value>, _>(values) = found else { return Ok(()) };
    new.prepare_cached("INSERT OR IGNORE INTO chunks (id, hash, bytes, crc, data) VALUES (?1, ?2, ?3, ?4, ?5)")?
        .execute(params_from_iter(values))?;
    new.prepare_cached(
        "INSERT OR IGNORE INTO chunk_refs (chunk, refs, bytes) SELECT id, 1, bytes FROM chunks WHERE id = ?1",
    )?
    .execute([chunk])?;
    Ok(())
}
