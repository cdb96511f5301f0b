//! What a fleet lives through: servers and relays that die, a server that loses its last writes, wrong keys and full streams.

use std::collections::HashMap;
use std::path::Path;
use std::time::Duration;

use otas_proxy::store::State;
use tokio::time::Instant;

use super::call;
use super::stage::{Fleet, TestRelay, agent, all_are, id_of, ids, is_in_order};
use crate::support::nats::{TestNats, is_installed};
use crate::support::origin::TestOrigin;
use crate::support::otas::{Answer, Overload};
use crate::support::proxy::eventually;

/// A number from the environment, for runs that are larger than usual.
fn size(name: &str, usual: usize) -> usize {
    std::env::var(name).ok().and_then(|text| text.parse().ok()).unwrap_or(usual)
}

/// How often each event arrived.
fn arrivals(fleet_events: &[serde_json::Value]) -> HashMap<String, usize> {
    let mut arrived = HashMap::new();
    fleet_events.iter().for_each(|event| *arrived.entry(id_of(event)).or_default() += 1);
    arrived
}

/// Many proxies, relays and a server that are killed, and an OTAS that refuses good keys when it has too much to do.
#[tokio::test(flavor = "multi_thread")]
async fn nothing_is_lost_or_delivered_twice_while_relays_and_the_server_die() {
    if !is_installed("nothing_is_lost_or_delivered_twice_while_relays_and_the_server_die") {
        return;
    }
    let (proxies, events) = (size("OTAS_FLEET_PROXIES", 4), size("OTAS_FLEET_EVENTS", 240));
    let check = Duration::from_millis(size("OTAS_FLEET_CHECK_MS", 20) as u64);
    let mut fleet = Fleet::new(proxies, TestNats::start("")).await;
    fleet.init(&[]);
    // As measured, but with as many workers as keep a test short.
    let overload = Overload { max_in_flight: 20, workers: 16, key_check: check, time_out: check * 25 };
    fleet.otas.overload(overload);
    let origin = TestOrigin::http().await;
    let mut running = Vec::new();
    for number in 0..proxies {
        running.push(fleet.proxy(number).await);
    }
    let (mut one, other) = (fleet.relay(), fleet.relay());
    let each = events / proxies;
    let give_up = Instant::now() + Duration::from_secs(60 + events as u64 / 5);
    let began = Instant::now();
    let calling = async {
        futures_util::future::join_all(running.iter().map(|proxy| call(proxy, &origin, each))).await;
    };
    let kills = async {
        let delivered = async |many: u64| {
            while fleet.otas.posts() < many {
                assert!(Instant::now() < give_up, "{} of {many} posts", fleet.otas.posts());
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        };
        let all = events as u64;
        delivered(all / 5).await;
        let folder = one.kill();
        delivered(all * 2 / 5).await;
        one = TestRelay::start(folder);
        fleet.nats.kill();
        fleet.nats.up();
        (one, other)
    };
    let ((), (one, other)) = tokio::join!(calling, kills);
    // The relay that has the lease dies as well.
    let other_works = other.status().await["works"] == true;
    let (worker, spare) = if other_works { (other, one) } else { (one, other) };
    let folder = worker.kill();
    let back = TestRelay::start(folder);
    for proxy in &running {
        while proxy.app.store.counts(None).unwrap().delivered < each as u64 {
            assert!(Instant::now() < give_up, "{:?} {}", proxy.app.watch().now(), spare.status().await);
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }
    let took = began.elapsed();
    let saved = fleet.otas.events().await;
    let arrived = arrivals(&saved);
    assert_eq!(arrived.len(), each * proxies);
    let twice = arrived.values().filter(|times| **times > 1).count();
    // A relay that is killed loses the answers of its posts in flight, and verdicts that it has not told yet.
    assert!(twice <= 2 * 2 * overload.max_in_flight, "{twice} events were delivered twice");
    let order: Vec<String> = saved.iter().map(id_of).collect();
    let in_order = running.iter().filter(|proxy| is_in_order(proxy, &order)).count();
    assert_eq!(in_order, proxies);
    assert!(fleet.otas.most_posts_at_once() <= 20, "{}", fleet.otas.most_posts_at_once());
    let refused = fleet.otas.refused().len();
    assert_eq!(refused, 0, "OTAS was pushed over its limit");
    fleet.messages("OTAS", 0).await;
    report(&format!(
        "{proxies} proxies, {events} events: {took:?}, {twice} twice, at most {} posts at once, {} sessions",
        fleet.otas.most_posts_at_once(),
        fleet.otas.sessions().await.len()
    ));
    drop((back, spare));
}

#[allow(clippy::print_stderr, reason = "figures for the manual")]
fn report(words: &str) {
    eprintln!("{words}");
}

/// Copies a folder as it is.
fn copy(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).unwrap();
    for entry in std::fs::read_dir(from).unwrap().map(Result::unwrap) {
        let target = to.join(entry.file_name());
        match entry.file_type().unwrap().is_dir() {
            true => copy(&entry.path(), &target),
            false => drop(std::fs::copy(entry.path(), target).unwrap()),
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_loses_its_last_writes_loses_no_event() {
    if !is_installed("a_server_that_loses_its_last_writes_loses_no_event") {
        return;
    }
    let (mut fleet, origin, proxy) = Fleet::with_a_proxy(&[]).await;
    call(&proxy, &origin, 10).await;
    fleet.all_queued(10).await;
    // What the disk has at this moment.
    let synced = tempfile::tempdir().unwrap();
    fleet.nats.kill();
    copy(&fleet.nats.files(), synced.path());
    fleet.nats.up();
    call(&proxy, &origin, 10).await;
    fleet.all_queued(20).await;
    // The power fails: acknowledged messages are gone.
    fleet.nats.kill();
    std::fs::remove_dir_all(fleet.nats.files()).unwrap();
    copy(synced.path(), &fleet.nats.files());
    fleet.nats.up();
    fleet.all_queued(20).await;
    assert_eq!(fleet.queued().await, ids(&proxy.app.store));
    // The same after delivery: the server forgets verdicts and acknowledgements, and has the events again.
    let relay = fleet.relay();
    all_are(&proxy, State::Delivered, 20).await;
    fleet.messages("OTAS", 0).await;
    fleet.nats.kill();
    std::fs::remove_dir_all(fleet.nats.files()).unwrap();
    copy(synced.path(), &fleet.nats.files());
    fleet.nats.up();
    eventually("the relay has acknowledged them again", async || relay.status().await["repeated"] == 10).await;
    fleet.messages("OTAS", 0).await;
    assert_eq!(fleet.otas.events().await.len(), 20, "none is delivered twice");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_verdict_that_the_proxy_missed_is_asked_for() {
    if !is_installed("a_verdict_that_the_proxy_missed_is_asked_for") {
        return;
    }
    let (fleet, origin, proxy) = Fleet::with_a_proxy(&[]).await;
    call(&proxy, &origin, 5).await;
    fleet.all_queued(5).await;
    let (store, folder) = (proxy.app.store.clone(), proxy.folder);
    proxy.app.stop(Duration::ZERO, tokio_util::sync::CancellationToken::new(), |_| {}).await;
    assert_eq!(store.counts(None).unwrap().pending, 5);
    let _relay = fleet.relay();
    fleet.messages("OTAS", 0).await;
    // The next process has the same store.
    let path = store.path().to_owned();
    let next = fleet.proxy_with(0, |config| config.store.path = path).await;
    all_are(&next, State::Delivered, 5).await;
    assert_eq!(fleet.otas.events().await.len(), 5);
    drop(folder);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cluster_goes_on_without_one_of_its_servers() {
    if !is_installed("a_cluster_goes_on_without_one_of_its_servers") {
        return;
    }
    let mut servers = TestNats::cluster();
    let urls: Vec<String> = servers.iter().map(TestNats::url).collect();
    let mut fleet = Fleet::new(1, servers.remove(0)).await;
    fleet.servers = Some(urls.join(","));
    let give_up = Instant::now() + Duration::from_secs(60);
    let said = loop {
        // Until the servers have found each other.
        match fleet.try_init(&["--replicas", "3"]) {
            Ok(said) => break said,
            Err(said) => assert!(Instant::now() < give_up, "{said}"),
        }
        tokio::time::sleep(Duration::from_millis(200)).await;
    };
    assert!(said.contains("queue.forget = \"acknowledged\""), "{said}");
    let origin = TestOrigin::http().await;
    let proxy = fleet.proxy_with(0, |config| config.queue.forget = otas_proxy::config::Forget::Acknowledged).await;
    let _relay = fleet.relay();
    call(&proxy, &origin, 20).await;
    eventually("20 events are delivered", async || fleet.otas.events().await.len() == 20).await;
    fleet.nats.kill();
    let killed = Instant::now();
    call(&proxy, &origin, 20).await;
    eventually("40 events are delivered", async || fleet.otas.events().await.len() >= 40).await;
    let stopped = killed.elapsed();
    report(&format!("a cluster without one of three servers: 20 events delivered within {stopped:?} of the kill"));
    assert_eq!(arrivals(&fleet.otas.events().await).len(), 40);
    all_are(&proxy, State::Delivered, 40).await;
    drop(servers);
}

#[tokio::test(flavor = "multi_thread")]
async fn streams_larger_than_the_server_has_room_for_are_refused_with_what_to_do() {
    if !is_installed("streams_larger_than_the_server_has_room_for_are_refused_with_what_to_do") {
        return;
    }
    let fleet = Fleet::new(0, TestNats::small("4GB")).await;
    let refused = fleet.try_init(&[]).unwrap_err();
    assert!(refused.contains("cannot make the stream OTAS: ") && refused.contains("--max-bytes"), "{refused}");
    fleet.init(&["--max-bytes", "1GiB", "--dead-max-bytes", "100MiB"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_missing_key_and_a_wrong_one_stop_only_their_agents() {
    if !is_installed("a_missing_key_and_a_wrong_one_stop_only_their_agents") {
        return;
    }
    let fleet = Fleet::new(3, TestNats::start("")).await;
    fleet.init(&[]);
    let origin = TestOrigin::http().await;
    let folder = fleet.relay_folder();
    let file = |number| folder.path().join("keys").join(format!("{}.key", agent(number)));
    let keys = [0, 1].map(|number| std::fs::read_to_string(file(number)).unwrap());
    std::fs::remove_file(file(0)).unwrap();
    std::fs::write(file(1), "agent_wrong_key").unwrap();
    let (again, wrong) = (file(0), file(1));
    let relay = TestRelay::start(folder);
    let mut proxies = Vec::new();
    for number in 0..3 {
        proxies.push(fleet.proxy(number).await);
        call(&proxies[number], &origin, 3).await;
    }
    all_are(&proxies[2], State::Delivered, 3).await;
    relay.says("there is no key of agent agent-0").await;
    relay.says("OTAS refuses the agent key").await;
    let asked = relay.folder.program().args(["relay", "status"]).output().unwrap();
    assert_eq!(asked.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&asked.stdout).contains("agent-0: 3 wait, and there is no key in"));
    for proxy in &proxies[..2] {
        all_are(proxy, State::Pending, 3).await;
    }
    // Both are used without a restart.
    std::fs::write(again, &keys[0]).unwrap();
    std::fs::write(wrong, &keys[1]).unwrap();
    for proxy in &proxies {
        all_are(proxy, State::Delivered, 3).await;
    }
    assert_eq!(fleet.otas.events().await.len(), 9);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_dead_event_stays_in_the_queue_while_its_stream_is_full() {
    if !is_installed("a_dead_event_stays_in_the_queue_while_its_stream_is_full") {
        return;
    }
    let (fleet, origin, proxy) = Fleet::with_a_proxy(&["--dead-max-bytes", "100"]).await;
    fleet.otas.answer_all(Answer::refusal(400, "invalid_json"));
    let relay = fleet.relay();
    call(&proxy, &origin, 1).await;
    relay.says("the stream OTAS_DEAD is full").await;
    assert_eq!(relay.status().await["dead_waiting_for_room"], 1);
    all_are(&proxy, State::Pending, 1).await;
    assert_eq!(fleet.queued().await.len(), 1);
    fleet.init(&["--dead-max-bytes", "1MiB"]);
    all_are(&proxy, State::Dead, 1).await;
    fleet.messages("OTAS_DEAD", 1).await;
    fleet.messages("OTAS", 0).await;
    let dead = fleet.jetstream().await.get_stream("OTAS_DEAD").await.unwrap().get_raw_message(1).await.unwrap();
    assert!(dead.headers.get("Otas-Reason").unwrap().as_str().contains("invalid_json"));
}

/// Users of NATS: a proxy may publish events and hear its verdicts, and nothing else.
const USERS: &str = r#"
authorization {
  users = [
    { user: admin, password: secret-admin }
    { user: proxy, password: secret-proxy, permissions: {
        publish: ["otas.events.>"], subscribe: ["otas.verdicts.*", "_INBOX.>"] } }
    { user: nobody, password: secret-nobody, permissions: { publish: ["other.>"], subscribe: ["_INBOX.>", "otas.verdicts.*"] } }
  ]
}"#;

#[tokio::test(flavor = "multi_thread")]
async fn a_proxy_needs_only_the_permission_to_publish_events() {
    if !is_installed("a_proxy_needs_only_the_permission_to_publish_events") {
        return;
    }
    let fleet = Fleet::new(1, TestNats::start(USERS)).await;
    let folder = fleet.relay_folder_with("credentials_file = 'nats.user'");
    std::fs::write(folder.path().join("nats.user"), "admin:wrong").unwrap();
    let refused = folder.program().args(["relay", "init"]).output().unwrap();
    let said = String::from_utf8_lossy(&refused.stderr).into_owned();
    assert!(said.contains("the server refuses the credentials") && !said.contains("wrong"), "{said}");
    std::fs::write(folder.path().join("nats.user"), "admin:secret-admin").unwrap();
    assert!(folder.program().args(["relay", "init"]).status().unwrap().success());
    let _relay = TestRelay::start(folder);
    let origin = TestOrigin::http().await;
    let secrets = tempfile::tempdir().unwrap();
    let file = |user: &str| {
        let path = secrets.path().join(user);
        std::fs::write(&path, format!("{user}:secret-{user}\n")).unwrap();
        path
    };
    let (allowed, nobody, unknown) = (file("proxy"), file("nobody"), file("unknown"));
    for (credentials, complaint) in [(nobody, "Permissions Violation"), (unknown, "cannot reach NATS")] {
        let refused = fleet.proxy_with(0, |config| config.queue.credentials_file = Some(credentials)).await;
        call(&refused, &origin, 2).await;
        eventually(&format!("the proxy says {complaint}"), async || {
            refused.app.watch().now().trouble.is_some_and(|trouble| trouble.contains(complaint))
        })
        .await;
        all_are(&refused, State::Pending, 2).await;
    }
    let proxy = fleet.proxy_with(0, |config| config.queue.credentials_file = Some(allowed)).await;
    call(&proxy, &origin, 2).await;
    all_are(&proxy, State::Delivered, 2).await;
}
