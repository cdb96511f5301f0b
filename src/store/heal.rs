//! A store that is damaged is moved aside, what can still be read of it is taken over, and the traffic goes on.
//!
//! The three files of SQLite keep their belonging: `events.db`, `-wal` and `-shm` become `events.db.corrupt-<time>`, and so on.

use std::ffi::OsString;
use std::fs::{File, OpenOptions, TryLockError};
use std::io::{self, Read as _};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use rusqlite::types::Value;
use rusqlite::{Connection, ErrorCode, OpenFlags, TransactionBehavior, params_from_iter};

use super::StoreError;
use super::link::{FileId, Link};
use super::open::{create_folder, may_be_written};
use super::session::now_ms;

/// How a database of SQLite begins.
const SQLITE: &[u8] = b"SQLite format 3\0";

/// How long is tried to read a damaged file: starting is more urgent. The file stays, so nothing is thrown away.
const SALVAGE_FOR: Duration = Duration::from_secs(2);

/// How long another process that is just opening the store is waited for.
const LOCK_FOR: Duration = Duration::from_secs(5);

/// Rows that cannot be read, after which the rest is given up.
const HOPELESS: u32 = 64;

/// What became of a damaged store.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MovedAside {
    /// Where it is now.
    pub to: PathBuf,
    /// Events of it that are in the new store.
    pub salvaged: u64,
    /// Events that waited in it, by its own count, and could not be read; 0 if not even the count could.
    pub unreadable: u64,
}

/// Opens the store; if it is damaged, a new one in its place. `bad`: the file in which damage was found while it was
/// open; if another handle has replaced it already, its new one is opened.
pub(super) fn open_or_replace(path: &Path, bad: Option<FileId>) -> Result<(Link, Option<MovedAside>), StoreError> {
    let failed = |source| StoreError::MoveAside { path: path.into(), source };
    let not_created = |source| StoreError::Create { path: path.into(), source };
    may_be_written(path)?;
    if bad.is_none() && is_of_another_kind(path).unwrap_or(false) {
        return Err(StoreError::Foreign { path: path.into() });
    }
    create_folder(path).map_err(not_created)?;
    let _lock = lock(path).map_err(not_created)?;
    if bad.is_none() || FileId::of(path) != bad {
        match Link::open(path) {
            Err(error) if error.is_corruption() => {}
            opened => return opened.map(|link| (link, None)),
        }
    }
    let to = move_aside(path).map_err(failed)?;
    let mut link = Link::open(path)?;
    let (salvaged, unreadable) = salvage(&to, &mut link.connection);
    tracing::error!(
        store = %path.display(), moved_to = %to.display(), salvaged, unreadable,
        "the event store is damaged: it was moved aside, and a new one goes on with what could be read of it"
    );
    Ok((link, Some(MovedAside { to, salvaged, unreadable })))
}

/// Whether a file was never a store: it does not begin as one, and the lock that each store has beside it is not there. It may be a
/// file of the user's that was named by mistake, so it must not be moved. Zeros are what a power loss leaves of a store.
fn is_of_another_kind(path: &Path) -> io::Result<bool> {
    if beside(path, ".lock").try_exists()? {
        return Ok(false);
    }
    // Without the lock this process has not opened it yet, so closing it here ends none of our own locks (fcntl(2)).
    let mut start = Vec::new();
    File::open(path)?.take(SQLITE.len() as u64).read_to_end(&mut start)?;
    Ok(!SQLITE.starts_with(&start) && start.iter().any(|byte| *byte != 0))
}

/// Whether this error says that the file is not what it should be, rather than that it cannot be reached.
pub(super) fn is_corruption(error: &rusqlite::Error) -> bool {
    use rusqlite::Error as E;
    match error {
        // What stands in a row cannot have been written by us.
        E::FromSqlConversionFailure(..)
        | E::IntegralValueOutOfRange(..)
        | E::InvalidColumnType(..)
        | E::Utf8Error(..) => true,
        other => other.sqlite_error().is_some_and(|found| {
            matches!(found.code, ErrorCode::DatabaseCorrupt | ErrorCode::NotADatabase)
                // The file is shorter than it says.
                || found.extended_code == rusqlite::ffi::SQLITE_IOERR_SHORT_READ
        }),
    }
}

/// Opening and moving aside are done by one process at a time. Freed when dropped.
fn lock(path: &Path) -> io::Result<File> {
    let file = OpenOptions::new().create(true).append(true).mode(0o600).open(beside(path, ".lock"))?;
    let started = Instant::now();
    loop {
        match file.try_lock() {
            // A process that is stopped in the middle must not stop all others for ever.
            Err(TryLockError::WouldBlock) if started.elapsed() < LOCK_FOR => {
                std::thread::sleep(Duration::from_millis(2))
            }
            Ok(()) | Err(TryLockError::WouldBlock) => return Ok(file),
            Err(TryLockError::Error(error)) => return Err(error),
        }
    }
}

/// The log goes first: a new file must never be opened beside the old one's log.
fn move_aside(path: &Path) -> io::Result<PathBuf> {
    let to = beside(path, &format!(".corrupt-{}", now_ms()));
    for side in ["-wal", "-shm", ""] {
        match std::fs::rename(beside(path, side), beside(&to, side)) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
    }
    Ok(to)
}

/// Copies sessions and waiting events, as far as they can be read. Gives how many events were taken over, and how many
/// more had waited by the damaged file's own count.
fn salvage(from: &Path, new: &mut Connection) -> (u64, u64) {
    let until = Instant::now() + SALVAGE_FOR;
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let Ok(old) = Connection::open_with_flags(from, flags) else { return (0, 0) };
    let waiting: u64 = old
        .query_row("SELECT sum(total - delivered - dead) FROM sessions WHERE key_id <> ''", [], |row| row.get(0))
        .ok()
        .flatten()
        .map_or(0, |sum: i64| u64::try_from(sum).unwrap_or(0));
    copy_salt(&old, new);
    let taken = copy_rows(&old, new, "sessions", "", until)
        .and_then(|_| copy_rows(&old, new, "events", " AND state = 0", until))
        .and_then(|events| recount(new).map(|()| events))
        .unwrap_or_else(|error| {
            tracing::warn!(%error, "what the damaged store still holds could not be taken over");
            0
        });
    if let Err(error) = salvage_for_sinks(&old, new, until) {
        tracing::warn!(%error, "what sinks had not had of the damaged store could not be taken over");
    }
    (taken, waiting.saturating_sub(taken))
}

/// Without it, sealed tokens could not be opened.
pub(super) fn copy_salt(old: &Connection, new: &Connection) {
    if let Ok(salt) = old.query_row("SELECT salt FROM seal", [], |row| row.get::<_, Vec<u8>>(0)) {
        let kept = new.execute("UPDATE seal SET salt = ?1", [salt]);
        kept.err().inspect(|error| tracing::warn!(%error, "sessions will be opened anew"));
    }
}

/// Copies where sinks stand, and the settled events that one of them has not had.
fn salvage_for_sinks(old: &Connection, new: &mut Connection, until: Instant) -> rusqlite::Result<()> {
    copy_rows(old, new, "sinks", "", until)?;
    let least: Option<i64> = new.query_row("SELECT min(position) FROM sinks", [], |row| row.get(0))?;
    if let Some(least) = least {
        copy_rows(old, new, "events", &format!(" AND state IN (1, 3) AND id > {least}"), until)?;
    }
    new.execute_batch(
        "UPDATE tally SET delivered_bytes = (SELECT coalesce(sum(length(json)), 0) FROM events WHERE state IN (1, 3))",
    )
}

/// Copies the columns that both versions of a table have. What cannot be read, or is not what the new table takes, is left out.
pub(super) fn copy_rows(
    old: &Connection,
    new: &mut Connection,
    table: &str,
    which: &str,
    until: Instant,
) -> rusqlite::Result<u64> {
    let Ok(theirs) = columns(old, table) else { return Ok(0) };
    let ours = columns(new, table)?;
    let shared: Vec<&str> = ours.iter().filter(|name| theirs.contains(name)).map(String::as_str).collect();
    let places = vec!["?"; shared.len()].join(", ");
    let names = shared.join(", ");
    let transaction = new.transaction_with_behavior(TransactionBehavior::Immediate)?;
    let (mut copied, mut after, mut failures) = (0, i64::MIN, 0);
    {
        let mut insert =
            transaction.prepare(&format!("INSERT OR IGNORE INTO {table} ({names}) VALUES ({places})"))?;
        // One row at a time: after a row that cannot be read, the next one may be readable.
        let Ok(mut next) =
            old.prepare(&format!("SELECT id, {names} FROM {table} WHERE id > ?1{which} ORDER BY id LIMIT 1"))
        else {
            return Ok(0);
        };
        while failures < HOPELESS && Instant::now() < until {
            let row = next.query_row([after], |row| {
                let id: i64 = row.get(0)?;
                let values: rusqlite::Result<Vec<Value>> = (1..=shared.len()).map(|i| row.get(i)).collect();
                Ok((id, values))
            });
            match row {
                Ok((id, values)) => {
                    after = id;
                    copied += values.and_then(|v| insert.execute(params_from_iter(v))).unwrap_or(0) as u64;
                }
                Err(rusqlite::Error::QueryReturnedNoRows) => break,
                Err(_) => {
                    failures += 1;
                    after = after.saturating_add(1).max(1);
                }
            }
        }
    }
    transaction.commit()?;
    Ok(copied)
}

fn columns(connection: &Connection, table: &str) -> rusqlite::Result<Vec<String>> {
    connection
        .prepare(&format!("SELECT name FROM pragma_table_info('{table}')"))?
        .query_map([], |row| row.get(0))?
        .collect()
}

/// The sessions' own counts follow what is there.
fn recount(new: &Connection) -> rusqlite::Result<()> {
    new.execute_batch(
        "UPDATE sessions SET dead = 0;
         UPDATE sessions SET total = delivered + (SELECT count(*) FROM events WHERE session = sessions.id AND state = 0)
         WHERE key_id <> '';",
    )
}

/// `path` with something after its name.
pub(super) fn beside(path: &Path, suffix: &str) -> PathBuf {
    let mut name = OsString::from(path);
    name.push(suffix);
    name.into()
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::FileExt;

    use super::super::{Filter, NewEvent, Outcome, SessionRow, Settlement, Store};
    use super::*;

    const EVENTS: u64 = 120;

    fn event(json: &[u8]) -> NewEvent<'_> {
        NewEvent::plain(json)
    }

    fn json(bytes: usize) -> Vec<u8> {
        serde_json::to_vec(&serde_json::json!({ "path": "/", "response_body": "x".repeat(bytes) })).unwrap()
    }

    /// A store with some hundred events, a third of them delivered, closed.
    fn filled(path: &Path) -> u64 {
        let store = Store::open(path).unwrap();
        let session = store.begin_session("old", "k", "{}").unwrap();
        let mut writer = store.writer().unwrap();
        for n in 0..EVENTS {
            // Some fill a page and more.
            let json = json(if n % 10 == 0 { 40_000 } else { 900 });
            writer.append(session, &[event(&json)]).unwrap();
        }
        let third = store.waiting("k", &[], EVENTS as usize / 3).unwrap();
        let delivered =
            |id| Settlement { id, attempts: 1, outcome: Outcome::Delivered { otas_event_id: "e".into() } };
        store.settle(&third.iter().map(|(id, _)| delivered(*id)).collect::<Vec<_>>()).unwrap();
        EVENTS - third.len() as u64
    }

    /// Everything that the proxy does with a store; what is damaged may fail, but not twice.
    fn use_it(path: &Path, run: &str) -> u64 {
        let store = Store::open(path).unwrap();
        let again = |act: &dyn Fn() -> Result<u64, StoreError>| act().or_else(|_| act()).or_else(|_| act()).unwrap();
        let session = SessionRow(again(&|| store.begin_session(run, "k", "{}").map(|row| row.id() as u64)) as i64);
        let mut writer = store.writer().unwrap();
        writer.append(session, &[event(b"{}")]).unwrap();
        again(&|| store.list(&Filter { limit: 1_000, ..Filter::default() }).map(|rows| rows.len() as u64));
        again(&|| store.waiting("k", &[], 1_000).map(|rows| rows.len() as u64));
        writer.append(session, &[event(b"{}")]).unwrap();
        let mine = store.waiting("k", &[], 1_000).unwrap();
        let settlements: Vec<_> = mine
            .iter()
            .map(|(id, _)| Settlement { id: *id, attempts: 1, outcome: Outcome::Dead { verdict: "x".into() } })
            .collect();
        again(&|| store.settle(&settlements).map(|()| 0));
        assert!(mine.iter().any(|(_, of)| *of == session), "what was appended last is there");
        store.health().stores_moved_aside()
    }

    #[test]
    fn a_file_that_was_never_a_store_stays_where_and_as_it_is() {
        use std::os::unix::fs::PermissionsExt as _;
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("notes.txt");
        std::fs::write(&path, "notes of the user's\n".repeat(200)).unwrap();
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o644)).unwrap();
        let refused = open_or_replace(&path, None).map(drop);
        assert!(matches!(refused, Err(StoreError::Foreign { .. })), "{refused:?}");
        assert_eq!(std::fs::read_to_string(&path).unwrap(), "notes of the user's\n".repeat(200));
        assert_eq!(path.metadata().unwrap().permissions().mode() & 0o777, 0o644);
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 1, "nothing is made beside it");
    }

    #[test]
    fn fault_17_bytes_flipped_anywhere_never_stop_a_start() {
        let folder = tempfile::tempdir().unwrap();
        let whole = folder.path().join("whole.db");
        filled(&whole);
        let bytes = std::fs::read(&whole).unwrap();
        let mut random = 0x2545_F491_4F6C_DD1D_u64;
        let mut draw = |below: usize| {
            random ^= random << 13;
            random ^= random >> 7;
            random ^= random << 17;
            (random % below as u64) as usize
        };
        let mut moved = 0;
        for round in 0..100 {
            let path = folder.path().join(format!("{round}.db"));
            std::fs::write(&path, &bytes).unwrap();
            let file = OpenOptions::new().write(true).open(&path).unwrap();
            // Half of them where it hurts: in the first pages.
            let at = if round % 2 == 0 { draw(bytes.len()) } else { draw(20_000) };
            match round % 5 {
                0 => file.write_all_at(&[0; 4096], at as u64).unwrap(),
                1 => file.set_len(at as u64).unwrap(),
                _ => file.write_all_at(&[bytes[at] ^ (1 << draw(8))], at as u64).unwrap(),
            }
            // Not a version that might be a newer one's, which is refused and not damage.
            if (60..64).contains(&at) && round % 5 > 1 {
                continue;
            }
            moved += use_it(&path, "new");
        }
        assert!(moved > 10, "{moved} of 100 were found damaged");
    }

    #[test]
    fn fault_17_what_can_be_read_of_a_damaged_store_is_taken_over() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("events.db");
        let waiting = filled(&path);
        let length = std::fs::metadata(&path).unwrap().len();
        // One page in the middle; and the header says that this is another program's.
        let file = OpenOptions::new().write(true).open(&path).unwrap();
        file.write_all_at(&[0xFF; 16 << 10], (length / 2) & !0x3FFF).unwrap();
        file.write_all_at(b"0000", 68).unwrap();
        let (link, moved) = open_or_replace(&path, None).unwrap();
        let moved = moved.unwrap();
        assert_eq!(moved.salvaged + moved.unreadable, waiting);
        assert!(moved.salvaged > waiting / 2, "{moved:?}");
        assert!(moved.to.exists());
        let there: u64 = link
            .connection
            .query_row("SELECT sum(total - delivered - dead) FROM sessions", [], |row| row.get::<_, i64>(0))
            .unwrap() as u64;
        assert_eq!(there, moved.salvaged);
    }

    #[test]
    fn fault_17_a_store_that_breaks_while_it_is_open_is_replaced_for_all_its_handles() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("events.db");
        let store = Store::open(&path).unwrap();
        let session = store.begin_session("r", "k", "{}").unwrap();
        let mut writer = store.writer().unwrap();
        writer.append(session, &[event(b"{}")]).unwrap();
        let old = store.waiting("k", &[], 10).unwrap()[0].0;
        // Another handle found damage, and moved the file aside.
        let (_link, moved) = open_or_replace(&path, FileId::of(&path)).unwrap();
        assert_eq!(moved.unwrap().salvaged, 1);
        writer.append(session, &[event(b"{}"), event(b"{}")]).unwrap();
        let ids: Vec<i64> = store.waiting("k", &[], 10).unwrap().iter().map(|(id, _)| *id).collect();
        assert_eq!(ids[0], old);
        assert_eq!(ids.len(), 3);
        assert!(ids[1] > now_ms() << 9, "no id is given twice: {ids:?}");
        assert_eq!(ids[2], ids[1] + 1);
        assert_eq!(store.counts(Some(session)).unwrap().pending, 3);
    }
}
