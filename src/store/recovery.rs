//! A damaged store is moved aside, its readable rows are salvaged, and traffic goes on in a new file.
//!
//! SQLite's three files are renamed together: `events.db`, `-wal` and `-shm` become `events.db.corrupt-<time>`, and so on.

use std::fs::{File, TryLockError};
use std::io;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use rusqlite::types::Value;
use rusqlite::{Connection, OpenFlags, TransactionBehavior, params_from_iter};

use super::files::{create_folder, open_to_lock, with_suffix};
use super::link::{FileId, Link};
use super::open::may_be_written;
use super::reading::is_of_another_kind;
use super::sql::{ROW_BYTES, copy_secret};
use super::{StoreError, chunks};
use crate::clock::now_ms;

/// Time limit for salvaging a damaged file, because the start must not wait. The file stays, so nothing is deleted.
const SALVAGE_FOR: Duration = Duration::from_secs(2);

/// How long to wait for another process that is opening the store.
const LOCK_FOR: Duration = Duration::from_secs(5);

/// Unreadable rows after which the rest of a table is given up.
const HOPELESS: u32 = 64;

/// A damaged store that was moved aside.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MovedAside {
    /// Its new path.
    pub to: PathBuf,
    /// Its events that were salvaged into the new store.
    pub salvaged: u64,
    /// Its pending events, by its own count, that could not be read. 0 if the count was unreadable too.
    pub unreadable: u64,
}

/// Opens the store. A damaged store is replaced by a new one. `bad` is the file that was found damaged while open; if another
/// handle has replaced it already, the new file is opened.
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
        "the event store is damaged: it was moved aside, and a new one was created with its readable rows"
    );
    Ok((link, Some(MovedAside { to, salvaged, unreadable })))
}

/// Opens a whole store to change what is in it. It may be migrated. Whatever else is there stays as it is: a damaged store, another
/// program's file, an empty one. So it is recognised before anything is written.
pub(super) fn open_existing(path: &Path) -> Result<Link, StoreError> {
    match Link::open_to_read(path) {
        Ok(_) | Err(StoreError::Older { .. }) => {}
        Err(error) => return Err(error),
    }
    may_be_written(path)?;
    let _lock = lock(path).map_err(|source| StoreError::NoLock { path: path.into(), source })?;
    Link::open(path)
}

/// Only one process at a time opens or moves the store. Released when dropped.
fn lock(path: &Path) -> io::Result<File> {
    let file = open_to_lock(&with_suffix(path, ".lock"))?;
    let started = Instant::now();
    loop {
        match file.try_lock() {
            // A process that was suspended here must not block all others for ever.
            Err(TryLockError::WouldBlock) if started.elapsed() < LOCK_FOR => {
                std::thread::sleep(Duration::from_millis(2))
            }
            Ok(()) | Err(TryLockError::WouldBlock) => return Ok(file),
            Err(TryLockError::Error(error)) => return Err(error),
        }
    }
}

/// The log is moved first: a new database must never be opened beside the log of the old one.
fn move_aside(path: &Path) -> io::Result<PathBuf> {
    let to = with_suffix(path, &format!(".corrupt-{}", now_ms()));
    for side in ["-wal", "-shm", ""] {
        match std::fs::rename(with_suffix(path, side), with_suffix(&to, side)) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
    }
    Ok(to)
}

/// Copies the readable sessions and pending events. Returns how many events were salvaged, and how many more were pending by
/// the damaged file's own count.
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
    chunks::copy_key(&old, new);
    let taken = copy_rows(&old, new, "sessions", "", until)
        .and_then(|_| copy_rows(&old, new, "events", " AND state = 0", until))
        .and_then(|events| recount(new).map(|()| events))
        .unwrap_or_else(|error| {
            tracing::warn!(%error, "the rows of the damaged store could not be salvaged");
            0
        });
    if let Err(error) = salvage_for_sinks(&old, new, until) {
        tracing::warn!(%error, "the backlog of the sinks could not be salvaged from the damaged store");
    }
    if let Err(error) = salvage_notes(&old, new, until) {
        tracing::warn!(%error, "notes on calls could not be salvaged from the damaged store");
    }
    if let Err(error) = chunks::salvage(&old, new, until) {
        tracing::warn!(%error, "bodies could not be salvaged from the damaged store");
    }
    (taken, waiting.saturating_sub(taken))
}

/// Without the salt, sealed tokens could not be opened.
pub(super) fn copy_salt(old: &Connection, new: &Connection) {
    copy_secret(old, new, "seal", "salt", "sessions will be opened again");
}

/// Copies the positions of sinks, and the settled events that a sink has not had.
fn salvage_for_sinks(old: &Connection, new: &mut Connection, until: Instant) -> rusqlite::Result<()> {
    copy_rows(old, new, "sinks", "", until)?;
    let least: Option<i64> = new.query_row("SELECT min(position) FROM sinks", [], |row| row.get(0))?;
    if let Some(least) = least {
        copy_rows(old, new, "events", &format!(" AND state IN (1, 3) AND id > {least}"), until)?;
    }
    new.execute_batch(&format!(
        "UPDATE tally SET delivered_bytes = (SELECT coalesce(sum({ROW_BYTES}), 0) FROM events WHERE state IN (1, 3))"
    ))
}

/// Copies the notes on the events that were copied.
fn salvage_notes(old: &Connection, new: &mut Connection, until: Instant) -> rusqlite::Result<()> {
    copy_rows(old, new, "notes", "", until)?;
    new.execute_batch("DELETE FROM notes WHERE id NOT IN (SELECT id FROM events)")
}

/// Copies the columns that both files have. Unreadable rows, and rows that the new table rejects, are left out.
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
        // One row at a time: the row after an unreadable one may be readable.
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

/// Makes the counts of the sessions match their events.
fn recount(new: &Connection) -> rusqlite::Result<()> {
    new.execute_batch(
        "UPDATE sessions SET dead = 0;
         UPDATE sessions SET total = delivered + (SELECT count(*) FROM events WHERE session = sessions.id AND state = 0)
         WHERE key_id <> '';",
    )
}

#[cfg(test)]
mod tests {
    use std::fs::OpenOptions;
    use std::os::unix::fs::FileExt;

    use super::super::{Filter, NewEvent, Outcome, SessionRow, Settlement, Store, testing};
    use super::*;
    use crate::redact::testing::redactor;

    const EVENTS: u64 = 120;

    fn event(json: &[u8]) -> NewEvent<'_> {
        NewEvent::plain(json)
    }

    fn json(bytes: usize) -> Vec<u8> {
        serde_json::to_vec(&serde_json::json!({ "path": "/", "response_body": testing::text_that_takes(bytes) }))
            .unwrap()
    }

    /// A closed store with some hundred events, a third of them delivered.
    fn filled(path: &Path) -> u64 {
        let store = Store::open(path).unwrap();
        let session = store.begin_session("old", "k", "{}").unwrap();
        let mut writer = store.writer().unwrap();
        for n in 0..EVENTS {
            // Some events need more than one page.
            let json = json(if n % 10 == 0 { 40_000 } else { 900 });
            writer.append(session, &[event(&json)]).unwrap();
        }
        let third = store.waiting("k", &[], EVENTS as usize / 3).unwrap();
        let delivered =
            |id| Settlement { id, attempts: 1, outcome: Outcome::Delivered { otas_event_id: "e".into() } };
        store.settle(&third.iter().map(|(id, _)| delivered(*id)).collect::<Vec<_>>()).unwrap();
        EVENTS - third.len() as u64
    }

    /// Does everything that the proxy does with a store. An operation may fail on damage, but only once.
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
        assert!(mine.iter().any(|(_, of)| *of == session), "the last event is there");
        store.health().stores_moved_aside()
    }

    #[test]
    fn a_file_that_was_never_a_store_is_left_alone() {
        use std::os::unix::fs::PermissionsExt as _;
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("notes.txt");
        std::fs::write(&path, "notes of the user's\n".repeat(200)).unwrap();
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o644)).unwrap();
        let refused = open_or_replace(&path, None).map(drop);
        assert!(matches!(refused, Err(StoreError::Foreign { .. })), "{refused:?}");
        assert_eq!(std::fs::read_to_string(&path).unwrap(), "notes of the user's\n".repeat(200));
        assert_eq!(path.metadata().unwrap().permissions().mode() & 0o777, 0o644);
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 1, "no other file is created");
    }

    #[test]
    fn fault_17_flipped_bytes_never_prevent_a_start() {
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
            // Half of the damage is in the first pages, where it matters most.
            let at = if round % 2 == 0 { draw(bytes.len()) } else { draw(20_000) };
            match round % 5 {
                0 => file.write_all_at(&[0; 4096], at as u64).unwrap(),
                1 => file.set_len(at as u64).unwrap(),
                _ => file.write_all_at(&[bytes[at] ^ (1 << draw(8))], at as u64).unwrap(),
            }
            // Not in the version number: a larger one would be refused as newer, not as damaged.
            if (60..64).contains(&at) && round % 5 > 1 {
                continue;
            }
            moved += use_it(&path, "new");
        }
        assert!(moved > 10, "{moved} of 100 were found damaged");
    }

    #[test]
    fn fault_17_readable_rows_of_a_damaged_store_are_salvaged() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("events.db");
        let waiting = filled(&path);
        let length = std::fs::metadata(&path).unwrap().len();
        // Damages one page in the middle, and the application id.
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
    fn fault_17_a_store_damaged_while_open_is_replaced_for_all_its_handles() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("events.db");
        let store = Store::open(&path).unwrap();
        let session = store.begin_session("r", "k", "{}").unwrap();
        let mut writer = store.writer().unwrap();
        writer.append(session, &[event(b"{}")]).unwrap();
        let old = store.waiting("k", &[], 10).unwrap()[0].0;
        store.note(old, "keep this", redactor()).unwrap();
        // Another handle finds damage and moves the file aside.
        let (_link, moved) = open_or_replace(&path, FileId::of(&path)).unwrap();
        assert_eq!(moved.unwrap().salvaged, 1);
        writer.append(session, &[event(b"{}"), event(b"{}")]).unwrap();
        let ids: Vec<i64> = store.waiting("k", &[], 10).unwrap().iter().map(|(id, _)| *id).collect();
        assert_eq!((ids[0], store.event(old).unwrap().note.as_deref()), (old, Some("keep this")));
        assert_eq!(ids.len(), 3);
        assert!(ids[1] > now_ms() << 9, "no id is used twice: {ids:?}");
        assert_eq!(ids[2], ids[1] + 1);
        assert_eq!(store.counts(Some(session)).unwrap().pending, 3);
    }
}
