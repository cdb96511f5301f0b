//! Reading the index: what may have a text.

use std::path::Path;

use rusqlite::Connection;

use super::blocks::read_slice;
use super::contents::{Contents, decode};
use super::file::{self, State, damaged};
use super::ranges::Ranges;
use super::spans::Span;
use crate::search::{Columns, Needle, Signature, row_of};
use crate::store::link::FileId;
use crate::store::sql::unsigned;

/// The index of a store, as it was at one moment.
pub(super) struct Index {
    connection: Connection,
    state: State,
}

/// What may have a text, of what is indexed.
#[derive(Debug, Default)]
pub(super) struct Candidates {
    pub(super) chunks: Ranges,
    /// The seams between chunks that do not have consecutive numbers.
    pub(super) seams: Vec<(i64, i64)>,
    /// Events with short bodies, sorted.
    pub(super) events: Vec<i64>,
}

impl Index {
    /// Opens the index of a store. `None`: there is none that fits. `store` is read later, so it has all that is indexed.
    pub(super) fn open(path: &Path, store: &Connection) -> rusqlite::Result<Option<Self>> {
        let identity = file::identity(store, FileId::of(path))?;
        let Some(connection) = file::read(path, &identity) else { return Ok(None) };
        match State::read(&connection) {
            Ok(mut state) if state.fits(store)? => {
                state.event_to = last_event(&connection, store)?.min(state.event_to);
                Ok(Some(Self { connection, state }))
            }
            _ => Ok(None),
        }
    }

    /// Whether an event may be in a span.
    pub(super) fn has_event(&self, event: i64) -> bool {
        (self.state.event_from..=self.state.event_to).contains(&event)
    }

    pub(super) fn state(&self) -> &State {
        &self.state
    }

    /// The span that may have an event.
    ///
    /// # Errors
    /// When the index cannot be read.
    pub(super) fn span(&self, event: i64) -> rusqlite::Result<Option<Span>> {
        Span::of_event(&self.connection, event)
    }

    /// What may have a text.
    ///
    /// # Errors
    /// When the index cannot be read.
    pub(super) fn candidates(&self, needle: &Needle) -> rusqlite::Result<Candidates> {
        let (forms, mut found) = (needle.bits(), Vec::new());
        let mut query = self.connection.prepare("SELECT contents, signature FROM columns")?;
        let mut rows = query.query([])?;
        while let Some(row) = rows.next()? {
            let signature = Signature::from_bytes(row.get_ref(1)?.as_blob()?);
            if signature.is_none_or(|signature| forms.iter().any(|bits| signature.has_all(bits))) {
                found.extend(decode(row.get_ref(0)?.as_blob()?).ok_or_else(damaged)?);
            }
        }
        let mut query = self.connection.prepare("SELECT id, count FROM blocks")?;
        let blocks = query.query_map([], |row| Ok((row.get(0)?, unsigned(row, 1)?)))?;
        for block in blocks {
            let (block, count) = block?;
            self.of_block(block, usize::try_from(count).unwrap_or_default(), &forms, &mut found)?;
        }
        Ok(together(found))
    }

    fn of_block(
        &self,
        block: i64,
        count: usize,
        forms: &[Vec<usize>],
        found: &mut Vec<Contents>,
    ) -> rusqlite::Result<()> {
        let mut columns = Columns::first(0);
        for bits in forms {
            let mut those = Columns::first(count);
            for bit in bits {
                those.keep(*bit, &read_slice(&self.connection, block, row_of(*bit))?);
                if those.is_empty() {
                    break;
                }
            }
            columns.add(&those);
        }
        if columns.is_empty() {
            return Ok(());
        }
        let contents: Vec<u8> = self
            .connection
            .prepare_cached("SELECT contents FROM blocks WHERE id = ?1")?
            .query_row([block], |row| row.get(0))?;
        let contents = decode(&contents).ok_or_else(damaged)?;
        found.extend(
            contents.into_iter().enumerate().filter(|(at, _)| columns.has(*at)).map(|(_, contents)| contents),
        );
        Ok(())
    }
}

/// The last event that is indexed. The newest ones may have been deleted, and their numbers used again.
fn last_event(index: &Connection, store: &Connection) -> rusqlite::Result<i64> {
    let mut span = Span::of_event(index, i64::MAX)?;
    while let Some(last) = &span {
        if last.is_of(store)? {
            return Ok(last.last);
        }
        span = Span::of_event(index, last.first.saturating_sub(1))?;
    }
    Ok(0)
}

fn together(found: Vec<Contents>) -> Candidates {
    let mut events: Vec<i64> = found.iter().flat_map(|contents| contents.events.iter().copied()).collect();
    events.sort_unstable();
    events.dedup();
    Candidates {
        chunks: found.iter().filter_map(|contents| contents.chunks.clone()).collect(),
        seams: found.into_iter().flat_map(|contents| contents.seams).collect(),
        events,
    }
}
