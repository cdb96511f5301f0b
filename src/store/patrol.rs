//! Reads all chunks again, a few at a time, so that damage is noticed while the lost text may still come again, and not only
//! when somebody looks at an old event.

use std::time::{Duration, Instant};

use rusqlite::{Connection, OptionalExtension, params};

use super::sql::is_corruption;
use super::{Store, StoreError, Viewer};

/// Chunks of one step: a millisecond or two.
const STEP: i64 = 64;
/// The pause after all were read.
const REST: Duration = Duration::from_secs(24 * 3600);

/// A reader that goes over all chunks. What it finds is noted for this process ([`Viewer::damaged_chunks`]).
pub struct Patrol {
    viewer: Viewer,
    /// The chunks up to this number were read.
    after: i64,
    rests_until: Option<Instant>,
}

impl Store {
    /// A reader that begins with the first chunk.
    pub fn patrol(&self) -> Patrol {
        Patrol { viewer: self.viewer(), after: 0, rests_until: None }
    }
}

impl Patrol {
    /// Reads the next chunks, unless all were read not long ago.
    ///
    /// # Errors
    /// When the store cannot be read.
    pub fn step(&mut self) -> Result<(), StoreError> {
        if self.rests_until.is_some_and(|until| Instant::now() < until) {
            return Ok(());
        }
        let after = self.after;
        let last = self.viewer.look("check its chunks", |connection| self.viewer.check_after(connection, after))?;
        (self.after, self.rests_until) = match last {
            Some(last) => (last, None),
            None => (0, Some(Instant::now() + REST)),
        };
        Ok(())
    }
}

impl Viewer {
    /// Reads some chunks, and returns the last one. `None`: there are no more.
    fn check_after(&self, connection: &Connection, after: i64) -> rusqlite::Result<Option<i64>> {
        let mut last = None;
        match self.check_rows(connection, after, &mut last) {
            Err(error) if is_corruption(&error) => {
                // The row cannot even be reached. The next ones may.
                let unreadable = next(connection, last.unwrap_or(after))?;
                Ok(unreadable.inspect(|chunk| self.damage.note(*chunk)))
            }
            done => done.map(|()| last),
        }
    }

    /// Whether a chunk that is in use is damaged or missing.
    pub(super) fn is_damaged(&self, connection: &Connection, chunk: i64) -> rusqlite::Result<bool> {
        let whole = connection
            .prepare_cached("SELECT id, hash, bytes, crc, data FROM chunks WHERE id = ?1")?
            .query_row([chunk], |row| self.loader(connection).is_whole(row))
            .optional();
        match whole {
            Ok(Some(whole)) => Ok(!whole),
            Err(error) if !is_corruption(&error) => Err(error),
            _ => connection.prepare_cached("SELECT 1 FROM chunk_refs WHERE chunk = ?1")?.exists([chunk]),
        }
    }

    fn check_rows(&self, connection: &Connection, after: i64, last: &mut Option<i64>) -> rusqlite::Result<()> {
        let mut loader = self.loader(connection);
        let mut query = connection
            .prepare_cached("SELECT id, hash, bytes, crc, data FROM chunks WHERE id > ?1 ORDER BY id LIMIT ?2")?;
        let mut rows = query.query(params![after, STEP])?;
        while let Some(row) = rows.next()? {
            let chunk = row.get(0)?;
            if !loader.is_whole(row)? {
                self.damage.note(chunk);
            }
            *last = Some(chunk);
        }
        Ok(())
    }
}

/// The first chunk after this number, found without the table of the chunks.
fn next(connection: &Connection, after: i64) -> rusqlite::Result<Option<i64>> {
    connection
        .prepare_cached("SELECT chunk FROM chunk_refs WHERE chunk > ?1 ORDER BY chunk LIMIT 1")?
        .query_row([after], |row| row.get(0))
        .optional()
}

#[cfg(test)]
mod tests {
    use crate::event::BodyText;
    use crate::store::{NewEvent, testing};

    #[test]
    fn damage_is_found_step_by_step_and_forgotten_with_its_event() {
        let (_folder, store) = testing::store();
        let session = store.begin_session("run", "key", "{}").unwrap();
        let text: String =
            (0..300_000_u64).map(|n| format!("{:x} ", n.wrapping_mul(0x9E37_79B9_7F4A_7C15))).collect();
        let body = [BodyText { at: 17, text: text.into() }];
        let event = NewEvent { bodies: &body, ..NewEvent::plain(br#"{"request_body":""}"#) };
        store.writer().unwrap().append(session, &[event]).unwrap();
        let last: i64 = store.connection().query_row("SELECT max(id) FROM chunks", [], |row| row.get(0)).unwrap();
        assert!(last > 3 * super::STEP, "{last}");
        store.connection().execute("UPDATE chunks SET crc = crc + 1 WHERE id IN (1, ?1)", [last]).unwrap();
        let (mut patrol, viewer) = (store.patrol(), store.viewer());
        patrol.step().unwrap();
        assert_eq!(viewer.damaged_chunks().unwrap(), 1);
        for _ in 0..=last / super::STEP {
            patrol.step().unwrap();
        }
        assert_eq!(viewer.damaged_chunks().unwrap(), 2);
        // One is gone with its event, the other one is repaired by another process.
        store
            .connection()
            .execute_batch("DELETE FROM chunk_refs WHERE chunk = 1; DELETE FROM chunks WHERE id = 1")
            .unwrap();
        assert_eq!(viewer.damaged_chunks().unwrap(), 1);
        store.connection().execute("UPDATE chunks SET crc = crc - 1 WHERE id = ?1", [last]).unwrap();
        assert_eq!(viewer.damaged_chunks().unwrap(), 0);
        // All were read, so it rests.
        patrol.step().unwrap();
        assert!(patrol.rests_until.is_some() && patrol.after == 0);
    }
}
