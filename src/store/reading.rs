//! Opening a store to read it: no store is made, migrated or moved aside, and no mode is changed. SQLite may make its own files beside it.

use std::fs::{self, File};
use std::io::{self, Read as _};
use std::path::Path;
use std::time::Duration;

use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use rusqlite::{Connection, ErrorCode, OpenFlags, TransactionBehavior};

use super::StoreError;
use super::files::beside;
use super::open::{may_be_written, touch};
use super::schema::{self, Recognised};
use super::sql::is_corruption;
use crate::system::files::{Stamp, stamp};

/// The header of an SQLite database.
const SQLITE: &[u8] = b"SQLite format 3\0";

/// How long a read waits for a process that recovers the log.
const BUSY_TIMEOUT: Duration = Duration::from_secs(5);

/// What has another meaning in a file's URI.
const IN_URI: &AsciiSet = &NON_ALPHANUMERIC.remove(b'/').remove(b'-').remove(b'.').remove(b'_');

/// A read-only connection.
pub(super) struct Reading {
    pub(super) connection: Connection,
    /// Set if the file was opened as one that no process writes.
    pub(super) unchanging: Option<Unchanging>,
}

/// The state of a file that was opened as one that no process writes. SQLite does not look for changes of such a file.
pub(super) struct Unchanging(Option<Stamp>);

impl Unchanging {
    /// Whether a process has written the store since, or may be writing it now.
    pub(super) fn is_over(&self, path: &Path) -> bool {
        has_log(path) || self.0 != stamp(path)
    }
}

/// Whether there is certainly no file. If the check itself fails, opening reports the reason.
pub(super) fn is_missing(path: &Path) -> bool {
    fs::metadata(path).is_err_and(|error| error.kind() == io::ErrorKind::NotFound)
}

/// Opens a store of this version.
///
/// # Errors
/// When it cannot be opened, is damaged or another program's, or has another version.
pub(super) fn open(path: &Path) -> Result<Reading, StoreError> {
    if is_of_another_kind(path).unwrap_or(false) {
        return Err(StoreError::Foreign { path: path.into() });
    }
    let failed = |source| match is_corruption(&source) {
        true => StoreError::Damaged { path: path.into(), source: Some(source) },
        false => may_be_written(path).err().unwrap_or_else(|| StoreError::unopened(path, source)),
    };
    let mut reading = connect(path).map_err(failed)?;
    reading.connection.busy_timeout(BUSY_TIMEOUT).map_err(failed)?;
    let other_version = match schema::recognise(&mut reading.connection).map_err(failed)? {
        Recognised::Store(0) => return Err(StoreError::Empty { path: path.into() }),
        Recognised::Foreign => return Err(StoreError::Foreign { path: path.into() }),
        Recognised::Damaged => return Err(StoreError::Damaged { path: path.into(), source: None }),
        Recognised::Store(schema::VERSION) => None,
        Recognised::Store(found) => Some(StoreError::Older { path: path.into(), found, known: schema::VERSION }),
        Recognised::Newer(found) => Some(StoreError::Newer { path: path.into(), found, known: schema::VERSION }),
    };
    other_version.map_or(Ok(reading), Err)
}

/// As [`open`]. Most damage is found now.
///
/// # Errors
/// As [`open`].
pub(super) fn open_and_touch(path: &Path) -> Result<Reading, StoreError> {
    let mut reading = open(path)?;
    let touched = reading
        .connection
        .transaction_with_behavior(TransactionBehavior::Deferred)
        .and_then(|transaction| touch(&transaction));
    match touched {
        Err(source) if is_corruption(&source) || matches!(source, rusqlite::Error::SqlInputError { .. }) => {
            Err(StoreError::Damaged { path: path.into(), source: Some(source) })
        }
        Err(source) => Err(StoreError::unopened(path, source)),
        Ok(()) => Ok(reading),
    }
}

/// Opens a file to read it.
pub(super) fn connect(path: &Path) -> rusqlite::Result<Reading> {
    let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let usual = Connection::open_with_flags(path, flags)
        .and_then(|connection| connection.query_row("PRAGMA schema_version", [], |_| Ok(())).map(|()| connection))
        .map(|connection| Reading { connection, unchanging: None });
    match usual {
        // SQLite cannot make its side files here. Without a log all is in the file itself.
        Err(error)
            if matches!(error.sqlite_error_code(), Some(ErrorCode::CannotOpen | ErrorCode::ReadOnly))
                && !has_log(path) =>
        {
            unchanging(path).unwrap_or(Err(error))
        }
        usual => usual,
    }
}

/// A connection to a file that no process writes. It makes no side files. `None`: its name is not Unicode.
pub(super) fn unchanging(path: &Path) -> Option<rusqlite::Result<Reading>> {
    let state = Unchanging(stamp(path));
    let name = utf8_percent_encode(path.to_str()?, IN_URI);
    let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX | OpenFlags::SQLITE_OPEN_URI;
    let opened = Connection::open_with_flags(format!("file:{name}?immutable=1"), flags);
    Some(opened.map(|connection| Reading { connection, unchanging: Some(state) }))
}

/// Whether a file was never a store: it is another program's database or none, and the lock file beside it is missing. It may be
/// the user's own file, named by mistake, so it must not be changed or moved. (A power loss can leave a store full of zeros.)
pub(super) fn is_of_another_kind(path: &Path) -> io::Result<bool> {
    if beside(path, ".lock").try_exists()? || !fs::metadata(path)?.is_file() {
        return Ok(false);
    }
    // Without a lock file this process has not opened the store, so closing the file releases none of our locks (fcntl(2)).
    let mut start = Vec::new();
    File::open(path)?.take(SQLITE.len() as u64).read_to_end(&mut start)?;
    if start != SQLITE {
        return Ok(!SQLITE.starts_with(&start) && start.iter().any(|byte| *byte != 0));
    }
    let opened = if has_log(path) { Some(connect(path)) } else { unchanging(path) };
    let found = opened.and_then(Result::ok).and_then(|mut opened| schema::recognise(&mut opened.connection).ok());
    Ok(found == Some(Recognised::Foreign))
}

/// Whether a write-ahead log is beside the file.
fn has_log(path: &Path) -> bool {
    fs::metadata(beside(path, "-wal")).is_ok_and(|found| found.len() > 0)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::super::{CommandError, Filter, NewEvent, Store};
    use super::*;

    /// The names, modes and contents of a folder's files.
    fn all(folder: &Path) -> Vec<(std::ffi::OsString, u32, Vec<u8>)> {
        let mut found: Vec<_> = fs::read_dir(folder)
            .unwrap()
            .map(|entry| {
                let entry = entry.unwrap();
                let mode = entry.metadata().unwrap().permissions().mode();
                (entry.file_name(), mode, fs::read(entry.path()).unwrap())
            })
            .collect();
        found.sort();
        found
    }

    /// A closed store with an event, without its lock file: a copy.
    fn copied(path: &Path) {
        let folder = tempfile::tempdir().unwrap();
        let whole = folder.path().join("events.db");
        let store = Store::open(&whole).unwrap();
        let session = store.begin_session("run", "k", "{}").unwrap();
        store.writer().unwrap().append(session, &[NewEvent::plain(b"{}")]).unwrap();
        drop(store);
        fs::copy(&whole, path).unwrap();
    }

    #[test]
    fn what_is_no_whole_store_is_refused_by_readers_and_stays_as_it_is() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("other file?.db");
        let refused = |what: &str| {
            fs::set_permissions(&path, fs::Permissions::from_mode(0o644)).unwrap();
            let before = all(folder.path());
            let error = Store::open_to_read(&path).map(drop).unwrap_err();
            let also = Store::open_existing(&path).map(drop).unwrap_err();
            assert_eq!(error.to_string(), also.to_string(), "{what}");
            assert_eq!(all(folder.path()), before, "{what}: {error}");
            fs::remove_file(&path).unwrap();
            error
        };
        fs::write(&path, "").unwrap();
        let empty = refused("empty");
        assert!(matches!(empty, CommandError::Store(StoreError::Empty { .. })), "{empty}");
        fs::write(&path, "the user's notes\n".repeat(300)).unwrap();
        let text = refused("text");
        assert!(matches!(text, CommandError::Store(StoreError::Foreign { .. })), "{text}");
        Connection::open(&path).unwrap().execute_batch("CREATE TABLE theirs (x)").unwrap();
        let theirs = refused("another program's database");
        assert!(matches!(theirs, CommandError::Store(StoreError::Foreign { .. })), "{theirs}");
    }

    #[test]
    fn what_takes_the_place_of_a_store_stays_as_it_is() {
        type Make = fn(&Path);
        let others: [(&str, Make); 3] = [
            ("empty", |path| fs::write(path, "").unwrap()),
            ("text", |path| fs::write(path, "the user's notes\n".repeat(300)).unwrap()),
            ("another program's database", |path| {
                Connection::open(path).unwrap().execute_batch("CREATE TABLE theirs (x)").unwrap();
            }),
        ];
        for (what, make) in others {
            for open in [Store::open_existing, Store::open_to_read] {
                let folder = tempfile::tempdir().unwrap();
                let (path, new) = (folder.path().join("events.db"), folder.path().join("new"));
                copied(&path);
                let store = open(&path).unwrap();
                make(&new);
                fs::set_permissions(&new, fs::Permissions::from_mode(0o644)).unwrap();
                fs::rename(&new, &path).unwrap();
                let state = || (fs::read(&path).unwrap(), fs::metadata(&path).unwrap().permissions().mode());
                let before = state();
                // Each use looks at the file's name.
                store.counts(None).unwrap();
                assert!(before == state(), "{what}: it was changed");
            }
        }
    }

    #[test]
    fn a_damaged_store_is_reported_by_readers_and_stays_in_its_place() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("events.db");
        copied(&path);
        File::options().write(true).open(&path).unwrap().set_len(40_000).unwrap();
        let bytes = fs::read(&path).unwrap();
        for error in [Store::open_to_read(&path).map(drop), Store::open_existing(&path).map(drop)] {
            let error = error.unwrap_err();
            assert!(matches!(error, CommandError::Store(StoreError::Damaged { .. })), "{error}");
            assert!(error.to_string().contains("store verify"), "{error}");
        }
        assert_eq!(fs::read(&path).unwrap(), bytes);
        let moved =
            |entry: io::Result<fs::DirEntry>| entry.unwrap().file_name().to_string_lossy().contains("corrupt");
        assert!(!fs::read_dir(folder.path()).unwrap().any(moved));
    }

    #[test]
    fn a_store_that_vanishes_is_not_made_again_by_a_reader() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("events.db");
        copied(&path);
        let store = Store::open_to_read(&path).unwrap();
        fs::remove_file(&path).unwrap();
        let filter = Filter { limit: 10, ..Filter::default() };
        assert_eq!(store.ids(&filter).unwrap().len(), 1, "the open file is read");
        assert!(!path.exists());
    }

    #[test]
    fn a_copy_whose_side_files_cannot_be_made_is_read() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a copy%.db");
        copied(&path);
        let connection = unchanging(&path).unwrap().unwrap().connection;
        let events: i64 = connection.query_row("SELECT count(*) FROM events", [], |row| row.get(0)).unwrap();
        assert_eq!((events, fs::read_dir(folder.path()).unwrap().count()), (1, 1));
    }
}
