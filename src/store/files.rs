//! The names of the store's files, their locks, and its folder.

use std::ffi::OsString;
use std::fs::{self, DirBuilder, File, OpenOptions, TryLockError};
use std::io;
use std::path::{Path, PathBuf};

use crate::system::files::{DirBuilderExt as _, OpenOptionsExt as _};

/// The path with a suffix after its file name.
pub(super) fn with_suffix(path: &Path, suffix: &str) -> PathBuf {
    let mut name = OsString::from(path);
    name.push(suffix);
    name.into()
}

/// A file beside the store: the same for all processes, whatever links they reach the store by.
pub(super) fn beside(store: &Path, suffix: &str) -> PathBuf {
    with_suffix(&fs::canonicalize(store).unwrap_or_else(|_| store.to_owned()), suffix)
}

/// Opens a file to lock it, or creates it (0600). Windows locks only what can be read.
pub(super) fn open_to_lock(path: &Path) -> io::Result<File> {
    OpenOptions::new().create(true).read(true).append(true).mode(0o600).open(path)
}

/// Creates a file (0600) and locks it, unless another process has the lock.
pub(super) fn try_lock(path: &Path) -> io::Result<Option<File>> {
    let file = open_to_lock(path)?;
    match file.try_lock() {
        Ok(()) => Ok(Some(file)),
        Err(TryLockError::WouldBlock) => Ok(None),
        Err(TryLockError::Error(error)) => Err(error),
    }
}

/// Creates the store's folder (0700) if it is missing.
pub(super) fn create_folder(path: &Path) -> io::Result<()> {
    match path.parent().filter(|folder| !folder.as_os_str().is_empty()) {
        Some(folder) => DirBuilder::new().recursive(true).mode(0o700).create(folder),
        None => Ok(()),
    }
}
