//! Taking the bodies of salvaged events over from a damaged file.

use std::time::Instant;

use rusqlite::types::Value;
use rusqlite::{Connection, TransactionBehavior, params_from_iter};

use super::parts::Parts;

/// Without the key, the chunks of the damaged file could not be checked.
pub(in crate::store) fn copy_key(old: &Connection, new: &Connection) {
    if let Ok(key) = old.query_row("SELECT key FROM chunk_key", [], |row| row.get::<_, Vec<u8>>(0)) {
        let kept = new.execute("UPDATE chunk_key SET key = ?1", [key]);
        kept.err()
            .inspect(|error| tracing::warn!(%error, "the key of the chunks could not be copied: bodies are lost"));
    }
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
            let parts = Parts::decode(row.get_ref(0)?.as_blob().unwrap_or_default());
            for chunk in parts.runs().cloned().flatten() {
                copy(old, &transaction, chunk, until)?;
            }
        }
    }
    transaction.execute_batch(
        "UPDATE events SET body_bytes = 0;
         UPDATE tally SET waiting_bytes = 0, chunk_bytes = (SELECT coalesce(sum(length(data)), 0) FROM chunks)",
    )?;
    transaction.commit()
}

/// Copies a chunk, unless that was done or time is up, and counts a reference.
fn copy(old: &Connection, new: &Connection, chunk: i64, until: Instant) -> rusqlite::Result<()> {
    let counted = new.prepare_cached("UPDATE chunk_refs SET refs = refs + 1 WHERE chunk = ?1")?.execute([chunk])?;
    if counted > 0 || Instant::now() > until {
        return Ok(());
    }
    let found = old
        .prepare_cached("SELECT id, hash, bytes, crc, data FROM chunks WHERE id = ?1")
        .and_then(|mut query| query.query_row([chunk], |row| (0..5).map(|at| row.get(at)).collect()));
    let Ok::<Vec<Value>, _>(values) = found else { return Ok(()) };
    new.prepare_cached("INSERT OR IGNORE INTO chunks (id, hash, bytes, crc, data) VALUES (?1, ?2, ?3, ?4, ?5)")?
        .execute(params_from_iter(values))?;
    new.prepare_cached("INSERT OR IGNORE INTO chunk_refs (chunk, refs) VALUES (?1, 1)")?.execute([chunk])?;
    Ok(())
}
