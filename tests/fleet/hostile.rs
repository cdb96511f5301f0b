//! What nobody wishes a fleet: relays that were paused, streams that were deleted or made smaller, servers that never answer, and
//! messages that no relay of this version can read.

use std::time::Duration;

use async_nats::HeaderMap;
use otas_proxy::store::State;
use rustix::process::Signal;
use serde_json::{Value, json};

use super::call;
use super::stage::{Fleet, TestRelay, agent, all_are, complains, id_of, ids, is_in_order};
use crate::support::nats::{TestNats, is_installed};
use crate::support::origin::TestOrigin;
use crate::support::otas::Overload;
use crate::support::proxy::eventually;

#[tokio::test(flavor = "multi_thread")]
async fn a_relay_that_was_paused_delivers_nothing_behind_the_back_of_the_next_one() {
    if !is_installed("a_relay_that_was_paused_delivers_nothing_behind_the_back_of_the_next_one") {
        return;
    }
    let fleet = Fleet::new(2, TestNats::start("")).await;
    fleet.init(&[]);
    let check = Duration::from_millis(20);
    let limit = 20;
    let overload = Overload { max_in_flight: limit, workers: 16, key_check: check, time_out: check * 25 };
    fleet.otas.overload(overload);
    let origin = TestOrigin::http().await;
    let proxies = [fleet.proxy(0).await, fleet.proxy(1).await];
    let first = fleet.relay();
    eventually("the first relay has the lease", async || first.status().await["works"] == true).await;
    let next = fleet.relay();
    futures_util::future::join_all(proxies.iter().map(|proxy| call(proxy, &origin, 150))).await;
    eventually("it is at work", async || fleet.otas.posts() >= 60).await;
    first.signal(Signal::STOP);
    // The next one works already when the first one goes on.
    eventually("the next relay delivers", async || next.status().await["delivered"].as_u64().unwrap() >= 20).await;
    first.signal(Signal::CONT);
    eventually("the first relay knows that it is not at work", async || first.status().await["works"] == false).await;
    for proxy in &proxies {
        all_are(proxy, State::Delivered, 150).await;
    }
    fleet.messages("OTAS", 0).await;
    let arrived: Vec<String> = fleet.otas.events().await.iter().map(id_of).collect();
    // Posts that were in flight when it was paused, and those whose verdict it had not told.
    assert!(arrived.len() <= 300 + 2 * limit, "{} of 300 events", arrived.len());
    assert!(proxies.iter().all(|proxy| is_in_order(proxy, &arrived)));
    assert!(fleet.otas.most_posts_at_once() <= limit, "{}", fleet.otas.most_posts_at_once());
    assert_eq!(fleet.otas.refused().len(), 0, "OTAS was pushed over its limit");
    // It takes over again, with what is in its store.
    drop(next);
    call(&proxies[0], &origin, 5).await;
    all_are(&proxies[0], State::Delivered, 155).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stream_that_was_deleted_gets_its_events_again() {
    if !is_installed("a_stream_that_was_deleted_gets_its_events_again") {
        return;
    }
    let (fleet, origin, proxy) = Fleet::with_a_proxy(&[]).await;
    call(&proxy, &origin, 5).await;
    fleet.all_queued(5).await;
    for stream in ["OTAS", "OTAS_DEAD", "OTAS_DONE", "OTAS_RELAYS"] {
        fleet.jetstream().await.delete_stream(stream).await.unwrap();
    }
    call(&proxy, &origin, 3).await;
    complains(&proxy, "run `otas-proxy relay init`").await;
    let relay = fleet.relay();
    relay.says("cannot look at the lease").await;
    fleet.init(&[]);
    all_are(&proxy, State::Delivered, 8).await;
    let arrived: Vec<String> = fleet.otas.events().await.iter().map(id_of).collect();
    assert_eq!(arrived, ids(&proxy.app.store));
}

#[tokio::test(flavor = "multi_thread")]
async fn streams_are_deleted_while_a_relay_delivers_and_nothing_is_lost() {
    if !is_installed("streams_are_deleted_while_a_relay_delivers_and_nothing_is_lost") {
        return;
    }
    let (fleet, origin, proxy) = Fleet::with_a_proxy(&[]).await;
    let relay = fleet.relay();
    call(&proxy, &origin, 5).await;
    all_are(&proxy, State::Delivered, 5).await;
    fleet.jetstream().await.delete_stream("OTAS").await.unwrap();
    call(&proxy, &origin, 3).await;
    complains(&proxy, "run `otas-proxy relay init`").await;
    fleet.init(&[]);
    all_are(&proxy, State::Delivered, 8).await;
    fleet.messages("OTAS", 0).await;
    assert_eq!(fleet.otas.events().await.len(), 8);
    drop(relay);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_message_that_cannot_be_read_stays_and_stops_nobody() {
    if !is_installed("a_message_that_cannot_be_read_stays_and_stops_nobody") {
        return;
    }
    let fleet = Fleet::new(1, TestNats::start("")).await;
    fleet.init(&[]);
    let jetstream = fleet.jetstream().await;
    let subject = format!("otas.events.{}.{}", fleet.otas.project_id(), agent(0));
    let newer = uuid::Uuid::now_v7();
    let mut headers = HeaderMap::new();
    headers.insert("Otas-Proxy", "another");
    headers.insert("Otas-Kind", "event");
    headers.insert("Otas-Event", newer.to_string());
    let mut verdicts = jetstream.client().subscribe("otas.verdicts.another").await.unwrap();
    let send = async |headers: HeaderMap, content: Vec<u8>| {
        jetstream.publish_with_headers(subject.clone(), headers, content.into()).await.unwrap().await.unwrap();
    };
    send(headers.clone(), b"a newer form".to_vec()).await;
    send(HeaderMap::new(), b"from nobody".to_vec()).await;
    let relay = fleet.relay();
    relay.says("cannot be read").await;
    // Its proxy asks: the event is not unknown, or it would be published again and again.
    let asked = uuid::Uuid::now_v7();
    headers.insert("Otas-Kind", "ask");
    send(headers, serde_json::to_vec(&json!({ "id": asked, "events": [newer] })).unwrap()).await;
    let answer = futures_util::StreamExt::next(&mut verdicts).await.unwrap();
    let answer: Value = serde_json::from_slice(&answer.payload).unwrap();
    assert_eq!(answer, json!({ "answers": asked, "verdicts": [] }));
    let (origin, proxy) = (TestOrigin::http().await, fleet.proxy(0).await);
    call(&proxy, &origin, 3).await;
    all_are(&proxy, State::Delivered, 3).await;
    fleet.messages("OTAS", 2).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn streams_keep_what_they_have_when_they_are_made_again() {
    if !is_installed("streams_keep_what_they_have_when_they_are_made_again") {
        return;
    }
    let (fleet, origin, proxy) = Fleet::with_a_proxy(&["--max-bytes", "1MiB"]).await;
    call(&proxy, &origin, 10).await;
    fleet.all_queued(10).await;
    let refused = fleet.try_init(&["--max-bytes", "1KiB"]).unwrap_err();
    assert!(refused.contains("the stream OTAS holds ") && refused.contains("--max-bytes"), "{refused}");
    assert_eq!(fleet.queued().await, ids(&proxy.app.store), "nothing was removed");
    let said = fleet.init(&["--dead-max-bytes", "2MiB"]);
    assert!(said.contains("has these settings now"), "{said}");
    let size =
        async |stream: &str| fleet.jetstream().await.get_stream(stream).await.unwrap().cached_info().config.max_bytes;
    assert_eq!((size("OTAS").await, size("OTAS_DEAD").await), (1 << 20, 2 << 20));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_never_answers_is_named_and_relays_wait_for_it() {
    if !is_installed("a_server_that_never_answers_is_named_and_relays_wait_for_it") {
        return;
    }
    // Connections are made, and nobody speaks.
    let silent = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let mut fleet = Fleet::new(1, TestNats::start("")).await;
    fleet.servers = Some(format!("nats://{}", silent.local_addr().unwrap()));
    let (origin, proxy) = (TestOrigin::http().await, fleet.proxy(0).await);
    call(&proxy, &origin, 2).await;
    let refused = fleet.try_init(&[]).unwrap_err();
    assert!(refused.contains("it does not answer"), "{refused}");
    complains(&proxy, "it does not answer").await;
    all_are(&proxy, State::Pending, 2).await;
    let relay = TestRelay::start(fleet.relay_folder());
    relay.says("cannot reach NATS").await;
    assert_eq!(relay.get("/readyz").await, "there is no connection to NATS\n");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_relay_that_starts_before_its_server_delivers_as_soon_as_it_is_there() {
    if !is_installed("a_relay_that_starts_before_its_server_delivers_as_soon_as_it_is_there") {
        return;
    }
    let mut fleet = Fleet::new(1, TestNats::start("")).await;
    fleet.init(&[]);
    fleet.nats.kill();
    let (origin, proxy) = (TestOrigin::http().await, fleet.proxy(0).await);
    let relay = fleet.relay();
    relay.says("cannot reach NATS").await;
    call(&proxy, &origin, 3).await;
    complains(&proxy, "Connection refused").await;
    fleet.nats.up();
    all_are(&proxy, State::Delivered, 3).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_full_stream_before_a_full_store_stops_no_agent() {
    if !is_installed("a_full_stream_before_a_full_store_stops_no_agent") {
        return;
    }
    let fleet = Fleet::new(1, TestNats::start("")).await;
    fleet.init(&["--max-bytes", "16KiB"]);
    let origin = TestOrigin::http().await;
    let proxy = fleet.proxy_with(0, |config| config.store.max_bytes = 2 << 20).await;
    let client = proxy.client();
    for _ in 0..400 {
        // Nothing that the store has already, and nothing that compresses.
        let body: String = (0..250).map(|_| uuid::Uuid::new_v4().simple().to_string()).collect();
        client.post(origin.url("/echo")).body(body).send().await.unwrap().bytes().await.unwrap();
    }
    complains(&proxy, "is full").await;
    let relay = fleet.relay();
    eventually("nothing waits", async || proxy.app.store.counts(None).unwrap().pending == 0).await;
    fleet.messages("OTAS", 0).await;
    // The oldest events were dropped, or only their bodies.
    let is_gap = |event: &Value| event["method"] == "GAP";
    eventually("the loss is reported", async || fleet.otas.events().await.iter().any(is_gap)).await;
    let calls = async || fleet.otas.events().await.iter().filter(|event| !is_gap(event)).count();
    let before = calls().await;
    assert!(before <= 400, "{before} of 400");
    let arrived: Vec<String> = fleet.otas.events().await.iter().map(id_of).collect();
    let mut once = arrived.clone();
    once.sort();
    once.dedup();
    assert_eq!(once.len(), arrived.len(), "none is delivered twice");
    call(&proxy, &origin, 5).await;
    eventually("later calls arrive", async || calls().await == before + 5).await;
    drop(relay);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_waits_is_shown_with_the_relay_that_delivers_and_the_keys_that_are_missing() {
    if !is_installed("what_waits_is_shown_with_the_relay_that_delivers_and_the_keys_that_are_missing") {
        return;
    }
    let fleet = Fleet::new(1, TestNats::start("")).await;
    fleet.init(&[]);
    let folder = fleet.relay_folder();
    std::fs::remove_file(folder.path().join("keys/agent-0.key")).unwrap();
    std::fs::write(folder.path().join("keys/*.key"), "agent_all_of_them").unwrap();
    let relay = TestRelay::start(folder);
    relay.says("expected `<agent_id>.key`").await;
    let (origin, proxy) = (TestOrigin::http().await, fleet.proxy(0).await);
    call(&proxy, &origin, 3).await;
    fleet.all_queued(3).await;
    let status = relay.status().await;
    assert_eq!(status["holder"], status["relay"], "{status}");
    let queue = &status["queue"];
    assert_eq!((&queue["messages"], &queue["by_agent"]["agent-0"]), (&3.into(), &3.into()), "{status}");
    assert_eq!(queue["without_a_key"]["agent-0"], 3, "{status}");
    let metrics = relay.get("/metrics").await;
    for line in ["works 1", "queue_messages 3", "queue_messages_without_key 3", "posts_in_flight 0", "events_held 0"]
    {
        assert!(metrics.contains(&format!("otas_relay_{line}\n")), "{line}: {metrics}");
    }
    let page = relay.page("/health").await;
    for words in ["<h2>Queue</h2>", "delivers", "events in the queue", "3 events of </bdi><code><bdi>agent-0"] {
        assert!(page.contains(words), "{words}: {page}");
    }
    assert!(page.contains(status["relay"].as_str().unwrap()), "{page}");
    let asked = relay.folder.program().args(["relay", "status"]).output().unwrap();
    let said = String::from_utf8(asked.stdout).unwrap();
    assert!(said.contains("relay: 0 events are taken out of the queue") && said.contains("3 events wait"), "{said}");
    drop(proxy);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_relay_whose_store_keeps_nothing_that_is_settled_concludes_all_events() {
    if !is_installed("a_relay_whose_store_keeps_nothing_that_is_settled_concludes_all_events") {
        return;
    }
    let (fleet, origin, proxy) = Fleet::with_a_proxy(&[]).await;
    // As on a disk without room: retention removes each event as soon as it has its verdict.
    let relay = TestRelay::start(fleet.relay_folder_of("min_free_bytes = 1125899906842624", ""));
    call(&proxy, &origin, 400).await;
    all_are(&proxy, State::Delivered, 400).await;
    fleet.messages("OTAS", 0).await;
    assert_eq!((fleet.otas.events().await.len(), relay.status().await["held"].as_u64()), (400, Some(0)));
}
