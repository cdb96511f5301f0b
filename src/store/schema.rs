//! The tables, and how a file of an older version becomes one of this version.

use rusqlite::{Connection, TransactionBehavior};

/// The version of the tables below (`user_version`).
pub(super) const VERSION: i64 = 10;

/// `application_id` of our files: "OTAS".
pub(super) const APPLICATION_ID: i64 = 0x4F54_4153;

/// One step per version: step `n` takes a file from version `n` to `n + 1`.
const STEPS: [&str; VERSION as usize] = [V1, V2, V3, V4, V5, V6, V7, V8, V9, V10];

/// `sessions` counts its own events, in the transaction that changes them: a count never scans the events.
///
/// Each index costs every insert, so the only one that a new row touches is that of pending rows. It ends (as every
/// index does) with the row id, so it also gives a session's rows in order. Its twin for dead rows is free until one
/// dies. `json` comes last: what is read without it need not follow its overflow pages.
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

/// Events belong to sessions for good, so a session keeps its OTAS token (sealed with a key that is not in this file, see
/// `deliver/seal`) and what is known of its agent key: whose it is, where it came from, whether OTAS refused it.
///
/// What is pending is read over all sessions of a key in the order of its rows, so that is the index's order.
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

/// What is delivered is forgotten in the order of its time, bounded by its bytes. What had to be dropped is counted, and
/// belongs to no other count of its session any more.
///
/// `open_exchanges` has the calls that were under way for longer than a second, as far as they were known: what is there
/// when their process is gone becomes events.
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

/// A session can be wanted before it has an event to deliver: calls into the project's domain carry its token.
const V4: &str = "ALTER TABLE sessions ADD COLUMN token_wanted INTEGER NOT NULL DEFAULT 0;";

/// Lists, filters and totals are read from an index that holds all that they look at: a filter that few events pass would
/// else read every event's JSON (measured with 100,000 events of 20 KB: 250 ms without, 7 ms with it, for 1.4 µs more an
/// insert). Events of before say nothing of their phases there.
const V5: &str = "
ALTER TABLE events ADD COLUMN outline TEXT NOT NULL DEFAULT '';
ALTER TABLE events ADD COLUMN llm     TEXT NOT NULL DEFAULT '';
CREATE INDEX events_listed ON events (id, session, started_at_ms, method, host, path, status_code, latency_ms,
                                      request_bytes, response_bytes, error, outline, llm);
";

/// What OTAS said to posts that it did not take at once (`history`). It goes with its event.
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

/// Which process has noted a call, by its first session: a process may have thousands of sessions, and holds one lock. Before,
/// each session had its own. Whose a key is, is asked for each new session and each token that an agent names, so the index
/// tells it however many sessions there are.
const V7: &str = "
ALTER TABLE open_exchanges ADD COLUMN holder INTEGER;
DROP INDEX sessions_of_key;
CREATE INDEX sessions_of_key ON sessions (key_id, agent_id);
";

/// Sinks go through the events in the order of their rows: where each stands is a number. What is not for OTAS is kept like
/// what is delivered, so one index has both.
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

/// Sessions that have ended are forgotten after their events, in the order of their ends.
const V9: &str = "CREATE INDEX sessions_ended ON sessions (closed_at_ms) WHERE closed_at_ms IS NOT NULL;";

/// `process` is the first session of the process that began a session (NULL in that first one), so that a process can count and
/// wait for the events of all sessions that it began. What was delivered of a session that is forgotten stays counted there.
/// `vanished`: files in whose place this one is, of which it was counted what is missing.
const V10: &str = "
ALTER TABLE sessions ADD COLUMN process             INTEGER;
ALTER TABLE sessions ADD COLUMN delivered_forgotten INTEGER NOT NULL DEFAULT 0;
CREATE TRIGGER sessions_go AFTER DELETE ON sessions WHEN old.process IS NOT NULL BEGIN
    UPDATE sessions SET delivered_forgotten = delivered_forgotten + old.delivered WHERE id = old.process;
END;
CREATE TABLE vanished (file TEXT PRIMARY KEY) STRICT, WITHOUT ROWID;
";

/// What a file turned out to be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Found {
    /// A store, or an empty file that may become one: its version.
    Store(i64),
    /// Somebody else's database.
    Foreign,
    /// A store of a newer version.
    Newer(i64),
    /// What was a store, but contradicts itself.
    Damaged,
}

/// Versions beyond this are no versions but damage: what would be refused must be credible.
const CREDIBLE: i64 = 1_000;

/// Looks at a file without changing it, and in one transaction: another process may be making its tables.
pub(super) fn recognise(connection: &mut Connection) -> rusqlite::Result<Found> {
    let transaction = connection.transaction()?;
    let tables = number(&transaction, "SELECT count(*) FROM sqlite_schema")?;
    let our_tables = number(
        &transaction,
        "SELECT count(*) FROM sqlite_schema WHERE name IN ('sessions', 'events', 'events_pending')",
    )?;
    let version = number(&transaction, "PRAGMA user_version")?;
    let our_id = number(&transaction, "PRAGMA application_id")? == APPLICATION_ID;
    Ok(match (our_id, our_tables == 3, version) {
        (false, false, 0) if tables == 0 => Found::Store(0),
        (false, false, _) => Found::Foreign,
        (true, true, newer) if (VERSION + 1..CREDIBLE).contains(&newer) => Found::Newer(newer),
        (true, true, known) if (1..=VERSION).contains(&known) => Found::Store(known),
        _ => Found::Damaged,
    })
}

/// Brings a recognised file to this version, in one transaction: two processes that start together migrate it once.
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
