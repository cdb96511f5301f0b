//! Making the index: it follows the store in short steps.

use std::fs::File;
use std::path::Path;

use quick_cache::unsync::Cache;
use rusqlite::{Connection, OptionalExtension, params};

use super::blocks::{remove_block, write_slices};
use super::bodies::{self, Texts};
use super::contents::{Contents, decode, encode};
use super::file::{self, State, damaged, is_own_damage};
use super::ranges::Ranges;
use super::spans::Span;
use super::sweep::Sweep;
use crate::search::{BLOCK_COLUMNS, SEAM_BYTES, Signature};
use crate::store::chunks::bodies_of;
use crate::store::link::FileId;
use crate::store::sql::{signed, size_bytes, unsigned};
use crate::store::{Store, StoreError, Viewer, free_disk_bytes};

/// Chunks of one step: some milliseconds.
const STEP_CHUNKS: i64 = 128;
/// Events of one step.
const STEP_EVENTS: i64 = 256;
/// A step ends after so many bytes of short bodies. Events of older versions have long ones.
const STEP_BYTES: usize = 4 << 20;
/// The ends of so many chunks are remembered: 2 MiB.
const REMEMBERED_ENDS: usize = 8 << 10;
/// Seams that were added are remembered: 1 MiB.
const REMEMBERED_SEAMS: usize = 32 << 10;

/// How much room the index may take.
#[derive(Debug, Clone, Copy)]
pub struct SearchBounds {
    /// The most bytes of its file. Then what was indexed first is dropped; searches read it instead.
    pub max_bytes: u64,
    /// The free disk space in bytes below which nothing is added.
    pub min_free_bytes: u64,
}

/// What a step has done.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum IndexerStep {
    /// There may be more to do at once.
    Worked,
    /// All of the store is indexed.
    Done,
    /// Another process makes the index.
    Elsewhere,
    /// The disk is too full.
    NoRoom,
}

/// Makes the search index of a store. All calls block: it belongs on a thread of its own.
pub struct Indexer {
    viewer: Viewer,
    path: Box<Path>,
    bounds: SearchBounds,
    open: Option<Open>,
}

/// The index of the present file, while this process makes it.
struct Open {
    connection: Connection,
    identity: Vec<u8>,
    /// The index's own file. It may be deleted at any time.
    file: Option<FileId>,
    memory: Memory,
    _lock: File,
}

/// What is being written.
struct Memory {
    state: State,
    texts: Texts,
    column: Column,
    /// Full columns that are not in a block.
    full: u64,
    span: Option<Span>,
    ends: Cache<i64, Ends>,
    seams: Cache<(i64, i64), ()>,
    sweep: Sweep,
}

/// The column that texts are added to.
#[derive(Default)]
struct Column {
    /// Its row, once it was written.
    row: Option<i64>,
    contents: Contents,
    signature: Signature,
}

/// The first and last bytes of a chunk.
#[derive(Clone, Default)]
struct Ends {
    head: Vec<u8>,
    tail: Vec<u8>,
}

impl Store {
    /// Makes the search index of this store.
    pub fn indexer(&self, bounds: SearchBounds) -> Indexer {
        Indexer { viewer: self.viewer(), path: self.path().into(), bounds, open: None }
    }

    /// Removes the search index, if there is one, unless another process uses it.
    pub fn remove_search_index(&self) {
        // The lock would make a file.
        if file::id(self.path()).is_none() {
            return;
        }
        if let Ok(Some(_lock)) = file::lock(self.path()) {
            file::remove(self.path());
        }
    }
}

impl Indexer {
    /// Does some milliseconds of work. After a kill the next process goes on where this one was.
    ///
    /// # Errors
    /// When the store or the index cannot be read or written. The next step opens both again; a damaged index is made again.
    pub fn step(&mut self) -> Result<IndexerStep, StoreError> {
        let (act, file) = ("make its search index", FileId::of(&self.path));
        let identity = self.viewer.look(act, |store| file::identity(store, file))?;
        let is_current = |open: &Open| open.identity == identity && open.file == file::id(&self.path);
        if !self.open.as_ref().is_some_and(is_current) {
            self.open = None;
            let locked = file::lock(&self.path)
                .map_err(|source| StoreError::Create { path: self.path.clone().into(), source })?;
            let Some(lock) = locked else { return Ok(IndexerStep::Elsewhere) };
            let connection = file::open(&self.path, &identity).map_err(StoreError::query(act))?;
            match Memory::load(&connection) {
                Ok(memory) => {
                    let file = file::id(&self.path);
                    self.open = Some(Open { connection, identity, file, memory, _lock: lock });
                }
                Err(error) => {
                    tracing::info!(%error, "the search index is made again");
                    file::remove(&self.path);
                    return Ok(IndexerStep::Worked);
                }
            }
        }
        if free_disk_bytes(&self.path).is_some_and(|free| free < self.bounds.min_free_bytes) {
            return Ok(IndexerStep::NoRoom);
        }
        let Some(Open { connection, memory, .. }) = &mut self.open else { return Ok(IndexerStep::Elsewhere) };
        let max_bytes = self.bounds.max_bytes;
        let stepped = self.viewer.look(act, |store| {
            // All that is read is of one moment.
            let store = store.unchecked_transaction()?;
            if !memory.state.fits(&store)? {
                return Err(damaged());
            }
            let index = connection.unchecked_transaction()?;
            let step = memory.step(&index, &store, max_bytes)?;
            index.commit()?;
            Ok(step)
        });
        stepped.inspect_err(|error| self.close(error))
    }

    /// After an error: the index will be opened again, or made again if it is damaged itself.
    fn close(&mut self, error: &StoreError) {
        let Some(Open { connection, .. }) = &self.open else { return };
        if matches!(error, StoreError::Query { source, .. } if is_own_damage(connection, source)) {
            tracing::info!(%error, "the search index is made again");
            file::remove(&self.path);
        }
        self.open = None;
    }
}

impl Memory {
    fn load(index: &Connection) -> rusqlite::Result<Self> {
        let last: Option<(i64, Vec<u8>, Vec<u8>)> = index
            .query_row("SELECT id, contents, signature FROM columns ORDER BY id DESC LIMIT 1", [], |row| {
                Ok((row.get(0)?, row.get(1)?, row.get(2)?))
            })
            .optional()?;
        for table in ["blocks", "slices"] {
            index.query_row(&format!("SELECT count(*) FROM (SELECT id FROM {table} LIMIT 1)"), [], |_| Ok(()))?;
        }
        let mut full = index.query_row("SELECT count(*) FROM columns", [], |row| unsigned(row, 0))?;
        let mut column = Column::default();
        if let Some((row, contents, signature)) = last {
            let mut contents = decode(&contents).ok_or_else(damaged)?;
            let signature = Signature::from_bytes(&signature).ok_or_else(damaged)?;
            if !signature.is_full() {
                (column, full) =
                    (Column { row: Some(row), contents: contents.pop().unwrap_or_default(), signature }, full - 1);
            }
        }
        Ok(Self {
            state: State::read(index)?,
            texts: Texts::new()?,
            column,
            full,
            span: Span::of_event(index, i64::MAX)?,
            ends: Cache::new(REMEMBERED_ENDS),
            seams: Cache::new(REMEMBERED_SEAMS),
            sweep: Sweep::default(),
        })
    }

    /// `index` and `store` are in transactions.
    fn step(&mut self, index: &Connection, store: &Connection, max_bytes: u64) -> rusqlite::Result<IndexerStep> {
        self.go_back(index, store)?;
        let last: i64 =
            store.prepare_cached("SELECT coalesce(max(id), 0) FROM chunks")?.query_row([], |row| row.get(0))?;
        let added = match self.state.chunk_to < last {
            true => self.add_chunks(index, store, last)?,
            false => self.add_events(index, store)?,
        };
        if added {
            self.write_column(index)?;
            if let Some(span) = &self.span {
                span.write(index)?;
            }
            self.state.write(index)?;
            while size_bytes(index)?.1 > max_bytes && self.drop_oldest(index)? {}
            return Ok(IndexerStep::Worked);
        }
        let kept = self.column.row;
        Ok(if self.sweep.step(index, store, kept, &mut self.full)? { IndexerStep::Worked } else { IndexerStep::Done })
    }

    /// Numbers of events may be used again after the newest ones were deleted. Then what was indexed under them is forgotten.
    fn go_back(&mut self, index: &Connection, store: &Connection) -> rusqlite::Result<()> {
        while let Some(span) = &self.span {
            if span.is_of(store)? {
                return Ok(());
            }
            index.prepare_cached("DELETE FROM spans WHERE first = ?1")?.execute([span.first])?;
            self.span = Span::of_event(index, i64::MAX)?;
            self.state.event_to = self.span.as_ref().map_or(0, |span| span.last);
            self.state.write(index)?;
        }
        // Without spans nothing tells whether a number means the same event.
        self.state.event_to = self.state.event_from.saturating_sub(1);
        Ok(())
    }

    fn add_chunks(&mut self, index: &Connection, store: &Connection, last: i64) -> rusqlite::Result<bool> {
        let (from, mut added) = (self.state.chunk_to.saturating_add(1), Vec::new());
        self.texts.each(store, (from, last), STEP_CHUNKS, |chunk, text| {
            added.push((chunk, text));
            Ok(())
        })?;
        for (chunk, text) in added {
            match text {
                Some(text) => {
                    let ends = Ends::of(&text);
                    // The text that begins in the chunk before it, if a body has it there.
                    let seam = [self.ends_of(store, chunk - 1)?.tail, ends.head.clone()].concat();
                    self.add(index, &seam, |contents| contents.add_chunk(chunk))?;
                    self.add(index, &text, |contents| contents.add_chunk(chunk))?;
                    self.ends.insert(chunk, ends);
                }
                // It may be repaired later.
                None => self.add_unreadable(index, chunk)?,
            }
            self.state.chunk_to = chunk;
        }
        self.state.chunk_hash = store
            .prepare_cached("SELECT hash FROM chunks WHERE id = ?1")?
            .query_row([self.state.chunk_to], |row| row.get(0))
            .optional()?;
        Ok(true)
    }

    fn add_events(&mut self, index: &Connection, store: &Connection) -> rusqlite::Result<bool> {
        let mut query = store.prepare_cached(
            "SELECT id, event_id, parts, CASE WHEN parts IS NULL OR llm <> '' THEN json ELSE x'' END FROM events
             WHERE id > ?1 ORDER BY id LIMIT ?2",
        )?;
        let mut rows = query.query(params![self.state.event_to, STEP_EVENTS])?;
        let (mut added, mut bytes) = (false, 0);
        while bytes < STEP_BYTES
            && let Some(row) = rows.next()?
        {
            let (event, id, parts): (i64, [u8; 16], Option<Vec<u8>>) = (row.get(0)?, row.get(1)?, row.get(2)?);
            let mut chunks = Ranges::default();
            if let Some(parts) = parts {
                let bodies = bodies_of(&parts).unwrap_or_default();
                chunks = bodies.iter().flatten().cloned().collect();
                for body in &bodies {
                    for pair in body.windows(2) {
                        self.add_seam(index, store, *pair[0].end(), *pair[1].start())?;
                    }
                }
            }
            for text in bodies::perhaps_inside(row.get_ref(3)?.as_blob()?) {
                bytes += text.len();
                self.add(index, &text, |contents| contents.add_event(event))?;
            }
            self.note_event(index, event, id, chunks)?;
            (self.state.event_to, added) = (event, true);
        }
        Ok(added)
    }

    fn note_event(&mut self, index: &Connection, event: i64, id: [u8; 16], chunks: Ranges) -> rusqlite::Result<()> {
        match &mut self.span {
            Some(span) if !span.is_full() => span.add(event, id, &chunks),
            full => {
                if let Some(span) = full {
                    span.write(index)?;
                }
                *full = Some(Span::of(event, id, chunks));
            }
        }
        Ok(())
    }

    fn add_seam(&mut self, index: &Connection, store: &Connection, before: i64, after: i64) -> rusqlite::Result<()> {
        if self.seams.get(&(before, after)).is_some() {
            return Ok(());
        }
        let seam = [self.ends_of(store, before)?.tail, self.ends_of(store, after)?.head].concat();
        self.add(index, &seam, |contents| {
            if contents.seams.last() != Some(&(before, after)) {
                contents.seams.push((before, after));
            }
        })?;
        self.seams.insert((before, after), ());
        Ok(())
    }

    fn ends_of(&mut self, store: &Connection, chunk: i64) -> rusqlite::Result<Ends> {
        if let Some(ends) = self.ends.get(&chunk) {
            return Ok(ends.clone());
        }
        let ends = self.texts.chunk(store, chunk)?.map(|text| Ends::of(&text)).unwrap_or_default();
        self.ends.insert(chunk, ends.clone());
        Ok(ends)
    }

    /// Adds a folded text to the column, and to further ones when it is full.
    fn add(&mut self, index: &Connection, text: &[u8], note: impl Fn(&mut Contents)) -> rusqlite::Result<()> {
        let mut rest = text;
        loop {
            if self.column.signature.is_full() {
                self.close_column(index)?;
            }
            note(&mut self.column.contents);
            rest = self.column.signature.add(rest);
            if rest.is_empty() {
                return Ok(());
            }
        }
    }

    /// A damaged chunk: every search looks into it.
    fn add_unreadable(&mut self, index: &Connection, chunk: i64) -> rusqlite::Result<()> {
        if !self.column.contents.is_empty() {
            self.close_column(index)?;
        }
        self.column.contents.add_chunk(chunk);
        self.column.signature = Signature::of_anything();
        Ok(())
    }

    /// The next text begins a new column. Full ones become a block.
    fn close_column(&mut self, index: &Connection) -> rusqlite::Result<()> {
        self.write_column(index)?;
        (self.column, self.full) = (Column::default(), self.full + 1);
        if self.full < BLOCK_COLUMNS as u64 {
            return Ok(());
        }
        let mut query = index.prepare_cached("SELECT contents, signature FROM columns ORDER BY id")?;
        let columns = query.query_map([], |row| Ok((row.get::<_, Vec<u8>>(0)?, row.get::<_, Vec<u8>>(1)?)))?;
        let (mut contents, mut signatures) = (Vec::new(), Vec::new());
        for column in columns {
            let (its, signature) = column?;
            contents.extend(decode(&its).ok_or_else(damaged)?);
            signatures.push(Signature::from_bytes(&signature).ok_or_else(damaged)?);
        }
        index
            .prepare_cached("INSERT INTO blocks (count, event_to, contents) VALUES (?1, ?2, ?3)")?
            .execute(params![signed(contents.len() as u64), self.state.event_to, encode(&contents)])?;
        write_slices(index, index.last_insert_rowid(), &signatures)?;
        index.execute("DELETE FROM columns", [])?;
        self.full = 0;
        Ok(())
    }

    fn write_column(&mut self, index: &Connection) -> rusqlite::Result<()> {
        let Column { row, contents, signature } = &mut self.column;
        if contents.is_empty() {
            return Ok(());
        }
        index
            .prepare_cached("INSERT OR REPLACE INTO columns (id, contents, signature) VALUES (?1, ?2, ?3)")?
            .execute(params![*row, encode(std::slice::from_ref(contents)), signature.as_bytes()])?;
        row.get_or_insert(index.last_insert_rowid());
        Ok(())
    }

    /// Drops the oldest block. False: there is none.
    fn drop_oldest(&mut self, index: &Connection) -> rusqlite::Result<bool> {
        let oldest: Option<(i64, i64, Vec<u8>)> = index
            .query_row("SELECT id, event_to, contents FROM blocks ORDER BY id LIMIT 1", [], |row| {
                Ok((row.get(0)?, row.get(1)?, row.get(2)?))
            })
            .optional()?;
        let Some((block, event_to, contents)) = oldest else { return Ok(false) };
        let contents = decode(&contents).ok_or_else(damaged)?;
        let last = contents.iter().filter_map(|contents| contents.chunks.as_ref().map(|chunks| *chunks.end())).max();
        self.state.chunk_from = self.state.chunk_from.max(last.map_or(0, |last| last.saturating_add(1)));
        self.state.event_from = self.state.event_from.max(event_to.saturating_add(1));
        self.state.write(index)?;
        remove_block(index, block)?;
        Ok(true)
    }
}

impl Ends {
    fn of(text: &[u8]) -> Self {
        let bytes = (SEAM_BYTES - 1).min(text.len());
        Self {
            head: text.get(..bytes).unwrap_or_default().to_vec(),
            tail: text.get(text.len() - bytes..).unwrap_or_default().to_vec(),
        }
    }
}
