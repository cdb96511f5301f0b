//! Reading bodies. A chunk that is damaged or missing is replaced by a mark, so that it harms nothing but itself.

use rusqlite::{Connection, Row, params};
use zstd::bulk::Decompressor;

use super::cut::Hasher;
use super::parts::Parts;
use crate::event::{BodyText, for_otas, with_bodies};

/// Stands in place of a damaged chunk.
const DAMAGED: &str = "\n…[otas-proxy: a part of this body is damaged in the event store]…\n";

/// A longer chunk is damaged: none is ever written.
const CHUNK_MAX_BYTES: usize = 256 << 10;

/// Reads the bodies of events from one connection.
pub(in crate::store) struct Loader<'a> {
    connection: &'a Connection,
    /// Made for the first chunk: most events have none.
    tools: Option<Tools>,
}

struct Tools {
    hasher: Hasher,
    decompressor: Decompressor<'static>,
}

impl<'a> Loader<'a> {
    /// For the events that are read from this connection.
    pub(in crate::store) fn new(connection: &'a Connection) -> Self {
        Self { connection, tools: None }
    }

    /// An event as it was appended: its JSON with its bodies. `parts`: its column.
    ///
    /// # Errors
    /// When the store cannot be read.
    pub(in crate::store) fn whole(&mut self, json: Vec<u8>, parts: Option<&[u8]>) -> rusqlite::Result<Vec<u8>> {
        match parts {
            None => Ok(json),
            Some(parts) => Ok(with_bodies(&json, &self.bodies(parts)?)),
        }
    }

    /// The event for OTAS. `parts`: its column.
    ///
    /// # Errors
    /// When the store cannot be read.
    pub(in crate::store) fn for_otas(&mut self, json: Vec<u8>, parts: Option<&[u8]>) -> rusqlite::Result<Vec<u8>> {
        match parts {
            // Its bodies are short, or it is from a version that cut them before it stored them.
            None => Ok(json),
            Some(parts) => Ok(for_otas(&json, &self.bodies(parts)?)),
        }
    }

    /// The bodies of an event.
    ///
    /// # Errors
    /// When the store cannot be read.
    pub(in crate::store) fn bodies(&mut self, parts: &[u8]) -> rusqlite::Result<Vec<BodyText>> {
        let mut bodies = Vec::new();
        for part in Parts::decode(parts).0 {
            let mut text = String::new();
            for run in part.runs {
                self.run(run, &mut text)?;
            }
            bodies.push(BodyText { at: part.at, text });
        }
        Ok(bodies)
    }

    /// Appends the text of consecutive chunks.
    fn run(&mut self, run: std::ops::RangeInclusive<i64>, text: &mut String) -> rusqlite::Result<()> {
        let connection = self.connection;
        let tools = self.tools()?;
        let mut query = connection
            .prepare_cached("SELECT id, hash, bytes, crc, data FROM chunks WHERE id BETWEEN ?1 AND ?2 ORDER BY id")?;
        let mut rows = query.query(params![run.start(), run.end()])?;
        let mut next = *run.start();
        while let Some(row) = rows.next()? {
            let number: i64 = row.get(0)?;
            if number > next {
                miss(text);
            }
            next = number.saturating_add(1);
            match tools.chunk(row) {
                Some(chunk) => text.push_str(&chunk),
                None => miss(text),
            }
        }
        if next <= *run.end() {
            miss(text);
        }
        Ok(())
    }

    /// Whether a row of `chunks` (id, hash, bytes, crc, data) has the text that was stored.
    ///
    /// # Errors
    /// When the store cannot be read.
    pub(in crate::store) fn is_whole(&mut self, row: &Row<'_>) -> rusqlite::Result<bool> {
        Ok(self.tools()?.chunk(row).is_some())
    }

    fn tools(&mut self) -> rusqlite::Result<&mut Tools> {
        match &mut self.tools {
            Some(tools) => Ok(tools),
            none => {
                let hasher = Hasher::of(self.connection)?;
                let decompressor =
                    Decompressor::new().map_err(|error| rusqlite::Error::ToSqlConversionFailure(error.into()))?;
                Ok(none.insert(Tools { hasher, decompressor }))
            }
        }
    }
}

impl Tools {
    /// The text of a chunk, if it is the one that was stored: the checksum finds each flipped bit, the keyed hash any other text.
    fn chunk(&mut self, row: &Row<'_>) -> Option<String> {
        let (hash, data) = (row.get_ref(1).ok()?.as_blob().ok()?, row.get_ref(4).ok()?.as_blob().ok()?);
        let (bytes, crc): (i64, u32) = (row.get(2).ok()?, row.get(3).ok()?);
        let bytes = usize::try_from(bytes).ok().filter(|bytes| *bytes <= CHUNK_MAX_BYTES)?;
        if crc32fast::hash(data) != crc {
            return None;
        }
        let chunk = self.decompressor.decompress(data, bytes).ok()?;
        let is_it = self.hasher.hash(&chunk)[..] == *hash;
        String::from_utf8(chunk).ok().filter(|_| is_it)
    }
}

/// Marks that chunks cannot be read.
fn miss(text: &mut String) {
    if !text.ends_with(DAMAGED) {
        text.push_str(DAMAGED);
    }
}
