//! The rows of blocks.

use rusqlite::{Connection, OptionalExtension, params};

use super::file::damaged;
use crate::search::{ROWS, Signature, sliced};

/// The number of a row of slices.
pub(super) fn slice_id(block: i64, row: usize) -> i64 {
    let rows = i64::try_from(ROWS).unwrap_or_default();
    block.saturating_mul(rows).saturating_add(i64::try_from(row).unwrap_or_default())
}

/// Writes the rows of a block.
pub(super) fn write_slices(index: &Connection, block: i64, signatures: &[Signature]) -> rusqlite::Result<()> {
    let mut insert = index.prepare_cached("INSERT OR REPLACE INTO slices (id, data) VALUES (?1, ?2)")?;
    sliced(signatures)
        .into_iter()
        .enumerate()
        .try_for_each(|(row, data)| insert.execute(params![slice_id(block, row), data]).map(drop))
}

/// Reads a row of a block.
pub(super) fn read_slice(index: &Connection, block: i64, row: usize) -> rusqlite::Result<Vec<u8>> {
    let slice = index
        .prepare_cached("SELECT data FROM slices WHERE id = ?1")?
        .query_row([slice_id(block, row)], |row| row.get(0))
        .optional()?;
    slice.ok_or_else(damaged)
}

/// Removes a block with its rows.
pub(super) fn remove_block(index: &Connection, block: i64) -> rusqlite::Result<()> {
    index
        .prepare_cached("DELETE FROM slices WHERE id >= ?1 AND id < ?2")?
        .execute([slice_id(block, 0), slice_id(block + 1, 0)])?;
    index.prepare_cached("DELETE FROM blocks WHERE id = ?1")?.execute([block]).map(drop)
}
