//! A store whose file was deleted, or whose folder was renamed, while it was in use. Traffic goes on in a new store. The
//! backlog of the old one is lost; it is counted by reading the old file, which is still open.

use std::path::Path;
use std::time::{Duration, Instant};

use rusqlite::{Connection, TransactionBehavior};

use super::files::with_suffix;
use super::link::{FileId, Link};
use super::{Gap, LossReason, SessionRow, recovery};
use crate::clock::now_ms;

/// Time limit for reading the sessions of the old file.
const READ_FOR: Duration = Duration::from_secs(2);

/// The events lost with the store that is open as `old`, now that `new` has taken its place. `None`: nothing was lost, or
/// another process has counted it. The sessions of this process (`first` is its first one) continue in the new store. `again`
/// is the number of events in the old store that will be written to the new one.
pub(super) fn losses(
    path: &Path,
    old: &Link,
    new: &mut Link,
    first: Option<SessionRow>,
    again: u64,
) -> rusqlite::Result<Option<Gap>> {
    let (Some(gone), Some(there)) = (old.file(), new.file()) else { return Ok(None) };
    if gone == there || was_moved_aside(path, gone) {
        return Ok(None);
    }
    tracing::error!(
        store = %path.display(),
        "the event store was deleted or its folder renamed while in use: a new store was created, and the backlog of the old one is lost"
    );
    let is_first = note(&mut new.connection, &format!("{gone:?}"))?;
    if is_first {
        recovery::copy_salt(&old.connection, &new.connection);
        recovery::copy_rows(&old.connection, &mut new.connection, "sinks", "", Instant::now() + READ_FOR)?;
    }
    if let Some(first) = first {
        carry_on(&old.connection, &mut new.connection, first)?;
    }
    let waiting = waiting(&old.connection).unwrap_or_else(|error| {
        tracing::warn!(%error, "the backlog of the old store cannot be counted");
        Gap { reason: LossReason::Vanished, events: 0, bodies: 0, from_ms: now_ms(), to_ms: now_ms() }
    });
    let gap = Gap { events: waiting.events.saturating_sub(again), ..waiting };
    Ok((is_first && gap.events > 0).then_some(gap))
}

/// Another handle found the file damaged and has salvaged it.
fn was_moved_aside(path: &Path, gone: FileId) -> bool {
    let prefix = with_suffix(Path::new(path.file_name().unwrap_or_default()), ".corrupt-");
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let prefix = prefix.as_os_str().as_encoded_bytes();
    std::fs::read_dir(folder).into_iter().flatten().flatten().any(|entry| {
        entry.file_name().as_encoded_bytes().starts_with(prefix) && FileId::of(&entry.path()) == Some(gone)
    })
}

/// Makes one of all processes that had the file open count the loss.
fn note(new: &mut Connection, gone: &str) -> rusqlite::Result<bool> {
    let transaction = new.transaction_with_behavior(TransactionBehavior::Immediate)?;
    let noted = transaction.execute("INSERT OR IGNORE INTO vanished (file) VALUES (?1)", [gone])?;
    transaction.commit()?;
    Ok(noted > 0)
}

/// The undelivered events, and when their calls began.
fn waiting(old: &Connection) -> rusqlite::Result<Gap> {
    let events: i64 =
        old.query_row("SELECT coalesce(sum(total - delivered), 0) FROM sessions WHERE key_id <> ''", [], |row| {
            row.get(0)
        })?;
    let now = now_ms();
    let began =
        "SELECT coalesce(min(started_at_ms), ?1), coalesce(max(started_at_ms), ?1) FROM events WHERE state = 0";
    let (from_ms, to_ms) = old.query_row(began, [now], |row| Ok((row.get(0)?, row.get(1)?)))?;
    Ok(Gap { reason: LossReason::Vanished, events: u64::try_from(events).unwrap_or(0), bodies: 0, from_ms, to_ms })
}

/// The sessions of this process stay open at OTAS and keep their count of delivered events.
fn carry_on(old: &Connection, new: &mut Connection, first: SessionRow) -> rusqlite::Result<()> {
    let which = format!(" AND (id = {0} OR process = {0})", first.id());
    if recovery::copy_rows(old, new, "sessions", &which, Instant::now() + READ_FOR)? > 0 {
        new.execute("UPDATE sessions SET dead = 0, total = delivered WHERE id = ?1 OR process = ?1", [first.id()])?;
    }
    Ok(())
}
