//! Opening the file: its permissions, and SQLite's settings.

use std::fs::OpenOptions;
use std::io;
use std::path::Path;
use std::time::{Duration, Instant};

use rusqlite::{Connection, ErrorCode, OpenFlags, OptionalExtension, TransactionBehavior};

use super::StoreError;
use super::files::{create_folder, with_suffix};
use super::schema::{self, Recognised};
use super::sql::{COLUMNS, is_corruption};
use crate::private_file;
use crate::private_folder;
use crate::system::files::{OpenOptionsExt as _, may_write, owner};
use crate::{system, users};

/// How long a statement waits for another process that holds the store.
const BUSY_TIMEOUT: Duration = Duration::from_secs(5);

/// The pause between two tries.
const BUSY_PAUSE: Duration = Duration::from_millis(1);

/// How long a migration waits until no other process has the store open. Commands that read are done soon; a proxy is not.
const ALONE_TIMEOUT: Duration = Duration::from_secs(1);

/// The pause between two tries to be alone.
const ALONE_PAUSE: Duration = Duration::from_millis(20);

/// The size of the write-ahead log, in pages, at which SQLite checkpoints it. Each checkpoint syncs the disk twice, so it
/// happens less often than by default (1,000). With 16 KiB pages the log stays around 32 MB.
const CHECKPOINT_PAGES: i64 = 2_000;

/// The page size of a new store. The event of a small call takes some 2.5 KB. It would fill one of the usual 4 KiB pages, and
/// half of what is written would be padding.
const PAGE_BYTES: i64 = 16 << 10;

/// After a burst the log file is truncated to this size.
const LOG_LIMIT_BYTES: i64 = 64 << 20;

const FLAGS: OpenFlags = OpenFlags::SQLITE_OPEN_READ_WRITE.union(OpenFlags::SQLITE_OPEN_NO_MUTEX);

/// Opens a connection. Creates or migrates the store if necessary.
pub(super) fn open(path: &Path) -> Result<Connection, StoreError> {
    create(path).map_err(|source| match std::fs::read_link(path) {
        Ok(target) => StoreError::LinkToNothing { path: path.into(), target, source },
        Err(_) => StoreError::Create { path: path.into(), source },
    })?;
    close_to_others(path).map_err(|source| StoreError::Exposed { path: path.into(), source })?;
    let failed = |source| match is_damage(&source) {
        true => StoreError::Damaged { path: path.into(), source: Some(source) },
        false => StoreError::unopened(path, source),
    };
    let mut connection = connect(path).map_err(failed)?;
    let version = match schema::recognise(&mut connection).map_err(failed)? {
        Recognised::Foreign => return Err(StoreError::Foreign { path: path.into() }),
        Recognised::Newer(found) => {
            return Err(StoreError::Newer { path: path.into(), found, known: schema::VERSION });
        }
        Recognised::Damaged => return Err(StoreError::Damaged { path: path.into(), source: None }),
        Recognised::Store(version) => version,
    };
    if (1..schema::VERSION).contains(&version) {
        drop(connection);
        if !migrate_alone(path).map_err(failed)? {
            return Err(StoreError::OlderInUse { path: path.into(), found: version, known: schema::VERSION });
        }
        connection = connect(path).map_err(failed)?;
    }
    tune(&connection).map_err(failed)?;
    if version == 0 {
        schema::migrate(&mut connection).map_err(failed)?;
    }
    probe(&mut connection).map_err(failed)?;
    Ok(connection)
}

/// Migrates a store of an older version. `false`: another process has it open, so nothing was changed. The statements of an older
/// version fail on newer tables.
fn migrate_alone(path: &Path) -> rusqlite::Result<bool> {
    let started = Instant::now();
    loop {
        match try_migrate(path) {
            Ok(()) => return Ok(true),
            Err(error) if !is_busy(&error) => return Err(error),
            Err(_) if started.elapsed() >= ALONE_TIMEOUT => return Ok(false),
            Err(_) => std::thread::sleep(ALONE_PAUSE),
        }
    }
}

/// Migrates with SQLite's exclusive lock on the file. Each connection in WAL mode holds the shared lock until it is closed or its
/// process dies, also one that is idle or of the first version. The exclusive lock is not waited for, because others cannot open
/// the store meanwhile.
fn try_migrate(path: &Path) -> rusqlite::Result<()> {
    let mut connection = Connection::open_with_flags(path, FLAGS)?;
    connection.busy_timeout(Duration::ZERO)?;
    // Set in WAL mode, this takes effect with the next transaction that writes.
    connection.query_row("PRAGMA schema_version", [], |_| Ok(()))?;
    connection.pragma_update_and_check(None, "locking_mode", "EXCLUSIVE", |_| Ok(()))?;
    schema::migrate(&mut connection)
}

/// While opening, two more errors mean damage: a statement that does not match the tables, and a file that claims to be
/// read-only although we just opened it for writing.
fn is_damage(error: &rusqlite::Error) -> bool {
    let unfit = matches!(error, rusqlite::Error::SqlInputError { .. });
    let code = error.sqlite_error_code();
    unfit || is_corruption(error) || matches!(code, Some(ErrorCode::Unknown | ErrorCode::ReadOnly))
}

/// Whether this user may write an existing store. SQLite reports another user's file as read-only, which looks like damage, so
/// this is checked first.
pub(super) fn may_be_written(path: &Path) -> Result<(), StoreError> {
    for side in ["", "-wal", "-shm", ".lock"] {
        let file = with_suffix(path, side);
        let Ok(found) = std::fs::metadata(&file) else { continue };
        if let Some(owner) = owner(&found).filter(|owner| Some(*owner) != system::users::effective())
            && !may_write(&file)
        {
            return Err(StoreError::NotOurs { path: file, owner: users::name(owner) });
        }
    }
    Ok(())
}

/// Creates the file before SQLite does, so that others can never read it. SQLite gives its side files (`-wal`, `-shm`) the same
/// mode.
fn create(path: &Path) -> io::Result<()> {
    create_folder(path)?;
    // A link whose target is missing is followed; SQLite would give the target another mode.
    let dangling = path.is_symlink() && !path.exists();
    match OpenOptions::new().write(true).create_new(!dangling).create(dangling).truncate(false).mode(0o600).open(path)
    {
        Err(error) if error.kind() != io::ErrorKind::AlreadyExists => Err(error),
        _ => Ok(()),
    }
}

/// Existing files may be accessible to others: the store, its side files, the folder.
fn close_to_others(path: &Path) -> io::Result<()> {
    private_folder::close_folder_of(path)?;
    for side in ["", "-wal", "-shm"] {
        private_folder::refuse_file_of_another_user(&with_suffix(path, side))?;
        match private_file::close_to_others(&with_suffix(path, side), private_file::OTHERS_MAY) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
    }
    Ok(())
}

fn connect(path: &Path) -> rusqlite::Result<Connection> {
    let mut connection = Connection::open_with_flags(path, FLAGS)?;
    connection.busy_handler(Some(wait_for_others))?;
    Ok(connection)
}

/// Touches what every use needs, so that most damage is found now: the schema, the root of each table and index, the right to
/// write. A full check would take seconds on a large file; other damage is found when it is read.
fn probe(connection: &mut Connection) -> rusqlite::Result<()> {
    let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
    touch(&transaction)?;
    transaction.rollback()
}

/// Reads what every use needs.
pub(super) fn touch(connection: &Connection) -> rusqlite::Result<()> {
    let every_column = format!("SELECT {COLUMNS} FROM events ORDER BY id LIMIT 1");
    for sql in PROBES.into_iter().chain([every_column.as_str()]) {
        connection.query_row(sql, [], |_| Ok(())).optional()?;
    }
    Ok(())
}

const PROBES: [&str; 10] = [
    "SELECT id, run_id, key_id, otas_session_id, meta, opened_at_ms, closed_at_ms, total, delivered, dead,
            agent_id, key_source, key_refused, token_sealed, token_expires_at_ms, token_mark, dropped, token_wanted, process,
            delivered_forgotten FROM sessions
     ORDER BY id LIMIT 1",
    "SELECT max(id) FROM events",
    "SELECT id FROM events INDEXED BY events_pending WHERE state = 0 ORDER BY id LIMIT 1",
    "SELECT id FROM events INDEXED BY events_settled WHERE state IN (1, 3) ORDER BY started_at_ms LIMIT 1",
    "SELECT llm FROM events INDEXED BY events_listed ORDER BY id LIMIT 1",
    "SELECT salt FROM seal",
    "SELECT delivered_bytes FROM tally",
    "SELECT * FROM open_exchanges LIMIT 1",
    "SELECT id FROM events WHERE state = 2 ORDER BY session LIMIT 1",
    "SELECT file FROM vanished LIMIT 1",
];

/// SQLite's own back-off grows to 100 ms, as long as a whole group of events may take. Other processes hold the store for a
/// millisecond or two.
fn wait_for_others(tries: i32) -> bool {
    std::thread::sleep(BUSY_PAUSE);
    BUSY_PAUSE * tries.unsigned_abs() < BUSY_TIMEOUT
}

fn tune(connection: &Connection) -> rusqlite::Result<()> {
    // Takes effect only in an empty file.
    connection.pragma_update(None, "page_size", PAGE_BYTES)?;
    write_ahead(connection)?;
    connection.pragma_update(None, "synchronous", "NORMAL")?;
    connection.pragma_update(None, "foreign_keys", false)?;
    connection.pragma_update_and_check(None, "wal_autocheckpoint", CHECKPOINT_PAGES, |_| Ok(()))?;
    connection.pragma_update_and_check(None, "journal_size_limit", LOG_LIMIT_BYTES, |_| Ok(()))
}

/// Switching a new file to WAL is the one operation that SQLite's busy timeout does not cover. So it is retried while another
/// process does the same.
fn write_ahead(connection: &Connection) -> rusqlite::Result<()> {
    let started = Instant::now();
    loop {
        match connection.pragma_update_and_check(None, "journal_mode", "WAL", |_| Ok(())) {
            Err(error) if is_busy(&error) && started.elapsed() < BUSY_TIMEOUT => {
                std::thread::sleep(Duration::from_millis(5));
            }
            done => return done,
        }
    }
}

fn is_busy(error: &rusqlite::Error) -> bool {
    matches!(error.sqlite_error_code(), Some(ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked))
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    fn mode(path: &Path) -> u32 {
        std::fs::metadata(path).unwrap().permissions().mode() & 0o777
    }

    #[test]
    fn only_its_owner_can_read_a_new_store() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("new/deep/events.db");
        let connection = open(&path).unwrap();
        connection
            .execute("INSERT INTO sessions (run_id, key_id, meta, opened_at_ms) VALUES ('r','k','{}',1)", [])
            .unwrap();
        assert_eq!(mode(&path), 0o600);
        assert_eq!(mode(&path.with_file_name("events.db-wal")), 0o600);
        assert_eq!(mode(path.parent().unwrap()), 0o700);
        assert_eq!(mode(&folder.path().join("new")), 0o700);
    }

    #[test]
    fn a_store_of_the_first_version_is_migrated_and_keeps_its_backlog() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("events.db");
        schema::tests::make_v1(&Connection::open(&path).unwrap());
        let store = crate::store::Store::open(&path).unwrap();
        let waiting = store.waiting("k", &[], 10).unwrap();
        assert_eq!(waiting.iter().map(|(id, _)| *id).collect::<Vec<_>>(), [1, 2]);
        assert_eq!(store.salt().unwrap().len(), 32);
    }

    #[test]
    fn a_store_that_is_in_use_is_not_migrated() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("events.db");
        schema::tests::make_v1(&Connection::open(&path).unwrap());
        // Of an older version: connections that have read once and are idle.
        let theirs = connect(&path).unwrap();
        write_ahead(&theirs).unwrap();
        let version = || theirs.query_row("PRAGMA user_version", [], |row| row.get::<_, i64>(0)).unwrap();
        assert_eq!(version(), 1);
        let refused = open(&path).unwrap_err();
        assert!(matches!(refused, StoreError::OlderInUse { found: 1, known: schema::VERSION, .. }), "{refused}");
        assert_eq!(version(), 1);
        theirs
            .execute("INSERT INTO sessions (run_id, key_id, meta, opened_at_ms) VALUES ('n','k','{}',1)", [])
            .unwrap();
        connect(&path).unwrap().query_row("SELECT id FROM events", [], |_| Ok(())).unwrap();
        drop(theirs);
        // A killed process leaves its lock file, without the lock.
        std::fs::write(with_suffix(&path, ".run-1.lock"), "").unwrap();
        let ours = open(&path).unwrap();
        let found = |sql| ours.query_row(sql, [], |row| row.get::<_, i64>(0)).unwrap();
        assert_eq!((found("PRAGMA user_version"), found("SELECT count(*) FROM sessions")), (schema::VERSION, 2));
    }

    #[test]
    fn a_newer_store_is_refused_with_its_version() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("events.db");
        open(&path).unwrap().pragma_update(None, "user_version", 99).unwrap();
        let error = open(&path).unwrap_err();
        assert!(matches!(error, StoreError::Newer { found: 99, known: schema::VERSION, .. }));
        assert!(error.to_string().contains("has version 99"), "{error}");
    }

    #[test]
    fn a_database_of_another_program_is_left_alone() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("other.db");
        Connection::open(&path).unwrap().execute_batch("CREATE TABLE theirs (x)").unwrap();
        assert!(matches!(open(&path), Err(StoreError::Foreign { .. })));
        let tables: i64 = Connection::open(&path)
            .unwrap()
            .query_row("SELECT count(*) FROM sqlite_schema", [], |row| row.get(0))
            .unwrap();
        assert_eq!(tables, 1);
    }

    #[test]
    fn a_file_that_is_not_a_database_is_an_error() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("events.db");
        std::fs::write(&path, "this is not a database, and long enough for one to tell".repeat(40)).unwrap();
        assert!(matches!(open(&path), Err(StoreError::Damaged { .. })));
    }

    #[test]
    fn processes_that_start_together_all_open_the_store() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("events.db");
        std::thread::scope(|scope| {
            let opened: Vec<_> = (0..8).map(|_| scope.spawn(|| open(&path).map(drop))).collect();
            for one in opened {
                one.join().unwrap().unwrap();
            }
        });
    }
}
