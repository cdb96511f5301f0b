//! Delivery from the store to OTAS: completeness, order and pace.

mod bench;
mod credentials;
mod faults;
mod sessions;

use std::time::Duration;

use otas_proxy::deliver::SessionState;
use otas_proxy::store::{Counts, State};
use serde_json::{Value, json};

use self::bench::{Bench, PATIENCE, in_session, saved_seqs};
use crate::support::otas::{Overload, TestOtas, UasamCall};

#[tokio::test]
async fn events_are_delivered_in_order_in_their_own_session() {
    let otas = TestOtas::start().await;
    let bench = Bench::new(&otas);
    bench.append(20);
    let deliverer = bench.start(|settings| settings.delivery.max_in_flight = 1);
    let status = deliverer.drained(PATIENCE).await;
    assert_eq!(status.counts, Counts { total: 20, pending: 0, delivered: 20, dead: 0, kept: 0 });
    assert_eq!(status.session, in_session(otas.sessions().await[0].session_id));
    assert_eq!(status.trouble, None);
    assert_eq!(saved_seqs(&otas).await, (0..20).collect::<Vec<_>>());
    let saved = otas.stored_events().await;
    assert!(saved.iter().all(|event| event.body["project_id"] == otas.project_id().to_string()));
    let [_verify, UasamCall { body, .. }] = &otas.uasam_calls()[..] else { panic!("{:?}", otas.uasam_calls()) };
    let meta = serde_json::from_str::<Value>(body).unwrap();
    assert_eq!(meta, json!({ "meta": { "run": "r" }, "Meta": { "run": "r" } }));
    let row = &bench.rows()[0];
    let last = saved[19].event_id.to_string();
    assert_eq!((row.state, row.attempts, row.otas_event_id.as_deref()), (State::Delivered, 1, Some(&*last)));
    deliverer.stop().await;
}

#[tokio::test]
async fn rows_that_come_later_are_delivered_when_it_is_woken() {
    let otas = TestOtas::start().await;
    let bench = Bench::new(&otas);
    let deliverer = bench.start(|_| {});
    let waker = deliverer.waker();
    for round in 1..=3 {
        deliverer.watch().wait_for(|status| !matches!(status.session, SessionState::Opening)).await.unwrap();
        bench.append(5);
        std::thread::scope(|scope| drop(scope.spawn(|| waker.wake())));
        deliverer.watch().wait_for(|status| status.counts.delivered == round * 5).await.unwrap();
    }
    deliverer.stop().await;
}

#[tokio::test]
async fn posts_in_flight_stay_within_the_limit() {
    let otas = TestOtas::start().await;
    let bench = Bench::new(&otas);
    bench.append(60);
    let deliverer = bench.start(|settings| settings.delivery.max_in_flight = 3);
    assert_eq!(deliverer.drained(PATIENCE).await.counts.delivered, 60);
    assert!((1..=3).contains(&otas.most_posts_at_once()), "{}", otas.most_posts_at_once());
    deliverer.stop().await;
}

#[tokio::test]
async fn a_burst_is_delivered_at_otas_capacity_with_hardly_any_refusals() {
    const EVENTS: u64 = 300;
    const FASTER: u32 = 10;
    let otas = TestOtas::start().await;
    otas.overload(Overload { time_out: Duration::from_secs(4), ..Overload::measured(FASTER) });
    let bench = Bench::new(&otas);
    bench.append(EVENTS as usize);
    let deliverer = bench.start(|settings| settings.delivery.max_in_flight = 16);
    let status = deliverer.drained(PATIENCE).await;
    assert_eq!(status.counts, Counts { total: EVENTS, pending: 0, delivered: EVENTS, dead: 0, kept: 0 });
    assert!(otas.refused().len() as u64 * 50 <= EVENTS, "{} refused", otas.refused().len());
    // Both workers are busy, and few more posts are queued.
    assert!((2..=8).contains(&otas.most_posts_at_once()), "{}", otas.most_posts_at_once());
    deliverer.stop().await;
}

#[tokio::test]
async fn acknowledged_events_are_never_posted_again() {
    let otas = TestOtas::start().await;
    let bench = Bench::new(&otas);
    bench.append(50);
    let first = bench.start(|_| {});
    first.watch().wait_for(|status| status.counts.delivered >= 5).await.unwrap();
    first.stop().await;
    let second = bench.start(|_| {});
    assert_eq!(second.drained(PATIENCE).await.counts.delivered, 50);
    second.stop().await;
    let mut seqs = saved_seqs(&otas).await;
    seqs.sort_unstable();
    assert_eq!(seqs, (0..50).collect::<Vec<_>>());
}
