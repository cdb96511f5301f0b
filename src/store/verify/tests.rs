use std::os::unix::fs::FileExt as _;

use rusqlite::Connection;

use super::*;
use crate::event::BodyText;
use crate::store::{NewEvent, Outcome, Settlement, Store, testing};

const JSON: &[u8] = br#"{"request_body":""}"#;

/// A text that does not repeat itself.
fn prose(seed: u64, bytes: usize) -> String {
    let mut state = seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1;
    let mut text = String::new();
    while text.len() < bytes {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        text += &format!("{state:x} ");
    }
    text
}

/// Three events that share their beginning, and one without chunks. The first is delivered.
fn store() -> (tempfile::TempDir, Store) {
    let (folder, store) = testing::store();
    let session = store.begin_session("run", "key", "{}").unwrap();
    let mut writer = store.writer().unwrap();
    let mut text = prose(1, 60_000);
    for turn in 2..5 {
        text += &prose(turn, 20_000);
        let body = [BodyText { at: 17, text: text.clone().into() }];
        writer.append(session, &[NewEvent { bodies: &body, ..NewEvent::plain(JSON) }]).unwrap();
    }
    writer.append(session, &[NewEvent::plain(JSON)]).unwrap();
    let outcome = Outcome::Delivered { otas_event_id: "e".into() };
    store.settle(&[Settlement { id: 1, attempts: 1, outcome }]).unwrap();
    (folder, store)
}

fn faults(store: &Store) -> Vec<Fault> {
    let mut faults = Vec::new();
    let seen = Inspector::open(store.path()).unwrap().verify(&mut |fault| faults.push(fault.clone())).unwrap();
    assert_eq!(seen.faults, faults.len() as u64);
    faults
}

fn change(store: &Store, sql: &str) {
    Connection::open(store.path()).unwrap().execute_batch(sql).unwrap();
}

/// Lets the second event name other chunks.
fn parts(store: &Store, numbers: &[u8]) {
    let column = [&crc32fast::hash(numbers).to_le_bytes()[..], numbers].concat();
    Connection::open(store.path()).unwrap().execute("UPDATE events SET parts = ?1 WHERE id = 2", [column]).unwrap();
}

/// Makes the sums over chunks match their rows.
const SUM_AGAIN: &str = "
UPDATE tally SET (chunks, chunk_bytes, distinct_bytes) =
        (SELECT count(*), coalesce(sum(length(data)), 0), coalesce(sum(bytes), 0) FROM chunks),
    logical_bytes = (SELECT coalesce(sum(bytes * refs), 0) FROM chunk_refs)";

fn number(store: &Store, sql: &str) -> i64 {
    Connection::open(store.path()).unwrap().query_row(sql, [], |row| row.get(0)).unwrap()
}

fn broken(faults: &[Fault]) -> Vec<(i64, u64, u64)> {
    let of = |fault: &Fault| match fault {
        Fault::Bodies { event, damaged, missing, .. } => Some((*event, *damaged, *missing)),
        _ => None,
    };
    faults.iter().filter_map(of).collect()
}

#[test]
fn an_intact_store_has_no_fault_and_all_of_it_is_read() {
    let (_folder, store) = store();
    let seen = Inspector::open(store.path()).unwrap().verify(&mut |fault| panic!("{fault}")).unwrap();
    assert_eq!((seen.events, seen.faults), (4, 0));
    assert_eq!(i64::try_from(seen.chunks), Ok(number(&store, "SELECT count(*) FROM chunks")));
    assert!(seen.chunks > 5);
}

#[test]
fn a_flipped_bit_is_found_and_the_events_that_have_the_chunk_are_named() {
    let (_folder, store) = store();
    let last = number(&store, "SELECT max(id) FROM chunks");
    for (chunk, events) in [(last, vec![(3, 1, 0)]), (1, vec![(1, 1, 0), (2, 1, 0), (3, 1, 0)])] {
        let connection = Connection::open(store.path()).unwrap();
        let data: Vec<u8> =
            connection.query_row("SELECT data FROM chunks WHERE id = ?1", [chunk], |row| row.get(0)).unwrap();
        let mut flipped = data.clone();
        let middle = flipped.len() / 2;
        flipped[middle] ^= 4;
        connection.execute("UPDATE chunks SET data = ?2 WHERE id = ?1", (chunk, flipped)).unwrap();
        let found = faults(&store);
        assert!(found.contains(&Fault::Damaged { chunk }), "{found:?}");
        assert_eq!(broken(&found), events);
        assert_eq!(found.len(), 1 + events.len(), "{found:?}");
        connection.execute("UPDATE chunks SET data = ?2 WHERE id = ?1", (chunk, data)).unwrap();
    }
    assert_eq!(faults(&store), []);
}

#[test]
fn another_text_in_a_chunks_place_is_found_by_its_hash() {
    let (_folder, store) = store();
    let replace =
        "UPDATE chunks SET (bytes, crc, data) = (SELECT bytes, crc, data FROM chunks WHERE id = 2) WHERE id = 1";
    change(&store, &format!("{replace}; {SUM_AGAIN}"));
    let found = faults(&store);
    assert!(found.contains(&Fault::Damaged { chunk: 1 }) && broken(&found).len() == 3, "{found:?}");
}

#[test]
fn a_missing_chunk_is_found() {
    let (_folder, store) = store();
    change(&store, &format!("DELETE FROM chunks WHERE id = 1; {SUM_AGAIN}"));
    let found = faults(&store);
    assert_eq!(broken(&found), [(1, 0, 1), (2, 0, 1), (3, 0, 1)]);
    assert!(found.contains(&Fault::CountWithoutChunk { chunk: 1 }) && found.len() == 4, "{found:?}");
    // Also where there are no chunks at all.
    change(&store, &format!("DELETE FROM chunks; DELETE FROM chunk_refs; {SUM_AGAIN}"));
    assert_eq!(broken(&faults(&store)).len(), 3);
}

#[test]
fn wrong_counts_and_chunks_without_a_reference_are_found() {
    let (_folder, store) = store();
    let wrong = "UPDATE chunk_refs SET refs = refs - 1 WHERE chunk = 1; DELETE FROM chunk_refs WHERE chunk = 2";
    change(&store, &format!("{wrong}; {SUM_AGAIN}"));
    assert_eq!(
        faults(&store),
        [Fault::Count { chunk: 1, references: 3, counted: 2 }, Fault::Count { chunk: 2, references: 3, counted: 0 }]
    );
    change(&store, "UPDATE chunk_refs SET refs = 3 WHERE chunk = 1; INSERT INTO chunk_refs VALUES (2, 3, 9)");
    let last = number(&store, "SELECT max(id) FROM chunks");
    change(
        &store,
        "DELETE FROM events WHERE id = 3; UPDATE sessions SET total = total - 1;
         UPDATE tally SET waiting_bytes = (SELECT sum(body_bytes) FROM events WHERE state = 0)",
    );
    let found = faults(&store);
    assert!(found.contains(&Fault::Unreferenced { chunk: last }), "{found:?}");
    assert!(found.contains(&Fault::Count { chunk: 1, references: 2, counted: 3 }), "{found:?}");
}

#[test]
fn wrong_tallies_and_counts_of_sessions_are_found() {
    let (_folder, store) = store();
    change(
        &store,
        "UPDATE tally SET delivered_bytes = delivered_bytes + 1, chunk_bytes = chunk_bytes - 1, waiting_bytes = 7,
                chunks = chunks + 1, distinct_bytes = 0, logical_bytes = logical_bytes - 1;
         UPDATE sessions SET total = total + 2, dead = dead + 1",
    );
    let found = faults(&store);
    let tallies = found.iter().filter(|fault| matches!(fault, Fault::Tally { .. })).count();
    assert_eq!((tallies, found.len()), (6, 8), "{found:?}");
    assert!(matches!(found[6], Fault::Session { what: "pending", kept: 4, found: 3, .. }), "{found:?}");
    assert!(matches!(found[7], Fault::Session { what: "dead", kept: 1, found: 0, .. }), "{found:?}");
}

#[test]
fn a_damaged_row_is_found_whatever_it_names() {
    let (_folder, store) = store();
    // A run of more chunks than there can be; a list that breaks off; JSON that does.
    parts(&store, b"\x11\x01\x01\xFF\xFF\xFF\xFF\xFF\xFF\xFF\xFF\x3F");
    assert!(broken(&faults(&store)).iter().any(|(event, _, missing)| (*event, *missing > 1 << 60) == (2, true)));
    parts(&store, b"\x11\x01");
    change(&store, "UPDATE events SET json = x'7B22' WHERE id = 4");
    let damaged: Vec<i64> = faults(&store)
        .into_iter()
        .filter_map(|fault| match fault {
            Fault::Event { event, .. } => Some(event),
            _ => None,
        })
        .collect();
    assert_eq!(damaged, [2, 4]);
}

#[test]
fn a_damaged_file_is_a_fault_and_an_older_one_an_error() {
    let (_folder, store) = store();
    change(&store, "PRAGMA user_version = 10");
    let error = Inspector::open(store.path()).err().unwrap().to_string();
    assert!(error.contains("has version 10"), "{error}");
    let page = number(&store, "SELECT rootpage FROM sqlite_schema WHERE name = 'events_listed'");
    change(&store, &format!("PRAGMA user_version = {}", crate::store::schema::VERSION));
    let path = store.path().to_owned();
    drop(store);
    let file = std::fs::OpenOptions::new().write(true).open(&path).unwrap();
    let page_bytes = 16 << 10;
    file.write_all_at(&[0xFF; 64], (page.unsigned_abs() - 1) * page_bytes).unwrap();
    let mut found = Vec::new();
    Inspector::open(&path).unwrap().verify(&mut |fault| found.push(fault.clone())).unwrap();
    assert!(matches!(found[..], [Fault::File(_), ..]), "{found:?}");
}

#[test]
fn a_store_that_changes_meanwhile_has_no_fault() {
    let (_folder, store) = store();
    let session = store.begin_session("other", "key", "{}").unwrap();
    let mut writer = store.writer().unwrap();
    let done = std::sync::atomic::AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            for seed in 0..60 {
                let body = [BodyText { at: 17, text: (prose(1, 60_000) + &prose(100 + seed, 9_000)).into() }];
                writer.append(session, &[NewEvent { bodies: &body, ..NewEvent::plain(JSON) }]).unwrap();
            }
            done.store(true, std::sync::atomic::Ordering::Relaxed);
        });
        while !done.load(std::sync::atomic::Ordering::Relaxed) {
            assert_eq!(faults(&store), []);
        }
    });
    assert_eq!(faults(&store), []);
}
