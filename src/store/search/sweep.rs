//! Removing from the index what was removed from the store.

use std::time::{Duration, Instant};

use rusqlite::{Connection, OptionalExtension, params};

use super::blocks::{read_slice, remove_block, write_slices};
use super::contents::{Contents, decode, encode};
use super::file::damaged;
use crate::search::{Columns, ROWS, without};
use crate::store::sql::signed;

/// A block is written again when this part of its columns has nothing left.
const WORTH_IT: usize = 8;
/// All is looked at after this time, whatever was removed.
const REST: Duration = Duration::from_secs(3600);

/// Where it is.
#[derive(Default)]
pub(super) struct Sweep {
    /// What was removed from the store when it began.
    removed: Option<Removed>,
    rests_until: Option<Instant>,
    /// The block that it has looked at.
    after: i64,
}

/// Tells that something was removed.
#[derive(PartialEq, Eq)]
struct Removed {
    chunks: i64,
    first_event: i64,
}

impl Sweep {
    /// Looks at one block. False: nothing was removed since the last round. `kept`: the column that is being written. `full`: the
    /// number of the other columns that are not in a block.
    pub(super) fn step(
        &mut self,
        index: &Connection,
        store: &Connection,
        kept: Option<i64>,
        full: &mut u64,
    ) -> rusqlite::Result<bool> {
        let removed = removed(store)?;
        let is_due = self.rests_until.is_none_or(|until| Instant::now() > until);
        if self.after == 0 {
            if !is_due && self.removed.as_ref() == Some(&removed) {
                return Ok(false);
            }
            *full = full.saturating_sub(columns(index, store, kept)? as u64);
            index.prepare_cached("DELETE FROM spans WHERE last < ?1")?.execute([removed.first_event])?;
            (self.removed, self.rests_until) = (Some(removed), Some(Instant::now() + REST));
        }
        let next: Option<(i64, Vec<u8>)> = index
            .prepare_cached("SELECT id, contents FROM blocks WHERE id > ?1 ORDER BY id LIMIT 1")?
            .query_row([self.after], |row| Ok((row.get(0)?, row.get(1)?)))
            .optional()?;
        let Some((block, contents)) = next else {
            self.after = 0;
            return Ok(false);
        };
        self.after = block;
        sweep(index, store, block, &decode(&contents).ok_or_else(damaged)?)?;
        Ok(true)
    }
}

fn removed(store: &Connection) -> rusqlite::Result<Removed> {
    store
        .prepare_cached(
            "SELECT coalesce((SELECT seq FROM sqlite_sequence WHERE name = 'chunks'), 0) - (SELECT chunks FROM tally),
                    (SELECT coalesce(min(id), 0) FROM events)",
        )?
        .query_row([], |row| Ok(Removed { chunks: row.get(0)?, first_event: row.get(1)? }))
}

/// Removes single columns that have nothing left. Returns how many.
fn columns(index: &Connection, store: &Connection, kept: Option<i64>) -> rusqlite::Result<usize> {
    let mut query = index.prepare_cached("SELECT id, contents FROM columns")?;
    let rows: Vec<(i64, Vec<u8>)> =
        query.query_map([], |row| Ok((row.get(0)?, row.get(1)?)))?.collect::<rusqlite::Result<_>>()?;
    let mut gone = 0;
    for (row, contents) in rows.into_iter().filter(|(row, _)| Some(*row) != kept) {
        if !any_is_there(store, &decode(&contents).ok_or_else(damaged)?)? {
            gone += index.prepare_cached("DELETE FROM columns WHERE id = ?1")?.execute([row])?;
        }
    }
    Ok(gone)
}

fn sweep(index: &Connection, store: &Connection, block: i64, contents: &[Contents]) -> rusqlite::Result<()> {
    let (mut left, mut columns) = (Vec::new(), Columns::first(0));
    for (at, contents) in contents.iter().enumerate() {
        if any_is_there(store, std::slice::from_ref(contents))? {
            left.push(contents.clone());
            columns.add(&Columns::only(at));
        }
    }
    if left.is_empty() {
        return remove_block(index, block);
    }
    if (contents.len() - left.len()) * WORTH_IT < contents.len() {
        return Ok(());
    }
    let rows = (0..ROWS).map(|row| read_slice(index, block, row)).collect::<rusqlite::Result<Vec<_>>>()?;
    write_slices(index, block, &without(&rows, &columns).ok_or_else(damaged)?)?;
    index
        .prepare_cached("UPDATE blocks SET count = ?2, contents = ?3 WHERE id = ?1")?
        .execute(params![block, signed(left.len() as u64), encode(&left)])
        .map(drop)
}

/// Whether the store still has one of the texts.
fn any_is_there(store: &Connection, contents: &[Contents]) -> rusqlite::Result<bool> {
    let mut chunk = store.prepare_cached("SELECT 1 FROM chunk_refs WHERE chunk BETWEEN ?1 AND ?2 LIMIT 1")?;
    let mut event = store.prepare_cached("SELECT 1 FROM events WHERE id = ?1")?;
    for Contents { chunks, seams, events } in contents {
        if let Some(chunks) = chunks
            && chunk.exists([chunks.start(), chunks.end()])?
        {
            return Ok(true);
        }
        for (before, after) in seams {
            if chunk.exists([before, before])? && chunk.exists([after, after])? {
                return Ok(true);
            }
        }
        for id in events {
            if event.exists([id])? {
                return Ok(true);
            }
        }
    }
    Ok(false)
}
