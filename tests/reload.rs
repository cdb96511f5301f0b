//! New settings are taken over while the proxy runs. No call fails and no event is lost. Broken settings change nothing.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use otas_proxy::config::{Agent, Config, Durability, Sink};
use otas_proxy::hosts::{HostRule, HostRules};
use otas_proxy::redact::CaptureLevel;
use otas_proxy::secret::Secret;
use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;
use tokio_util::sync::CancellationToken;

use crate::sessions::{self, with_agents_and};
use crate::support::agent::{Agent as Inside, full};
use crate::support::manual::ManualOrigin;
use crate::support::origin::{Certificate, TestCa, TestOrigin};
use crate::support::otas::TestOtas;
use crate::support::program::{Folder, Served, rows};
use crate::support::proxy::{PATIENCE, Running, TestProxy, eventually};

/// Calls that are in progress at any time.
const CALLERS: u64 = 4;
const RELOADS: usize = 24;

fn hosts(all: &[&str]) -> HostRules {
    HostRules::new(all.iter().map(|host| HostRule::parse(host).unwrap()).collect())
}

/// Takes over the settings in force with this change, and gives the names of those that have changed.
fn change(proxy: &Running, change: impl FnOnce(&mut Config)) -> Vec<&'static str> {
    let reloader = proxy.app.reloader();
    let mut config = Config::clone(&reloader.in_force());
    change(&mut config);
    reloader.take_over(config).unwrap().changed
}

#[tokio::test]
async fn a_call_in_flight_keeps_its_rules_and_the_next_one_on_its_connection_gets_the_new_ones() {
    let folder = tempfile::tempdir().unwrap();
    let ca = TestCa::new(folder.path());
    let proxy = TestProxy::new().trusting(&ca).run().await;
    for alpn in [&b"http/1.1"[..], b"h2"] {
        change(&proxy, |config| config.egress.deny = HostRules::default());
        let mut origin = ManualOrigin::start(Some(ca.server(Certificate::Good, &[alpn]))).await;
        let mut agent = Inside::named(&proxy, "localhost", origin.addr.port(), &[alpn]).await;
        let in_flight = agent.start(agent.request("GET", "/in-flight", full("")));
        let call = origin.call().await;
        assert_eq!(change(&proxy, |config| config.egress.deny = hosts(&["localhost"])), ["egress.deny"]);
        call.answer.send(http::Response::new(full("answered"))).unwrap();
        let response = in_flight.await.unwrap().unwrap();
        assert_eq!(response.status(), 200);
        crate::support::agent::whole(response).await;
        agent.ready().await;
        assert_eq!(agent.get("/next").await.0, 403, "{alpn:?}");
    }
}

#[tokio::test]
async fn masking_capture_and_properties_change_with_the_next_event() {
    let origin = TestOrigin::http().await;
    let proxy = TestProxy::new().run().await;
    let call = async || {
        let post = proxy.client().post(origin.url("/echo")).header("content-type", "application/json");
        post.body(r#"{"ticket":"t-4711-of-the-test"}"#).send().await.unwrap().text().await.unwrap()
    };
    call().await;
    proxy.events_so_far(1).await;
    let changed = change(&proxy, |config| {
        config.redact.keys = vec!["ticket".to_owned()];
        config.event.properties.insert("team".to_owned(), "search".to_owned());
    });
    assert_eq!(changed, ["event.properties", "redact.keys"]);
    call().await;
    proxy.events_so_far(2).await;
    change(&proxy, |config| config.capture.rules = vec![(hosts(&["localhost"]), CaptureLevel::Metadata)]);
    call().await;
    proxy.events_so_far(3).await;
    change(&proxy, |config| {
        config.capture.rules = Vec::new();
        config.redact.keys = Vec::new();
        (config.capture.body_max_bytes, config.capture.body_head_bytes, config.capture.body_tail_bytes) = (0, 4, 0);
    });
    call().await;
    let events: Vec<String> = proxy.events().await.iter().map(Value::to_string).collect();
    let [as_it_is, masked, metadata, cut] = &events[..] else { panic!("{events:?}") };
    assert!(as_it_is.contains("t-4711-of-the-test") && !as_it_is.contains("search"), "{as_it_is}");
    assert!(masked.contains("ticket") && !masked.contains("t-4711") && masked.contains("search"), "{masked}");
    assert!(!metadata.contains("ticket"), "{metadata}");
    assert!(cut.contains("{\\\"ti") && !cut.contains("ticket"), "{cut}");
}

#[tokio::test]
async fn a_durability_that_became_strict_holds_the_end_of_a_response_until_its_event_is_stored() {
    let origin = TestOrigin::http().await;
    let proxy = TestProxy::new().run().await;
    proxy.client().get(origin.url("/")).send().await.unwrap().bytes().await.unwrap();
    proxy.events_so_far(1).await;
    assert_eq!(change(&proxy, |config| config.store.durability = Durability::Strict), ["store.durability"]);
    for n in 2..6 {
        proxy.client().get(origin.url("/")).send().await.unwrap().bytes().await.unwrap();
        let counts = proxy.app.store.counts(None).unwrap();
        assert_eq!(counts.pending + counts.delivered, n, "the response has ended, so its event is stored");
    }
    change(&proxy, |config| config.store.durability = Durability::Normal);
    proxy.client().get(origin.url("/")).send().await.unwrap().bytes().await.unwrap();
    assert_eq!(proxy.events().await.len(), 6);
}

#[tokio::test]
async fn what_cannot_be_used_changes_nothing_and_is_on_the_page() {
    let proxy = TestProxy::new().run().await;
    let reloader = proxy.app.reloader();
    let mut config = Config::clone(&reloader.in_force());
    config.proxy.via = true;
    config.listen.proxy = "127.0.0.1:9".parse().unwrap();
    assert_eq!(reloader.take_over(config.clone()).unwrap().needs_restart, ["listen.proxy"]);
    config.proxy.via = false;
    config.tls.origin_ca_file = Some(proxy.folder.path().join("missing.pem"));
    let error = reloader.take_over(config).err().unwrap().to_string();
    assert!(error.contains("missing.pem"), "{error}");
    assert!(reloader.in_force().proxy.via, "the settings before are in force");
    reloader.refuse(error);
    let settings = proxy.status().await["settings"].clone();
    assert!(settings["last_reload"]["error"].as_str().unwrap().contains("missing.pem"), "{settings}");
    assert_eq!(
        (&settings["last_reload"]["ok"], &settings["needs_restart"][0]),
        (&false.into(), &"listen.proxy".into())
    );
    let health = format!("http://{}/health", proxy.app.admin_addr);
    let health =
        crate::page::client().get(health).bearer_auth(proxy.token()).send().await.unwrap().text().await.unwrap();
    for words in ["The new settings are invalid", "missing.pem", "Changed settings need a restart", "listen.proxy"] {
        assert!(health.contains(words), "{words}: {health}");
    }
}

#[tokio::test]
async fn agents_come_and_go_with_their_keys() {
    let (otas, origin) = (TestOtas::start().await, TestOrigin::http().await);
    let proxy = with_agents_and(&otas, &["planner"], |proxy| proxy).await;
    let call = async |name: &str| {
        let client = sessions::client(&proxy, name, &format!("secret-of-{name}"));
        client.get(origin.url("/")).send().await.unwrap().status().as_u16()
    };
    assert_eq!((call("planner").await, call("writer").await), (200, 407));
    let writer = Agent {
        name: "writer".to_owned(),
        secret: Secret::new("secret-of-writer"),
        secret_file: proxy.folder.path().join("writer.secret"),
        agent_key: Some((otas.another_agent("writer").await, proxy.folder.path().join("writer.key"))),
        project_id: None,
        agent_id: None,
        project_domain: None,
    };
    let (key, file) = writer.agent_key.clone().unwrap();
    std::fs::write(file, key.expose()).unwrap();
    assert_eq!(change(&proxy, |config| config.agents.push(writer)), ["agents"]);
    assert_eq!((call("planner").await, call("writer").await), (200, 200));
    change(&proxy, |config| config.agents.retain(|agent| agent.name != "planner"));
    assert_eq!((call("planner").await, call("writer").await), (407, 200));
    eventually("each event is delivered with its agent's key", async || {
        let sessions = otas.sessions().await;
        otas.stored_events().await.len() == 4 && sessions.len() == 2 && sessions[0].agent_id != sessions[1].agent_id
    })
    .await;
    let summary = proxy.stop().await;
    assert_eq!((summary.delivered, summary.waiting), (4, 0), "{summary}");
}

#[tokio::test]
async fn sinks_come_and_go_and_miss_nothing() {
    let origin = TestOrigin::http().await;
    let proxy = TestProxy::new().run().await;
    let at = |name: &str| proxy.folder.path().join(name);
    let lines = |name: &str| std::fs::read_to_string(at(name)).unwrap_or_default().lines().count();
    let call = async || proxy.client().get(origin.url("/")).send().await.unwrap().bytes().await.unwrap();
    call().await;
    proxy.events_so_far(1).await;
    let sink = |name: &str| Sink::JsonLines(Some(at(name)));
    assert_eq!(change(&proxy, |config| config.sinks = vec![sink("a.jsonl")]), ["sinks"]);
    call().await;
    eventually("the new sink gets it", async || lines("a.jsonl") == 1).await;
    change(&proxy, |config| config.sinks.push(sink("b.jsonl")));
    call().await;
    eventually("both get it", async || (lines("a.jsonl"), lines("b.jsonl")) == (2, 1)).await;
    // The same sink, started anew: it goes on where it was.
    change(&proxy, |config| config.delivery.backoff_min = Duration::from_millis(100));
    call().await;
    eventually("each event once", async || (lines("a.jsonl"), lines("b.jsonl")) == (3, 2)).await;
    change(&proxy, |config| config.sinks.retain(|sink| !sink.name().ends_with("a.jsonl")));
    call().await;
    eventually("only the other one gets it", async || (lines("a.jsonl"), lines("b.jsonl")) == (3, 3)).await;
    let status = proxy.status().await;
    assert_eq!(status["sinks"].as_array().unwrap().len(), 1, "{status}");
}

#[tokio::test]
async fn delivery_works_with_its_new_limits() {
    let (otas, origin) = (TestOtas::start().await, TestOrigin::http().await);
    let proxy = TestProxy::new().otas(&otas).run().await;
    proxy.client().get(origin.url("/")).send().await.unwrap();
    otas.events_at_least(1, PATIENCE).await;
    let changed = change(&proxy, |config| config.delivery.attempt_timeout = Duration::from_millis(100));
    assert_eq!(changed, ["delivery.attempt_timeout_ms"]);
    otas.hang();
    let before = Instant::now();
    proxy.client().get(origin.url("/")).send().await.unwrap();
    eventually("a post is given up", async || proxy.status().await["delivery"]["trouble"] != Value::Null).await;
    assert!(before.elapsed() < Duration::from_secs(25), "the limit of the start is 30 s");
}

/// What `/status` says of the settings.
async fn settings(proxy: &Served) -> Value {
    let status = proxy.page.split("/?").next().unwrap().to_owned() + "/status";
    let text = crate::page::client().get(status).send().await.unwrap().text().await.unwrap();
    serde_json::from_str::<Value>(&text).unwrap()["settings"].clone()
}

/// Puts a settings file in the place of the one before, as editors do.
fn replace(folder: &Folder, tls: &str, more: &str) {
    let old = std::fs::read_to_string(folder.config()).unwrap();
    folder.configure_with(tls, more);
    let new = std::fs::read_to_string(folder.config()).unwrap();
    std::fs::write(folder.config(), old).unwrap();
    let beside = folder.path().join("new.toml");
    std::fs::write(&beside, new).unwrap();
    std::fs::rename(beside, folder.config()).unwrap();
}

const NOT_FOR_OTAS: &str = "[otas]\ndeliver = false\n";

/// Makes calls until it is over. Gives the failures.
async fn calls(client: reqwest::Client, url: String, made: Arc<AtomicU64>, over: CancellationToken) -> Vec<String> {
    let mut failures = Vec::new();
    while !over.is_cancelled() {
        let body = format!("call {}", made.fetch_add(1, Ordering::Relaxed));
        let answered = async { client.post(&url).body(body.clone()).send().await?.error_for_status()?.text().await };
        match answered.await {
            Ok(answer) if answer == body => {}
            other => failures.push(format!("{url}: {other:?}")),
        }
    }
    failures
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_call_fails_and_no_event_is_lost_while_settings_change_all_the_time() {
    let folder = Folder::new();
    let ca = TestCa::new(folder.path());
    let (plain, tls, h2) = (TestOrigin::http().await, TestOrigin::https(&ca).await, TestOrigin::h2(&ca).await);
    folder.configure(NOT_FOR_OTAS);
    let mut proxy = Served::start(folder, |command| command);
    let (made, over) = (Arc::new(AtomicU64::new(0)), CancellationToken::new());
    let callers: Vec<_> = (0..CALLERS)
        .map(|n| {
            let origin = [&plain, &tls, &h2, &plain][n as usize];
            tokio::spawn(calls(proxy.client(), origin.url("/echo"), made.clone(), over.clone()))
        })
        .collect();
    for round in 0..RELOADS {
        let before = settings(&proxy).await["last_reload"]["at"].clone();
        let calls_before = made.load(Ordering::Relaxed);
        let is_broken = round % 4 == 3;
        let (tls, more) = match round % 4 {
            0 => {
                ("", "[redact]\nkeys = ['ticket']\n[capture]\nbody_max_bytes = 100\n[proxy]\nmax_connections = 50\n")
            }
            1 => ("", "durability = 'strict'\n[egress]\ndeny = ['denied.example']\n"),
            2 => ("passthrough = ['passed.example']", ""),
            _ => ("", "[proxy]\nvia = 'perhaps'\n"),
        };
        replace(&proxy.folder, tls, &format!("{more}{NOT_FOR_OTAS}"));
        kill_process(Pid::from_child(&proxy.child), Signal::HUP).unwrap();
        eventually("the settings are read", async || settings(&proxy).await["last_reload"]["at"] != before).await;
        assert_eq!(settings(&proxy).await["last_reload"]["ok"], !is_broken, "{}", settings(&proxy).await);
        eventually("calls go on", async || made.load(Ordering::Relaxed) > calls_before + CALLERS).await;
    }
    over.cancel();
    for caller in callers {
        assert_eq!(caller.await.unwrap(), [""; 0]);
    }
    kill_process(Pid::from_child(&proxy.child), Signal::TERM).unwrap();
    assert!(proxy.child.wait().unwrap().success());
    let made = made.load(Ordering::Relaxed);
    assert!(made >= RELOADS as u64 * CALLERS, "{made}");
    assert_eq!(rows(&proxy.folder.path().join("events.db")).len() as u64, made);
}

#[tokio::test]
async fn a_changed_file_is_noticed_without_a_signal_also_one_that_a_setting_names() {
    let folder = Folder::new();
    let prices = folder.path().join("prices.toml");
    let table = |version| format!("version = \"{version}\"\ncurrency = \"EUR\"\n");
    std::fs::write(&prices, table("first")).unwrap();
    folder.configure(NOT_FOR_OTAS);
    let proxy = Served::start(folder, |command| command);
    assert_eq!(settings(&proxy).await["last_reload"], Value::Null);
    let named = format!("{NOT_FOR_OTAS}[event]\nprices_file = 'prices.toml'\n");
    let has_changed = async |what: &str, key: &str| {
        eventually(what, async || settings(&proxy).await["last_reload"]["changed"][0] == key).await;
    };
    replace(&proxy.folder, "", &named);
    has_changed("the prices are read", "event.prices_file").await;
    replace(&proxy.folder, "", &format!("{named}[proxy]\nvia = true\n"));
    has_changed("the file is taken over", "proxy.via").await;
    std::fs::write(&prices, table("second")).unwrap();
    has_changed("the prices are read again", "event.prices_file").await;
    replace(&proxy.folder, "", &format!("{named}[proxy]\nresponse_timeout = 3\n"));
    eventually("the file is refused", async || settings(&proxy).await["last_reload"]["ok"] == false).await;
    let error = settings(&proxy).await["last_reload"]["error"].to_string();
    assert!(error.contains("did you mean `proxy.response_timeout_ms`"), "{error}");
    replace(&proxy.folder, "", &named);
    eventually("the file is whole again", async || settings(&proxy).await["last_reload"]["ok"] == true).await;
}
