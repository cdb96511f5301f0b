//! Sessions: one row for each run, to which its events belong, with what it takes to deliver them later.

use std::sync::PoisonError;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use rusqlite::{Connection, OptionalExtension, params};

use super::provisional::Alive;
use super::{KeySource, Store, StoreError};

/// A row of `sessions`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct SessionRow(pub(super) i64);

impl SessionRow {
    /// The row's id, as [`super::EventRow::session`] names it.
    pub fn id(self) -> i64 {
        self.0
    }
}

/// What a session's events are delivered with.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct SessionRecord {
    /// Its run's own name.
    pub run_id: String,
    /// A JSON object, for OTAS.
    pub meta: String,
    /// OTAS's agent, if it is known whose its key is.
    pub agent_id: Option<String>,
    /// OTAS's name for it, once it is open there.
    pub otas_session_id: Option<String>,
    /// Its token, sealed.
    pub token_sealed: Option<Vec<u8>>,
    /// When its token expires, in Unix milliseconds by this machine's clock.
    pub token_expires_at_ms: Option<i64>,
}

impl SessionRecord {
    /// How long its token is good; for ever if nothing else is known.
    pub fn life_left(&self) -> Duration {
        let left = |at: i64| Duration::from_millis(u64::try_from(at.saturating_sub(now_ms())).unwrap_or(0));
        self.token_expires_at_ms.map_or(FOR_EVER, left)
    }
}

/// Longer than any process runs.
const FOR_EVER: Duration = Duration::from_secs(10 * 365 * 86_400);

/// A token to be kept with its session.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeptToken {
    /// OTAS's name for the session, when the token tells.
    pub otas_session_id: Option<String>,
    /// The token, sealed.
    pub sealed: Vec<u8>,
    /// When it expires, in Unix milliseconds by this machine's clock.
    pub expires_at_ms: Option<i64>,
    /// Of a token from the settings: what it is known again by.
    pub mark: Option<Vec<u8>>,
}

/// A session of this process, as it was noted: a store that takes the place of a damaged one gets it again.
pub(super) struct Noted {
    row: SessionRow,
    run_id: String,
    key_id: String,
    meta: String,
    opened_at_ms: i64,
    /// The first session of this process, in all but that first one.
    process: Option<SessionRow>,
}

impl Noted {
    /// Its row.
    pub(super) fn row(&self) -> SessionRow {
        self.row
    }

    /// Notes it in a store that may know it already.
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
    /// Notes a run: `run_id` must be new, `key_id` is [`super::key_id`]'s, `meta` a JSON object.
    ///
    /// The row's id is the time, so that it stays this session's own also in a store that takes this one's place.
    ///
    /// # Errors
    /// When the row cannot be written, also because there is a run of that name.
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
            .map_err(self.failed("note the new session"))?;
        let (run_id, key_id, meta) = (run_id.to_owned(), key_id.to_owned(), meta.to_owned());
        // Of two that begin at once either is the first.
        let _ = self.shared.first.set(row);
        if self.shared.alive.get().is_none() {
            match Alive::of(self.path(), row) {
                Ok(alive) => drop(self.shared.alive.set(alive)),
                Err(error) => tracing::warn!(
                    %error, "no lock can be made beside the store: calls that are cut off by a crash will have no event"
                ),
            }
        }
        let noted = Noted { row, run_id, key_id, meta, opened_at_ms, process };
        self.shared.sessions.lock().unwrap_or_else(PoisonError::into_inner).push(noted);
        Ok(row)
    }

    /// Notes where the process of a session has its key from.
    ///
    /// # Errors
    /// When the row cannot be written.
    pub fn note_key_source(&self, session: SessionRow, source: &KeySource) -> Result<(), StoreError> {
        self.connection()
            .execute("UPDATE sessions SET key_source = ?2 WHERE id = ?1", params![session.0, source.column()])
            .map(drop)
            .map_err(self.failed("note where a key came from"))
    }

    /// What a session's events are delivered with; `None` if there is no such session.
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

    /// Keeps a session's token, in place of the one before.
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

    /// The run that has used a token of this mark already, if one other than `session`'s has.
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

    /// The store's own random bytes, for keys that are derived from an agent key.
    ///
    /// # Errors
    /// When the store cannot be read.
    pub fn salt(&self) -> Result<Vec<u8>, StoreError> {
        self.connection()
            .query_row("SELECT salt FROM seal", [], |row| row.get(0))
            .map_err(self.failed("read its salt"))
    }

    /// Asks whoever delivers to open a session, events or not.
    ///
    /// # Errors
    /// When the row cannot be written.
    pub fn want_token(&self, session: SessionRow) -> Result<(), StoreError> {
        self.connection()
            .execute("UPDATE sessions SET token_wanted = 1 WHERE id = ?1", [session.0])
            .map(drop)
            .map_err(self.failed("ask for a session to be opened"))
    }

    /// Notes that a run appends no more.
    ///
    /// # Errors
    /// When the row cannot be written.
    pub fn close_session(&self, session: SessionRow) -> Result<(), StoreError> {
        self.shared.sessions.lock().unwrap_or_else(PoisonError::into_inner).retain(|noted| noted.row != session);
        self.connection()
            .execute("UPDATE sessions SET closed_at_ms = ?2 WHERE id = ?1", params![session.0, now_ms()])
            .map(drop)
            .map_err(self.failed("note the session's end"))
    }
}

/// Ids that are made of the time grow by so many a millisecond; they stay exact in JSON's numbers (53 bits).
pub(super) const ID_BITS: u32 = 10;

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

/// Now in Unix milliseconds; a clock before 1970 counts as 1970.
pub(super) fn now_ms() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_millis()).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_run_is_noted_once() {
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
    fn a_token_is_kept_with_its_session_and_its_mark_stays() {
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
