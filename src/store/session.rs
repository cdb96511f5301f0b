//! Sessions: one row for each run, to which its events belong.

use std::fmt::Write as _;
use std::time::{SystemTime, UNIX_EPOCH};

use aws_lc_rs::digest::{SHA256, digest};
use rusqlite::params;

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

impl Store {
    /// Notes a run: `run_id` must be new, `key_id` is [`key_id`]'s, `meta` a JSON object.
    ///
    /// # Errors
    /// When the row cannot be written, also because there is a run of that name.
    pub fn begin_session(&self, run_id: &str, key_id: &str, meta: &str) -> Result<SessionRow, StoreError> {
        self.connection()
            .query_row(
                "INSERT INTO sessions (run_id, key_id, meta, opened_at_ms) VALUES (?1, ?2, ?3, ?4) RETURNING id",
                params![run_id, key_id, meta, now_ms()],
                |row| row.get(0).map(SessionRow),
            )
            .map_err(StoreError::query("note the new session"))
    }

    /// Notes OTAS's own id of a session, once it is open there.
    ///
    /// # Errors
    /// When the row cannot be written.
    pub fn set_otas_session(&self, session: SessionRow, otas_session_id: &str) -> Result<(), StoreError> {
        self.connection()
            .execute("UPDATE sessions SET otas_session_id = ?2 WHERE id = ?1", params![session.0, otas_session_id])
            .map(drop)
            .map_err(StoreError::query("note OTAS's session id"))
    }

    /// Notes that a run appends no more.
    ///
    /// # Errors
    /// When the row cannot be written.
    pub fn close_session(&self, session: SessionRow) -> Result<(), StoreError> {
        self.connection()
            .execute("UPDATE sessions SET closed_at_ms = ?2 WHERE id = ?1", params![session.0, now_ms()])
            .map(drop)
            .map_err(StoreError::query("note the session's end"))
    }
}

/// Now in Unix milliseconds; a clock before 1970 counts as 1970.
fn now_ms() -> i64 {
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
