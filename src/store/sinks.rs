//! The positions of sinks. A sink reads events in row order, which is the order in which all processes stored them. All rows up
//! to its position are done.

use std::io;

use aws_lc_rs::digest::{SHA256, digest};
use rusqlite::{Connection, OptionalExtension, Row, Rows, params};

use super::chunks::Loader;
use super::key::short;
use super::read::event_row;
use super::sql::{WITH_NOTE, signed, unsigned};
use super::{DeliveryLock, EventRow, Store, StoreError, Viewer};
use crate::clock::now_ms;

/// A sink unused for this long, and for longer than events are retained, no longer holds back retention.
const GONE_AFTER_MS: i64 = 86_400_000;

/// The position and counters of a sink.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct SinkPlace {
    /// The last row that is done.
    pub position: i64,
    /// Events that it accepted, sent by all processes.
    pub sent: u64,
    /// Events that it refused for good.
    pub refused: u64,
    /// Events that were dropped before it could get them, because the store was full.
    pub missed: u64,
}

impl Store {
    /// Records that a sink is in use. A new sink starts with the next event. If the store was replaced since the sink was first
    /// used (`known`), it starts with the first event.
    ///
    /// # Errors
    /// When the store cannot be written.
    pub fn begin_sink(&self, name: &str, known: bool) -> Result<SinkPlace, StoreError> {
        let connection = self.connection();
        connection
            .prepare_cached(
                "INSERT INTO sinks (name, position, seen_at_ms)
                 VALUES (?1, CASE WHEN ?3 THEN 0 ELSE coalesce((SELECT max(id) FROM events), 0) END, ?2)
                 ON CONFLICT (name) DO UPDATE SET seen_at_ms = ?2",
            )
            .and_then(|mut note| note.execute(params![name, now_ms(), known]))
            .and_then(|_| place(&connection, name))
            .map_err(self.failed("register a sink"))
    }

    /// The position of a sink. `None` if the store does not know it.
    ///
    /// # Errors
    /// When the store cannot be read.
    pub fn sink_place(&self, name: &str) -> Result<Option<SinkPlace>, StoreError> {
        place(&self.connection(), name).optional().map_err(self.failed("read the position of a sink"))
    }

    /// Records that all rows up to `position` are done: the sink accepted `sent` of them and refused `refused` for good.
    ///
    /// # Errors
    /// When the store cannot be written. Then the events are sent again.
    pub fn sink_is_at(&self, name: &str, position: i64, sent: u64, refused: u64) -> Result<(), StoreError> {
        self.connection()
            .prepare_cached(
                "UPDATE sinks SET position = max(position, ?2), sent = sent + ?3, refused = refused + ?4, seen_at_ms = ?5
                 WHERE name = ?1",
            )
            .and_then(|mut note| note.execute(params![name, position, signed(sent), signed(refused), now_ms()]))
            .map(drop)
            .map_err(self.failed("record the position of a sink"))
    }

    /// Takes the right to send to a sink, unless another process has it.
    ///
    /// # Errors
    /// As [`Store::try_lock_delivery`].
    pub fn try_lock_sink(&self, name: &str) -> io::Result<Option<DeliveryLock>> {
        self.try_lock_delivery(&format!("sink-{}", short(digest(&SHA256, name.as_bytes()).as_ref())))
    }
}

impl Viewer {
    /// The number of events after row `after`.
    ///
    /// # Errors
    /// As [`Viewer::calls`].
    pub fn count_after(&self, after: i64) -> Result<u64, StoreError> {
        self.look("count the backlog of a sink", |connection| {
            connection
                .prepare_cached("SELECT count(*) FROM events INDEXED BY events_listed WHERE id > ?1")?
                .query_row([after], |row| unsigned(row, 0))
        })
    }

    /// The last model calls up to row `up_to`, oldest first: at most `rows`, and no more once they have `bytes` in total.
    ///
    /// # Errors
    /// As [`Viewer::calls`].
    pub fn model_calls_up_to(&self, up_to: i64, rows: usize, bytes: usize) -> Result<Vec<EventRow>, StoreError> {
        self.look("read the model calls before a sink's position", |connection| {
            let mut loader = self.loader(connection);
            let mut query = connection.prepare_cached(&format!(
                "SELECT {WITH_NOTE} FROM events WHERE id <= ?1 AND llm <> '' ORDER BY id DESC"
            ))?;
            let mut events = first(query.query([up_to])?, &mut loader, rows, bytes)?;
            events.reverse();
            Ok(events)
        })
    }

    /// The first events after row `after`, in row order: at most `rows`, and no more once they have `bytes` in total. Also
    /// returns the newest row that existed before the read; if there are no events, all rows up to it are done.
    ///
    /// # Errors
    /// As [`Viewer::calls`].
    pub fn events_after(&self, after: i64, rows: usize, bytes: usize) -> Result<(Vec<EventRow>, i64), StoreError> {
        self.look("read events for a sink", |connection| {
            let mut loader = self.loader(connection);
            let newest: Option<i64> = connection.query_row("SELECT max(id) FROM events", [], |row| row.get(0))?;
            let mut query =
                connection.prepare_cached(&format!("SELECT {WITH_NOTE} FROM events WHERE id > ?1 ORDER BY id"))?;
            let events = first(query.query([after])?, &mut loader, rows, bytes)?;
            Ok((events, newest.unwrap_or(0)))
        })
    }
}

/// The first of the events that a query finds: at most `rows`, and no more once they have `bytes` in total.
fn first(mut found: Rows<'_>, loader: &mut Loader<'_>, rows: usize, bytes: usize) -> rusqlite::Result<Vec<EventRow>> {
    let (mut events, mut size) = (Vec::new(), 0);
    while events.len() < rows
        && size < bytes
        && let Some(row) = found.next()?
    {
        let event = event_row(loader, row)?;
        size += event.json.len();
        events.push(event);
    }
    Ok(events)
}

fn place(connection: &Connection, name: &str) -> rusqlite::Result<SinkPlace> {
    let read = |row: &Row<'_>| {
        Ok(SinkPlace {
            position: row.get(0)?,
            sent: unsigned(row, 1)?,
            refused: unsigned(row, 2)?,
            missed: unsigned(row, 3)?,
        })
    };
    connection
        .prepare_cached("SELECT position, sent, refused, missed FROM sinks WHERE name = ?1")?
        .query_row([name], read)
}

/// The position that all sinks in use have reached. Above all rows if there is none. A sink that was last used before
/// `kept_since_ms`, and over a day ago, is ignored.
pub(super) fn least_position(connection: &Connection, kept_since_ms: i64) -> rusqlite::Result<i64> {
    let gone_before_ms = kept_since_ms.min(now_ms() - GONE_AFTER_MS);
    let least: Option<i64> = connection
        .prepare_cached("SELECT min(position) FROM sinks WHERE seen_at_ms >= ?1")?
        .query_row([gone_before_ms], |row| row.get(0))?;
    Ok(least.unwrap_or(i64::MAX))
}

/// Counts removed rows as missed for each sink that has not had them.
pub(super) fn note_missed(connection: &Connection, rows: impl Iterator<Item = i64> + Clone) -> rusqlite::Result<()> {
    let sinks: Vec<(i64, i64)> = connection
        .prepare_cached("SELECT id, position FROM sinks")?
        .query_map([], |row| Ok((row.get(0)?, row.get(1)?)))?
        .collect::<rusqlite::Result<_>>()?;
    for (sink, position) in sinks {
        let missed = rows.clone().filter(|row| *row > position).count();
        if missed > 0 {
            connection
                .prepare_cached("UPDATE sinks SET missed = missed + ?2 WHERE id = ?1")?
                .execute(params![sink, signed(missed as u64)])?;
        }
    }
    Ok(())
}

/// The smallest allowed id of the next row, if SQLite would choose a smaller one. SQLite reuses the ids of removed newest rows:
/// a sink would skip the new events, and the answer to a post of a removed event would settle a new one.
pub(super) fn id_beyond(connection: &Connection) -> rusqlite::Result<Option<i64>> {
    connection
        .prepare_cached(
            "SELECT used + 1 FROM (SELECT max(coalesce((SELECT max(position) FROM sinks), 0),
                                              coalesce((SELECT seq FROM sqlite_sequence WHERE name = 'events'), 0)) AS used)
             WHERE used > (SELECT coalesce(max(id), 0) FROM events)",
        )?
        .query_row([], |row| row.get(0))
        .optional()
}

/// Makes sure that no id up to the newest one is used again ([`id_beyond`]), before the newest rows are removed.
pub(super) fn keep_ids(connection: &Connection) -> rusqlite::Result<()> {
    // SQLite's own table. SQLite itself has no row for `events` in it, and reads none.
    let newest = "SELECT coalesce(max(id), 0) FROM events";
    let noted = connection
        .execute(&format!("UPDATE sqlite_sequence SET seq = max(seq, ({newest})) WHERE name = 'events'"), [])?;
    if noted == 0 {
        connection.execute(&format!("INSERT INTO sqlite_sequence (name, seq) VALUES ('events', ({newest}))"), [])?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::super::{Bounds, Counts, NewEvent, Outcome, SessionRow, Settlement, State, testing};
    use super::*;

    const KEEP_NONE: Bounds =
        Bounds { max_bytes: 1 << 40, min_free_bytes: 0, keep: Duration::ZERO, keep_bytes: 1 << 40, may_drop: true };

    struct Case {
        folder: tempfile::TempDir,
        store: Store,
    }

    impl Case {
        fn new() -> Self {
            let folder = tempfile::tempdir().unwrap();
            let store = Store::open(&folder.path().join("events.db")).unwrap();
            Self { folder, store }
        }

        fn append(&self, session: SessionRow, count: usize) {
            let body = format!(r#"{{"response_body":"{}"}}"#, testing::text_that_takes(10_000));
            let events = vec![NewEvent::plain(body.as_bytes()); count];
            self.store.writer().unwrap().append(session, &events).unwrap();
        }

        fn tidy(&self, bounds: &Bounds) {
            let mut writer = self.store.writer().unwrap();
            while writer.tidy(bounds, 0).unwrap().more {}
        }

        fn rows_after(&self, position: i64) -> Vec<i64> {
            let (events, _) = self.store.viewer().events_after(position, 1_000, 1 << 30).unwrap();
            events.iter().map(|event| event.id).collect()
        }
    }

    #[test]
    fn a_sink_starts_with_the_next_event_and_continues_at_its_position() {
        let case = Case::new();
        let session = case.store.begin_session("r", "k", "{}").unwrap();
        case.append(session, 2);
        assert_eq!(case.store.begin_sink("s", false).unwrap().position, 2);
        case.append(session, 3);
        let (events, newest) = case.store.viewer().events_after(2, 2, 1 << 30).unwrap();
        assert_eq!((events.iter().map(|event| event.id).collect::<Vec<_>>(), newest), (vec![3, 4], 5));
        let (events, _) = case.store.viewer().events_after(2, 9, 10_001).unwrap();
        assert_eq!(events.len(), 1, "one, for it has as many bytes as are wanted");
        case.store.sink_is_at("s", 4, 1, 1).unwrap();
        let again = Store::open(&case.folder.path().join("events.db")).unwrap();
        let place = SinkPlace { position: 4, sent: 1, refused: 1, missed: 0 };
        assert_eq!((again.begin_sink("s", false).unwrap(), again.sink_place("s").unwrap()), (place, Some(place)));
        assert_eq!((again.sink_place("t").unwrap(), again.viewer().count_after(4).unwrap()), (None, 1));
    }

    #[test]
    fn a_row_that_is_added_during_an_empty_read_is_not_skipped() {
        const ROWS: u64 = 500;
        let case = Case::new();
        let session = case.store.begin_session("r", "k", "{}").unwrap();
        let mut writer = case.store.writer().unwrap();
        let writing = std::thread::spawn(move || {
            (0..ROWS).for_each(|_| writer.append(session, &[NewEvent::plain(b"{}")]).unwrap());
        });
        let viewer = case.store.viewer();
        let (mut done, mut seen) = (0, 0);
        while done < ROWS as i64 {
            let (events, newest) = viewer.events_after(done, 9, 1 << 30).unwrap();
            seen += events.len() as u64;
            done = events.last().map_or(newest, |last| last.id);
        }
        assert_eq!(seen, ROWS);
        writing.join().unwrap();
    }

    #[test]
    fn the_backlog_of_a_sink_is_retained_while_there_is_room_and_otherwise_counted_as_missed() {
        let case = Case::new();
        let session = case.store.begin_session("r", "k", "{}").unwrap();
        case.store.begin_sink("s", false).unwrap();
        case.append(session, 100);
        let delivered =
            |id| Settlement { id, attempts: 1, outcome: Outcome::Delivered { otas_event_id: "e".into() } };
        case.store.settle(&(1..=100).map(delivered).collect::<Vec<_>>()).unwrap();
        case.store.sink_is_at("s", 10, 10, 0).unwrap();
        case.tidy(&KEEP_NONE);
        assert_eq!(case.rows_after(0), (11..=100).collect::<Vec<_>>());
        case.tidy(&Bounds { max_bytes: 1_000_000, may_drop: false, ..KEEP_NONE });
        assert_eq!(case.rows_after(0).len(), 90, "nothing may be dropped");
        case.tidy(&Bounds { max_bytes: 1_000_000, ..KEEP_NONE });
        let place = case.store.begin_sink("s", false).unwrap();
        let left = case.store.viewer().count_after(place.position).unwrap();
        assert!(place.missed > 0 && left > 0, "{place:?}");
        assert_eq!(place.missed + left, 90);
        assert_eq!(case.store.health().take_gaps(true), [], "OTAS has all of it");
    }

    #[test]
    fn an_unused_sink_does_not_hold_back_retention() {
        let case = Case::new();
        let session = case.store.begin_session("r", "", "{}").unwrap();
        case.store.begin_sink("s", false).unwrap();
        case.append(session, 5);
        let long_ago = "UPDATE sinks SET seen_at_ms = 1";
        case.store.connection().execute(long_ago, []).unwrap();
        case.tidy(&KEEP_NONE);
        assert_eq!(case.rows_after(0), [0; 0]);
        assert_eq!(case.store.begin_sink("s", false).unwrap().missed, 5);
    }

    #[test]
    fn no_id_is_reused_below_the_position_of_a_sink() {
        let case = Case::new();
        let session = case.store.begin_session("r", "", "{}").unwrap();
        case.store.begin_sink("s", false).unwrap();
        case.append(session, 3);
        case.store.sink_is_at("s", 3, 3, 0).unwrap();
        case.tidy(&KEEP_NONE);
        assert_eq!(case.rows_after(0), [0; 0]);
        case.append(session, 2);
        assert_eq!(case.rows_after(3), [4, 5]);
    }

    #[test]
    fn events_of_a_session_without_a_key_are_kept_and_retained_like_delivered_ones() {
        let case = Case::new();
        let session = case.store.begin_session("r", "", "{}").unwrap();
        case.append(session, 4);
        assert_eq!(case.store.event(1).unwrap().state, State::Kept);
        assert_eq!(case.store.counts(None).unwrap(), Counts { total: 4, kept: 4, ..Counts::default() });
        assert_eq!(case.store.oldest_pending_ms().unwrap(), None);
        case.tidy(&Bounds { keep: Duration::MAX, keep_bytes: 25_000, ..KEEP_NONE });
        assert_eq!(case.rows_after(0).len(), 0, "a step takes what it takes");
        case.append(session, 1);
        case.tidy(&Bounds { keep: Duration::MAX, ..KEEP_NONE });
        assert_eq!(case.rows_after(0).len(), 1);
    }

    #[test]
    fn one_of_all_processes_sends_to_a_sink() {
        let case = Case::new();
        let other = Store::open(case.store.path()).unwrap();
        let held = case.store.try_lock_sink("s").unwrap();
        assert!(held.is_some() && other.try_lock_sink("s").unwrap().is_none());
        assert!(other.try_lock_sink("t").unwrap().is_some());
    }

    #[test]
    fn a_replaced_store_keeps_the_positions_and_backlogs_of_its_sinks() {
        let case = Case::new();
        let session = case.store.begin_session("r", "", "{}").unwrap();
        case.store.begin_sink("s", false).unwrap();
        case.append(session, 3);
        case.store.sink_is_at("s", 1, 1, 0).unwrap();
        let damage = "PRAGMA writable_schema = ON; DELETE FROM sqlite_schema WHERE name = 'events_pending';";
        case.store.connection().execute_batch(damage).unwrap();
        let again = Store::open(case.store.path()).unwrap();
        assert_eq!(again.health().stores_moved_aside(), 1);
        let place = again.begin_sink("s", false).unwrap();
        assert_eq!((place.position, place.sent, again.viewer().count_after(1).unwrap()), (1, 1, 2));
    }
}
