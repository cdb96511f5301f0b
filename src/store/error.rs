//! What can go wrong with the store: the act that failed, and what to do.

use std::io;
use std::path::PathBuf;

use thiserror::Error;

use super::heal::is_corruption;

/// Why the store did not do as asked.
#[derive(Debug, Error)]
pub enum StoreError {
    /// The folder or the file could not be made.
    #[error("cannot create the event store {path}: check that its folder exists and is writable")]
    Create {
        /// The store's file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// The file is a link, and what it leads to could not be made.
    #[error(
        "the event store {path} is a link to {target}, which cannot be created: make the folder of that file, or point `store.path` \
         (--store-path) to another file"
    )]
    LinkToNothing {
        /// The store's file.
        path: PathBuf,
        /// Where it leads.
        target: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// Others may read or write it, and that cannot be changed.
    #[error(
        "the event store {path} would be open to others: `chmod 0600` it, or point `store.path` into a folder of your own"
    )]
    Exposed {
        /// The store's file.
        path: PathBuf,
        /// What is open, and why it stays so.
        source: io::Error,
    },
    /// It is another user's.
    #[error(
        "the event store {path} is owned by {owner}, and this user cannot write it: run as that user, or point `store.path` \
         (--store-path) to a file of your own"
    )]
    NotOurs {
        /// The file: the store's, or one that SQLite keeps beside it.
        path: PathBuf,
        /// Whose it is.
        owner: String,
    },
    /// SQLite could not open or prepare the file.
    #[error("cannot open the event store {path}: check the file's owner and permissions, or move it aside")]
    Open {
        /// The store's file.
        path: PathBuf,
        /// What SQLite said.
        source: rusqlite::Error,
    },
    /// The file is not what it should be.
    #[error("the event store {path} is damaged")]
    Damaged {
        /// The store's file.
        path: PathBuf,
        /// What SQLite said, if it noticed.
        source: Option<rusqlite::Error>,
    },
    /// A damaged store could not be moved aside.
    #[error("the event store {path} is damaged and cannot be moved aside: check the rights of its folder")]
    MoveAside {
        /// The store's file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// The file is of another program, or the user's own.
    #[error(
        "{path} is not an event store, but a file of another kind: point `store.path` (--store-path) to another file"
    )]
    Foreign {
        /// The file.
        path: PathBuf,
    },
    /// The file was written by a newer otas-proxy.
    #[error(
        "the event store {path} has version {found}, this otas-proxy knows up to {known}: \
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
    /// A statement failed: a full or failing disk, or another process that held the store for over five seconds.
    #[error("the event store could not {act}")]
    Query {
        /// What was being done.
        act: &'static str,
        /// What SQLite said.
        source: rusqlite::Error,
    },
}

/// SQLite calls a write that the file-size limit stops (EFBIG) an I/O error.
fn has_no_room(error: &rusqlite::Error) -> bool {
    let limited = rustix::process::getrlimit(rustix::process::Resource::Fsize).current.is_some();
    error.sqlite_error().is_some_and(|found| {
        found.code == rusqlite::ErrorCode::DiskFull
            || limited && found.extended_code == rusqlite::ffi::SQLITE_IOERR_WRITE
    })
}

impl StoreError {
    /// Whether this says that the file is damaged, rather than that it cannot be reached.
    pub fn is_corruption(&self) -> bool {
        match self {
            Self::Damaged { .. } => true,
            Self::Query { source, .. } => is_corruption(source),
            _ => false,
        }
    }

    /// With its cause, for people. A file-size limit that is reached reads like a full disk.
    pub fn in_words(&self) -> String {
        let full = "the disk is full, or the file-size limit of this process (`ulimit -f`) is reached";
        match self {
            Self::Query { source, .. } | Self::Open { source, .. } if has_no_room(source) => {
                format!("{self}: {full}")
            }
            other => match std::error::Error::source(other) {
                Some(cause) => format!("{other}: {cause}"),
                None => other.to_string(),
            },
        }
    }

    /// For `map_err`: names the act that failed.
    pub(super) fn query(act: &'static str) -> impl FnOnce(rusqlite::Error) -> Self {
        move |source| Self::Query { act, source }
    }
}
