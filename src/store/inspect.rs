//! Reading a store without changing it: nothing is created, migrated or moved aside, so a damaged file can be examined as it is.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use rusqlite::{Connection, OpenFlags};

use super::link::FileId;
use super::schema::{self, Recognised};
use super::sql::is_corruption;
use super::{CommandError, StoreError, Viewer};

/// How long a read waits for a process that recovers the log.
const BUSY_TIMEOUT: Duration = Duration::from_secs(5);

/// A read-only connection to an existing store. All calls block. A proxy may use the store meanwhile.
pub struct Inspector {
    pub(super) connection: Connection,
    path: Box<Path>,
    file: Option<FileId>,
}

impl Inspector {
    /// Opens a store of this version.
    ///
    /// # Errors
    /// When there is no file, when it cannot be opened, is another program's, or has another version.
    pub fn open(path: &Path) -> Result<Self, CommandError> {
        if !path.exists() {
            return Err(CommandError::Missing(path.into()));
        }
        let failed = |source| match is_corruption(&source) {
            true => StoreError::Damaged { path: path.into(), source: Some(source) },
            false => StoreError::unopened(path, source),
        };
        let file = FileId::of(path);
        let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX;
        let mut connection = Connection::open_with_flags(path, flags).map_err(failed)?;
        connection.busy_timeout(BUSY_TIMEOUT).map_err(failed)?;
        match schema::recognise(&mut connection).map_err(failed)? {
            Recognised::Store(schema::VERSION) => Ok(Self { connection, path: path.into(), file }),
            Recognised::Store(found) => {
                Err(StoreError::Older { path: path.into(), found, known: schema::VERSION }.into())
            }
            Recognised::Newer(found) => {
                Err(StoreError::Newer { path: path.into(), found, known: schema::VERSION }.into())
            }
            Recognised::Foreign => Err(StoreError::Foreign { path: path.into() }.into()),
            Recognised::Damaged => Err(StoreError::Damaged { path: path.into(), source: None }.into()),
        }
    }

    /// A reader for people of the same file.
    pub fn viewer(&self) -> Viewer {
        Viewer::new(&self.path, Arc::default())
    }

    /// The store's file.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Whether another file has taken the store's name since it was opened.
    pub(super) fn is_replaced(&self) -> bool {
        self.file != FileId::of(&self.path)
    }
}
