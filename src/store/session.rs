//! Sessions: one row for each run, to which its events belong.

use std::fmt::Write as _;
use std::sync::PoisonError;
use std::time::{SystemTime, UNIX_EPOCH};

use aws_lc_rs::digest::{SHA256, digest};
use rusqlite::{Connection, params};

use super::{Store, StoreError};
use crate::secret::Secret;

/// A row of `sessions`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct SessionRow(pub(super) i64);

impl SessionRow {
    /// The row's id, as [`super::EventRow::session`] names it.
    pub fn id(self) -> i64 {
        self.0
    }
}

/// A short name for an agent key that does not give it away: the first 8 bytes of its SHA-256, in hex.
pub fn key_id(key: &Secret) -> String {
    let hash = digest(&SHA256, key.expose().as_bytes());
    hash.as_ref().iter().take(8).fold(String::with_capacity(16), |mut hex, byte| {
        // Writing to a String cannot fail.
        let _ = write!(hex, "{byte:02x}");
        hex
    })
}

/// A session of this process, as it was noted: a store that takes the place of a damaged one gets it again.
pub(super) struct Noted {
    row: SessionRow,
    run_id: String,
    key_id: String,
    meta: String,
    opened_at_ms: i64,
}

impl Noted {
    /// Notes it in a store that may know it already.
    pub(super) fn note_again(&self, connection: &Connection) -> rusqlite::Result<()> {
        let Self { row, run_id, key_id, meta, opened_at_ms } = self;
        connection
            .prepare_cached(
                "INSERT OR IGNORE INTO sessions (id, run_id, key_id, meta, opened_at_ms) VALUES (?1, ?2, ?3, ?4, ?5)",
            )?
            .execute(params![row.0, run_id, key_id, meta, opened_at_ms])
            .map(drop)
    }
}

/// Tries at a row id that no other session has.
const ID_TRIES: u32 = 16;

impl Store {
    /// Notes a run: `run_id` must be new, `key_id` is [`key_id`]'s, `meta` a JSON object.
    ///
    /// The row's id is the time, so that it stays this session's own also in a store that takes this one's place.
    ///
    /// # Errors
    /// When the row cannot be written, also because there is a run of that name.
    pub fn begin_session(&self, run_id: &str, key_id: &str, meta: &str) -> Result<SessionRow, StoreError> {
        let opened_at_ms = now_ms();
        let (run_id, key_id, meta) = (run_id.to_owned(), key_id.to_owned(), meta.to_owned());
        let mut noted = Noted { row: SessionRow(0), run_id, key_id, meta, opened_at_ms };
        for tried in 0..ID_TRIES {
            noted.row = SessionRow((opened_at_ms << ID_BITS) + random_bits());
            let written = self.connection().execute(
                "INSERT INTO sessions (id, run_id, key_id, meta, opened_at_ms) VALUES (?1, ?2, ?3, ?4, ?5)",
                params![noted.row.0, noted.run_id, noted.key_id, noted.meta, noted.opened_at_ms],
            );
            match written {
                Err(error) if tried + 1 < ID_TRIES && id_is_taken(&error) => {}
                written => {
                    written.map_err(self.failed("note the new session"))?;
                    break;
                }
            }
        }
        let row = noted.row;
        self.shared.sessions.lock().unwrap_or_else(PoisonError::into_inner).push(noted);
        Ok(row)
    }

    /// Notes OTAS's own id of a session, once it is open there.
    ///
    /// # Errors
    /// When the row cannot be written.
    pub fn set_otas_session(&self, session: SessionRow, otas_session_id: &str) -> Result<(), StoreError> {
        self.connection()
            .execute("UPDATE sessions SET otas_session_id = ?2 WHERE id = ?1", params![session.0, otas_session_id])
            .map(drop)
            .map_err(self.failed("note OTAS's session id"))
    }

    /// Notes that a run appends no more.
    ///
    /// # Errors
    /// When the row cannot be written.
    pub fn close_session(&self, session: SessionRow) -> Result<(), StoreError> {
        self.connection()
            .execute("UPDATE sessions SET closed_at_ms = ?2 WHERE id = ?1", params![session.0, now_ms()])
            .map(drop)
            .map_err(self.failed("note the session's end"))
    }
}

/// Sessions that begin in the same millisecond differ in so many bits; ids stay exact in JSON's numbers (53 bits).
pub(super) const ID_BITS: u32 = 10;

fn random_bits() -> i64 {
    let bits = uuid::Uuid::new_v4().as_u128() & ((1 << ID_BITS) - 1);
    i64::try_from(bits).unwrap_or_default()
}

fn id_is_taken(error: &rusqlite::Error) -> bool {
    error.sqlite_error().is_some_and(|found| found.extended_code == rusqlite::ffi::SQLITE_CONSTRAINT_PRIMARYKEY)
}

/// Now in Unix milliseconds; a clock before 1970 counts as 1970.
pub(super) fn now_ms() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_millis()).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_id_is_the_start_of_its_sha_256() {
        assert_eq!(key_id(&Secret::new("abc")), "ba7816bf8f01cfea");
    }

    #[test]
    fn a_run_is_noted_once() {
        let folder = tempfile::tempdir().unwrap();
        let store = Store::open(&folder.path().join("events.db")).unwrap();
        let first = store.begin_session("run-1", "k", "{}").unwrap();
        let second = store.begin_session("run-2", "k", "{}").unwrap();
        assert_ne!(first, second);
        assert!(store.begin_session("run-1", "k", "{}").is_err());
        store.set_otas_session(first, "s-1").unwrap();
        store.close_session(first).unwrap();
        let (otas, closed): (String, i64) = store
            .connection()
            .query_row("SELECT otas_session_id, closed_at_ms FROM sessions WHERE run_id = 'run-1'", [], |row| {
                Ok((row.get(0)?, row.get(1)?))
            })
            .unwrap();
        assert_eq!(otas, "s-1");
        assert!(closed > 1_600_000_000_000);
    }
}
