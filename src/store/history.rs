//! The history of an event's posts: OTAS's answers in order. Events accepted by the first post have none.

use rusqlite::{Connection, Row, params};

/// Equal answers to consecutive posts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PastVerdict {
    /// The verdict.
    pub verdict: String,
    /// The number of posts.
    pub posts: u32,
    /// When the first post ended, in Unix milliseconds.
    pub first_at_ms: i64,
    /// When the last post ended, in Unix milliseconds.
    pub last_at_ms: i64,
}

/// How many answers are kept for one event. The oldest are removed first.
const KEPT: u32 = 50;

/// Records the result of a post, in the transaction of its settlement.
pub(super) fn note(connection: &Connection, event: i64, verdict: &str, at_ms: i64) -> rusqlite::Result<()> {
    let again = connection
        .prepare_cached(
            "UPDATE verdicts SET posts = posts + 1, last_at_ms = ?3
             WHERE event = ?1 AND verdict = ?2 AND number = (SELECT max(number) FROM verdicts WHERE event = ?1)",
        )?
        .execute(params![event, verdict, at_ms])?;
    if again > 0 {
        return Ok(());
    }
    connection
        .prepare_cached(
            "INSERT INTO verdicts (event, number, verdict, posts, first_at_ms, last_at_ms)
             SELECT ?1, coalesce(max(number), 0) + 1, ?2, 1, ?3, ?3 FROM verdicts WHERE event = ?1",
        )?
        .execute(params![event, verdict, at_ms])?;
    connection
        .prepare_cached(
            "DELETE FROM verdicts
             WHERE event = ?1 AND number <= (SELECT max(number) FROM verdicts WHERE event = ?1) - ?2",
        )?
        .execute(params![event, KEPT])?;
    Ok(())
}

/// The history of an event, oldest first.
pub(super) fn of(connection: &Connection, event: i64) -> rusqlite::Result<Vec<PastVerdict>> {
    connection
        .prepare_cached(
            "SELECT verdict, posts, first_at_ms, last_at_ms FROM verdicts WHERE event = ?1 ORDER BY number",
        )?
        .query_map([event], said)?
        .collect()
}

/// Writes the history of an event that was removed and inserted again. Belongs in the same transaction.
pub(super) fn put(connection: &Connection, event: i64, history: &[PastVerdict]) -> rusqlite::Result<()> {
    let mut insert = connection.prepare_cached(
        "INSERT INTO verdicts (event, number, verdict, posts, first_at_ms, last_at_ms) VALUES (?1, ?2, ?3, ?4, ?5, ?6)",
    )?;
    for (number, PastVerdict { verdict, posts, first_at_ms, last_at_ms }) in (1i64..).zip(history) {
        insert.execute(params![event, number, verdict, posts, first_at_ms, last_at_ms])?;
    }
    Ok(())
}

fn said(row: &Row<'_>) -> rusqlite::Result<PastVerdict> {
    Ok(PastVerdict { verdict: row.get(0)?, posts: row.get(1)?, first_at_ms: row.get(2)?, last_at_ms: row.get(3)? })
}

#[cfg(test)]
mod tests {
    use super::super::{NewEvent, Outcome, Settlement, Store};
    use super::*;

    #[test]
    fn equal_answers_are_merged_and_the_history_is_bounded_and_removed_with_its_event() {
        let folder = tempfile::tempdir().unwrap();
        let store = Store::open(&folder.path().join("events.db")).unwrap();
        let session = store.begin_session("run", "key", "{}").unwrap();
        store.writer().unwrap().append(session, &[NewEvent::plain(b"{}"), NewEvent::plain(b"{}")]).unwrap();
        let mut attempts = 0;
        let mut settle = |outcome: Outcome| {
            attempts += 1;
            store.settle(&[Settlement { id: 1, attempts, outcome }]).unwrap();
        };
        let again = |verdict: &str| Outcome::Again { verdict: verdict.to_owned(), next_try_at_ms: 0 };
        let told = || {
            let said = store.viewer().history(1).unwrap();
            assert!(said.iter().all(|said| 0 < said.first_at_ms && said.first_at_ms <= said.last_at_ms));
            said.into_iter().map(|said| (said.verdict, said.posts)).collect::<Vec<_>>()
        };
        let _ = ["away", "away", "slow", "away"].map(again).map(&mut settle);
        settle(Outcome::Delivered { otas_event_id: "e".to_owned() });
        let expected = [("away", 2), ("slow", 1), ("away", 1), ("delivered", 1)];
        assert_eq!(told(), expected.map(|(verdict, posts)| (verdict.to_owned(), posts)));
        // An event accepted by the first post has no history.
        store
            .settle(&[Settlement {
                id: 2,
                attempts: 1,
                outcome: Outcome::Delivered { otas_event_id: "f".to_owned() },
            }])
            .unwrap();
        assert_eq!(store.viewer().history(2).unwrap(), []);

        let connection = store.connection();
        (0..KEPT + 5).for_each(|n| note(&connection, 1, &n.to_string(), 9).unwrap());
        let said = of(&connection, 1).unwrap();
        assert_eq!((said.len(), &*said[0].verdict), (KEPT as usize, "5"));
        connection.execute("DELETE FROM events WHERE id = 1", []).unwrap();
        assert_eq!(of(&connection, 1).unwrap(), []);
    }
}
