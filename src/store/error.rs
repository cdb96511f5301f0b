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
    /// The file is a database of another program.
    #[error("{path} is a database of another program, not an event store: point `store.path` to another file")]
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

impl StoreError {
    /// Whether this says that the file is damaged, rather than that it cannot be reached.
    pub fn is_corruption(&self) -> bool {
        match self {
            Self::Damaged { .. } => true,
            Self::Query { source, .. } => is_corruption(source),
            _ => false,
        }
    }

    /// For `map_err`: names the act that failed.
    pub(super) fn query(act: &'static str) -> impl FnOnce(rusqlite::Error) -> Self {
        move |source| Self::Query { act, source }
    }
}
