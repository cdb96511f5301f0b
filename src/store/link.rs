//! A connection and the file it has open. Another handle may have moved that file aside.

use std::fs::File;
use std::path::Path;

use rusqlite::Connection;

use super::reading::{Reading, Unchanging};
use super::{StoreError, open, reading};
use crate::system::files;

/// A connection that knows whether its file is still the store.
pub(super) struct Link {
    /// The connection.
    pub(super) connection: Connection,
    file: Option<FileId>,
    unchanging: Option<Unchanging>,
    /// How many files its handle had open before.
    number: u64,
}

/// What identifies a file whatever its name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct FileId(u64, u64);

impl FileId {
    /// The file that has this name now.
    pub(super) fn of(path: &Path) -> Option<Self> {
        files::id(path).map(|(volume, number)| Self(volume, number))
    }

    /// The file that is open.
    pub(super) fn of_open(file: &File) -> Option<Self> {
        files::id_of_open(file).map(|(volume, number)| Self(volume, number))
    }

    /// As bytes, to be stored.
    pub(super) fn to_bytes(self) -> [u8; 16] {
        ((u128::from(self.0) << 64) | u128::from(self.1)).to_le_bytes()
    }
}

impl Link {
    /// Opens a store. Creates or migrates it if necessary.
    pub(super) fn open(path: &Path) -> Result<Self, StoreError> {
        let connection = open::open(path)?;
        Ok(Self { connection, file: FileId::of(path), unchanging: None, number: 0 })
    }

    /// Opens a store to read it.
    pub(super) fn open_to_read(path: &Path) -> Result<Self, StoreError> {
        let file = FileId::of(path);
        reading::open_and_touch(path).map(|reading| Self::of(reading, file))
    }

    /// As [`Self::open_to_read`], but damage of the tables is not found yet.
    pub(super) fn open_unread(path: &Path) -> Result<Self, StoreError> {
        let file = FileId::of(path);
        reading::open(path).map(|reading| Self::of(reading, file))
    }

    /// A connection to what was recognised as a store before.
    pub(super) fn connect_to_read(path: &Path) -> rusqlite::Result<Self> {
        let file = FileId::of(path);
        reading::connect(path).map(|reading| Self::of(reading, file))
    }

    /// The id was taken before: if the file was replaced meanwhile, the next check notices, and it is opened again.
    fn of(reading: Reading, file: Option<FileId>) -> Self {
        Self { connection: reading.connection, file, unchanging: reading.unchanging, number: 0 }
    }

    /// The link that a handle has in place of `old`.
    pub(super) fn in_place_of(self, old: &Self) -> Self {
        Self { number: old.number + 1, ..self }
    }

    /// How many files its handle had open before.
    pub(super) fn number(&self) -> u64 {
        self.number
    }

    /// The file that is open.
    pub(super) fn file(&self) -> Option<FileId> {
        self.file
    }

    /// Whether the open file still has the store's name, and what is read is what stands there.
    pub(super) fn is_current(&self, path: &Path) -> bool {
        let is_over = || self.unchanging.as_ref().is_some_and(|unchanging| unchanging.is_over(path));
        self.file.is_some() && self.file == FileId::of(path) && !is_over()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::{Access, Filter, NewEvent, Store};

    fn append(store: &Store) {
        let session = store.begin_session(&uuid::Uuid::new_v4().to_string(), "k", "{}").unwrap();
        store.writer().unwrap().append(session, &[NewEvent::plain(b"{}")]).unwrap();
    }

    /// A reader whose folder it cannot write.
    fn reader(path: &Path) -> Store {
        let reading = reading::unchanging(path).unwrap().unwrap();
        Store::of(path, Access::Read, Link::of(reading, FileId::of(path)))
    }

    #[test]
    fn a_store_that_nobody_wrote_is_opened_again_when_a_process_writes_it() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("events.db");
        append(&Store::open(&path).unwrap());
        let events = |store: &Store| store.ids(&Filter { limit: 9, ..Filter::default() }).unwrap().len();
        let store = reader(&path);
        let before = store.data_version().unwrap();
        assert_eq!((events(&store), store.data_version().unwrap()), (1, before));
        let proxy = Store::open(&path).unwrap();
        append(&proxy);
        assert_ne!(store.data_version().unwrap(), before);
        assert_eq!(events(&store), 2);
        append(&proxy);
        assert_eq!(events(&store), 3);
        drop((proxy, store));
        // A process that came and went between two looks has left no log.
        let store = reader(&path);
        assert_eq!(events(&store), 3);
        append(&Store::open(&path).unwrap());
        assert_eq!(events(&store), 4);
    }

    #[test]
    fn another_file_in_the_place_of_a_store_is_a_change() {
        let folder = tempfile::tempdir().unwrap();
        let (path, other) = (folder.path().join("events.db"), folder.path().join("other.db"));
        for path in [&path, &other] {
            append(&Store::open(path).unwrap());
        }
        for open in [Store::open_existing, Store::open_to_read] {
            let store = open(&path).unwrap();
            let before = store.data_version().unwrap();
            std::fs::rename(&path, folder.path().join("old.db")).unwrap();
            std::fs::rename(&other, &path).unwrap();
            assert_ne!(store.data_version().unwrap(), before);
            std::fs::rename(folder.path().join("old.db"), &other).unwrap();
        }
    }
}
