//! A connection and the file it has open. Another handle may have moved that file aside.

use std::fs::File;
use std::path::Path;

use rusqlite::Connection;

use super::{StoreError, open, reading};
use crate::system::files;

/// A connection that knows whether its file is still the store.
pub(super) struct Link {
    /// The connection.
    pub(super) connection: Connection,
    file: Option<FileId>,
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
        // The file may be moved aside between the two steps. Then the ids differ, the next check notices, and the store is
        // opened again.
        Ok(Self { file: FileId::of(path), connection })
    }

    /// Opens a store to read it.
    pub(super) fn open_to_read(path: &Path) -> Result<Self, StoreError> {
        let connection = reading::open_and_touch(path)?;
        Ok(Self { file: FileId::of(path), connection })
    }

    /// The file that is open.
    pub(super) fn file(&self) -> Option<FileId> {
        self.file
    }

    /// Whether the open file still has the store's name.
    pub(super) fn is_current(&self, path: &Path) -> bool {
        self.file.is_some() && self.file == FileId::of(path)
    }
}
