//! The file of the index: beside the store, for its owner only.

use std::fs::{self, File, OpenOptions};
use std::io;
use std::ops::Not as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use rusqlite::{Connection, OpenFlags, OptionalExtension, params};

use crate::store::files::{beside, try_lock, with_suffix};
use crate::store::link::FileId;
use crate::store::sql::is_corruption;
use crate::system::files::OpenOptionsExt as _;

/// The form of the tables and of what is in them. An index of another version is made again.
const VERSION: i64 = 2;
/// The suffix of the file's name behind that of the store.
const SUFFIX: &str = "-search";
/// How long a read waits for a process that recovers the log.
const BUSY_TIMEOUT: Duration = Duration::from_secs(1);
/// Pages of the log after which it is written back.
const CHECKPOINT_PAGES: i64 = 256;
const LOG_LIMIT_BYTES: i64 = 2 << 20;

/// Rows of signatures fit into pages of 4 KiB: four columns, or 125 bits of a block.
const TABLES: &str = "
CREATE TABLE state (
    id         INTEGER PRIMARY KEY CHECK (id = 0),
    store      BLOB    NOT NULL,
    chunk_from INTEGER NOT NULL,
    chunk_to   INTEGER NOT NULL,
    chunk_hash BLOB,
    event_from INTEGER NOT NULL,
    event_to   INTEGER NOT NULL
) STRICT;
CREATE TABLE spans (
    first   INTEGER PRIMARY KEY,
    last    INTEGER NOT NULL,
    count   INTEGER NOT NULL,
    last_id BLOB    NOT NULL,
    chunks  BLOB    NOT NULL
) STRICT;
CREATE TABLE columns (id INTEGER PRIMARY KEY AUTOINCREMENT, contents BLOB NOT NULL, signature BLOB NOT NULL) STRICT;
CREATE TABLE blocks (
    id       INTEGER PRIMARY KEY AUTOINCREMENT,
    count    INTEGER NOT NULL,
    event_to INTEGER NOT NULL,
    contents BLOB    NOT NULL
) STRICT;
CREATE TABLE slices (id INTEGER PRIMARY KEY, data BLOB NOT NULL) STRICT;
";

/// What the index has of the store.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct State {
    /// The first chunk that is in the index. Earlier ones were dropped because the index was full.
    pub(super) chunk_from: i64,
    /// The last chunk that was indexed.
    pub(super) chunk_to: i64,
    /// Its name in the store: the number of a chunk of another file has another one.
    pub(super) chunk_hash: Option<Vec<u8>>,
    /// As `chunk_from`, for events.
    pub(super) event_from: i64,
    /// The last event that was indexed.
    pub(super) event_to: i64,
}

impl State {
    pub(super) fn read(connection: &Connection) -> rusqlite::Result<Self> {
        connection
            .prepare_cached("SELECT chunk_from, chunk_to, chunk_hash, event_from, event_to FROM state")?
            .query_row([], |row| {
                Ok(Self {
                    chunk_from: row.get(0)?,
                    chunk_to: row.get(1)?,
                    chunk_hash: row.get(2)?,
                    event_from: row.get(3)?,
                    event_to: row.get(4)?,
                })
            })
    }

    pub(super) fn write(&self, connection: &Connection) -> rusqlite::Result<()> {
        connection
            .prepare_cached(
                "UPDATE state SET chunk_from = ?1, chunk_to = ?2, chunk_hash = ?3, event_from = ?4, event_to = ?5",
            )?
            .execute(params![self.chunk_from, self.chunk_to, self.chunk_hash, self.event_from, self.event_to])
            .map(drop)
    }

    /// Whether the numbers of chunks mean the same in this store. They do not after it was copied back from a backup.
    pub(super) fn fits(&self, store: &Connection) -> rusqlite::Result<bool> {
        let last = "SELECT coalesce((SELECT seq FROM sqlite_sequence WHERE name = 'chunks'), 0)";
        let last: i64 = store.prepare_cached(last)?.query_row([], |row| row.get(0))?;
        let hash: Option<Vec<u8>> = store
            .prepare_cached("SELECT hash FROM chunks WHERE id = ?1")?
            .query_row([self.chunk_to], |row| row.get(0))
            .optional()?;
        Ok(last >= self.chunk_to && (hash.is_none() || hash == self.chunk_hash))
    }
}

/// Which store an index belongs to: its file, and its random key, of which only a hash is kept.
pub(super) fn identity(store: &Connection, file: Option<FileId>) -> rusqlite::Result<Vec<u8>> {
    let key: Vec<u8> = store.prepare_cached("SELECT key FROM chunk_key")?.query_row([], |row| row.get(0))?;
    let file = file.map(FileId::to_bytes).unwrap_or_default();
    Ok(blake3::hash(&[&file[..], &key].concat()).as_bytes().to_vec())
}

/// The index of a store: the same for all processes, whatever links they reach the store by.
fn path_of(store: &Path) -> PathBuf {
    beside(store, SUFFIX)
}

/// The file of the index, whatever its name. `None`: there is none.
pub(super) fn id(store: &Path) -> Option<FileId> {
    FileId::of(&path_of(store))
}

/// The right to change the index of a store, unless another process has it. The lock is a file that is never removed.
///
/// # Errors
/// When the file cannot be created or its file system has no locks.
pub(super) fn lock(store: &Path) -> io::Result<Option<File>> {
    try_lock(&with_suffix(&path_of(store), ".lock"))
}

/// Opens the index for changes. One of another store, of another version or that is damaged is made again. The caller has the
/// lock.
///
/// # Errors
/// When it can be neither opened nor made.
pub(super) fn open(store: &Path, identity: &[u8]) -> rusqlite::Result<Connection> {
    let path = path_of(store);
    match write_to(&path).and_then(|connection| Ok((belongs(&connection, identity)?, connection))) {
        Ok((true, connection)) => Ok(connection),
        _ => {
            remove(store);
            let connection = write_to(&path)?;
            connection.execute_batch("BEGIN IMMEDIATE")?;
            connection.execute_batch(TABLES)?;
            connection.execute("INSERT INTO state VALUES (0, ?1, 0, 0, NULL, 0, 0)", [identity])?;
            connection.pragma_update(None, "user_version", VERSION)?;
            connection.execute_batch("COMMIT")?;
            Ok(connection)
        }
    }
}

fn write_to(path: &Path) -> rusqlite::Result<Connection> {
    // Created before SQLite does it, so that others can never read it.
    let created = OpenOptions::new().write(true).create(true).truncate(false).mode(0o600).open(path);
    created.map_err(|error| rusqlite::Error::ToSqlConversionFailure(error.into()))?;
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let connection = Connection::open_with_flags(path, flags)?;
    connection.busy_timeout(BUSY_TIMEOUT)?;
    connection.pragma_update_and_check(None, "journal_mode", "WAL", |_| Ok(()))?;
    connection.pragma_update(None, "synchronous", "NORMAL")?;
    connection.pragma_update_and_check(None, "wal_autocheckpoint", CHECKPOINT_PAGES, |_| Ok(()))?;
    connection.pragma_update_and_check(None, "journal_size_limit", LOG_LIMIT_BYTES, |_| Ok(()))?;
    Ok(connection)
}

/// Opens the index to read it. `None`: there is none that fits this store.
pub(super) fn read(store: &Path, identity: &[u8]) -> Option<Connection> {
    let path = path_of(store);
    let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let connection = path.exists().then(|| Connection::open_with_flags(&path, flags).ok())??;
    connection.busy_timeout(BUSY_TIMEOUT).ok()?;
    // The rows of one moment, until the connection is closed.
    connection.execute_batch("BEGIN").ok()?;
    belongs(&connection, identity).ok()?.then_some(connection)
}

fn belongs(connection: &Connection, identity: &[u8]) -> rusqlite::Result<bool> {
    let version: i64 = connection.pragma_query_value(None, "user_version", |row| row.get(0))?;
    if version != VERSION {
        return Ok(false);
    }
    let store: Vec<u8> = connection.query_row("SELECT store FROM state", [], |row| row.get(0))?;
    Ok(store == identity)
}

/// Removes the index. The caller has the lock.
pub(super) fn remove(store: &Path) {
    for side in ["", "-wal", "-shm"] {
        match fs::remove_file(with_suffix(&path_of(store), side)) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                tracing::warn!(%error, "the search index cannot be removed");
            }
            _ => {}
        }
    }
}

/// The bytes of the index on the disk, with its log. 0: there is none.
pub(in crate::store) fn size_bytes(store: &Path) -> u64 {
    let size = |side: &str| fs::metadata(with_suffix(&path_of(store), side)).map_or(0, |found| found.len());
    size("") + size("-wal")
}

/// The index contradicts itself, or does not fit the store.
#[derive(Debug, thiserror::Error)]
#[error("the search index is damaged")]
struct Damaged;

/// The error of an index that must be made again.
pub(super) fn damaged() -> rusqlite::Error {
    rusqlite::Error::UserFunctionError(Box::new(Damaged))
}

/// Whether an error is the index's own fault, and not the store's.
pub(super) fn is_own_damage(index: &Connection, error: &rusqlite::Error) -> bool {
    let checked = || index.pragma_query_value(None, "quick_check", |row| row.get::<_, String>(0));
    match error {
        rusqlite::Error::UserFunctionError(source) => source.is::<Damaged>(),
        error => is_corruption(error) && checked().is_ok_and(|checked| checked == "ok").not(),
    }
}
