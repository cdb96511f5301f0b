//! Store errors: the operation that failed, and what to do.

use std::io;
use std::path::{Path, PathBuf};

use rusqlite::ErrorCode;
use thiserror::Error;

use super::sql::is_corruption;
use crate::system::disk;

/// Why a store operation failed.
#[derive(Debug, Error)]
pub enum StoreError {
    /// The folder or the file could not be created.
    #[error("cannot create the event store {path}: {source}. Check that its folder exists and is writable")]
    Create {
        /// The store's file.
        path: PathBuf,
        /// The system's error.
        source: io::Error,
    },
    /// The lock file beside it could not be made or locked.
    #[error(
        "cannot change the event store {path}: its lock file: {source}. Check that this user can write its folder"
    )]
    NoLock {
        /// The store's file.
        path: PathBuf,
        /// The system's error.
        source: io::Error,
    },
    /// The file is a symbolic link whose target could not be created.
    #[error(
        "the event store {path} is a link to {target}, which cannot be created: {source}. Make the folder of that file, or point \
         `store.path` (--store-path) to another file"
    )]
    LinkToNothing {
        /// The store's file.
        path: PathBuf,
        /// The target of the link.
        target: PathBuf,
        /// The system's error.
        source: io::Error,
    },
    /// Others may read or write the file, and its mode cannot be changed.
    #[error(
        "the event store {path} can be read by others: {source}. `chmod 0600` it, or set `store.path` to a file in a folder of your own"
    )]
    Exposed {
        /// The store's file.
        path: PathBuf,
        /// What is accessible, and why it cannot be changed.
        source: io::Error,
    },
    /// The file belongs to another user.
    #[error(
        "the event store {path} is owned by {owner}, and this user cannot write it: run as that user, or point `store.path` \
         (--store-path) to a file of your own"
    )]
    NotOurs {
        /// The store's file or one of its side files.
        path: PathBuf,
        /// The owner.
        owner: String,
    },
    /// SQLite could not open or prepare the file.
    #[error(
        "cannot open the event store {path}: {}. Check the owner and the permissions of the file and of its folder, which this user \
         must be able to write, too",
        without_code(&source.to_string())
    )]
    Open {
        /// The store's file.
        path: PathBuf,
        /// SQLite's error.
        source: rusqlite::Error,
    },
    /// Another process keeps it locked.
    #[error(
        "the event store {path} is locked: another program has been writing to it for some time. Try again later"
    )]
    Locked {
        /// The store's file.
        path: PathBuf,
        /// SQLite's error.
        source: rusqlite::Error,
    },
    /// The file is damaged.
    #[error(
        "the event store {path} is damaged{}. `otas-proxy store verify` names the faults; the next start of the proxy (`serve`, `run`) \
         moves the file aside and keeps what can be read",
        source.as_ref().map(|error| format!(": {}", without_code(&error.to_string()))).unwrap_or_default()
    )]
    Damaged {
        /// The store's file.
        path: PathBuf,
        /// SQLite's error, if there was one.
        source: Option<rusqlite::Error>,
    },
    /// A damaged store could not be moved aside.
    #[error(
        "the event store {path} is damaged and cannot be moved aside: {source}. Check the permissions of its folder"
    )]
    MoveAside {
        /// The store's file.
        path: PathBuf,
        /// The system's error.
        source: io::Error,
    },
    /// The file belongs to another program or holds something else.
    #[error("{path} exists and is not an event store: set `store.path` (--store-path) to another file")]
    Foreign {
        /// The file.
        path: PathBuf,
    },
    /// The file has no tables.
    #[error(
        "{path} is empty, so it is not an event store: name another file (--store-path), or start the proxy, which makes a store there"
    )]
    Empty {
        /// The file.
        path: PathBuf,
    },
    /// The file was written by a newer otas-proxy.
    #[error(
        "the event store {path} has version {found}, but this otas-proxy supports versions up to {known}: \
         run the newer otas-proxy, or point `store.path` to another file"
    )]
    Newer {
        /// The store's file.
        path: PathBuf,
        /// Its version.
        found: i64,
        /// The newest version known here.
        known: i64,
    },
    /// The file has an older version. Commands that only read do not migrate it.
    #[error(
        "the event store {path} has version {found}, not {known}: a proxy or `otas-proxy events` brings it up to date"
    )]
    Older {
        /// The store's file.
        path: PathBuf,
        /// Its version.
        found: i64,
        /// The version known here.
        known: i64,
    },
    /// The file has an older version, and another process uses it, which a migration would break.
    #[error(
        "the event store {path} has version {found}, and this otas-proxy has to bring it to version {known}, but another process uses it, \
         such as a proxy of an older version: stop that one, or start it again with this version. Nothing was changed"
    )]
    OlderInUse {
        /// The store's file.
        path: PathBuf,
        /// Its version.
        found: i64,
        /// The version known here.
        known: i64,
    },
    /// A statement failed: the disk is full or failing, or another process held the store for over five seconds.
    #[error("the event store could not {act}")]
    Query {
        /// The operation, for "could not …".
        act: &'static str,
        /// SQLite's error.
        source: rusqlite::Error,
    },
}

/// SQLite's message, without the number of its code.
fn without_code(text: &str) -> &str {
    text.split_once(": ").filter(|(code, _)| code.starts_with("Error code ")).map_or(text, |it| it.1)
}

/// SQLite reports a write beyond the file-size limit (EFBIG) as an I/O error.
fn has_no_room(error: &rusqlite::Error) -> bool {
    let limited = disk::has_file_size_limit();
    error.sqlite_error().is_some_and(|found| {
        found.code == rusqlite::ErrorCode::DiskFull
            || limited && found.extended_code == rusqlite::ffi::SQLITE_IOERR_WRITE
    })
}

impl StoreError {
    /// Whether the file is damaged, rather than unreachable.
    pub fn is_corruption(&self) -> bool {
        match self {
            Self::Damaged { .. } => true,
            Self::Query { source, .. } => is_corruption(source),
            _ => false,
        }
    }

    /// The error with its cause, for people. Reaching a file-size limit reads like a full disk.
    pub fn in_words(&self) -> String {
        let full = "the disk is full, or this process has reached its file-size limit (`ulimit -f`)";
        match self {
            Self::Query { source, .. } | Self::Open { source, .. } if has_no_room(source) => {
                format!("{self}: {full}")
            }
            other => {
                let text = other.to_string();
                // Where advice follows the cause, the text has it already.
                match std::error::Error::source(other).map(ToString::to_string) {
                    Some(cause) if !text.contains(without_code(&cause)) => format!("{text}: {cause}"),
                    _ => text,
                }
            }
        }
    }

    /// Why an undamaged file could not be opened or prepared.
    pub(super) fn unopened(path: &Path, source: rusqlite::Error) -> Self {
        match source.sqlite_error_code() {
            Some(ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked) => Self::Locked { path: path.into(), source },
            _ => Self::Open { path: path.into(), source },
        }
    }

    /// For `map_err`: names the operation that failed.
    pub(super) fn query(act: &'static str) -> impl FnOnce(rusqlite::Error) -> Self {
        move |source| Self::Query { act, source }
    }
}

#[cfg(test)]
mod tests {
    use rusqlite::ffi;

    use super::*;

    #[test]
    fn a_locked_store_is_no_matter_of_permissions() {
        let unopened = |code| {
            let source = rusqlite::Error::SqliteFailure(ffi::Error::new(code), None);
            StoreError::unopened(Path::new("events.db"), source).to_string()
        };
        assert!(unopened(ffi::SQLITE_BUSY).contains("events.db is locked"));
        assert!(unopened(ffi::SQLITE_CANTOPEN).contains("permissions"));
    }
}
