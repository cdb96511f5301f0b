//! Sessions of past runs and of parallel runs on one store: each event in its own session, delivered by one process at a time.

use std::time::Duration;

use otas_proxy::config::Order;
use otas_proxy::deliver::SessionState;
use otas_proxy::store::Store;
use serde_json::json;

use super::bench::{Bench, PATIENCE, Settings, in_session, saved_in, saved_seqs, until};
use crate::support::otas::{Answer, Overload, TestOtas};

#[tokio::test]
async fn events_of_a_past_run_are_delivered_in_its_session() {
    let otas = TestOtas::start().await;
    let bench = Bench::new(&otas);
    bench.append(2);
    let first = bench.start(|_| {});
    assert_eq!(first.drained(PATIENCE).await.counts.delivered, 2);
    first.stop().await;
    bench.append(3);

    let own = bench.another_session("second");
    bench.append_to(own, 2);
    let second = bench.start_for(Some(own), |settings| settings.delivery.max_in_flight = 1);
    assert_eq!(second.drained(PATIENCE).await.counts.delivered, 2);
    until(&second, |_| bench.counts().delivered == 5).await;
    let sessions = otas.sessions().await;
    assert_eq!(sessions.len(), 2);
    assert_eq!(saved_in(&otas, sessions[0].session_id).await, ["1-0", "1-1", "1-2", "1-3", "1-4"]);
    assert_eq!(saved_in(&otas, sessions[1].session_id).await, ["2-0", "2-1"]);
    assert_eq!(second.status().session, in_session(sessions[1].session_id));
    second.stop().await;
}

#[tokio::test]
async fn a_past_run_that_never_reached_otas_gets_its_session_with_its_own_meta() {
    let otas = TestOtas::start().await;
    let bench = Bench::new(&otas);
    bench.append(2);
    let deliverer = bench.start_for(None, |_| {});
    let status = deliverer.drained(PATIENCE).await;
    assert_eq!((status.counts.delivered, status.counts.pending), (2, 0));
    let sessions = otas.sessions().await;
    assert_eq!((sessions.len(), &sessions[0].meta), (1, &json!({ "run": "r" })));
    deliverer.stop().await;
}

#[tokio::test]
async fn the_oldest_events_go_first_across_sessions() {
    let otas = TestOtas::start().await;
    let bench = Bench::new(&otas);
    let other = bench.another_session("other");
    for _ in 0..3 {
        bench.append(2);
        bench.append_to(other, 2);
    }
    let deliverer = bench.start(|settings| settings.delivery.max_in_flight = 1);
    until(&deliverer, |status| status.backlog == 0 && status.counts.delivered == 6).await;
    let ids: Vec<_> = otas.events().await.iter().map(|event| event["metadata"]["id"].clone()).collect();
    let expected =
        ["1-0", "1-1", "2-0", "2-1", "1-2", "1-3", "2-2", "2-3", "1-4", "1-5", "2-4", "2-5"].map(|id| json!(id));
    assert_eq!(ids, expected);
    deliverer.stop().await;
}

/// As many posts as OTAS can process, and this many sessions.
fn at_once(settings: &mut Settings, order: Order) {
    settings.delivery.order = order;
    settings.delivery.max_in_flight = 16;
}

#[tokio::test]
async fn a_small_backlog_is_delivered_in_order() {
    let otas = TestOtas::start().await;
    otas.overload(Overload { workers: 8, ..Overload::measured(40) });
    let bench = Bench::new(&otas);
    let other = bench.another_session("other");
    let deliverer = bench.start(|settings| at_once(settings, Order::Adaptive));
    for round in 1..=6 {
        bench.append(30);
        bench.append_to(other, 30);
        deliverer.wake();
        until(&deliverer, |status| status.backlog == 0 && status.counts.delivered == 30 * round).await;
    }
    assert!(otas.most_posts_at_once() <= 2, "one of each session");
    for session in otas.sessions().await {
        let row = if session.meta["run"] == "r" { 1 } else { 2 };
        let expected: Vec<_> = (0..180).map(|seq| json!(format!("{row}-{seq}"))).collect();
        assert_eq!(saved_in(&otas, session.session_id).await, expected);
    }
    deliverer.stop().await;
}

#[tokio::test]
async fn a_large_backlog_is_delivered_in_parallel_and_order_returns_after_it() {
    let otas = TestOtas::start().await;
    otas.overload(Overload { workers: 8, ..Overload::measured(10) });
    let bench = Bench::new(&otas);
    bench.append(200);
    let deliverer = bench.start(|settings| at_once(settings, Order::Adaptive));
    until(&deliverer, |status| status.backlog == 0 && status.counts.delivered == 200).await;
    assert!(otas.most_posts_at_once() > 2, "{}", otas.most_posts_at_once());
    bench.append(30);
    deliverer.wake();
    assert_eq!(deliverer.drained(PATIENCE).await.counts.delivered, 230);
    assert_eq!(saved_seqs(&otas).await[200..], (200..230).collect::<Vec<_>>());
    deliverer.stop().await;
}

/// Three sessions make events at 0.95 of OTAS's capacity.
#[tokio::test]
async fn at_95_percent_of_capacity_no_two_adjacent_events_are_swapped() {
    const EACH: usize = 60;
    let otas = TestOtas::start().await;
    let overload = Overload::measured(10);
    let pace = f64::from(u32::try_from(overload.workers).unwrap()) / overload.key_check.as_secs_f64();
    otas.overload(overload);
    let bench = Bench::new(&otas);
    let sessions = [bench.session, bench.another_session("b"), bench.another_session("c")];
    let deliverer = bench.start(|settings| at_once(settings, Order::Adaptive));
    let mut every = tokio::time::interval(Duration::from_secs_f64(3.0 / (0.95 * pace)));
    for _ in 0..EACH {
        every.tick().await;
        sessions.iter().for_each(|session| bench.append_to(*session, 1));
        deliverer.wake();
    }
    until(&deliverer, |status| status.backlog == 0).await;
    let mut swaps = 0;
    for session in otas.sessions().await {
        let seqs: Vec<u64> = saved_in(&otas, session.session_id)
            .await
            .iter()
            .map(|id| id.as_str().unwrap().split_once('-').unwrap().1.parse().unwrap())
            .collect();
        assert_eq!(seqs.len(), EACH);
        swaps += seqs.windows(2).filter(|pair| pair[0] > pair[1]).count();
    }
    assert_eq!(swaps, 0);
    deliverer.stop().await;
}

/// OTAS's database refuses one event for a while. Later events of its session do not pass it; those of other sessions do.
#[tokio::test]
async fn with_ordered_delivery_a_retried_event_is_not_passed_by_its_session() {
    let otas = TestOtas::start().await;
    let bench = Bench::new(&otas);
    bench.append(20);
    otas.answer_next(6, Answer::refusal(500, "event_capture_failed"));
    let deliverer = bench.start(|settings| at_once(settings, Order::Adaptive));
    assert_eq!(deliverer.drained(PATIENCE).await.counts.delivered, 20);
    assert_eq!(saved_seqs(&otas).await, (0..20).collect::<Vec<_>>());
    deliverer.stop().await;
}

#[tokio::test]
async fn in_strict_order_a_session_has_one_event_in_flight() {
    let otas = TestOtas::start().await;
    otas.overload(Overload { workers: 8, ..Overload::measured(40) });
    let bench = Bench::new(&otas);
    let other = bench.another_session("other");
    for _ in 0..10 {
        bench.append(3);
        bench.append_to(other, 3);
    }
    let deliverer = bench.start(|settings| {
        settings.delivery.order = Order::Strict;
        settings.delivery.max_in_flight = 16;
    });
    until(&deliverer, |status| status.backlog == 0 && status.counts.delivered == 30).await;
    assert_eq!(otas.most_posts_at_once(), 2);
    for session in otas.sessions().await {
        let row = if session.meta["run"] == "r" { 1 } else { 2 };
        let expected: Vec<_> = (0..30).map(|seq| json!(format!("{row}-{seq}"))).collect();
        assert_eq!(saved_in(&otas, session.session_id).await, expected);
    }
    deliverer.stop().await;
}

#[tokio::test]
async fn one_of_two_processes_delivers_and_the_other_takes_over() {
    let otas = TestOtas::start().await;
    let bench = Bench::new(&otas);
    let other = bench.another_session("other");
    let first = bench.start(|_| {});
    until(&first, |status| status.delivering).await;
    let second = bench.start_for(Some(other), |_| {});
    bench.append_to(other, 5);
    // Nothing wakes the first process: it checks for new events itself.
    let status = second.drained(PATIENCE).await;
    assert_eq!((status.counts.delivered, status.delivering), (5, false));
    assert!(matches!(status.session, SessionState::Open { .. }), "{status:?}");

    // Dropped like a process that dies, which closes its files.
    drop(first);
    bench.append(3);
    bench.append_to(other, 3);
    until(&second, |status| status.delivering && status.backlog == 0 && status.counts.delivered == 8).await;
    let sessions = otas.sessions().await;
    assert_eq!(sessions.len(), 2);
    for session in sessions {
        let row = if session.meta["run"] == "r" { "1-" } else { "2-" };
        let saved = saved_in(&otas, session.session_id).await;
        assert!(saved.iter().all(|id| id.as_str().unwrap().starts_with(row)), "{saved:?}");
    }
    assert_eq!(otas.events().await.len(), 11);
    second.stop().await;
}

#[tokio::test]
async fn ten_processes_together_keep_the_pace_of_one() {
    let otas = TestOtas::start().await;
    otas.overload(Overload::measured(20));
    let bench = Bench::new(&otas);
    let sessions: Vec<_> = (0..10).map(|run| bench.another_session(&format!("run {run}"))).collect();
    for _ in 0..4 {
        sessions.iter().for_each(|session| bench.append_to(*session, 3));
    }
    let mut all: Vec<_> = sessions.iter().map(|session| bench.start_for(Some(*session), |_| {})).collect();
    // The delivering process ends, three times.
    for _ in 0..3 {
        let at = loop {
            if let Some(at) = all.iter().position(|deliverer| deliverer.status().delivering) {
                break at;
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        };
        let posts = otas.posts();
        otas.posts_at_least(posts + 5, PATIENCE).await;
        drop(all.remove(at));
    }
    for deliverer in &all {
        assert_eq!(deliverer.drained(PATIENCE).await.counts.pending, 0);
    }
    until(&all[0], |status| status.backlog == 0).await;
    assert_eq!(bench.store.counts(None).unwrap().delivered, 120);
    assert!(otas.most_posts_at_once() <= 8, "{}", otas.most_posts_at_once());
    // In ten sessions. Posts in flight when their process ended may be duplicates.
    let ids = otas
        .events()
        .await
        .iter()
        .map(|event| event["metadata"]["id"].to_string())
        .collect::<std::collections::BTreeSet<_>>();
    assert_eq!(ids.len(), 120);
    assert!(otas.events().await.len() <= 120 + 3 * 8);
}

#[tokio::test]
async fn a_process_does_not_wait_for_the_events_of_others() {
    let otas = TestOtas::start().await;
    let bench = Bench::new(&otas);
    bench.append(1);
    let other = bench.another_session("other");
    bench.append_to(other, 30);
    otas.overload(Overload { workers: 1, ..Overload::measured(4) });
    let first = bench.start(|_| {});
    let status = first.drained(PATIENCE).await;
    assert_eq!((status.counts.pending, status.counts.delivered), (0, 1));
    assert!(status.backlog > 0, "{status:?}");
    first.stop().await;
    // It has released the lock, and the next process delivers the rest.
    let second = bench.start_for(Some(other), |_| {});
    otas.up().await;
    assert_eq!(second.drained(PATIENCE).await.counts.delivered, 30);
    second.stop().await;
}

#[tokio::test]
async fn a_token_is_renewed_before_it_expires() {
    let otas = TestOtas::start().await;
    otas.tokens_live(Duration::from_secs(12));
    let bench = Bench::new(&otas);
    let deliverer = bench.start(|_| {});
    while otas.sessions().await.len() < 2 {
        bench.append(1);
        let sent = bench.counts().total;
        deliverer.wake();
        until(&deliverer, |status| status.counts.delivered >= sent).await;
    }
    assert_eq!((otas.refused(), deliverer.status().verdicts.renew_session), (vec![], 0));
    deliverer.stop().await;
}

#[tokio::test]
async fn a_kept_token_that_has_expired_or_cannot_be_opened_is_replaced() {
    let otas = TestOtas::start().await;
    let bench = Bench::new(&otas);
    bench.append(1);
    let first = bench.start(|_| {});
    assert_eq!(first.drained(PATIENCE).await.counts.delivered, 1);
    first.stop().await;
    // As sealed with another agent key.
    let record = bench.store.session(bench.session).unwrap().unwrap();
    let mut sealed = record.token_sealed.unwrap();
    sealed[20] ^= 1;
    let kept = otas_proxy::store::KeptToken { otas_session_id: None, sealed, expires_at_ms: None, mark: None };
    bench.store.keep_token(bench.session, &kept).unwrap();
    bench.append(1);
    let second = bench.start(|_| {});
    assert_eq!(second.drained(PATIENCE).await.counts.delivered, 2);
    second.stop().await;
    assert_eq!((otas.sessions().await.len(), otas.refused()), (2, vec![]));
    otas.expire_tokens().await;
    bench.append(1);
    let third = bench.start(|_| {});
    assert_eq!(third.drained(PATIENCE).await.counts.delivered, 3);
    third.stop().await;
    assert_eq!((otas.sessions().await.len(), otas.refused().len()), (3, 1));
}

#[tokio::test]
async fn events_that_become_pending_again_are_found() {
    let otas = TestOtas::start().await;
    let bench = Bench::new(&otas);
    otas.answer_next(3, Answer::refusal(400, "missing_required_fields"));
    bench.append(1);
    let deliverer = bench.start(|_| {});
    until(&deliverer, |status| status.counts.dead == 1).await;
    bench.append(2);
    until(&deliverer, |status| status.counts.delivered == 2).await;
    let other = Store::open(bench.store.path()).unwrap();
    let connection = rusqlite::Connection::open(other.path()).unwrap();
    connection.execute_batch("UPDATE events SET state = 0 WHERE state = 2; UPDATE sessions SET dead = 0").unwrap();
    until(&deliverer, |status| status.counts.delivered == 3).await;
    deliverer.stop().await;
}
