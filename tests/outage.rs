//! OTAS goes away and comes back while agents work: no call notices, and every event arrives.

use std::collections::BTreeSet;
use std::time::Duration;

use otas_proxy::app::Summary;
use otas_proxy::deliver::{SessionState, Status};
use serde_json::Value;
use tokio::task::JoinSet;

use crate::support::origin::TestOrigin;
use crate::support::otas::TestOtas;
use crate::support::proxy::{Running, TestProxy};

const WITHIN: Duration = Duration::from_secs(60);
const AGENTS: usize = 5;

/// A proxy that tries OTAS again soon.
async fn proxy_to(otas: &TestOtas, in_flight: usize) -> Running {
    let proxy = TestProxy::new().otas(otas).with(|c| {
        c.delivery.backoff_min = Duration::from_millis(5);
        c.delivery.backoff_max = Duration::from_millis(50);
        c.delivery.max_in_flight = in_flight;
    });
    proxy.run().await
}

/// Agents that make so many calls in all, each of which must go well. Ends with the last.
fn calls(proxy: &Running, origin: &TestOrigin, total: usize) -> JoinSet<()> {
    assert!(total.is_multiple_of(AGENTS));
    let mut agents = JoinSet::new();
    for agent in 0..AGENTS {
        let (client, url) = (proxy.client(), origin.url("/echo"));
        agents.spawn(async move {
            for at in 0..total / AGENTS {
                let body = format!("agent {agent}, call {at}");
                let reply = client.post(&url).body(body.clone()).send().await.unwrap();
                assert_eq!((reply.status().as_u16(), reply.text().await.unwrap()), (200, body));
            }
        });
    }
    agents
}

async fn finish(mut agents: JoinSet<()>) {
    while let Some(ended) = agents.join_next().await {
        ended.unwrap();
    }
}

async fn until(proxy: &Running, what: impl FnMut(&Status) -> bool) -> Status {
    let mut watch = proxy.app.watch().own().unwrap();
    let status = tokio::time::timeout(WITHIN, watch.wait_for(what)).await;
    status.unwrap_or_else(|_| panic!("{:?}", proxy.app.watch().now())).unwrap().clone()
}

fn in_trouble(status: &Status) -> bool {
    status.trouble.is_some() && status.in_flight == 0
}

fn seqs(events: &[Value]) -> Vec<u64> {
    events.iter().map(|event| event["metadata"]["event"]["seq"].as_u64().unwrap()).collect()
}

fn ids(events: &[Value]) -> BTreeSet<&str> {
    events.iter().map(|event| event["metadata"]["event"]["id"].as_str().unwrap()).collect()
}

fn all_delivered(total: usize) -> Summary {
    Summary { calls: total as u64, delivered: total as u64, ..Summary::default() }
}

#[tokio::test]
async fn otas_dies_in_the_middle_of_500_calls_and_every_event_arrives_once() {
    const CALLS: usize = 500;
    let (otas, origin) = (TestOtas::start().await, TestOrigin::http().await);
    let proxy = proxy_to(&otas, 4).await;
    let before = calls(&proxy, &origin, CALLS / 2);
    otas.events_at_least(50, WITHIN).await;
    otas.down().await;
    finish(before).await;
    finish(calls(&proxy, &origin, CALLS / 2)).await;
    let away = until(&proxy, |status| in_trouble(status) && status.counts.pending >= CALLS as u64 / 2).await;
    assert!(matches!(away.session, SessionState::Open { .. }), "{away:?}");
    otas.up().await;
    let back = until(&proxy, |status| status.counts.delivered == CALLS as u64).await;
    assert_eq!(proxy.stop().await, all_delivered(CALLS));

    let events = otas.events().await;
    assert_eq!(ids(&events).len(), CALLS);
    // Nothing deduplicates in OTAS: what it saved while it died, and could not say, it is sent again.
    assert!((events.len() - CALLS) as u64 <= back.lost_answers, "{} events, {back:?}", events.len());
    assert_eq!(seqs(&events).into_iter().collect::<BTreeSet<_>>(), (1..=CALLS as u64).collect());
    assert_eq!(otas.refused(), []);
    assert_eq!(otas.sessions().await.len(), 1);
}

#[tokio::test]
async fn one_at_a_time_events_arrive_in_their_order_whatever_happens() {
    const CALLS: usize = 100;
    let (otas, origin) = (TestOtas::start().await, TestOrigin::http().await);
    let proxy = proxy_to(&otas, 1).await;
    for _ in 0..2 {
        let agents = calls(&proxy, &origin, CALLS / 4);
        otas.events_at_least(otas.events().await.len() as u64 + 10, WITHIN).await;
        otas.down().await;
        finish(agents).await;
        finish(calls(&proxy, &origin, CALLS / 4)).await;
        until(&proxy, in_trouble).await;
        otas.up().await;
    }
    let back = until(&proxy, |status| status.counts.delivered == CALLS as u64).await;
    assert_eq!(proxy.stop().await, all_delivered(CALLS));
    let mut seqs = seqs(&otas.events().await);
    assert!((seqs.len() - CALLS) as u64 <= back.lost_answers);
    let mut seen = BTreeSet::new();
    seqs.retain(|seq| seen.insert(*seq));
    assert_eq!(seqs, (1..=CALLS as u64).collect::<Vec<_>>());
}

#[tokio::test]
async fn answers_that_are_lost_double_no_more_than_they_must() {
    const CALLS: usize = 40;
    let (otas, origin) = (TestOtas::start().await, TestOrigin::http().await);
    otas.lose_answers(3);
    let proxy = proxy_to(&otas, 1).await;
    finish(calls(&proxy, &origin, CALLS)).await;
    let status = until(&proxy, |status| status.counts.delivered == CALLS as u64).await;
    assert_eq!(status.lost_answers, 3);
    proxy.stop().await;
    let events = otas.events().await;
    assert_eq!((events.len(), ids(&events).len()), (CALLS + 3, CALLS));
}

#[tokio::test]
async fn with_otas_away_at_the_start_the_proxy_serves_and_the_events_wait() {
    const CALLS: usize = 40;
    let (otas, origin) = (TestOtas::start().await, TestOrigin::http().await);
    otas.down().await;
    let proxy = proxy_to(&otas, 1).await;
    finish(calls(&proxy, &origin, CALLS)).await;
    let away = until(&proxy, |status| in_trouble(status) && status.counts.pending == CALLS as u64).await;
    assert_eq!(away.session, SessionState::Opening);
    otas.up().await;
    until(&proxy, |status| status.counts.delivered == CALLS as u64).await;
    assert_eq!(proxy.stop().await, all_delivered(CALLS));
    assert_eq!(seqs(&otas.events().await), (1..=CALLS as u64).collect::<Vec<_>>());
    assert_eq!(otas.sessions().await.len(), 1);
}

#[tokio::test]
async fn with_uasam_alone_away_at_the_start_the_session_waits_for_it() {
    const CALLS: usize = 20;
    let (otas, origin) = (TestOtas::start().await, TestOrigin::http().await);
    otas.uasam_away();
    let proxy = proxy_to(&otas, 1).await;
    finish(calls(&proxy, &origin, CALLS)).await;
    let away = until(&proxy, |status| in_trouble(status) && status.counts.pending == CALLS as u64).await;
    assert_eq!((away.session, otas.posts()), (SessionState::Opening, 0));
    otas.up().await;
    until(&proxy, |status| status.counts.delivered == CALLS as u64).await;
    assert_eq!(proxy.stop().await, all_delivered(CALLS));
    assert_eq!(seqs(&otas.events().await), (1..=CALLS as u64).collect::<Vec<_>>());
}

/// Brain then says of every key that it is bad (contract: "ambiguous").
#[tokio::test]
async fn uasam_going_away_alone_looks_like_a_bad_key_and_is_not_taken_for_one() {
    const CALLS: usize = 40;
    let (otas, origin) = (TestOtas::start().await, TestOrigin::http().await);
    let proxy = proxy_to(&otas, 4).await;
    finish(calls(&proxy, &origin, CALLS / 2)).await;
    until(&proxy, |status| status.counts.delivered == CALLS as u64 / 2).await;
    otas.uasam_away();
    finish(calls(&proxy, &origin, CALLS / 2)).await;
    let away = until(&proxy, |status| in_trouble(status) && status.counts.pending == CALLS as u64 / 2).await;
    assert!(!matches!(away.session, SessionState::Paused { .. }), "{away:?}");
    assert!(otas.refused().iter().all(|refused| refused.reason == "invalid_or_expired_agent_key"));
    otas.up().await;
    until(&proxy, |status| status.counts.delivered == CALLS as u64).await;
    assert_eq!(proxy.stop().await, all_delivered(CALLS));
    let events = otas.events().await;
    assert_eq!((events.len(), ids(&events).len()), (CALLS, CALLS));
}

#[tokio::test]
async fn a_stop_during_an_outage_keeps_the_events_and_says_so() {
    const CALLS: usize = 10;
    let (otas, origin) = (TestOtas::start().await, TestOrigin::http().await);
    otas.down().await;
    let proxy = proxy_to(&otas, 4).await;
    finish(calls(&proxy, &origin, CALLS)).await;
    until(&proxy, in_trouble).await;
    let store = proxy.app.store.clone();
    let Running { app, folder: _folder, .. } = proxy;
    let summary = app.stop(Duration::from_millis(200), tokio_util::sync::CancellationToken::new(), |_| {}).await;
    assert_eq!((summary.calls, summary.waiting, summary.failed), (CALLS as u64, CALLS as u64, 0), "{summary}");
    assert!(summary.to_string().contains("10 waiting (waiting events stay stored): "), "{summary}");
    assert_eq!(store.counts(None).unwrap().pending, CALLS as u64);
}
