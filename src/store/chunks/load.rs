//! Reading bodies. A chunk that is damaged or missing is replaced by a mark, so that it harms nothing but itself.

use std::borrow::Cow;
use std::ops::RangeInclusive;

use rusqlite::{Connection, Row, params};
use zstd::bulk::Decompressor;

use super::cut::Hasher;
use super::damage::Damage;
use super::parts::{Part, Parts};
use crate::event::{BodyText, OTAS_MAX_BYTES, for_otas, with_bodies, with_damage};
use crate::store::packed::{damaged, unpack};

/// Stands in place of a damaged chunk.
const DAMAGED: &str = "\n…[otas-proxy: a part of this body is damaged in the event store]…\n";

/// A longer chunk is damaged: none is ever written.
const CHUNK_MAX_BYTES: usize = 256 << 10;

/// Reads the bodies of events from one connection.
pub(in crate::store) struct Loader<'a> {
    connection: &'a Connection,
    /// Where damaged chunks are noted.
    damage: &'a Damage,
    /// Made for the first chunk: most events have none.
    tools: Option<Tools>,
}

struct Tools {
    hasher: Hasher,
    unpacker: Unpacker,
}

/// Reads chunks without comparing their keyed hashes.
pub(in crate::store) struct Unpacker(Decompressor<'static>);

/// What was read of a body.
#[derive(Default)]
struct Text {
    text: String,
    is_damaged: bool,
}

impl<'a> Loader<'a> {
    /// For the events that are read from this connection.
    pub(in crate::store) fn new(connection: &'a Connection, damage: &'a Damage) -> Self {
        Self { connection, damage, tools: None }
    }

    /// An event for people and sinks: its JSON with all of its bodies. `parts`: its column.
    ///
    /// # Errors
    /// When the store cannot be read.
    pub(in crate::store) fn whole(&mut self, json: Vec<u8>, parts: Option<&[u8]>) -> rusqlite::Result<Vec<u8>> {
        self.event(json, parts, usize::MAX, with_bodies)
    }

    /// The event for OTAS, cut to its limit. `parts`: its column. Of bodies that do not fit, no more is read than may go into it.
    ///
    /// # Errors
    /// When the store cannot be read.
    pub(in crate::store) fn for_otas(&mut self, json: Vec<u8>, parts: Option<&[u8]>) -> rusqlite::Result<Vec<u8>> {
        self.event(json, parts, OTAS_MAX_BYTES, for_otas)
    }

    /// An event's JSON and its bodies, as they were appended. `parts`: its column.
    ///
    /// # Errors
    /// When the store cannot be read.
    pub(in crate::store) fn apart(
        &mut self,
        json: Vec<u8>,
        parts: Option<&[u8]>,
    ) -> rusqlite::Result<(Vec<u8>, Vec<BodyText>)> {
        let mut taken = None;
        let event = self.event(json, parts, usize::MAX, |json, bodies| {
            taken = Some((json.to_vec(), bodies.to_vec()));
            json.to_vec()
        })?;
        match taken {
            Some((json, bodies)) if json == event => Ok((event, bodies)),
            // Damage is noted in the JSON, so the places of bodies in it are other ones.
            Some((json, bodies)) => {
                let whole = with_bodies(&json, &bodies);
                Ok((with_damage(&whole, None).unwrap_or(whole), Vec::new()))
            }
            None => Ok((event, Vec::new())),
        }
    }

    /// The event that `made` makes from its JSON and its bodies, of each of which `enough` bytes are needed.
    fn event(
        &mut self,
        json: Vec<u8>,
        parts: Option<&[u8]>,
        enough: usize,
        made: impl FnOnce(&[u8], &[BodyText]) -> Vec<u8>,
    ) -> rusqlite::Result<Vec<u8>> {
        let Some(unpacked) = unpack(&json) else { return Ok(damaged()) };
        // Usually the JSON is used as it was read.
        let json = match unpacked {
            Cow::Owned(unpacked) => unpacked,
            Cow::Borrowed(_) => json,
        };
        // Its bodies are short, or it is from a version that cut them before it stored them.
        let Some(column) = parts else { return Ok(json) };
        let Some(parts) = Parts::decode(column) else {
            return Ok(with_damage(&json, Some(DAMAGED)).unwrap_or(json));
        };
        let (mut bodies, mut is_damaged) = (Vec::with_capacity(parts.0.len()), false);
        for part in parts.0 {
            let read = self.body(&part, enough)?;
            is_damaged |= read.is_damaged;
            bodies.push(BodyText { at: part.at, text: read.text.into() });
        }
        let event = made(&json, &bodies);
        Ok(if is_damaged { with_damage(&event, None).unwrap_or(event) } else { event })
    }

    /// The text of a body, or its beginning of at least `enough` bytes.
    fn body(&mut self, part: &Part, enough: usize) -> rusqlite::Result<Text> {
        let mut read = Text::default();
        for run in &part.runs {
            if read.text.len() >= enough {
                break;
            }
            self.run(run, enough, &mut read)?;
        }
        Ok(read)
    }

    /// Appends the text of consecutive chunks, until `enough` bytes are there.
    fn run(&mut self, run: &RangeInclusive<i64>, enough: usize, read: &mut Text) -> rusqlite::Result<()> {
        let (connection, damage) = (self.connection, self.damage);
        let tools = self.tools()?;
        let mut query = connection
            .prepare_cached("SELECT id, hash, bytes, crc, data FROM chunks WHERE id BETWEEN ?1 AND ?2 ORDER BY id")?;
        let mut rows = query.query(params![run.start(), run.end()])?;
        let mut next = *run.start();
        while read.text.len() < enough {
            let Some(row) = rows.next()? else {
                if next <= *run.end() {
                    damage.note(next);
                    read.miss();
                }
                break;
            };
            let number: i64 = row.get(0)?;
            if number > next {
                damage.note(next);
                read.miss();
            }
            next = number.saturating_add(1);
            match tools.chunk(row) {
                Some(chunk) => read.text.push_str(&chunk),
                None => {
                    damage.note(number);
                    read.miss();
                }
            }
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
                Ok(none.insert(Tools { hasher, unpacker: Unpacker::new()? }))
            }
        }
    }
}

impl Tools {
    /// The text of a chunk, if it is the one that was stored: the checksum finds each flipped bit, the keyed hash any other text.
    fn chunk(&mut self, row: &Row<'_>) -> Option<String> {
        let (hash, data) = (row.get_ref(1).ok()?.as_blob().ok()?, row.get_ref(4).ok()?.as_blob().ok()?);
        let chunk = self.unpacker.unpack(row.get(2).ok()?, row.get(3).ok()?, data)?;
        let is_it = self.hasher.hash(&chunk)[..] == *hash;
        String::from_utf8(chunk).ok().filter(|_| is_it)
    }
}

impl Unpacker {
    /// # Errors
    /// When memory is short.
    pub(in crate::store) fn new() -> rusqlite::Result<Self> {
        Decompressor::new().map(Self).map_err(|error| rusqlite::Error::ToSqlConversionFailure(error.into()))
    }

    /// The bytes of a chunk, from its columns. `None`: its checksum says that it is damaged.
    pub(in crate::store) fn unpack(&mut self, bytes: i64, crc: u32, data: &[u8]) -> Option<Vec<u8>> {
        let bytes = usize::try_from(bytes).ok().filter(|bytes| *bytes <= CHUNK_MAX_BYTES)?;
        (crc32fast::hash(data) == crc).then(|| self.0.decompress(data, bytes).ok()).flatten()
    }
}

impl Text {
    /// Marks that chunks cannot be read.
    fn miss(&mut self) {
        self.is_damaged = true;
        if !self.text.ends_with(DAMAGED) {
            self.text.push_str(DAMAGED);
        }
    }
}
