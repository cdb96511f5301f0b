//! What a store holds, and what it takes on the disk.

use std::path::Path;

use rusqlite::{Connection, params};

use super::chunks::Sums;
use super::files::with_suffix;
use super::sql::unsigned;
use super::{Inspector, StoreError, Viewer, search};

/// The sizes of a store.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Sizes {
    /// The database file.
    pub file_bytes: u64,
    /// Its write-ahead log.
    pub log_bytes: u64,
    /// Unused pages in the file: the next events go there.
    pub free_bytes: u64,
    /// Stored events.
    pub events: u64,
    /// Their sessions, with those whose events are gone.
    pub sessions: u64,
    /// The chunks of bodies.
    pub chunks: u64,
    /// Bodies as they are in the events, without those under 1 KiB, which are not stored as chunks.
    pub logical_bytes: u64,
    /// The part of `logical_bytes` that is not stored, because another event or place has it already.
    pub shared_bytes: u64,
    /// The compressed chunks.
    pub stored_bytes: u64,
    /// The search index, a file of its own. 0: there is none.
    pub search_bytes: u64,
}

impl Inspector {
    /// The sizes of the store.
    ///
    /// # Errors
    /// When the store cannot be read.
    pub fn sizes(&self) -> Result<Sizes, StoreError> {
        sizes(&self.link.connection, self.path()).map_err(StoreError::query("measure itself"))
    }
}

impl Viewer {
    /// The sizes of the store.
    ///
    /// # Errors
    /// As [`Viewer::calls`].
    pub fn sizes(&self) -> Result<Sizes, StoreError> {
        self.look("measure itself", |connection| sizes(connection, self.path()))
    }
}

fn sizes(connection: &Connection, path: &Path) -> rusqlite::Result<Sizes> {
    let transaction = connection.unchecked_transaction()?;
    let number = |sql| transaction.query_row(sql, params![], |row| unsigned(row, 0));
    let page_bytes = number("PRAGMA page_size")?;
    let sums = Sums::kept(&transaction)?;
    let bytes = |sum| u64::try_from(sum).unwrap_or(0);
    let logical_bytes = bytes(sums.logical_bytes);
    Ok(Sizes {
        file_bytes: number("PRAGMA page_count")?.saturating_mul(page_bytes),
        log_bytes: std::fs::metadata(with_suffix(path, "-wal")).map_or(0, |log| log.len()),
        free_bytes: number("PRAGMA freelist_count")?.saturating_mul(page_bytes),
        events: number("SELECT count(*) FROM events")?,
        sessions: number("SELECT count(*) FROM sessions")?,
        chunks: bytes(sums.chunks),
        logical_bytes,
        shared_bytes: logical_bytes.saturating_sub(bytes(sums.distinct_bytes)),
        stored_bytes: bytes(sums.stored_bytes),
        search_bytes: search::size_bytes(path),
    })
}

#[cfg(test)]
mod tests {
    use crate::event::BodyText;
    use crate::store::{NewEvent, testing};

    #[test]
    fn a_body_that_is_stored_twice_is_counted_once() {
        let (_folder, store) = testing::store();
        let session = store.begin_session("run", "key", "{}").unwrap();
        let text: String = (0..9_000).map(|n| format!("{n} ")).collect();
        let body = BodyText { at: 17, text: text.clone().into() };
        let event = NewEvent { bodies: &[body], ..NewEvent::plain(br#"{"request_body":""}"#) };
        store.writer().unwrap().append(session, &[event, event, event]).unwrap();
        let sizes = store.viewer().sizes().unwrap();
        let bytes = text.len() as u64;
        assert_eq!((sizes.events, sizes.sessions), (3, 1));
        assert_eq!((sizes.logical_bytes, sizes.shared_bytes), (3 * bytes, 2 * bytes));
        assert!(sizes.chunks > 1 && sizes.stored_bytes > 0 && sizes.stored_bytes < bytes, "{sizes:?}");
        assert!(sizes.file_bytes + sizes.log_bytes > sizes.stored_bytes, "{sizes:?}");
    }
}
