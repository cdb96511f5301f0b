//! The tables, and the migration of older files.

use rusqlite::{Connection, TransactionBehavior};

/// The version of the tables below (`user_version`).
pub(super) const VERSION: i64 = 13;

/// `application_id` of our files: "OTAS".
pub(super) const APPLICATION_ID: i64 = 0x4F54_4153;

/// One step for each version: step `n` migrates a file from version `n` to `n + 1`.
const STEPS: [&str; VERSION as usize] = [V1, V2, V3, V4, V5, V6, V7, V8, V9, V10, V11, V12, V13];

/// `sessions` counts its events in the transaction that changes them, so a count never scans the events.
///
/// Each index makes inserts slower, so a new row touches only the index of pending rows. Like every index it ends with the row
/// id, so it also gives a session's rows in order. The index of dead rows costs nothing until an event dies. `json` is the last
/// column, so reading the others need not follow its overflow pages.
const V1: &str = "
CREATE TABLE sessions (
    id              INTEGER PRIMARY KEY,
    run_id          TEXT    NOT NULL UNIQUE,
    key_id          TEXT    NOT NULL,
    otas_session_id TEXT,
    meta            TEXT    NOT NULL,
    opened_at_ms    INTEGER NOT NULL,
    closed_at_ms    INTEGER,
    total           INTEGER NOT NULL DEFAULT 0,
    delivered       INTEGER NOT NULL DEFAULT 0,
    dead            INTEGER NOT NULL DEFAULT 0
) STRICT;
CREATE TABLE events (
    id              INTEGER PRIMARY KEY,
    event_id        BLOB    NOT NULL,
    session         INTEGER NOT NULL,
    seq             INTEGER NOT NULL,
    started_at_ms   INTEGER NOT NULL,
    method          TEXT    NOT NULL,
    host            TEXT    NOT NULL,
    path            TEXT    NOT NULL,
    status_code     INTEGER NOT NULL,
    latency_ms      REAL    NOT NULL,
    request_bytes   INTEGER NOT NULL,
    response_bytes  INTEGER NOT NULL,
    error           TEXT    NOT NULL,
    state           INTEGER NOT NULL,
    attempts        INTEGER NOT NULL,
    verdict         TEXT,
    next_try_at_ms  INTEGER,
    otas_event_id   TEXT,
    json            BLOB    NOT NULL
) STRICT;
CREATE INDEX events_pending ON events (session) WHERE state = 0;
CREATE INDEX events_dead    ON events (session) WHERE state = 2;
";

/// Events belong to their session for good. So a session keeps its OTAS token (sealed with a key that is not in this file, see
/// `deliver/seal`) and the facts about its agent key: its agent, its source, and whether OTAS refused it.
///
/// The backlog is read in row order over all sessions of a key, so the index has that order.
const V2: &str = "
ALTER TABLE sessions ADD COLUMN agent_id            TEXT;
ALTER TABLE sessions ADD COLUMN key_source          TEXT;
ALTER TABLE sessions ADD COLUMN key_refused         INTEGER NOT NULL DEFAULT 0;
ALTER TABLE sessions ADD COLUMN token_sealed        BLOB;
ALTER TABLE sessions ADD COLUMN token_expires_at_ms INTEGER;
ALTER TABLE sessions ADD COLUMN token_mark          BLOB;
CREATE INDEX sessions_of_key ON sessions (key_id);
DROP INDEX events_pending;
CREATE INDEX events_pending ON events (id, session) WHERE state = 0;
CREATE TABLE seal (salt BLOB NOT NULL) STRICT;
INSERT INTO seal VALUES (randomblob(32));
";

/// Delivered events are removed in order of time, bounded by their bytes. Dropped events are counted separately and leave all
/// other counts of their session.
///
/// `open_exchanges` notes calls that have been in flight for over a second. When their process dies, they become events.
const V3: &str = "
ALTER TABLE sessions ADD COLUMN dropped INTEGER NOT NULL DEFAULT 0;
CREATE INDEX events_delivered ON events (started_at_ms) WHERE state = 1;
CREATE TABLE tally (delivered_bytes INTEGER NOT NULL) STRICT;
INSERT INTO tally SELECT coalesce(sum(length(json)), 0) FROM events WHERE state = 1;
CREATE TABLE open_exchanges (
    event_id        BLOB    PRIMARY KEY,
    session         INTEGER NOT NULL,
    started_at_ms   INTEGER NOT NULL,
    method          TEXT    NOT NULL,
    host            TEXT    NOT NULL,
    path            TEXT    NOT NULL,
    status_code     INTEGER NOT NULL,
    latency_ms      REAL    NOT NULL,
    request_bytes   INTEGER NOT NULL,
    response_bytes  INTEGER NOT NULL,
    error           TEXT    NOT NULL,
    json            BLOB    NOT NULL
) STRICT;
";

/// A session may be needed before it has an event: calls into the project's domain carry its token.
const V4: &str = "ALTER TABLE sessions ADD COLUMN token_wanted INTEGER NOT NULL DEFAULT 0;";

/// Lists, filters and totals read a covering index. Without it, a filter that matches few events would read every event's JSON
/// (100,000 events of 20 KB: 250 ms without, 7 ms with it; an insert costs 1.4 µs more). Older events have no phases in it.
const V5: &str = "
ALTER TABLE events ADD COLUMN outline TEXT NOT NULL DEFAULT '';
ALTER TABLE events ADD COLUMN llm     TEXT NOT NULL DEFAULT '';
CREATE INDEX events_listed ON events (id, session, started_at_ms, method, host, path, status_code, latency_ms,
                                      request_bytes, response_bytes, error, outline, llm);
";

/// OTAS's answers to posts that were not accepted at once (`history`). They are removed with their event.
const V6: &str = "
CREATE TABLE verdicts (
    event       INTEGER NOT NULL,
    number      INTEGER NOT NULL,
    verdict     TEXT    NOT NULL,
    posts       INTEGER NOT NULL,
    first_at_ms INTEGER NOT NULL,
    last_at_ms  INTEGER NOT NULL,
    PRIMARY KEY (event, number)
) STRICT, WITHOUT ROWID;
CREATE TRIGGER verdicts_go AFTER DELETE ON events BEGIN DELETE FROM verdicts WHERE event = old.id; END;
";

/// `holder` is the first session of the process that noted a call. A process may have thousands of sessions but holds one lock;
/// before, each session had its own lock. The agent of a key is looked up for each new session and each token that an agent
/// sends, so an index answers it.
const V7: &str = "
ALTER TABLE open_exchanges ADD COLUMN holder INTEGER;
DROP INDEX sessions_of_key;
CREATE INDEX sessions_of_key ON sessions (key_id, agent_id);
";

/// Sinks read events in row order, so a sink's position is one number. Kept events are retained like delivered ones, so one
/// index has both.
const V8: &str = "
CREATE TABLE sinks (
    id         INTEGER PRIMARY KEY,
    name       TEXT    NOT NULL UNIQUE,
    position   INTEGER NOT NULL,
    sent       INTEGER NOT NULL DEFAULT 0,
    refused    INTEGER NOT NULL DEFAULT 0,
    missed     INTEGER NOT NULL DEFAULT 0,
    seen_at_ms INTEGER NOT NULL
) STRICT;
DROP INDEX events_delivered;
CREATE INDEX events_settled ON events (started_at_ms) WHERE state IN (1, 3);
";

/// Ended sessions are removed after their events, in the order in which they ended.
const V9: &str = "CREATE INDEX sessions_ended ON sessions (closed_at_ms) WHERE closed_at_ms IS NOT NULL;";

/// `process` is the first session of the process that began a session (NULL in that first one). With it a process counts and
/// awaits the events of all its sessions. The delivered events of a removed session stay counted there. `vanished` lists
/// replaced files whose losses have been counted.
const V10: &str = "
ALTER TABLE sessions ADD COLUMN process             INTEGER;
ALTER TABLE sessions ADD COLUMN delivered_forgotten INTEGER NOT NULL DEFAULT 0;
CREATE TRIGGER sessions_go AFTER DELETE ON sessions WHEN old.process IS NOT NULL BEGIN
    UPDATE sessions SET delivered_forgotten = delivered_forgotten + old.delivered WHERE id = old.process;
END;
CREATE TABLE vanished (file TEXT PRIMARY KEY) STRICT, WITHOUT ROWID;
";

/// Bodies are stored as chunks, each once (`chunks`). `events.json` has empty strings in their places; `parts` names their chunks
/// (NULL: the bodies are in the JSON, as in older rows). `body_bytes` are the bytes of the chunks that an event was the first to
/// store. Numbers of chunks are not used again, so one that a process remembers is never that of another text. `tally` has the bytes of all chunks, and of those that pending and dead events were the first to store.
const V11: &str = "
ALTER TABLE events ADD COLUMN parts      BLOB;
ALTER TABLE events ADD COLUMN body_bytes INTEGER NOT NULL DEFAULT 0;
ALTER TABLE tally  ADD COLUMN chunk_bytes   INTEGER NOT NULL DEFAULT 0;
ALTER TABLE tally  ADD COLUMN waiting_bytes INTEGER NOT NULL DEFAULT 0;
CREATE TABLE chunk_key (key BLOB NOT NULL) STRICT;
INSERT INTO chunk_key VALUES (randomblob(32));
CREATE TABLE chunks (
    id    INTEGER PRIMARY KEY AUTOINCREMENT,
    hash  BLOB    NOT NULL UNIQUE,
    bytes INTEGER NOT NULL,
    crc   INTEGER NOT NULL,
    data  BLOB    NOT NULL
) STRICT;
CREATE TABLE chunk_refs (chunk INTEGER PRIMARY KEY, refs INTEGER NOT NULL) STRICT;
";

/// The sums over chunks are kept, so that a large store is measured at once. Removing an event needs the sizes of its chunks, so
/// `chunk_refs` has them too: it is small, and its rows are read anyway. A file of version 10 or before has no chunks yet, so this
/// takes no time.
const V12: &str = "
ALTER TABLE chunk_refs ADD COLUMN bytes INTEGER NOT NULL DEFAULT 0;
UPDATE chunk_refs SET bytes = coalesce((SELECT bytes FROM chunks WHERE id = chunk), 0);
ALTER TABLE tally ADD COLUMN chunks         INTEGER NOT NULL DEFAULT 0;
ALTER TABLE tally ADD COLUMN distinct_bytes INTEGER NOT NULL DEFAULT 0;
ALTER TABLE tally ADD COLUMN logical_bytes  INTEGER NOT NULL DEFAULT 0;
UPDATE tally SET (chunks, distinct_bytes) = (SELECT count(*), coalesce(sum(bytes), 0) FROM chunks),
    logical_bytes = (SELECT coalesce(sum(bytes * refs), 0) FROM chunk_refs);
";

/// Notes that people write on calls (`notes`), by the row of the event. They are removed with it.
const V13: &str = "
CREATE TABLE notes (id INTEGER PRIMARY KEY, text TEXT NOT NULL) STRICT;
CREATE TRIGGER notes_go AFTER DELETE ON events BEGIN DELETE FROM notes WHERE id = old.id; END;
";

/// What a file was recognised as.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Recognised {
    /// A store of this version, or an empty file (0).
    Store(i64),
    /// Another program's database.
    Foreign,
    /// A store of a newer version.
    Newer(i64),
    /// A store that contradicts itself.
    Damaged,
}

/// Larger version numbers are damage, not newer versions.
const CREDIBLE: i64 = 1_000;

/// Recognises a file without changing it, in one transaction: another process may be creating its tables.
pub(super) fn recognise(connection: &mut Connection) -> rusqlite::Result<Recognised> {
    let transaction = connection.transaction()?;
    let tables = number(&transaction, "SELECT count(*) FROM sqlite_schema")?;
    let our_tables = number(
        &transaction,
        "SELECT count(*) FROM sqlite_schema WHERE name IN ('sessions', 'events', 'events_pending')",
    )?;
    let version = number(&transaction, "PRAGMA user_version")?;
    let our_id = number(&transaction, "PRAGMA application_id")? == APPLICATION_ID;
    Ok(match (our_id, our_tables == 3, version) {
        (false, false, 0) if tables == 0 => Recognised::Store(0),
        (false, false, _) => Recognised::Foreign,
        (true, true, newer) if (VERSION + 1..CREDIBLE).contains(&newer) => Recognised::Newer(newer),
        (true, true, known) if (1..=VERSION).contains(&known) => Recognised::Store(known),
        _ => Recognised::Damaged,
    })
}

/// Migrates a recognised file in one transaction, so that two processes that start together do it once.
pub(super) fn migrate(connection: &mut Connection) -> rusqlite::Result<()> {
    let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
    let version = number(&transaction, "PRAGMA user_version")?;
    for step in STEPS.iter().skip(usize::try_from(version).unwrap_or(0)) {
        transaction.execute_batch(step)?;
    }
    transaction.pragma_update(None, "application_id", APPLICATION_ID)?;
    transaction.pragma_update(None, "user_version", VERSION)?;
    transaction.commit()
}

fn number(connection: &Connection, sql: &str) -> rusqlite::Result<i64> {
    connection.query_row(sql, [], |row| row.get(0))
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    /// A store of version 1 with two pending events and a delivered one.
    pub(in crate::store) fn make_v1(connection: &Connection) {
        connection.execute_batch(V1).unwrap();
        connection.pragma_update(None, "application_id", APPLICATION_ID).unwrap();
        connection.pragma_update(None, "user_version", 1).unwrap();
        let mut rows = "INSERT INTO sessions (run_id, key_id, meta, opened_at_ms, total, delivered) \
                        VALUES ('r', 'k', '{}', 1, 3, 1);"
            .to_owned();
        for state in [0, 0, 1] {
            rows += &format!(
                "INSERT INTO events (event_id, session, seq, started_at_ms, method, host, path, status_code, latency_ms, \
                 request_bytes, response_bytes, error, state, attempts, json) \
                 VALUES (x'00', 1, 1, 1, 'GET', 'h', '/', 200, 1.0, 0, 0, '', {state}, 0, x'7b7d');"
            );
        }
        connection.execute_batch(&rows).unwrap();
    }
}
