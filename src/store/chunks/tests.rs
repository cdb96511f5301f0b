use std::time::Instant;

use proptest::prelude::*;
use rusqlite::Connection;
use uuid::Uuid;

use super::cut::cutter;
use super::parts::{Part, Parts};
use super::salvage;
use crate::event::{BodyText, for_otas, with_bodies};
use crate::store::{Clearable, Filter, Inspector, NewEvent, Selection, SessionRow, Store, testing};

const JSON: &[u8] = br#"{"path":"/","request_body":"","response_body":""}"#;
const REQUEST_AT: usize = 28;
const RESPONSE_AT: usize = 47;

fn body(at: usize, text: &str) -> BodyText {
    BodyText { at, text: text.into() }
}

/// A text that does not repeat itself.
fn prose(seed: u64, bytes: usize) -> String {
    let mut state = seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1;
    let mut text = String::new();
    while text.len() < bytes {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        text += &format!("{state:x} é ");
    }
    text
}

fn store() -> (tempfile::TempDir, Store, SessionRow) {
    let (folder, store) = testing::store();
    let session = store.begin_session("run", "key", "{}").unwrap();
    (folder, store, session)
}

fn append(store: &Store, session: SessionRow, bodies: &[BodyText]) {
    let event = NewEvent { bodies, ..NewEvent::plain(JSON) };
    store.writer().unwrap().append(session, &[event]).unwrap();
}

fn events(store: &Store) -> Vec<Vec<u8>> {
    let all = Filter { limit: 1_000, ..Filter::default() };
    store.list(&all).unwrap().into_iter().rev().map(|event| event.json).collect()
}

fn file(store: &Store) -> Connection {
    Connection::open(store.path()).unwrap()
}

fn number(store: &Store, sql: &str) -> i64 {
    file(store).query_row(sql, [], |row| row.get(0)).unwrap()
}

#[test]
fn a_conversation_that_is_sent_again_stores_what_is_new() {
    let (_folder, store, session) = store();
    let (mut sent, mut whole) = (String::from("the system prompt: ") + &prose(1, 40_000), Vec::new());
    for turn in 0..20 {
        sent += &prose(100 + turn, 6_000);
        let bodies = [body(REQUEST_AT, &sent), body(RESPONSE_AT, "the same answer")];
        append(&store, session, &bodies);
        whole.push(with_bodies(JSON, &bodies));
    }
    assert_eq!(events(&store), whole);
    let stored = number(&store, "SELECT sum(bytes) FROM chunks");
    let passed: usize = whole.iter().map(Vec::len).sum();
    assert!(passed > 1_500_000 && stored < 400_000, "{stored} of {passed}");
}

#[test]
fn moved_text_is_found_again() {
    let (_folder, store, session) = store();
    let text = prose(7, 200_000);
    append(&store, session, &[body(REQUEST_AT, &text)]);
    let before = number(&store, "SELECT sum(bytes) FROM chunks");
    // A mark that moves from one message to another.
    let moved = [&text[..50_000], r#","cache_control":{"type":"ephemeral"}"#, &text[50_000..]].concat();
    append(&store, session, &[body(REQUEST_AT, &moved)]);
    let added = number(&store, "SELECT sum(bytes) FROM chunks") - before;
    assert!(added < 80_000, "{added}");
}

#[test]
fn short_bodies_stay_in_their_event() {
    let (_folder, store, session) = store();
    append(&store, session, &[body(REQUEST_AT, "ask"), body(RESPONSE_AT, "answer")]);
    assert_eq!(number(&store, "SELECT count(*) FROM chunks"), 0);
    assert_eq!(events(&store), [br#"{"path":"/","request_body":"ask","response_body":"answer"}"#]);
    assert_eq!(store.pending_event(1).unwrap().unwrap().json, events(&store)[0]);
}

#[test]
fn a_damaged_chunk_is_shown_in_its_place_and_harms_nothing_else() {
    let (_folder, store, session) = store();
    let (shared, own) = (prose(1, 100_000), prose(2, 100_000));
    append(&store, session, &[body(REQUEST_AT, &shared)]);
    append(&store, session, &[body(REQUEST_AT, &(shared + &own))]);
    let last = number(&store, "SELECT max(id) FROM chunks");
    file(&store).execute("UPDATE chunks SET data = zeroblob(length(data)) WHERE id = ?1", [last]).unwrap();
    let found = events(&store);
    let (first, second) = (String::from_utf8_lossy(&found[0]), String::from_utf8_lossy(&found[1]));
    assert!(!first.contains("is damaged in the event store"), "it has other chunks");
    assert_eq!(second.matches("is damaged in the event store").count(), 1);
    serde_json::from_slice::<serde_json::Value>(&found[1]).unwrap();
    file(&store).execute("DELETE FROM chunks WHERE id = ?1", [last]).unwrap();
    assert_eq!(events(&store)[1], found[1], "a missing one looks the same");
}

#[test]
fn a_flipped_bit_is_noticed_wherever_it_is() {
    let (_folder, store, session) = store();
    append(&store, session, &[body(REQUEST_AT, &prose(3, 3_000))]);
    let data: Vec<u8> = file(&store).query_row("SELECT data FROM chunks WHERE id = 1", [], |row| row.get(0)).unwrap();
    for at in (0..data.len()).step_by(97) {
        let mut flipped = data.clone();
        flipped[at] ^= 1 << (at % 8);
        file(&store).execute("UPDATE chunks SET data = ?1 WHERE id = 1", [flipped]).unwrap();
        assert!(String::from_utf8_lossy(&events(&store)[0]).contains("is damaged in the event store"), "byte {at}");
    }
}

#[test]
fn a_damaged_chunk_is_whole_again_in_all_its_events_when_its_text_comes_again() {
    let (_folder, store, session) = store();
    let bodies = [body(REQUEST_AT, &prose(4, 50_000))];
    let event = NewEvent { bodies: &bodies, ..NewEvent::plain(JSON) };
    let mut writer = store.writer().unwrap();
    writer.append(session, &[event]).unwrap();
    file(&store).execute("UPDATE chunks SET data = zeroblob(length(data)) WHERE id = 2", []).unwrap();
    let damaged: serde_json::Value = serde_json::from_slice(&events(&store)[0]).unwrap();
    assert_eq!(damaged["metadata"]["cut"]["bodies_damaged"], true);
    assert_eq!(store.viewer().damaged_chunks().unwrap(), 1);
    writer.append(session, &[event]).unwrap();
    assert_eq!(events(&store), vec![with_bodies(JSON, &bodies); 2]);
    assert_eq!(store.viewer().damaged_chunks().unwrap(), 0);
    Inspector::open(store.path()).unwrap().verify(&mut |fault| panic!("{fault}")).unwrap();
}

#[test]
fn a_damaged_list_of_chunks_harms_no_other_event() {
    let (_folder, store, session) = store();
    let all = [prose(6, 40_000), prose(7, 40_000)].map(|text| [body(REQUEST_AT, &text)]);
    all.iter().for_each(|bodies| append(&store, session, bodies));
    let mut column: Vec<u8> =
        file(&store).query_row("SELECT parts FROM events WHERE id = 1", [], |row| row.get(0)).unwrap();
    // The number of its first chunk becomes that of another event's.
    let at = column.len() - 2;
    column[at] ^= 8;
    file(&store).execute("UPDATE events SET parts = ?1 WHERE id = 1", [column]).unwrap();
    let event: serde_json::Value = serde_json::from_slice(&events(&store)[0]).unwrap();
    assert!(event["request_body"].as_str().unwrap().contains("is damaged in the event store"), "{event}");
    assert_eq!(event["metadata"]["cut"]["bodies_damaged"], true);
    let first = Selection { filter: Filter::default(), undelivered: true, ..Selection::default() };
    let counted = Clearable { up_to: 1, ..store.clearable(&first).unwrap() };
    assert_eq!(store.clear(&first, &counted).unwrap(), 1);
    assert_eq!(events(&store), [with_bodies(JSON, &all[1])]);
}

#[test]
fn people_read_whole_bodies_and_otas_gets_what_it_has_room_for() {
    let (_folder, store, session) = store();
    let bodies = [body(REQUEST_AT, &prose(8, 3_000_000)), body(RESPONSE_AT, &prose(9, 2_900_000))];
    append(&store, session, &bodies);
    assert_eq!(store.pending_event(1).unwrap().unwrap().json, for_otas(JSON, &bodies));
    assert_eq!(events(&store), [with_bodies(JSON, &bodies)]);
    // What there is no room for is not read, so it may be damaged.
    let last = number(&store, "SELECT max(id) FROM chunks");
    file(&store).execute("DELETE FROM chunks WHERE id = ?1", [last]).unwrap();
    assert_eq!(store.pending_event(1).unwrap().unwrap().json, for_otas(JSON, &bodies));
}

#[test]
fn each_body_of_each_event_of_one_transaction_counts() {
    let (_folder, store, session) = store();
    let bodies = [REQUEST_AT, RESPONSE_AT].map(|at| body(at, &prose(5, 50_000)));
    let events: [NewEvent<'_>; 3] = std::array::from_fn(|_| NewEvent { bodies: &bodies, ..NewEvent::plain(JSON) });
    let mut writer = store.writer().unwrap();
    for references in [6, 12] {
        writer
            .append(session, &events.each_ref().map(|event| NewEvent { event_id: Uuid::now_v7(), ..*event }))
            .unwrap();
        let counted = ["min", "max"].map(|of| number(&store, &format!("SELECT {of}(refs) FROM chunk_refs")));
        assert_eq!(counted, [references; 2]);
    }
}

#[test]
fn a_chunk_that_another_process_removed_is_stored_again() {
    let (_folder, store, session) = store();
    let bodies = [body(REQUEST_AT, &prose(5, 50_000))];
    let event = NewEvent { bodies: &bodies, ..NewEvent::plain(JSON) };
    let mut writer = store.writer().unwrap();
    writer.append(session, &[event]).unwrap();
    file(&store).execute_batch("DELETE FROM events; DELETE FROM chunks; DELETE FROM chunk_refs").unwrap();
    writer.append(session, &[event]).unwrap();
    assert_eq!(events(&store), [with_bodies(JSON, &bodies)]);
    assert_eq!(number(&store, "SELECT max(refs) FROM chunk_refs"), 1);
}

#[test]
fn damaged_parts_that_name_endless_chunks_do_not_hold_up_a_salvage() {
    let ((_one, old, _), (_two, new, session)) = (store(), store());
    append(&old, session, &[body(REQUEST_AT, &prose(9, 20_000))]);
    append(&new, session, &[body(REQUEST_AT, &prose(9, 20_000))]);
    let endless = Parts(vec![Part { at: REQUEST_AT, runs: vec![1..=i64::MAX - 1] }]);
    file(&new).execute("UPDATE events SET parts = ?1", [endless.encode()]).unwrap();
    salvage(&file(&old), &mut file(&new), Instant::now()).unwrap();
    assert_eq!(number(&new, "SELECT min(refs) FROM chunk_refs"), 2, "what is there is counted");
    assert!(String::from_utf8_lossy(&events(&new)[0]).contains("is damaged in the event store"));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn chunks_are_the_text(text in "(.{0,40}\\PC{0,9}){0,200}", copies in 1_usize..40) {
        let text = text.repeat(copies);
        let (cutter, mut whole) = (cutter(&text), String::new());
        while let Some(chunk) = cutter.chunk(whole.len()) {
            whole.push_str(chunk);
        }
        prop_assert_eq!(whole, text);
    }
}
