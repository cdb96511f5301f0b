//! One connection and the file that it has open, which another handle may have moved aside meanwhile.

use std::fs::Metadata;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use rusqlite::Connection;

use super::StoreError;
use super::open;

/// A connection that knows whether its file is still the store.
pub(super) struct Link {
    /// The connection.
    pub(super) connection: Connection,
    file: Option<FileId>,
}

/// Device and inode: what a file is, whatever its name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct FileId(u64, u64);

impl FileId {
    /// The file that has this name now.
    pub(super) fn of(path: &Path) -> Option<Self> {
        std::fs::metadata(path).ok().map(|found| Self::of_open(&found))
    }

    /// The file that this was read of.
    pub(super) fn of_open(found: &Metadata) -> Self {
        Self(found.dev(), found.ino())
    }
}

impl Link {
    /// Opens a store that is, or thereby becomes, one of this version.
    pub(super) fn open(path: &Path) -> Result<Self, StoreError> {
        let connection = open::open(path)?;
        // Between the two the file may have been moved aside: then this is another file than the one that is open, the
        // next look tells so, and it is opened again.
        Ok(Self { file: FileId::of(path), connection })
    }

    /// The file that is open.
    pub(super) fn file(&self) -> Option<FileId> {
        self.file
    }

    /// Whether the file that is open is the one that has the store's name.
    pub(super) fn is_current(&self, path: &Path) -> bool {
        self.file.is_some() && self.file == FileId::of(path)
    }
}
