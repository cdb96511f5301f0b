//! Storing bodies, in the transaction of their event.

use std::ops::RangeInclusive;

use quick_cache::unsync::Cache;
use rusqlite::{Connection, OptionalExtension, params};
use zstd::bulk::Compressor;

use super::cut::{Hash, Hasher, cut};
use super::parts::{Part, Parts};
use crate::event::BodyText;
use crate::store::sql::signed;

/// Bodies that are shorter together stay in their event: a row of their own would take more.
const APART_FROM_BYTES: usize = 1 << 10;
/// zstd's level. 1 takes some 3 ms a MB of text; 3 takes twice that and saves a tenth.
const LEVEL: i32 = 1;
/// The numbers of so many chunks are remembered: 2 MiB.
const REMEMBERED: usize = 32 << 10;

/// Stores the texts of bodies, each chunk once.
pub(in crate::store) struct Saver {
    /// Numbers of chunks by their names. Another process may have removed one since.
    known: Cache<Hash, i64>,
    compressor: Option<Compressor<'static>>,
}

/// What was stored of an event's bodies.
#[derive(Debug, Default)]
pub(in crate::store) struct Saved {
    /// The column `parts`. `None`: the bodies stay in the event's JSON.
    pub(in crate::store) parts: Option<Vec<u8>>,
    /// The bytes of the chunks that are new.
    pub(in crate::store) new_bytes: u64,
}

impl Saver {
    pub(in crate::store) fn new() -> Self {
        Self { known: Cache::new(REMEMBERED), compressor: None }
    }

    /// Forgets the numbers of chunks: of another file, or of chunks that may have been removed.
    pub(in crate::store) fn clear(&mut self) {
        self.known.clear();
    }

    /// Stores the bodies of an event, unless they are short. `connection` is in a transaction.
    pub(in crate::store) fn save(
        &mut self,
        connection: &Connection,
        hasher: &Hasher,
        bodies: &[BodyText],
    ) -> rusqlite::Result<Saved> {
        if bodies.iter().map(|body| body.text.len()).sum::<usize>() < APART_FROM_BYTES {
            return Ok(Saved::default());
        }
        let chunks: Vec<Vec<(Hash, &str)>> = bodies
            .iter()
            .map(|body| cut(&body.text).map(|text| (hasher.hash(text.as_bytes()), text)).collect())
            .collect();
        let mut new_bytes = 0;
        let mut parts = self.numbered(connection, bodies, &chunks, &mut new_bytes)?;
        if !refer(connection, &parts)? {
            // A chunk that was remembered is gone. Those that were counted already are counted again, so this is undone.
            parts.runs().try_for_each(|run| count(connection, run, -1).map(drop))?;
            self.clear();
            parts = self.numbered(connection, bodies, &chunks, &mut new_bytes)?;
            refer(connection, &parts)?;
        }
        if new_bytes > 0 {
            connection
                .prepare_cached("UPDATE tally SET chunk_bytes = chunk_bytes + ?1")?
                .execute([signed(new_bytes)])?;
        }
        Ok(Saved { parts: Some(parts.encode()), new_bytes })
    }

    /// The numbers of the chunks. New ones are stored.
    fn numbered(
        &mut self,
        connection: &Connection,
        bodies: &[BodyText],
        chunks: &[Vec<(Hash, &str)>],
        new_bytes: &mut u64,
    ) -> rusqlite::Result<Parts> {
        let mut parts = Vec::with_capacity(bodies.len());
        for (body, chunks) in bodies.iter().zip(chunks) {
            let mut part = Part { at: body.at, runs: Vec::new() };
            for (hash, text) in chunks {
                part.push(self.number(connection, hash, text, new_bytes)?);
            }
            parts.push(part);
        }
        Ok(Parts(parts))
    }

    fn number(
        &mut self,
        connection: &Connection,
        hash: &Hash,
        text: &str,
        new_bytes: &mut u64,
    ) -> rusqlite::Result<i64> {
        if let Some(number) = self.known.get(hash) {
            return Ok(*number);
        }
        let stored: Option<i64> = connection
            .prepare_cached("SELECT id FROM chunks WHERE hash = ?1")?
            .query_row([hash], |row| row.get(0))
            .optional()?;
        let number = match stored {
            Some(number) => number,
            None => {
                let data = self.compressed(text);
                *new_bytes += data.len() as u64;
                connection
                    .prepare_cached("INSERT INTO chunks (hash, bytes, crc, data) VALUES (?1, ?2, ?3, ?4)")?
                    .execute(params![hash, signed(text.len() as u64), crc32fast::hash(&data), data])?;
                let number = connection.last_insert_rowid();
                connection
                    .prepare_cached("INSERT INTO chunk_refs (chunk, refs) VALUES (?1, 0)")?
                    .execute([number])?;
                number
            }
        };
        self.known.insert(*hash, number);
        Ok(number)
    }

    /// A zstd frame. Without a compressor, which only a lack of memory prevents, nothing is stored: the text would be readable
    /// again, but as damaged.
    fn compressed(&mut self, text: &str) -> Vec<u8> {
        if self.compressor.is_none() {
            self.compressor = Compressor::new(LEVEL).ok();
        }
        let compressor = self.compressor.as_mut();
        compressor.and_then(|compressor| compressor.compress(text.as_bytes()).ok()).unwrap_or_default()
    }
}

/// Counts the references of an event. False: a chunk is gone.
fn refer(connection: &Connection, parts: &Parts) -> rusqlite::Result<bool> {
    let mut all = true;
    for run in parts.runs() {
        let counted = count(connection, run, 1)?;
        all &= i64::try_from(counted).unwrap_or(i64::MAX) > run.end() - run.start();
    }
    Ok(all)
}

/// Counts one reference more or less to each chunk of a run. Gives how many of them are there.
pub(super) fn count(connection: &Connection, run: &RangeInclusive<i64>, by: i64) -> rusqlite::Result<usize> {
    connection
        .prepare_cached("UPDATE chunk_refs SET refs = refs + ?3 WHERE chunk BETWEEN ?1 AND ?2")?
        .execute(params![run.start(), run.end(), by])
}

/// Removes the references of an event, and the chunks that have none left. `parts`: its column.
pub(in crate::store) fn forget(connection: &Connection, parts: &[u8]) -> rusqlite::Result<()> {
    let parts = Parts::decode(parts);
    for run in parts.runs() {
        count(connection, run, -1)?;
    }
    for run in parts.runs() {
        let unused: Vec<i64> = connection
            .prepare_cached("SELECT chunk FROM chunk_refs WHERE chunk BETWEEN ?1 AND ?2 AND refs <= 0")?
            .query_map(params![run.start(), run.end()], |row| row.get(0))?
            .collect::<rusqlite::Result<_>>()?;
        for chunk in unused {
            let bytes: Option<i64> = connection
                .prepare_cached("DELETE FROM chunks WHERE id = ?1 RETURNING length(data)")?
                .query_row([chunk], |row| row.get(0))
                .optional()?;
            connection.prepare_cached("DELETE FROM chunk_refs WHERE chunk = ?1")?.execute([chunk])?;
            connection
                .prepare_cached("UPDATE tally SET chunk_bytes = max(0, chunk_bytes - ?1)")?
                .execute([bytes.unwrap_or(0)])?;
        }
    }
    Ok(())
}
