//! Sessions: one row for each, with what is needed to deliver its events later.

use std::time::Duration;

use rusqlite::{Connection, OptionalExtension, params};

use super::provisional::AliveLock;
use super::sql::ID_BITS;
use super::{KeySource, SessionRow, Store, StoreError};
use crate::clock::now_ms;

/// What delivery needs to know about a session.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct SessionRecord {
    /// Its run id.
    pub run_id: String,
    /// The `meta` for OTAS: a JSON object.
    pub meta: String,
    /// OTAS's agent id, if known.
    pub agent_id: Option<String>,
    /// OTAS's session id, once the session is open.
    pub otas_session_id: Option<String>,
    /// Its token, sealed.
    pub token_sealed: Option<Vec<u8>>,
    /// When the token expires, in Unix milliseconds by this machine's clock.
    pub token_expires_at_ms: Option<i64>,
}

impl SessionRecord {
    /// The remaining lifetime of its token. Unlimited if unknown.
    pub fn life_left(&self) -> Duration {
        let left = |at: i64| Duration::from_millis(u64::try_from(at.saturating_sub(now_ms())).unwrap_or(0));
        self.token_expires_at_ms.map_or(FOR_EVER, left)
    }
}

/// Longer than any process runs.
const FOR_EVER: Duration = Duration::from_secs(10 * 365 * 86_400);

/// A token to keep with its session.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeptToken {
    /// OTAS's session id, if the token contains it.
    pub otas_session_id: Option<String>,
    /// The token, sealed.
    pub sealed: Vec<u8>,
    /// When it expires, in Unix milliseconds by this machine's clock.
    pub expires_at_ms: Option<i64>,
    /// For a token from the settings: a fingerprint that identifies it.
    pub mark: Option<Vec<u8>>,
}

/// A session of this process. It is written again into a store that replaces this one.
pub(super) struct OwnSession {
    row: SessionRow,
    run_id: String,
    key_id: String,
    meta: String,
    opened_at_ms: i64,
    /// The first session of this process. `None` in that first one.
    process: Option<SessionRow>,
}

impl OwnSession {
    /// Its row.
    pub(super) fn row(&self) -> SessionRow {
        self.row
    }

    /// Writes it into a store that may have it already.
    pub(super) fn note_again(&self, connection: &Connection) -> rusqlite::Result<()> {
        let Self { row, run_id, key_id, meta, opened_at_ms, process } = self;
        connection
            .prepare_cached(
                "INSERT OR IGNORE INTO sessions (id, run_id, key_id, meta, opened_at_ms, process)
                 VALUES (?1, ?2, ?3, ?4, ?5, ?6)",
            )?
            .execute(params![row.0, run_id, key_id, meta, opened_at_ms, process.map(|first| first.0)])
            .map(drop)
    }
}

impl Store {
    /// Adds a session. `run_id` must be new, `key_id` comes from [`super::key_id`], `meta` is a JSON object.
    ///
    /// The row id is made from the time, so it stays unique in a store that replaces this one.
    ///
    /// # Errors
    /// When the row cannot be written, or the run id exists already.
    pub fn begin_session(&self, run_id: &str, key_id: &str, meta: &str) -> Result<SessionRow, StoreError> {
        let opened_at_ms = now_ms();
        let process = self.shared.first.get().copied();
        let row = self
            .connection()
            .query_row(
                "INSERT INTO sessions (id, run_id, key_id, meta, opened_at_ms, agent_id, process)
                 SELECT max(?1, coalesce(max(id), 0) + 1), ?2, ?3, ?4, ?5,
                        (SELECT agent_id FROM sessions WHERE key_id = ?3 AND agent_id IS NOT NULL LIMIT 1), ?6
                 FROM sessions RETURNING id",
                params![opened_at_ms << ID_BITS, run_id, key_id, meta, opened_at_ms, process.map(|first| first.0)],
                |row| row.get(0).map(SessionRow),
            )
            .map_err(self.failed("add the session"))?;
        let (run_id, key_id, meta) = (run_id.to_owned(), key_id.to_owned(), meta.to_owned());
        // Of two that begin at the same time, either may be the first.
        let _ = self.shared.first.set(row);
        if self.shared.alive.get().is_none() {
            match AliveLock::of(self.path(), row) {
                Ok(alive) => drop(self.shared.alive.set(alive)),
                Err(error) => tracing::warn!(
                    %error, "cannot create a lock file beside the store: calls that a crash interrupts will have no event"
                ),
            }
        }
        let noted = OwnSession { row, run_id, key_id, meta, opened_at_ms, process };
        self.shared.sessions.lock().push(noted);
        Ok(row)
    }

    /// Records where the process of a session has its key from.
    ///
    /// # Errors
    /// When the row cannot be written.
    pub fn note_key_source(&self, session: SessionRow, source: &KeySource) -> Result<(), StoreError> {
        self.connection()
            .execute("UPDATE sessions SET key_source = ?2 WHERE id = ?1", params![session.0, source.column()])
            .map(drop)
            .map_err(self.failed("record the source of a key"))
    }

    /// What delivery needs to know about a session. `None` if there is no such session.
    ///
    /// # Errors
    /// When the store cannot be read.
    pub fn session(&self, session: SessionRow) -> Result<Option<SessionRecord>, StoreError> {
        self.connection()
            .prepare_cached(
                "SELECT run_id, meta, agent_id, otas_session_id, token_sealed, token_expires_at_ms FROM sessions WHERE id = ?1",
            )
            .and_then(|mut query| query.query_row([session.0], record).optional())
            .map_err(self.failed("read a session"))
    }

    /// Replaces a session's token.
    ///
    /// # Errors
    /// When the row cannot be written.
    pub fn keep_token(&self, session: SessionRow, token: &KeptToken) -> Result<(), StoreError> {
        self.connection()
            .execute(
                "UPDATE sessions SET otas_session_id = ?2, token_sealed = ?3, token_expires_at_ms = ?4,
                                     token_mark = coalesce(?5, token_mark)
                 WHERE id = ?1",
                params![session.0, token.otas_session_id, token.sealed, token.expires_at_ms, token.mark],
            )
            .map(drop)
            .map_err(self.failed("keep a session's token"))
    }

    /// The run id of another session that has used a token with this fingerprint.
    ///
    /// # Errors
    /// When the store cannot be read.
    pub fn run_with_mark(&self, session: SessionRow, mark: &[u8]) -> Result<Option<String>, StoreError> {
        self.connection()
            .query_row(
                "SELECT run_id FROM sessions WHERE token_mark = ?2 AND id <> ?1 ORDER BY id DESC LIMIT 1",
                params![session.0, mark],
                |row| row.get(0),
            )
            .optional()
            .map_err(self.failed("look for a token's earlier use"))
    }

    /// The store's own random bytes, from which keys are derived together with an agent key.
    ///
    /// # Errors
    /// When the store cannot be read.
    pub fn salt(&self) -> Result<Vec<u8>, StoreError> {
        self.connection()
            .query_row("SELECT salt FROM seal", [], |row| row.get(0))
            .map_err(self.failed("read its salt"))
    }

    /// Asks the deliverer to open a session, even if it has no events.
    ///
    /// # Errors
    /// When the row cannot be written.
    pub fn want_token(&self, session: SessionRow) -> Result<(), StoreError> {
        self.connection()
            .execute("UPDATE sessions SET token_wanted = 1 WHERE id = ?1", [session.0])
            .map(drop)
            .map_err(self.failed("request a session's token"))
    }

    /// Records that a session has ended.
    ///
    /// # Errors
    /// When the row cannot be written.
    pub fn close_session(&self, session: SessionRow) -> Result<(), StoreError> {
        self.shared.sessions.lock().retain(|noted| noted.row != session);
        self.connection()
            .execute("UPDATE sessions SET closed_at_ms = ?2 WHERE id = ?1", params![session.0, now_ms()])
            .map(drop)
            .map_err(self.failed("record the session's end"))
    }
}

fn record(row: &rusqlite::Row<'_>) -> rusqlite::Result<SessionRecord> {
    Ok(SessionRecord {
        run_id: row.get(0)?,
        meta: row.get(1)?,
        agent_id: row.get(2)?,
        otas_session_id: row.get(3)?,
        token_sealed: row.get(4)?,
        token_expires_at_ms: row.get(5)?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_run_id_is_used_once() {
        let folder = tempfile::tempdir().unwrap();
        let store = Store::open(&folder.path().join("events.db")).unwrap();
        let first = store.begin_session("run-1", "k", "{}").unwrap();
        let second = store.begin_session("run-2", "k", "{}").unwrap();
        assert_ne!(first, second);
        assert!(store.begin_session("run-1", "k", "{}").is_err());
        store.close_session(first).unwrap();
        let closed: i64 = store
            .connection()
            .query_row("SELECT closed_at_ms FROM sessions WHERE run_id = 'run-1'", [], |row| row.get(0))
            .unwrap();
        assert!(closed > 1_600_000_000_000);
    }

    #[test]
    fn a_token_is_replaced_and_its_mark_stays() {
        let folder = tempfile::tempdir().unwrap();
        let store = Store::open(&folder.path().join("events.db")).unwrap();
        let (first, second) =
            (store.begin_session("run-1", "k", "{}").unwrap(), store.begin_session("run-2", "k", "{}").unwrap());
        let token = |sealed: &[u8], mark: Option<&[u8]>| KeptToken {
            otas_session_id: Some("s-1".into()),
            sealed: sealed.to_vec(),
            expires_at_ms: Some(7),
            mark: mark.map(<[u8]>::to_vec),
        };
        store.keep_token(first, &token(b"one", Some(b"mark"))).unwrap();
        store.keep_token(first, &token(b"two", None)).unwrap();
        let record = store.session(first).unwrap().unwrap();
        assert_eq!((&*record.run_id, &*record.meta, record.token_expires_at_ms), ("run-1", "{}", Some(7)));
        assert_eq!(
            (record.token_sealed.as_deref(), record.otas_session_id.as_deref()),
            (Some(&b"two"[..]), Some("s-1"))
        );
        assert_eq!(store.run_with_mark(first, b"mark").unwrap(), None);
        assert_eq!(store.run_with_mark(second, b"mark").unwrap().as_deref(), Some("run-1"));
        assert_eq!(store.run_with_mark(second, b"other").unwrap(), None);
        assert_eq!((store.salt().unwrap().len(), store.salt().unwrap()), (32, store.salt().unwrap()));
    }
}
