//! Retention: delivered events are removed after a while, and a full store drops its oldest rows. It works in short steps
//! between appends.
//!
//! The order: delivered events, then the bodies of the oldest pending events, then the oldest events. The last two are losses:
//! they are counted, and one event reports them ([`super::Gap`]). Kept events count as delivered here.
//!
//! The backlog of a sink is retained while there is room. After that, its events are counted as missed.

use std::borrow::Cow;
use std::time::Duration;

use rusqlite::types::Value;
use rusqlite::{Connection, TransactionBehavior, params, params_from_iter};

use super::packed::{damaged, unpack};
use super::removal::{Candidate, STEP_ROWS, candidate_columns, candidates, delete, no_longer_wait, remove};
use super::sql::{COLUMN_COUNT, COLUMNS, size_bytes};
use super::{Gap, LossReason, StoreError, Writer, chunks, history, notes, sinks};
use crate::clock::now_ms;
use crate::event::{with_bodies, without_bodies};
use crate::system::disk::{self, Disk};

/// How large the store may become, and how long delivered events are retained.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Bounds {
    /// The maximum size of the database file, in bytes. The log may take some 32 MiB more.
    pub max_bytes: u64,
    /// Free disk space that is left to other programs, in bytes. Below it the file does not grow.
    pub min_free_bytes: u64,
    /// How long delivered events are retained.
    pub keep: Duration,
    /// How many bytes of delivered events are retained.
    pub keep_bytes: u64,
    /// Whether pending events may be dropped to make room.
    pub may_drop: bool,
}

/// On a disk smaller than `min_free_bytes`, this fraction is left free.
const LEFT_OF_SMALL_DISK: u64 = 10;

/// The result of a step.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TidyStep {
    /// There is room for the next events.
    pub room: bool,
    /// Another step would find more to do.
    pub more: bool,
}

/// Shorter events have no bodies worth removing.
const BODY_WORTH_BYTES: i64 = 4 << 10;
/// This much may be stored however full the disk is.
const FLOOR_BYTES: u64 = 4 << 20;
/// The fraction of the free room that appends may use before it is measured again. An event takes more than its bytes, and
/// other processes fill the store and the disk as well.
const SPARE_PART: u64 = 8;

/// Stands in place of a body.
const REMOVED: &str = "[removed: the event store was full]";

impl Writer {
    /// One short step towards the bounds, with room for `coming_bytes`.
    ///
    /// # Errors
    /// When the store cannot be read or written.
    pub fn tidy(&mut self, bounds: &Bounds, coming_bytes: u64) -> Result<TidyStep, StoreError> {
        let free_disk = free_disk_bytes(&self.shared.path);
        let mut gap = None;
        let cursor = &mut self.bodies_removed_to;
        let done = step(&mut self.link.connection, bounds, coming_bytes, free_disk, cursor, &mut gap);
        self.spare_bytes = done.as_ref().map_or(0, |(_, spare_bytes)| *spare_bytes);
        // A failed step was rolled back, so it lost nothing.
        if let Some(gap) = gap.filter(|_| done.is_ok()) {
            self.shared.health.record_loss(gap);
        }
        done.map(|(tidied, _)| tidied).map_err(StoreError::query("make room"))
    }

    /// As [`Writer::tidy`], but does nothing while the last measurement leaves enough room. [`Writer::tidy`] must still be
    /// called from time to time.
    ///
    /// # Errors
    /// As [`Writer::tidy`].
    pub fn make_room(&mut self, bounds: &Bounds, coming_bytes: u64) -> Result<TidyStep, StoreError> {
        if coming_bytes < self.spare_bytes {
            self.spare_bytes -= coming_bytes;
            return Ok(TidyStep { room: true, more: false });
        }
        self.tidy(bounds, coming_bytes)
    }

    /// Truncates the log after a write failed because the disk was full.
    pub fn shrink_log(&mut self) {
        // Readers may be using the log; then the next call truncates it.
        let _ = self.link.connection.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |_| Ok(()));
    }

    /// The size of the database file, and how many of its bytes are in use.
    ///
    /// # Errors
    /// When the store cannot be read.
    pub fn size_bytes(&self) -> Result<(u64, u64), StoreError> {
        size_bytes(&self.link.connection).map_err(StoreError::query("measure itself"))
    }
}

/// Also returns how many bytes may be appended before the next measurement: 0 if something had to be removed.
fn step(
    connection: &mut Connection,
    bounds: &Bounds,
    coming_bytes: u64,
    free_disk: Option<u64>,
    bodies_removed_to: &mut i64,
    gap: &mut Option<Gap>,
) -> rusqlite::Result<(TidyStep, u64)> {
    let (file, used) = size_bytes(connection)?;
    let limit = match free_disk.is_some_and(|free| free < bounds.min_free_bytes) {
        true => bounds.max_bytes.min(file.max(FLOOR_BYTES)),
        false => bounds.max_bytes,
    };
    // A margin, so that room is not made for each event separately.
    let room = used + coming_bytes <= limit;
    let tight = used + coming_bytes + limit / 32 > limit;
    let oldest_kept = now_ms().saturating_sub(i64::try_from(bounds.keep.as_millis()).unwrap_or(i64::MAX));
    // Chunks that are shared count as those of delivered events, unless an undelivered one was the first to store them.
    let kept: i64 = connection
        .prepare_cached("SELECT delivered_bytes + max(0, chunk_bytes - waiting_bytes) FROM tally")?
        .query_row([], |row| row.get(0))?;
    let too_many_kept = u64::try_from(kept).unwrap_or(0) > bounds.keep_bytes;
    // Usually there is nothing to do, and even a transaction without changes is expensive.
    if !tight && !too_many_kept && !any_older(connection, oldest_kept)? {
        let of_disk = free_disk.map_or(u64::MAX, |free| free.saturating_sub(bounds.min_free_bytes));
        let spare_bytes = (limit - used - coming_bytes).min(of_disk) / SPARE_PART;
        return Ok((TidyStep { room, more: false }, spare_bytes));
    }
    let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
    let spared_after = match tight && bounds.may_drop {
        true => i64::MAX,
        false => sinks::least_position(&transaction, oldest_kept)?,
    };
    let before_ms = if tight || too_many_kept { i64::MAX } else { oldest_kept };
    let removed = forget_delivered(&transaction, before_ms, spared_after)?;
    let removed = removed || forget_sessions(&transaction, oldest_kept)?;
    let more = if removed || !tight || !bounds.may_drop {
        removed
    } else {
        remove_bodies(&transaction, bodies_removed_to, gap)? || drop_oldest(&transaction, gap)?
    };
    transaction.commit()?;
    Ok((TidyStep { room, more }, 0))
}

/// Whether an event or a session is too old.
fn any_older(connection: &Connection, before_ms: i64) -> rusqlite::Result<bool> {
    connection
        .prepare_cached(
            "SELECT EXISTS (SELECT 1 FROM events INDEXED BY events_settled
                            WHERE state IN (1, 3) AND started_at_ms < ?1)
                 OR EXISTS (SELECT 1 FROM sessions INDEXED BY sessions_ended WHERE closed_at_ms < ?1)",
        )?
        .query_row([before_ms], |row| row.get(0))
}

/// Removes the oldest delivered events that began before `before_ms`. It stops at the first one after row `spared_after`: most
/// of the following ones are spared too, and skipping them would cost more each time. The sessions still count the removed
/// events.
fn forget_delivered(connection: &Connection, before_ms: i64, spared_after: i64) -> rusqlite::Result<bool> {
    let mut oldest = candidates(
        connection,
        &format!(
            "SELECT {} FROM events INDEXED BY events_settled
             WHERE state IN (1, 3) AND started_at_ms < ?1 ORDER BY started_at_ms LIMIT ?2",
            candidate_columns()
        ),
        [before_ms, STEP_ROWS],
    )?;
    let spared = oldest.iter().position(|row| row.id > spared_after);
    oldest.truncate(spared.unwrap_or(oldest.len()));
    remove(connection, &oldest)?;
    Ok(!oldest.is_empty())
}

/// Removes sessions that ended before `before_ms` and have no events left. Each run, and each label that an agent invents,
/// begins one. A session's events began before it ended, so comparing with the oldest event suffices.
fn forget_sessions(connection: &Connection, before_ms: i64) -> rusqlite::Result<bool> {
    let removed = connection
        .prepare_cached(
            "DELETE FROM sessions WHERE id IN (
                 SELECT id FROM sessions INDEXED BY sessions_ended
                 WHERE closed_at_ms < min(?1, coalesce(
                           (SELECT min(started_at_ms) FROM events INDEXED BY events_settled WHERE state IN (1, 3)), ?1))
                   AND dead = 0 AND (total = delivered OR key_id = '')
                   AND id NOT IN (SELECT session FROM open_exchanges)
                 LIMIT ?2)",
        )?
        .execute(params![before_ms, STEP_ROWS])?;
    Ok(removed > 0)
}

/// Rewrites the oldest events that still have bodies. `from`: all earlier ones have none left.
fn remove_bodies(connection: &Connection, from: &mut i64, gap: &mut Option<Gap>) -> rusqlite::Result<bool> {
    let oldest = candidates(
        connection,
        &format!(
            "SELECT {} FROM events
             WHERE id > ?1 AND state IN (0, 2) AND (parts IS NOT NULL OR length(json) > {BODY_WORTH_BYTES})
             ORDER BY id LIMIT ?2",
            candidate_columns()
        ),
        [*from, STEP_ROWS],
    )?;
    let Some(last) = oldest.last() else {
        // All rows were read. They are not read again each time that the full store makes room.
        let newest: Option<i64> = connection.query_row("SELECT max(id) FROM events", [], |row| row.get(0))?;
        *from = newest.unwrap_or(*from);
        return Ok(false);
    };
    // Events are removed and inserted again. A row shortened in place would keep its page.
    let mut read = connection.prepare_cached(&format!("SELECT {COLUMNS} FROM events WHERE id = ?1"))?;
    let mut shortened = Vec::new();
    for row in &oldest {
        let mut values = read.query_row([row.id], |found| {
            (0..COLUMN_COUNT).map(|at| found.get(at)).collect::<rusqlite::Result<Vec<Value>>>()
        })?;
        if let [.., Value::Blob(json), parts, body_bytes] = &mut values[..] {
            *json = match (unpack(json).map(Cow::into_owned), &*parts) {
                // Bodies that are chunks need not be read to be removed.
                (Some(json), Value::Blob(parts)) => with_bodies(&json, &chunks::with_text(parts, REMOVED)),
                (Some(json), _) => json,
                (None, _) => damaged(),
            };
            if let Some(short) = without_bodies(json, REMOVED) {
                *json = short;
            }
            (*parts, *body_bytes) = (Value::Null, Value::Integer(0));
        }
        shortened.push(values);
    }
    // What triggers remove with an event.
    let notes = notes::of(connection, oldest.iter().map(|row| row.id))?;
    let histories = oldest.iter().map(|row| Ok((row.id, history::of(connection, row.id)?)));
    let histories = histories.collect::<rusqlite::Result<Vec<_>>>()?;
    delete(connection, &oldest)?;
    no_longer_wait(connection, &oldest)?;
    let places = vec!["?"; COLUMN_COUNT].join(", ");
    let mut insert = connection.prepare_cached(&format!("INSERT INTO events ({COLUMNS}) VALUES ({places})"))?;
    shortened.into_iter().try_for_each(|values| insert.execute(params_from_iter(values)).map(drop))?;
    notes::put(connection, &notes)?;
    histories.iter().try_for_each(|(id, history)| history::put(connection, *id, history))?;
    note(gap, &oldest, 0, oldest.len() as u64);
    *from = last.id;
    Ok(true)
}

/// Drops the oldest undelivered events.
fn drop_oldest(connection: &Connection, gap: &mut Option<Gap>) -> rusqlite::Result<bool> {
    let oldest = candidates(
        connection,
        &format!("SELECT {} FROM events WHERE state IN (0, 2) ORDER BY id LIMIT ?1", candidate_columns()),
        [STEP_ROWS],
    )?;
    remove(connection, &oldest)?;
    note(gap, &oldest, oldest.len() as u64, 0);
    Ok(!oldest.is_empty())
}

fn note(gap: &mut Option<Gap>, rows: &[Candidate], events: u64, bodies: u64) {
    let Some(from_ms) = rows.iter().map(|row| row.started_at_ms).min() else { return };
    let to_ms = rows.iter().map(|row| row.started_at_ms).max().unwrap_or(from_ms);
    *gap = Some(Gap { reason: LossReason::Full, events, bodies, from_ms, to_ms });
}

/// Free space of the store's disk for users without special rights. `None` if the system does not tell.
pub(crate) fn free_disk_bytes(path: &std::path::Path) -> Option<u64> {
    disk(path).map(|disk| disk.free)
}

fn disk(path: &std::path::Path) -> Option<Disk> {
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or_else(|| ".".as_ref());
    disk::of(folder)
}

/// How much of the store's disk is left free for a setting of `min_free_bytes`.
pub(crate) fn left_free_bytes(path: &std::path::Path, min_free_bytes: u64) -> u64 {
    let all = disk(path).map_or(u64::MAX, |disk| disk.all);
    left_free(min_free_bytes, all)
}

/// On a smaller disk, a fraction of it.
fn left_free(min_free_bytes: u64, disk_bytes: u64) -> u64 {
    if min_free_bytes < disk_bytes { min_free_bytes } else { disk_bytes / LEFT_OF_SMALL_DISK }
}

#[cfg(test)]
mod tests {
    use super::super::{Filter, NewEvent, Outcome, SessionRow, Settlement, State, Store, testing};
    use super::*;
    use crate::redact::testing::redactor;

    const GENEROUS: Bounds =
        Bounds { max_bytes: 1 << 40, min_free_bytes: 0, keep: Duration::MAX, keep_bytes: 1 << 40, may_drop: true };

    #[test]
    fn a_disk_smaller_than_min_free_bytes_is_still_used() {
        assert_eq!(left_free(512 << 20, 1 << 40), 512 << 20);
        assert_eq!(left_free(512 << 20, 64 << 20), (64 << 20) / 10);
        assert_eq!(left_free(0, 64 << 20), 0);
    }

    struct Case {
        _folder: tempfile::TempDir,
        store: Store,
        writer: Writer,
        session: SessionRow,
    }

    impl Case {
        fn new() -> Self {
            let folder = tempfile::tempdir().unwrap();
            let store = Store::open(&folder.path().join("events.db")).unwrap();
            let session = store.begin_session("r", "k", "{}").unwrap();
            Self { writer: store.writer().unwrap(), store, session, _folder: folder }
        }

        /// Events with 10 KB bodies that began at 1, 2, 3 … ms.
        fn append(&mut self, count: i64) {
            let body = testing::text_that_takes(10_000);
            let json = format!(r#"{{"path":"/","response_body":"{body}"}}"#);
            let event = |n| NewEvent { started_at_ms: n, ..NewEvent::plain(json.as_bytes()) };
            let events: Vec<_> = (1..=count).map(event).collect();
            self.writer.append(self.session, &events).unwrap();
        }

        fn settle(&self, count: usize, outcome: &Outcome) {
            let ids = self.store.waiting("k", &[], count).unwrap();
            let settled = |id| Settlement { id, attempts: 1, outcome: outcome.clone() };
            self.store.settle(&ids.into_iter().map(|(id, _)| settled(id)).collect::<Vec<_>>()).unwrap();
        }

        fn tidy(&mut self, bounds: &Bounds, coming_bytes: u64) -> TidyStep {
            loop {
                let tidied = self.writer.tidy(bounds, coming_bytes).unwrap();
                if !tidied.more {
                    return tidied;
                }
            }
        }

        fn count(&self, state: State) -> usize {
            self.store.list(&Filter { state: Some(state), limit: 10_000, ..Filter::default() }).unwrap().len()
        }
    }

    fn delivered() -> Outcome {
        Outcome::Delivered { otas_event_id: "e".into() }
    }

    #[test]
    fn nothing_is_touched_while_there_is_room() {
        let mut case = Case::new();
        case.append(20);
        case.settle(5, &delivered());
        assert_eq!(case.tidy(&GENEROUS, 0), TidyStep { room: true, more: false });
        assert_eq!((case.count(State::Pending), case.count(State::Delivered)), (15, 5));
    }

    #[test]
    fn room_is_measured_again_after_a_fraction_was_used_or_something_was_removed() {
        let mut case = Case::new();
        let bounds = Bounds { max_bytes: 16 << 20, ..GENEROUS };
        let roomy = TidyStep { room: true, more: false };
        assert_eq!(case.writer.make_room(&bounds, 0).unwrap(), roomy);
        let spare_bytes = case.writer.spare_bytes;
        assert!((1 << 20..2 << 20).contains(&spare_bytes), "{spare_bytes}");
        assert_eq!(case.writer.make_room(&bounds, 1 << 20).unwrap(), roomy);
        assert_eq!(case.writer.spare_bytes, spare_bytes - (1 << 20));
        case.append(400);
        assert_eq!(case.writer.make_room(&bounds, 2 << 20).unwrap(), roomy);
        assert!(case.writer.spare_bytes < spare_bytes - (512 << 10), "{}", case.writer.spare_bytes);
        case.settle(10, &delivered());
        case.tidy(&Bounds { keep: Duration::from_secs(60), ..bounds }, 0);
        assert!(case.writer.spare_bytes > 0, "the last step found nothing more to do");
        let full = Bounds { max_bytes: 4 << 20, may_drop: false, ..GENEROUS };
        assert!(!case.tidy(&full, 0).room);
        assert_eq!(case.writer.spare_bytes, 0);
        assert!(!case.writer.make_room(&full, 1).unwrap().room);
    }

    #[test]
    fn delivered_events_are_removed_by_age_and_size_and_stay_counted() {
        let mut case = Case::new();
        case.append(200);
        case.settle(150, &delivered());
        case.tidy(&Bounds { keep_bytes: 500_000, ..GENEROUS }, 0);
        let left = case.count(State::Delivered);
        assert!((1..=50).contains(&left), "{left}");
        case.tidy(&Bounds { keep: Duration::from_secs(60), ..GENEROUS }, 0);
        assert_eq!((case.count(State::Pending), case.count(State::Delivered)), (50, 0));
        assert_eq!(case.store.counts(None).unwrap().delivered, 150);
        let kept: i64 =
            case.writer.link.connection.query_row("SELECT delivered_bytes FROM tally", [], |row| row.get(0)).unwrap();
        assert_eq!(kept, 0);
        assert_eq!(case.store.health().take_gaps(true), []);
    }

    #[test]
    fn ended_sessions_are_removed_after_their_last_event() {
        let mut case = Case::new();
        let [empty, waits, _open] =
            ["empty", "waits", "open"].map(|run| case.store.begin_session(run, "k", "{}").unwrap());
        case.append(3);
        case.settle(3, &delivered());
        case.writer.append(waits, &[NewEvent { started_at_ms: 5, ..NewEvent::plain(b"{}") }]).unwrap();
        for session in [case.session, empty, waits] {
            case.store.close_session(session).unwrap();
        }
        let ended = "UPDATE sessions SET closed_at_ms = 10 WHERE closed_at_ms IS NOT NULL";
        case.writer.link.connection.execute(ended, []).unwrap();
        let left = |case: &Case| {
            let sessions = case.store.viewer().sessions(9).unwrap();
            sessions.into_iter().map(|session| session.run_id).collect::<Vec<_>>()
        };
        case.tidy(&GENEROUS, 0);
        assert_eq!(left(&case).len(), 4, "all are within their retention");
        let soon = Bounds { keep: Duration::from_secs(60), ..GENEROUS };
        case.tidy(&soon, 0);
        assert_eq!(left(&case), ["open", "waits"], "one has not ended, the other has a pending event");
        case.settle(1, &delivered());
        case.tidy(&soon, 0);
        assert_eq!(left(&case), ["open"]);
    }

    #[test]
    fn delivered_events_go_first_then_bodies_then_the_oldest_events_and_losses_are_reported() {
        let mut case = Case::new();
        case.append(400);
        case.settle(100, &delivered());
        case.settle(1, &Outcome::Again { verdict: "HTTP 503".into(), next_try_at_ms: 0 });
        case.store.note(101, "keep this", redactor()).unwrap();
        let bounds = Bounds { max_bytes: 3_200_000, ..GENEROUS };
        assert!(case.tidy(&bounds, 100_000).room);
        assert_eq!((case.count(State::Delivered), case.count(State::Pending)), (0, 300));
        let gaps = case.store.health().take_gaps(true);
        assert_eq!(gaps.len(), 1);
        assert_eq!((gaps[0].reason, gaps[0].events, gaps[0].from_ms), (LossReason::Full, 0, 101));
        assert!(gaps[0].bodies > 0 && gaps[0].bodies < 300, "{gaps:?}");
        let ids = case.store.waiting("k", &[], 1).unwrap();
        let oldest = case.store.pending_event(ids[0].0).unwrap().unwrap();
        assert!(String::from_utf8(oldest.json).unwrap().contains("the event store was full"));
        let event = case.store.event(101).unwrap();
        assert_eq!(
            (ids[0].0, event.note.as_deref()),
            (101, Some("keep this")),
            "the note on an event without its bodies"
        );
        assert_eq!(
            case.store.viewer().history(101).unwrap().into_iter().map(|past| past.verdict).collect::<Vec<_>>(),
            ["HTTP 503"]
        );

        assert!(case.tidy(&Bounds { max_bytes: 900_000, ..GENEROUS }, 420_000).room);
        let gaps = case.store.health().take_gaps(true);
        let left = case.count(State::Pending) as u64;
        assert_eq!(gaps[0].events + left, 300, "{gaps:?}");
        assert!(gaps[0].events > 0 && left > 0, "{gaps:?}");
        let counts = case.store.counts(None).unwrap();
        assert_eq!((counts.pending, counts.delivered, counts.total), (left, 100, left + 100));
        assert_eq!(case.store.health().events_lost(), gaps[0].events);
    }

    #[test]
    fn a_full_store_without_bodies_is_read_once_and_later_bodies_still_go_first() {
        let mut case = Case::new();
        let json = format!(r#"{{"path":"/{}"}}"#, testing::text_that_takes(1_000));
        let event = |n| NewEvent { started_at_ms: n, ..NewEvent::plain(json.as_bytes()) };
        case.writer.append(case.session, &(1..=500).map(event).collect::<Vec<_>>()).unwrap();
        let used = case.writer.size_bytes().unwrap().1;
        let bounds = Bounds { max_bytes: used, ..GENEROUS };
        case.tidy(&bounds, 0);
        assert!(case.count(State::Pending) < 500);
        assert_eq!(case.writer.bodies_removed_to, 500, "no row is looked at again");
        case.append(20);
        let left = case.count(State::Pending);
        case.tidy(&bounds, 0);
        assert!(case.writer.bodies_removed_to > 500);
        assert_eq!(case.count(State::Pending), left, "no event was dropped while there were bodies");
    }

    #[test]
    fn events_that_may_not_be_dropped_stay_and_there_is_no_room() {
        let mut case = Case::new();
        case.append(100);
        case.settle(1, &Outcome::Dead { verdict: "x".into() });
        let full = Bounds { max_bytes: 500_000, may_drop: false, ..GENEROUS };
        assert_eq!(case.tidy(&full, 0), TidyStep { room: false, more: false });
        assert_eq!((case.count(State::Pending), case.count(State::Dead)), (99, 1));
        case.settle(99, &delivered());
        assert!(case.tidy(&full, 0).room);
    }

    #[test]
    fn the_file_does_not_grow_on_a_nearly_full_disk() {
        let mut case = Case::new();
        case.append(1_000);
        let (file, _) = case.writer.size_bytes().unwrap();
        assert!(file > FLOOR_BYTES);
        let scarce = Bounds { min_free_bytes: u64::MAX, ..GENEROUS };
        assert!(case.tidy(&scarce, 50_000).room);
        let (after, used) = case.writer.size_bytes().unwrap();
        assert!(used + 50_000 <= file && after <= file + (64 << 10), "{file} {after} {used}");
    }
}
