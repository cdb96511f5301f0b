//! The SQLite database: agents, sessions, events and the signing secret. Every method blocks.
//!
//! WAL with `synchronous=NORMAL`: an event that was answered with 201 survives a kill of the process, but perhaps not a power
//! loss.

use std::fs::OpenOptions;
use std::path::Path;
use std::time::Duration;

use parking_lot::{Mutex, MutexGuard};
use rusqlite::types::Type;
use rusqlite::{Connection, OptionalExtension as _, Row, params};
use serde_json::Value;
use time::OffsetDateTime;
use time::format_description::BorrowedFormatItem;
use time::macros::format_description;
use tokio::sync::watch;
use uuid::Uuid;

use super::error::LedgerError;
use super::jwt::{Claims, Signer};
use super::limits::Columns;
use super::stored::{StoredEvent, StoredSession};
use super::{Agent, key};
use crate::system::files::{OpenOptionsExt as _, set_mode};

const SCHEMA_VERSION: i64 = 1;
const SCHEMA: &str = "
    CREATE TABLE signing (secret BLOB NOT NULL);
    CREATE TABLE agent (
        agent_id TEXT PRIMARY KEY,
        project_id TEXT NOT NULL,
        name TEXT NOT NULL,
        key_prefix TEXT,
        key_hash BLOB UNIQUE,
        UNIQUE (project_id, name)
    );
    CREATE TABLE session (
        seq INTEGER PRIMARY KEY,
        session_id TEXT NOT NULL UNIQUE,
        agent_id TEXT NOT NULL,
        created_at TEXT NOT NULL,
        meta TEXT NOT NULL
    );
    CREATE TABLE event (
        seq INTEGER PRIMARY KEY,
        event_id TEXT NOT NULL UNIQUE,
        event_time TEXT NOT NULL,
        session_id TEXT NOT NULL,
        agent_id TEXT NOT NULL,
        project_id TEXT NOT NULL,
        path TEXT NOT NULL,
        method TEXT NOT NULL,
        status_code INTEGER NOT NULL,
        latency_ms REAL NOT NULL,
        error TEXT NOT NULL,
        body TEXT NOT NULL
    );
    CREATE INDEX event_by_session ON event (session_id, seq);
";
const BUSY_TIMEOUT: Duration = Duration::from_secs(5);
const SIGNING_SECRET_BYTES: usize = 32;
/// The format of Python's `isoformat`, which is RFC 3339.
const TIME: &[BorrowedFormatItem<'static>] =
    format_description!("[year]-[month]-[day]T[hour]:[minute]:[second].[subsecond digits:6]+00:00");

/// The open database.
pub(super) struct Database {
    connection: Mutex<Connection>,
    signer: Signer,
    saved: watch::Sender<u64>,
}

/// The agent that a key belongs to.
pub(super) struct KnownAgent {
    pub(super) agent_id: Uuid,
    pub(super) project_id: Uuid,
    pub(super) name: String,
}

/// An event to save: its agent, its columns and its full text.
pub(super) struct NewEvent<'a> {
    pub(super) agent: &'a KnownAgent,
    /// From the token.
    pub(super) session_id: &'a str,
    pub(super) columns: Columns<'a>,
    pub(super) body: &'a str,
}

impl Database {
    /// Opens a file (created with, or changed to, mode 0600) or a database in memory.
    pub(super) fn open(file: Option<&Path>) -> Result<Self, LedgerError> {
        let opening = during("opening");
        let mut connection = match file {
            Some(path) => {
                keep_private(path).map_err(|source| LedgerError::File { path: path.to_owned(), source })?;
                Connection::open(path).map_err(opening)?
            }
            None => Connection::open_in_memory().map_err(opening)?,
        };
        connection.busy_timeout(BUSY_TIMEOUT).map_err(opening)?;
        // Checked before anything is written: a file that is not ours stays unchanged.
        schema_version(&connection)?;
        connection.query_row("PRAGMA journal_mode = WAL", [], |_| Ok(())).map_err(opening)?;
        connection.execute_batch("PRAGMA synchronous = NORMAL").map_err(opening)?;
        let secret = prepare(&mut connection)?;
        Ok(Self { connection: Mutex::new(connection), signer: Signer::new(&secret), saved: watch::Sender::new(0) })
    }

    /// Accepts an agent. A key belongs to the agent that was registered with it last, and an agent has one key.
    pub(super) fn register(&self, agent: &Agent) -> Result<Uuid, LedgerError> {
        let name = &agent.name;
        let key = agent.key.expose();
        let prefix = key::issued_prefix(key).ok_or_else(|| LedgerError::KeyForm { agent: name.clone() })?;
        let (hash, project) = (key::hash(key), agent.project_id.to_string());
        let registering = during("registering an agent");

        let mut connection = self.connection();
        let change = connection.transaction().map_err(registering)?;
        change
            .execute("UPDATE agent SET key_prefix = NULL, key_hash = NULL WHERE key_hash = ?1", [&hash])
            .map_err(registering)?;
        let id = change
            .query_row(
                "INSERT INTO agent (agent_id, project_id, name, key_prefix, key_hash) VALUES (?1, ?2, ?3, ?4, ?5)
                 ON CONFLICT (project_id, name)
                 DO UPDATE SET key_prefix = excluded.key_prefix, key_hash = excluded.key_hash
                 RETURNING agent_id",
                params![Uuid::new_v4().to_string(), project, name, prefix, hash],
                |row| uuid(row, 0),
            )
            .map_err(registering)?;
        change.commit().map_err(registering)?;
        Ok(id)
    }

    /// The agent of a presented key, if any.
    pub(super) fn agent(&self, key: &str) -> Result<Option<KnownAgent>, LedgerError> {
        let Some(prefix) = key::presented_prefix(key) else { return Ok(None) };
        let sql = "SELECT agent_id, project_id, name FROM agent WHERE key_prefix = ?1 AND key_hash = ?2";
        let found = self.connection().prepare_cached(sql).and_then(|mut query| {
            query
                .query_row(params![prefix, key::hash(key)], |row| {
                    Ok(KnownAgent { agent_id: uuid(row, 0)?, project_id: uuid(row, 1)?, name: row.get(2)? })
                })
                .optional()
        });
        found.map_err(during("looking up an agent key"))
    }

    /// Opens a session and returns its token.
    pub(super) fn open_session(&self, agent_id: Uuid, meta: &Value) -> Result<String, LedgerError> {
        let (session_id, now) = (Uuid::new_v4(), OffsetDateTime::now_utc());
        let sql = "INSERT INTO session (session_id, agent_id, created_at, meta) VALUES (?1, ?2, ?3, ?4)";
        let row = params![session_id.to_string(), agent_id.to_string(), written(now), meta.to_string()];
        self.connection().execute(sql, row).map_err(during("opening a session"))?;
        let claims = Claims::new(session_id, agent_id, now.unix_timestamp());
        self.signer.sign(&claims).map_err(LedgerError::Token)
    }

    /// The claims of a token, if it is ours and has not expired.
    pub(super) fn claims(&self, token: &str) -> Option<Claims> {
        self.signer.verify(token, OffsetDateTime::now_utc().unix_timestamp())
    }

    /// Saves an event and returns its id.
    pub(super) fn save(&self, event: &NewEvent<'_>) -> Result<Uuid, LedgerError> {
        let saving = during("saving an event");
        let (event_id, columns) = (Uuid::new_v4(), &event.columns);
        let sql = "INSERT INTO event (event_id, event_time, session_id, agent_id, project_id,
                                      path, method, status_code, latency_ms, error, body)
                   VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11)";
        let connection = self.connection();
        let mut insert = connection.prepare_cached(sql).map_err(saving)?;
        let row = params![
            event_id.to_string(),
            written(OffsetDateTime::now_utc()),
            event.session_id,
            event.agent.agent_id.to_string(),
            event.agent.project_id.to_string(),
            columns.path,
            columns.method,
            columns.status_code,
            columns.latency_ms,
            columns.error,
            event.body,
        ];
        insert.execute(row).map_err(saving)?;
        self.saved.send_modify(|saved| *saved += 1);
        Ok(event_id)
    }

    /// At most `limit` events of one session, or of all, in order of arrival.
    pub(super) fn events(&self, session_id: Option<Uuid>, limit: usize) -> Result<Vec<StoredEvent>, LedgerError> {
        let which = if session_id.is_some() { "session_id = ?1" } else { "?1 IS NULL" };
        let sql = format!(
            "SELECT event_id, event_time, session_id, agent_id, project_id, body FROM event
             WHERE {which} ORDER BY seq LIMIT ?2"
        );
        let read = |row: &Row<'_>| {
            Ok(StoredEvent {
                event_id: uuid(row, 0)?,
                event_time: row.get(1)?,
                session_id: uuid(row, 2)?,
                agent_id: uuid(row, 3)?,
                project_id: uuid(row, 4)?,
                body: json(row, 5)?,
            })
        };
        let limit = i64::try_from(limit).unwrap_or(i64::MAX);
        let listed = self.connection().prepare_cached(&sql).and_then(|mut query| {
            query.query_map(params![session_id.map(|id| id.to_string()), limit], read)?.collect()
        });
        listed.map_err(during("listing events"))
    }

    /// All sessions, in the order in which they were opened.
    pub(super) fn sessions(&self) -> Result<Vec<StoredSession>, LedgerError> {
        let sql = "SELECT session_id, agent_id, created_at, meta FROM session ORDER BY seq";
        let read = |row: &Row<'_>| {
            Ok(StoredSession {
                session_id: uuid(row, 0)?,
                agent_id: uuid(row, 1)?,
                created_at: row.get(2)?,
                meta: json(row, 3)?,
            })
        };
        let listed = self.connection().prepare_cached(sql).and_then(|mut query| query.query_map([], read)?.collect());
        listed.map_err(during("listing sessions"))
    }

    /// Follows the number of events saved since the database was opened.
    pub(super) fn saved(&self) -> watch::Receiver<u64> {
        self.saved.subscribe()
    }

    /// A transaction that a panic interrupted was rolled back, so the connection is usable.
    fn connection(&self) -> MutexGuard<'_, Connection> {
        self.connection.lock()
    }
}

/// SQLite gives its `-wal` and `-shm` files the mode of the database.
fn keep_private(path: &Path) -> std::io::Result<()> {
    OpenOptions::new().write(true).create(true).truncate(false).mode(0o600).open(path)?;
    set_mode(path, 0o600)
}

fn schema_version(connection: &Connection) -> Result<i64, LedgerError> {
    let version = connection.query_row("PRAGMA user_version", [], |row| row.get(0));
    match version.map_err(during("reading the version"))? {
        version @ (0 | SCHEMA_VERSION) => Ok(version),
        found => Err(LedgerError::Schema { found, expected: SCHEMA_VERSION }),
    }
}

/// Creates the tables if necessary, in one transaction that other processes wait for. Returns the signing secret.
fn prepare(connection: &mut Connection) -> Result<Vec<u8>, LedgerError> {
    let preparing = during("making the tables");
    let change = connection.transaction_with_behavior(rusqlite::TransactionBehavior::Immediate).map_err(preparing)?;
    if schema_version(&change)? == 0 {
        change.execute_batch(SCHEMA).map_err(preparing)?;
        let secret = key::random::<SIGNING_SECRET_BYTES>()?;
        change.execute("INSERT INTO signing (secret) VALUES (?1)", [secret]).map_err(preparing)?;
        change.pragma_update(None, "user_version", SCHEMA_VERSION).map_err(preparing)?;
    }
    let secret = change.query_row("SELECT secret FROM signing", [], |row| row.get(0)).map_err(preparing)?;
    change.commit().map_err(preparing)?;
    Ok(secret)
}

fn during(act: &'static str) -> impl Fn(rusqlite::Error) -> LedgerError + Copy {
    move |source| LedgerError::Sql { act, source }
}

fn written(time: OffsetDateTime) -> String {
    // Formatting into a string fails only for components that a date and time do not have.
    time.format(TIME).unwrap_or_default()
}

fn uuid(row: &Row<'_>, column: usize) -> rusqlite::Result<Uuid> {
    let text: String = row.get(column)?;
    Uuid::parse_str(&text).map_err(|error| unreadable(column, error))
}

fn json(row: &Row<'_>, column: usize) -> rusqlite::Result<Value> {
    let text: String = row.get(column)?;
    serde_json::from_str(&text).map_err(|error| unreadable(column, error))
}

fn unreadable(column: usize, error: impl std::error::Error + Send + Sync + 'static) -> rusqlite::Error {
    rusqlite::Error::FromSqlConversionFailure(column, Type::Text, Box::new(error))
}

#[cfg(test)]
mod tests {
    use std::fs::{self, Permissions};
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;
    use crate::secret::Secret;

    fn agent(key: &str, name: &str) -> Agent {
        Agent { key: Secret::new(key), project_id: Uuid::from_u128(7), name: name.to_owned() }
    }

    #[test]
    fn the_file_and_its_side_files_are_private() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("otas.db");
        fs::write(&path, "").unwrap();
        fs::set_permissions(&path, Permissions::from_mode(0o644)).unwrap();
        let database = Database::open(Some(&path)).unwrap();
        database.register(&agent("agent_a_b", "one")).unwrap();
        for entry in fs::read_dir(dir.path()).unwrap() {
            let entry = entry.unwrap();
            assert_eq!(entry.metadata().unwrap().permissions().mode() & 0o777, 0o600, "{:?}", entry.path());
        }
    }

    #[test]
    fn a_file_remembers_agents_and_its_signing_secret() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("otas.db");
        let database = Database::open(Some(&path)).unwrap();
        let id = database.register(&agent("agent_a_b", "one")).unwrap();
        let token = database.open_session(id, &Value::Null).unwrap();
        drop(database);

        let database = Database::open(Some(&path)).unwrap();
        assert_eq!(database.agent("agent_a_b").unwrap().map(|agent| agent.agent_id), Some(id));
        assert_eq!(database.claims(&token).map(|claims| claims.agent_id), Some(id.to_string()));
        assert!(Database::open(None).unwrap().claims(&token).is_none(), "another database has another secret");
    }

    #[test]
    fn a_new_key_revokes_the_old_one_and_a_key_belongs_to_one_agent() {
        let database = Database::open(None).unwrap();
        let one = database.register(&agent("agent_a_1", "one")).unwrap();
        assert_eq!(database.register(&agent("agent_b_2", "one")).unwrap(), one);
        assert!(database.agent("agent_a_1").unwrap().is_none());
        assert_eq!(database.agent("agent_b_2").unwrap().map(|agent| agent.agent_id), Some(one));

        let two = database.register(&agent("agent_b_2", "two")).unwrap();
        assert_eq!(database.agent("agent_b_2").unwrap().map(|agent| agent.agent_id), Some(two));
    }

    #[test]
    fn a_malformed_key_is_not_registered_and_not_shown() {
        let error = Database::open(None).unwrap().register(&agent("sk-very-secret", "one")).unwrap_err();
        assert!(matches!(error, LedgerError::KeyForm { .. }));
        assert!(!error.to_string().contains("sk-very-secret"));
    }

    #[test]
    fn a_file_of_another_version_is_left_alone() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("otas.db");
        Connection::open(&path).unwrap().pragma_update(None, "user_version", 9).unwrap();
        let before = fs::read(&path).unwrap();
        assert!(matches!(Database::open(Some(&path)), Err(LedgerError::Schema { found: 9, expected: 1 })));
        assert_eq!(fs::read(&path).unwrap(), before);
    }

    #[test]
    fn a_missing_directory_is_named() {
        let error = Database::open(Some(Path::new("/nowhere/at/all/otas.db"))).err().unwrap();
        assert!(error.to_string().contains("/nowhere/at/all/otas.db"));
    }

    #[test]
    fn times_are_written_as_otas_writes_them() {
        assert_eq!(written(OffsetDateTime::UNIX_EPOCH), "1970-01-01T00:00:00.000000+00:00");
    }
}
