//! Agent keys in the store: a short name that does not reveal the key, the agent it belongs to, and its events. Sessions pass
//! from a key to the one that replaces it.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};

use aws_lc_rs::digest::{SHA256, digest};
use rusqlite::{Connection, params};

use super::sql::unsigned;
use super::{Counts, SessionRow, Store, StoreError};
use crate::clock::now_ms;
use crate::secret::Secret;

/// A token that expires sooner counts as absent.
const LASTS_MS: i64 = 120_000;

/// A short name that does not reveal the key: the first 8 bytes of its SHA-256, in hex.
pub fn key_id(key: &Secret) -> String {
    short(digest(&SHA256, key.expose().as_bytes()).as_ref())
}

/// The first 8 bytes of a hash, in hex.
pub(super) fn short(hash: &[u8]) -> String {
    hash.iter().take(8).fold(String::with_capacity(16), |mut hex, byte| {
        // Writing to a String cannot fail.
        let _ = write!(hex, "{byte:02x}");
        hex
    })
}

/// Where a process has its agent key from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum KeySource {
    /// This file. It holds one agent's key, also after a rotation.
    File(PathBuf),
    /// The settings or the environment.
    Settings,
}

impl KeySource {
    /// The source of a key, read from this file if there is one.
    pub fn of(file: Option<&Path>) -> Self {
        match file {
            Some(file) => Self::File(std::fs::canonicalize(file).unwrap_or_else(|_| file.to_owned())),
            None => Self::Settings,
        }
    }

    /// As the `key_source` column holds it.
    pub(super) fn column(&self) -> String {
        match self {
            Self::File(path) => format!("file:{}", path.display()),
            Self::Settings => "settings".to_owned(),
        }
    }
}

impl Store {
    /// The number of events in all sessions of an agent key.
    ///
    /// # Errors
    /// When the store cannot be read.
    pub fn counts_of_key(&self, key_id: &str) -> Result<Counts, StoreError> {
        self.connection()
            .prepare_cached(
                "SELECT coalesce(sum(total), 0), coalesce(sum(delivered), 0), coalesce(sum(dead), 0)
                 FROM sessions WHERE key_id = ?1",
            )
            .and_then(|mut query| query.query_row([key_id], counts))
            .map_err(self.failed("count a key's events"))
    }

    /// The number of events in the sessions that one process began under these keys, or under any key if none is named. `first`
    /// is the process's first session.
    ///
    /// # Errors
    /// When the store cannot be read.
    pub fn counts_of_process(&self, first: SessionRow, key_ids: &[String]) -> Result<Counts, StoreError> {
        let keys = serde_json::json!(key_ids).to_string();
        self.connection()
            .prepare_cached(
                "SELECT coalesce(sum(total + delivered_forgotten), 0),
                        coalesce(sum(delivered + delivered_forgotten), 0), coalesce(sum(dead), 0)
                 FROM sessions WHERE (id = ?1 OR process = ?1) AND (?2 = '[]' OR key_id IN (SELECT value FROM json_each(?2)))",
            )
            .and_then(|mut query| query.query_row(params![first.0, keys], counts))
            .map_err(self.failed("count this process's events"))
    }

    /// OTAS's agent id for a key, if known.
    ///
    /// # Errors
    /// When the store cannot be read.
    pub fn agent_of_key(&self, key_id: &str) -> Result<Option<String>, StoreError> {
        self.connection()
            .prepare_cached("SELECT max(agent_id) FROM sessions WHERE key_id = ?1")
            .and_then(|mut query| query.query_row([key_id], |row| row.get(0)))
            .map_err(self.failed("read the agent of a key"))
    }

    /// Sessions of a key that must be opened even without events: those that were asked for and have no lasting token.
    ///
    /// # Errors
    /// When the store cannot be read.
    pub fn wanted_sessions(&self, key_id: &str) -> Result<Vec<SessionRow>, StoreError> {
        self.connection()
            .prepare_cached(
                "SELECT id FROM sessions WHERE key_id = ?1 AND token_wanted
                 AND (token_sealed IS NULL OR token_expires_at_ms < ?2)",
            )
            .and_then(|mut query| {
                query.query_map(params![key_id, now_ms() + LASTS_MS], |row| row.get(0).map(SessionRow))?.collect()
            })
            .map_err(self.failed("read the requested sessions"))
    }

    /// Records which agent a key belongs to, as OTAS says.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn key_is_of_agent(&self, key_id: &str, agent_id: &str) -> Result<(), StoreError> {
        self.connection()
            .execute(
                "UPDATE sessions SET agent_id = ?2, key_refused = 0 WHERE key_id = ?1 AND agent_id IS NOT ?2",
                params![key_id, agent_id],
            )
            .map(drop)
            .map_err(self.failed("record the agent of a key"))
    }

    /// Records that OTAS refused a key for good. A key that was accepted before has merely been replaced.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn key_is_refused(&self, key_id: &str) -> Result<(), StoreError> {
        self.connection()
            .execute("UPDATE sessions SET key_refused = 1 WHERE key_id = ?1 AND agent_id IS NULL", [key_id])
            .map(drop)
            .map_err(self.failed("record that a key is refused"))
    }

    /// Moves sessions from the keys that this one replaces. These are the keys of the same agent. Keys of an unknown agent
    /// count if they came from the same file, or if both keys came from the settings and the old one was refused. Returns how
    /// many sessions moved, and whether some were left because another process is delivering them.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn adopt_sessions(
        &self,
        key_id: &str,
        agent_id: Option<&str>,
        source: &KeySource,
    ) -> Result<(usize, bool), StoreError> {
        let failed = self.failed("move sessions to a new key");
        let replaced = replaced_keys(&self.connection(), key_id, agent_id, source).map_err(failed)?;
        let (mut adopted, mut some_left) = (0, false);
        for old in replaced {
            // No process may post these events under the old key while they change keys.
            let Ok(Some(_lock)) = self.try_lock_delivery(&old) else {
                some_left = true;
                continue;
            };
            adopted += self
                .connection()
                .execute(
                    &format!("UPDATE sessions SET key_id = ?1, agent_id = coalesce(?2, agent_id) WHERE key_id = ?4 AND {REPLACED}"),
                    params![key_id, agent_id, source.column(), old],
                )
                .map_err(self.failed("move sessions to a new key"))?;
        }
        Ok((adopted, some_left))
    }
}

/// From the columns total, delivered and dead of sessions with an agent key.
fn counts(row: &rusqlite::Row<'_>) -> rusqlite::Result<Counts> {
    let (total, delivered, dead) = (unsigned(row, 0)?, unsigned(row, 1)?, unsigned(row, 2)?);
    Ok(Counts { total, pending: total.saturating_sub(delivered + dead), delivered, dead, kept: 0 })
}

/// Whether key ?1 of agent ?2 from source ?3 replaces a session's key.
const REPLACED: &str = "key_id <> ?1 AND (agent_id = ?2
     OR (agent_id IS NULL AND key_source = ?3 AND (key_refused OR key_source <> 'settings')))";

fn replaced_keys(
    connection: &Connection,
    key_id: &str,
    agent_id: Option<&str>,
    source: &KeySource,
) -> rusqlite::Result<Vec<String>> {
    connection
        .prepare_cached(&format!("SELECT DISTINCT key_id FROM sessions WHERE {REPLACED}"))?
        .query_map(params![key_id, agent_id, source.column()], |row| row.get(0))?
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::testing::store;

    fn begin(store: &Store, run: &str, key: &str, source: &KeySource) -> SessionRow {
        let row = store.begin_session(run, key, "{}").unwrap();
        store.note_key_source(row, source).unwrap();
        row
    }

    fn runs_of(store: &Store, key: &str) -> Vec<String> {
        let connection = store.connection();
        let mut query = connection.prepare("SELECT run_id FROM sessions WHERE key_id = ?1 ORDER BY id").unwrap();
        query.query_map([key], |row| row.get(0)).unwrap().collect::<Result<_, _>>().unwrap()
    }

    fn file(name: &str) -> KeySource {
        KeySource::File(name.into())
    }

    #[test]
    fn a_key_id_is_the_start_of_its_sha_256() {
        assert_eq!(key_id(&Secret::new("abc")), "ba7816bf8f01cfea");
    }

    #[test]
    fn only_sessions_of_the_same_agent_move_to_its_new_key() {
        let (_folder, store) = store();
        for (run, key) in [("a1", "old"), ("b1", "foreign"), ("n1", "unknown")] {
            begin(&store, run, key, &KeySource::Settings);
        }
        store.key_is_of_agent("old", "agent a").unwrap();
        store.key_is_of_agent("foreign", "agent b").unwrap();
        assert_eq!(store.adopt_sessions("new", Some("agent a"), &KeySource::Settings).unwrap(), (1, false));
        assert_eq!(runs_of(&store, "new"), ["a1"]);
        assert_eq!(store.adopt_sessions("new", Some("agent a"), &KeySource::Settings).unwrap(), (0, false));
    }

    #[test]
    fn a_session_begun_under_a_known_key_has_its_agent() {
        let (_folder, store) = store();
        begin(&store, "1", "old", &KeySource::Settings);
        store.key_is_of_agent("old", "agent a").unwrap();
        begin(&store, "2", "old", &KeySource::Settings);
        store.adopt_sessions("new", Some("agent a"), &KeySource::Settings).unwrap();
        assert_eq!(runs_of(&store, "new"), ["1", "2"]);
    }

    #[test]
    fn keys_of_an_unknown_agent_are_replaced_by_file_or_after_a_refusal() {
        let (_folder, store) = store();
        begin(&store, "same file", "k1", &file("/a"));
        begin(&store, "other file", "k2", &file("/b"));
        begin(&store, "not refused", "k3", &KeySource::Settings);
        begin(&store, "refused", "k4", &KeySource::Settings);
        store.key_is_refused("k4").unwrap();
        store.adopt_sessions("from file", Some("a"), &file("/a")).unwrap();
        assert_eq!(runs_of(&store, "from file"), ["same file"]);
        store.adopt_sessions("from settings", Some("b"), &KeySource::Settings).unwrap();
        assert_eq!(runs_of(&store, "from settings"), ["refused"]);
    }

    #[test]
    fn sessions_in_delivery_stay_until_the_lock_is_released() {
        let (_folder, store) = store();
        begin(&store, "1", "old", &file("/a"));
        let lock = store.try_lock_delivery("old").unwrap();
        assert_eq!(store.adopt_sessions("new", Some("a"), &file("/a")).unwrap(), (0, true));
        drop(lock);
        assert_eq!(store.adopt_sessions("new", Some("a"), &file("/a")).unwrap(), (1, false));
    }
}
