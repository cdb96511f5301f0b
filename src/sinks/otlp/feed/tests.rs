use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Value, json};
use uuid::Uuid;

use super::*;
use crate::config::Only;

const SPANS: Spans = Spans { only: Only::All, content: None, compat: false, metrics: false };
const TASK: &str = "Count the tests of the parser.";
const MOST: usize = 512;

/// A call of the main agent or of a sub-agent, which takes a second. Its row is its number, in the order of storing.
fn call(row: i64, at_ms: i64, sub: Option<&str>, messages: &[Value], answer: &[Value]) -> EventRow {
    let event = json!({
        "custom_properties": {
            "otas_proxy.llm.api": "anthropic.messages", "gen_ai.operation.name": "chat", "gen_ai.request.model": "m",
            "gen_ai.agent.name": "claude", "session.id": "s-1", "gen_ai.agent.id": sub,
        },
        "metadata": { "kind": "http", "timings": { "total": 1_000.0 } },
        "request_body": json!({ "model": "m", "tools": [{ "name": "Bash" }, { "name": "Agent" }], "messages": messages }).to_string(),
        "response_body": json!({ "type": "message", "role": "assistant", "content": answer, "stop_reason": "end_turn" }).to_string(),
    });
    EventRow {
        id: row,
        event_id: Uuid::from_u128(u128::try_from(at_ms).unwrap()),
        started_at_ms: at_ms,
        ..EventRow::plain(event.to_string().into_bytes())
    }
}

fn user(text: &str) -> Value {
    json!({ "role": "user", "content": [{ "type": "text", "text": text }] })
}

fn says(text: &str) -> Value {
    json!({ "type": "text", "text": text })
}

fn uses(id: &str, input: &Value) -> Value {
    json!({ "type": "tool_use", "id": id, "name": "Agent", "input": input })
}

fn messages() -> Vec<Value> {
    let result =
        json!({ "role": "user", "content": [{ "type": "tool_result", "tool_use_id": "t1", "content": "7" }] });
    let started = json!({ "role": "assistant", "content": [uses("t1", &json!({ "prompt": TASK }))] });
    vec![user("How many tests are there?"), started, result]
}

/// The call that starts a sub-agent.
fn starts(row: i64, at_ms: i64) -> EventRow {
    call(row, at_ms, None, &messages()[..1], &[uses("t1", &json!({ "prompt": TASK }))])
}

/// The call of the sub-agent.
fn sub(row: i64, at_ms: i64) -> EventRow {
    call(row, at_ms, Some("x1"), &[user(TASK)], &[says("7")])
}

/// The last call of the turn.
fn ends(row: i64, at_ms: i64) -> EventRow {
    call(row, at_ms, None, &messages(), &[says("There are 7.")])
}

/// A sink that has everything up to row 0.
fn feed() -> Feed {
    let mut feed = Feed::new(SPANS, 0);
    feed.recall(&[], 0, 0);
    feed
}

/// Takes events and sends all that is prepared.
fn sent(feed: &mut Feed, events: &[EventRow], now_ms: i64) -> Batch {
    feed.take(events, now_ms, true);
    let batch = feed.batch(MOST);
    feed.done(batch.up_to);
    batch
}

/// The tree of a trace: each span's name below that of its parent. Of a span that came twice, the last one counts.
fn tree(spans: &[Span]) -> (BTreeSet<String>, usize) {
    let all: BTreeMap<_, _> = spans.iter().map(|span| (span.span_id.clone(), span)).collect();
    let path = |span: &Span| {
        let above = std::iter::successors(Some(span), |span| {
            let parent = all.get(&span.parent_span_id).copied();
            assert!(parent.is_some() || span.parent_span_id.is_empty(), "the parent of {} is missing", span.name);
            assert!(
                parent.is_none_or(|parent| parent.trace_id == span.trace_id),
                "{} is in another trace",
                span.name
            );
            parent
        });
        let mut names: Vec<&str> = above.map(|span| &*span.name).collect();
        names.reverse();
        names.join(" > ")
    };
    let traces: BTreeSet<_> = spans.iter().map(|span| &span.trace_id).collect();
    (all.values().map(|span| path(span)).collect(), traces.len())
}

fn whole_tree() -> (BTreeSet<String>, usize) {
    let names = [
        "invoke_agent claude",
        "invoke_agent claude > chat m",
        "invoke_agent claude > execute_tool Agent",
        "invoke_agent claude > execute_tool Agent > invoke_agent claude",
        "invoke_agent claude > execute_tool Agent > invoke_agent claude > chat m",
    ];
    (names.map(str::to_owned).into(), 1)
}

#[test]
fn calls_that_are_stored_in_another_order_within_a_batch_give_the_same_tree() {
    let all = |of: [EventRow; 3]| {
        let batch = sent(&mut feed(), &of, 10_000);
        assert_eq!((batch.events, batch.skipped, batch.up_to), (3, 0, 3));
        tree(&batch.spans)
    };
    assert_eq!(all([starts(1, 1_000), sub(2, 3_000), ends(3, 5_000)]), whole_tree());
    assert_eq!(all([sub(1, 3_000), starts(2, 1_000), ends(3, 5_000)]), whole_tree());
    assert_eq!(all([ends(1, 5_000), sub(2, 3_000), starts(3, 1_000)]), whole_tree());
}

#[test]
fn a_call_that_is_stored_after_the_end_of_its_turn_belongs_to_it() {
    let mut feed = feed();
    let mut spans = sent(&mut feed, &[starts(1, 1_000), sub(2, 3_000)], 10_000).spans;
    let first = messages();
    let beside = uses("t2", &json!({ "command": "ls" }));
    let late = call(4, 4_500, None, &first, &[beside]);
    spans.extend(sent(&mut feed, &[ends(3, 5_000)], 11_000).spans);
    spans.extend(sent(&mut feed, &[late], 12_000).spans);
    let traces: BTreeSet<_> = spans.iter().map(|span| &span.trace_id).collect();
    assert_eq!(traces.len(), 1);
}

#[test]
fn a_sub_agents_call_waits_for_the_call_that_started_it() {
    let mut feed = feed();
    let first = sent(&mut feed, &[sub(1, 3_000)], 10_000);
    assert_eq!((first, feed.waits(), feed.takes_after()), (Batch::default(), true, Some(1)));
    // Others pass it, but the position stays before it.
    let other = EventRow { id: 2, event_id: Uuid::from_u128(9), ..EventRow::plain(b"{}".to_vec()) };
    let passed = sent(&mut feed, &[other], 10_500);
    assert_eq!((passed.events, passed.up_to, feed.lacks(0)), (1, 0, false));
    let both = sent(&mut feed, &[starts(3, 1_000)], 11_000);
    assert_eq!((both.events, both.up_to, feed.waits()), (2, 3, false));
    let end = sent(&mut feed, &[ends(4, 5_000)], 12_000);
    assert_eq!(tree(&[both.spans, end.spans].concat()), whole_tree());
}

#[test]
fn a_batch_with_a_call_that_waited_is_split_and_sent_again_without_a_change() {
    let mut feed = feed();
    sent(&mut feed, &[sub(1, 3_000)], 10_000);
    feed.take(&[starts(2, 1_000), ends(3, 5_000)], 11_000, true);
    let whole = feed.batch(MOST);
    assert_eq!((whole.events, whole.up_to, feed.takes_after()), (3, 3, None));
    assert_eq!(feed.batch(MOST), whole);
    let parts: Vec<Batch> = (0..3)
        .map(|_| {
            let batch = feed.batch(1);
            feed.done(batch.up_to);
            batch
        })
        .collect();
    // In the order in which the calls began. The position passes the first row with the second part.
    assert_eq!(parts.iter().map(|batch| (batch.events, batch.up_to)).collect::<Vec<_>>(), [(1, 0), (1, 2), (1, 3)]);
    assert_eq!(parts.into_iter().flat_map(|batch| batch.spans).collect::<Vec<_>>(), whole.spans);
}

#[test]
fn a_call_whose_parent_does_not_come_waits_for_ten_seconds_only_and_not_at_all_at_a_stop() {
    let mut feed = feed();
    assert_eq!(sent(&mut feed, &[sub(1, 3_000)], 10_000).events, 0);
    assert_eq!(sent(&mut feed, &[], 19_999).events, 0);
    let alone = sent(&mut feed, &[], 20_000);
    assert_eq!((alone.events, alone.up_to, feed.waits()), (1, 1, false));
    let names = ["invoke_agent claude".to_owned(), "invoke_agent claude > chat m".to_owned()];
    assert_eq!(tree(&alone.spans), (names.into(), 1));
    // Its later calls are in that trace, and do not wait.
    let goes_on = call(
        2,
        4_500,
        Some("x1"),
        &[user(TASK), json!({ "role": "assistant", "content": [says("7")] }), user("Sure?")],
        &[says("Yes.")],
    );
    assert_eq!(sent(&mut feed, &[goes_on], 20_001).events, 1);

    let mut stopping = self::feed();
    assert_eq!(sent(&mut stopping, &[sub(1, 3_000)], 10_000).events, 0);
    stopping.take(&[], 10_001, false);
    assert_eq!(stopping.batch(MOST).events, 1);
}

#[test]
fn only_so_many_calls_wait() {
    let mut feed = feed();
    let all: Vec<EventRow> =
        (1..=100).map(|row| call(row, row, Some(&format!("x{row}")), &[user(TASK)], &[says("7")])).collect();
    let batch = sent(&mut feed, &all, 10_000);
    assert_eq!((batch.events, batch.up_to, feed.waiting.len()), (36, 0, WAITING_CALLS));
}
