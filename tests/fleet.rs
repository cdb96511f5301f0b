//! A fleet: events travel over a real NATS server, and relays deliver them.

mod access;
mod failures;
mod hostile;
mod stage;

use std::time::Duration;

use otas_proxy::store::State;

use self::stage::{Fleet, all_are, id_of, ids};
use crate::support::nats::{TestNats, is_installed};
use crate::support::origin::TestOrigin;
use crate::support::proxy::{Running, eventually};

/// Calls an origin through a proxy, one after the other.
async fn call(proxy: &Running, origin: &TestOrigin, many: usize) {
    let client = proxy.client();
    for number in 0..many {
        let body = format!("call {number} of {}", proxy.app.run_id);
        client.post(origin.url("/echo")).body(body).send().await.unwrap().bytes().await.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn events_reach_the_stream_once_and_wait_in_the_store_while_the_server_is_away() {
    if !is_installed("events_reach_the_stream_once_and_wait_in_the_store_while_the_server_is_away") {
        return;
    }
    let mut fleet = Fleet::new(1, TestNats::start("")).await;
    let said = fleet.init(&[]);
    assert!(said.contains("queue.forget = \"delivered\""), "{said}");
    let (origin, proxy) = (TestOrigin::http().await, fleet.proxy(0).await);
    call(&proxy, &origin, 5).await;
    fleet.all_queued(5).await;
    fleet.nats.kill();
    call(&proxy, &origin, 5).await;
    eventually("the proxy says that the server is away", async || {
        proxy.app.watch().now().trouble.is_some_and(|trouble| trouble.contains("cannot reach NATS"))
    })
    .await;
    fleet.nats.up();
    // Those before are published again, and not stored twice.
    fleet.all_queued(10).await;
    assert_eq!(fleet.queued().await, ids(&proxy.app.store), "in the order of the calls");
    let stream = fleet.jetstream().await.get_stream("OTAS").await.unwrap();
    let first = stream.get_raw_message(1).await.unwrap();
    assert_eq!(first.subject.as_str(), format!("otas.events.{}.agent-0", fleet.otas.project_id()));
    assert_eq!(first.headers.get("Nats-Msg-Id").unwrap().as_str(), ids(&proxy.app.store)[0]);
    all_are(&proxy, State::Pending, 10).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_full_stream_pushes_back_into_the_store() {
    if !is_installed("a_full_stream_pushes_back_into_the_store") {
        return;
    }
    let (fleet, origin, proxy) = Fleet::with_a_proxy(&["--max-bytes", "16KiB"]).await;
    call(&proxy, &origin, 40).await;
    eventually("the proxy says that the stream is full", async || {
        proxy.app.watch().now().trouble.is_some_and(|trouble| trouble.contains("is full"))
    })
    .await;
    all_are(&proxy, State::Pending, 40).await;
    // As soon as there is room, they go on.
    let _relay = fleet.relay();
    all_are(&proxy, State::Delivered, 40).await;
    assert_eq!(fleet.otas.events().await.len(), 40);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_relay_delivers_in_order_and_tells_the_proxy() {
    if !is_installed("a_relay_delivers_in_order_and_tells_the_proxy") {
        return;
    }
    let fleet = Fleet::new(2, TestNats::start("")).await;
    fleet.init(&[]);
    let origin = TestOrigin::http().await;
    let (one, other) = (fleet.proxy(0).await, fleet.proxy(1).await);
    let relay = fleet.relay();
    tokio::join!(call(&one, &origin, 20), call(&other, &origin, 20));
    for proxy in [&one, &other] {
        all_are(proxy, State::Delivered, 20).await;
    }
    let arrived: Vec<String> = fleet.otas.events().await.iter().map(id_of).collect();
    assert_eq!(arrived.len(), 40);
    for proxy in [&one, &other] {
        let sent = ids(&proxy.app.store);
        let ours: Vec<&String> = arrived.iter().filter(|id| sent.contains(id)).collect();
        assert_eq!(ours, sent.iter().collect::<Vec<_>>());
    }
    assert_eq!(fleet.otas.sessions().await.len(), 2, "one for each run");
    fleet.messages("OTAS", 0).await;
    let status = relay.status().await;
    assert_eq!((&status["works"], &status["delivered"]), (&true.into(), &40.into()), "{status}");
    assert!(relay.get("/metrics").await.contains("otas_relay_events_delivered_total 40"));
    assert_eq!(relay.get("/healthz").await, "ok\n");
    let asked = relay.folder.program().args(["relay", "status"]).output().unwrap();
    let asked = String::from_utf8(asked.stdout).unwrap();
    assert!(asked.contains("OTAS: 0 events wait") && asked.contains(" delivers"), "{asked}");
    tokio::time::timeout(Duration::from_secs(30), one.events()).await.unwrap();
}
