//! The judge: compares the agents' calls with OTAS's events.

use std::collections::{HashMap, HashSet};
use std::path::Path;
use std::time::{Duration, Instant};

use rusqlite::{Connection, OpenFlags};
use serde_json::Value;

use super::faults::IN_FLIGHT;
use super::producer::{CALL, Calls};
use crate::support::otas::TestOtas;

/// The proxy was killed.
pub(super) struct Kill {
    pub(super) at: Instant,
    /// The calls whose events were stored by then. Whether the others were is unknown.
    pub(super) stored: HashSet<String>,
}

/// A number from a query on the file itself.
pub(super) fn number(store: &Path, sql: &str) -> i64 {
    let connection = Connection::open_with_flags(store, OpenFlags::SQLITE_OPEN_READ_ONLY).unwrap();
    connection.busy_timeout(Duration::from_secs(5)).unwrap();
    connection.query_row(sql, [], |row| row.get(0)).unwrap()
}

/// The calls of the newest session whose events are stored.
pub(super) fn stored(store: &Path) -> HashSet<String> {
    let connection = Connection::open_with_flags(store, OpenFlags::SQLITE_OPEN_READ_ONLY).unwrap();
    connection.busy_timeout(Duration::from_secs(5)).unwrap();
    let sql = "SELECT json FROM events WHERE session = (SELECT max(id) FROM sessions)";
    let mut events = connection.prepare(sql).unwrap();
    let events = events.query_map([], |row| row.get::<_, Vec<u8>>(0)).unwrap();
    events.filter_map(|json| call_of(&serde_json::from_slice(&unpacked(json.unwrap())).unwrap())).collect()
}

/// The JSON of a row: long JSON is stored as a zstd frame.
fn unpacked(json: Vec<u8>) -> Vec<u8> {
    if json.starts_with(b"{") { json } else { zstd::decode_all(&json[..]).unwrap() }
}

/// Which call an event is of.
fn call_of(event: &Value) -> Option<String> {
    let headers: Value = serde_json::from_str(event["request_headers"].as_str().unwrap_or_default()).ok()?;
    headers[CALL].as_str().map(str::to_owned)
}

/// Panics if calls and events do not match.
pub(super) async fn judge(otas: &TestOtas, calls: &Calls, kills: &[Kill], lost_answers: usize, store: &Path) {
    let saved = otas.stored_events().await;
    let mut posted: HashMap<String, Vec<&Value>> = HashMap::new();
    for event in &saved {
        let id = event.body["metadata"]["event"]["id"].as_str().unwrap().to_owned();
        posted.entry(id).or_default().push(&event.body);
    }
    // Two equal events are one event, and only allowed after a lost answer.
    let doubled: usize = posted.values().map(|posts| posts.len() - 1).sum();
    assert!(doubled <= lost_answers + IN_FLIGHT * kills.len(), "{doubled} doubled, {lost_answers} answers lost");
    assert!(
        posted.values().all(|posts| posts.iter().all(|post| *post == posts[0])),
        "an event was altered between posts"
    );

    // Each event belongs to a call, and no call has two.
    let (mut of_call, mut without_bodies) = (HashMap::new(), 0);
    for event in posted.values().map(|posts| posts[0]) {
        let body = event["request_body"].as_str().unwrap();
        let interrupted = event["error"].as_str().unwrap().starts_with("proxy_interrupted");
        let Some(id) = call_of(event).filter(|id| calls.contains_key(id)) else {
            assert!(interrupted || !event["error"].as_str().unwrap().is_empty(), "invented: {event:#}");
            continue;
        };
        let call = &calls[&id];
        let other = of_call.insert(id.clone(), event);
        assert!(other.is_none(), "{id} has two events");
        if event["metadata"]["redaction"] == "failed_withheld" {
            // Its bodies were being searched for secrets when its proxy was killed.
            assert!(kills.get(call.proxy).is_some() && body.contains("bytes withheld"), "{event:#}");
            without_bodies += 1;
        } else if call.ended.is_some() && !interrupted {
            let answer = event["response_body"].as_str().unwrap();
            assert!(body == call.body && answer == call.body, "{id} was altered");
            assert_eq!((&event["status_code"], &event["error"]), (&200.into(), &"".into()), "{id}");
        }
    }
    // A call that was not stored when its proxy was killed may be lost.
    let (mut missing, mut lost, mut oldest_lost) = (Vec::new(), 0, Duration::ZERO);
    for (id, call) in calls.iter().filter(|(id, _)| !of_call.contains_key(*id)) {
        match (call.ended, kills.get(call.proxy)) {
            (Some(_), None) => missing.push(id),
            (Some(_), Some(kill)) if kill.stored.contains(id) => missing.push(id),
            (Some(ended), Some(kill)) => {
                lost += 1;
                oldest_lost = oldest_lost.max(kill.at.saturating_duration_since(ended));
            }
            (None, _) => {}
        }
    }
    let ended = calls.values().filter(|call| call.ended.is_some()).count();
    assert!(missing.is_empty(), "{} of {ended} calls that had ended are missing: {missing:?}", missing.len());
    assert_eq!(number(store, "SELECT coalesce(sum(dead), 0) + coalesce(sum(dropped), 0) FROM sessions"), 0);

    // Each in the session of its run.
    let runs: HashSet<&str> =
        of_call.values().map(|event| event["metadata"]["proxy"]["run_id"].as_str().unwrap()).collect();
    let mut run_of_session: HashMap<_, &str> = HashMap::new();
    for event in &saved {
        let run = event.body["metadata"]["proxy"]["run_id"].as_str().unwrap();
        assert_eq!(*run_of_session.entry(event.session_id).or_insert(run), run, "a session has events of two runs");
    }
    assert!(runs.len() <= kills.len() + 1);

    let disk = std::fs::metadata(store).unwrap().len();
    assert!(disk < 512 << 20, "{disk} bytes on disk");
    println!(
        "{} calls ended, {} broke off, {} kills, {} events, {doubled} doubled, at most {lost_answers} answers lost, \
         {lost} calls lost by kills, {without_bodies} without bodies, at most {} ms after their end",
        ended,
        calls.len() - ended,
        kills.len(),
        posted.len(),
        oldest_lost.as_millis(),
    );
}
