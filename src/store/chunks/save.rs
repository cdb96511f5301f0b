//! Storing bodies, in the transaction of their event.

use std::sync::Arc;

use quick_cache::unsync::Cache;
use rusqlite::{Connection, OptionalExtension, params};
use zstd::bulk::Compressor;

use super::cut::{Hash, Hasher, cutter};
use super::damage::Damage;
use super::parts::{Part, Parts, add_run};
use super::passages::{self, Passages, ends};
use super::references::{References, count};
use super::sums::Sums;
use crate::chunking::KnownParts;
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
    passages: Passages,
    /// The names of chunks: the last passage of a conversation is cut anew with each call.
    chunks: KnownParts<Hash>,
    compressor: Option<Compressor<'static>>,
    references: References,
    damage: Arc<Damage>,
    /// [`Damage::noted`], when `known` was last right.
    noted: u64,
}

/// What was stored of an event's bodies.
#[derive(Debug, Default)]
pub(in crate::store) struct Saved {
    /// The column `parts`. `None`: the bodies stay in the event's JSON.
    pub(in crate::store) parts: Option<Vec<u8>>,
    /// What it adds to the sums.
    pub(in crate::store) sums: Sums,
}

impl Saver {
    /// `damage`: chunks that must not be used again as they are.
    pub(in crate::store) fn new(damage: Arc<Damage>) -> Self {
        Self {
            known: Cache::new(REMEMBERED),
            passages: passages::none(),
            chunks: passages::no_chunks(),
            compressor: None,
            references: References::default(),
            damage,
            noted: 0,
        }
    }

    /// Forgets the numbers of chunks: of another file, or of chunks that may have been removed.
    pub(in crate::store) fn clear(&mut self) {
        self.known.clear();
        self.passages.clear();
        self.chunks.clear();
    }

    /// A transaction begins, whatever became of the last one.
    pub(in crate::store) fn begin(&mut self) {
        self.references.clear();
    }

    /// Writes what its events left to the end of the transaction.
    pub(in crate::store) fn finish(&mut self, connection: &Connection) -> rusqlite::Result<()> {
        self.references.finish(connection)
    }

    /// Stores the bodies of an event, unless they are short. `connection` is in a transaction that [`Saver::begin`] was called for.
    pub(in crate::store) fn save(
        &mut self,
        connection: &Connection,
        hasher: &Hasher,
        bodies: &[BodyText],
    ) -> rusqlite::Result<Saved> {
        let text_bytes = bodies.iter().map(|body| body.text.len()).sum::<usize>();
        if text_bytes < APART_FROM_BYTES {
            return Ok(Saved::default());
        }
        if self.noted != self.damage.noted() {
            self.noted = self.damage.noted();
            self.clear();
        }
        let mut sums = Sums { logical_bytes: signed(text_bytes as u64), ..Sums::default() };
        let mut parts = self.numbered(connection, hasher, bodies, &mut sums)?;
        if !self.refer(connection, &parts)? {
            // A chunk that was remembered is gone. Those that were counted already are counted again, so this is undone.
            parts.runs().try_for_each(|run| count(connection, run, -1).map(drop))?;
            self.clear();
            parts = self.numbered(connection, hasher, bodies, &mut sums)?;
            self.refer(connection, &parts)?;
        }
        Ok(Saved { parts: Some(parts.encode()), sums })
    }

    /// Counts the references of an event. False: a chunk is gone.
    fn refer(&mut self, connection: &Connection, parts: &Parts) -> rusqlite::Result<bool> {
        parts.runs().try_fold(true, |all, run| Ok(self.references.add(connection, run)? && all))
    }

    /// The numbers of the chunks. New ones are stored.
    fn numbered(
        &mut self,
        connection: &Connection,
        hasher: &Hasher,
        bodies: &[BodyText],
        sums: &mut Sums,
    ) -> rusqlite::Result<Parts> {
        let mut parts = Vec::with_capacity(bodies.len());
        for BodyText { at, text } in bodies {
            let (mut part, cutter, mut from) = (Part { at: *at, runs: Vec::new() }, cutter(text), 0);
            while let Some(rest) = text.get(from..).filter(|rest| !rest.is_empty()) {
                if let Some(known) = self.passages.find(rest) {
                    known.of.into_iter().for_each(|run| part.push(run));
                    from += known.bytes;
                    continue;
                }
                let (mut runs, mut chunks, begin) = (Vec::new(), 0, from);
                while let Some(rest) = text.get(from..).filter(|rest| !rest.is_empty()) {
                    let (bytes, name, _) = self.chunks.part(rest, || {
                        let chunk = cutter.chunk(from).unwrap_or(rest);
                        (chunk.len(), hasher.hash(chunk.as_bytes()))
                    });
                    let number = self.number(connection, &name, &rest[..bytes], sums)?;
                    add_run(&mut runs, number..=number);
                    (from, chunks) = (from + bytes, chunks + 1);
                    if ends(&name, chunks) {
                        break;
                    }
                }
                runs.iter().for_each(|run| part.push(run.clone()));
                self.passages.remember(rest, from - begin, runs);
            }
            parts.push(part);
        }
        Ok(Parts(parts))
    }

    fn number(&mut self, connection: &Connection, hash: &Hash, text: &str, sums: &mut Sums) -> rusqlite::Result<i64> {
        if let Some(number) = self.known.get(hash) {
            return Ok(*number);
        }
        let stored: Option<i64> = connection
            .prepare_cached("SELECT id FROM chunks WHERE hash = ?1")?
            .query_row([hash], |row| row.get(0))
            .optional()?;
        let number = match stored {
            Some(number) if self.damage.has(number) => {
                self.mend(connection, number, text, sums)?;
                number
            }
            Some(number) => number,
            None => {
                let (data, bytes) = (self.compressed(text), signed(text.len() as u64));
                let stored_bytes = signed(data.len() as u64);
                *sums += Sums { chunks: 1, stored_bytes, distinct_bytes: bytes, logical_bytes: 0 };
                connection
                    .prepare_cached("INSERT INTO chunks (hash, bytes, crc, data) VALUES (?1, ?2, ?3, ?4)")?
                    .execute(params![hash, bytes, crc32fast::hash(&data), data])?;
                let number = connection.last_insert_rowid();
                connection
                    .prepare_cached("INSERT INTO chunk_refs (chunk, refs, bytes) VALUES (?1, 0, ?2)")?
                    .execute([number, bytes])?;
                number
            }
        };
        self.known.insert(*hash, number);
        Ok(number)
    }

    /// Stores the text of a damaged chunk again, so the events that have it are whole again, too.
    fn mend(&mut self, connection: &Connection, chunk: i64, text: &str, sums: &mut Sums) -> rusqlite::Result<()> {
        let (data, bytes) = (self.compressed(text), signed(text.len() as u64));
        let (old_data_bytes, old_bytes): (i64, i64) = connection
            .prepare_cached("SELECT length(data), bytes FROM chunks WHERE id = ?1")?
            .query_row([chunk], |row| Ok((row.get(0)?, row.get(1)?)))?;
        let (stored_bytes, distinct_bytes) = (signed(data.len() as u64) - old_data_bytes, bytes - old_bytes);
        *sums += Sums { stored_bytes, distinct_bytes, ..Sums::default() };
        connection
            .prepare_cached("UPDATE chunks SET bytes = ?2, crc = ?3, data = ?4 WHERE id = ?1")?
            .execute(params![chunk, bytes, crc32fast::hash(&data), data])?;
        self.damage.mended(chunk);
        Ok(())
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

/// Removes the references of an event, and the chunks that have none left. `parts`: its column. A damaged one may name chunks of
/// other events, so none is touched. Returns what this adds to the sums.
pub(in crate::store) fn forget(connection: &Connection, parts: &[u8]) -> rusqlite::Result<Sums> {
    let (parts, mut sums) = (Parts::decode(parts).unwrap_or_default(), Sums::default());
    for run in parts.runs() {
        let bytes: i64 = connection
            .prepare_cached("SELECT coalesce(sum(bytes), 0) FROM chunk_refs WHERE chunk BETWEEN ?1 AND ?2")?
            .query_row([run.start(), run.end()], |row| row.get(0))?;
        sums.logical_bytes -= bytes;
        count(connection, run, -1)?;
    }
    for run in parts.runs() {
        let mut delete = connection.prepare_cached(
            "DELETE FROM chunks WHERE id IN (SELECT chunk FROM chunk_refs WHERE chunk BETWEEN ?1 AND ?2 AND refs <= 0)
             RETURNING length(data), bytes",
        )?;
        let mut deleted = delete.query([run.start(), run.end()])?;
        while let Some(row) = deleted.next()? {
            let (stored_bytes, distinct_bytes): (i64, i64) = (row.get(0)?, row.get(1)?);
            sums +=
                Sums { chunks: -1, stored_bytes: -stored_bytes, distinct_bytes: -distinct_bytes, logical_bytes: 0 };
        }
        connection
            .prepare_cached("DELETE FROM chunk_refs WHERE chunk BETWEEN ?1 AND ?2 AND refs <= 0")?
            .execute([run.start(), run.end()])?;
    }
    Ok(sums)
}
