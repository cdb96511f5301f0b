//! Why the collector's database failed.

use std::path::PathBuf;

use super::key::RandomError;

/// Why a database operation failed.
#[derive(Debug, thiserror::Error)]
pub enum LedgerError {
    /// The file could not be created, or its permissions could not be set.
    #[error("cannot create the collector's database {path}: check the folder and its permissions")]
    File {
        /// The file.
        path: PathBuf,
        /// The system's error.
        source: std::io::Error,
    },
    /// An SQL statement failed.
    #[error("{act} failed in the collector's database")]
    Sql {
        /// The operation.
        act: &'static str,
        /// SQLite's error.
        source: rusqlite::Error,
    },
    /// The file has another version, or is not a collector's database.
    #[error(
        "the collector's database has schema version {found}, but this version uses {expected}: use another file"
    )]
    Schema {
        /// The file's version.
        found: i64,
        /// The version that this program uses.
        expected: i64,
    },
    /// The key to register is malformed.
    #[error("the key of agent {agent:?} is not of the form agent_<prefix>_<secret>: issue a new key")]
    KeyForm {
        /// The agent's name.
        agent: String,
    },
    /// A token could not be serialised.
    #[error("writing a session token failed")]
    Token(#[source] serde_json::Error),
    /// No signing secret could be generated.
    #[error(transparent)]
    Random(#[from] RandomError),
    /// The runtime is shutting down, or the work panicked.
    #[error("the collector's database operation was interrupted")]
    CutShort(#[source] tokio::task::JoinError),
}
