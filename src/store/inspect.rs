//! Reading a store without changing it: nothing is created, migrated or moved aside, so a damaged file can be examined as it is.

use std::path::Path;
use std::sync::Arc;

use super::link::Link;
use super::{CommandError, Viewer, reading};

/// A read-only connection to an existing store. All calls block. A proxy may use the store meanwhile.
pub struct Inspector {
    pub(super) link: Link,
    path: Box<Path>,
}

impl Inspector {
    /// Opens a store of this version.
    ///
    /// # Errors
    /// When there is no file, when it cannot be opened, is another program's, or has another version.
    pub fn open(path: &Path) -> Result<Self, CommandError> {
        if reading::is_missing(path) {
            return Err(CommandError::Missing(path.into()));
        }
        Ok(Self { link: Link::open_unread(path)?, path: path.into() })
    }

    /// A reader for people of the same file.
    pub fn viewer(&self) -> Viewer {
        Viewer::new(&self.path, Arc::default())
    }

    /// The store's file.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Whether another file has taken the store's name since it was opened, or it was written although nothing showed that.
    pub(super) fn is_replaced(&self) -> bool {
        !self.link.is_current(&self.path)
    }
}
