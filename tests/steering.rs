//! Commands and the admin port: they show the backlog and its reasons, and retry dead events.

use std::collections::{BTreeMap, BTreeSet};
use std::process::{Child, Output, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use otas_proxy::config::OnFull;
use otas_proxy::store::{Counts, NewEvent, Outcome, SessionRow, Settlement, State, Store, key_id};
use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;
use uuid::Uuid;

use crate::support::lines::Lines;
use crate::support::origin::TestOrigin;
use crate::support::otas::TestOtas;
use crate::support::program::Folder;
use crate::support::proxy::{Running, TestProxy, eventually};

const PATIENCE: Duration = Duration::from_secs(30);

#[test]
fn events_are_listed_newest_last_with_tabs_in_a_pipe_and_whole_as_json() {
    let bench = Bench::new();
    bench.append(3);
    bench.settle(2, Outcome::Dead { verdict: "answered 400: invalid_json".into() });
    bench.settle(3, Outcome::Delivered { otas_event_id: "e-3".into() });
    let table = bench.said(&["events"]);
    let lines: Vec<&str> = table.lines().collect();
    assert_eq!(lines.len(), 4, "{table}");
    assert!(lines[0].starts_with("id\t") && lines[1].starts_with("1\t") && lines[3].starts_with("3\t"), "{table}");
    assert!(lines[2].contains("dead") && lines[2].contains("answered 400: invalid_json"), "{table}");
    let whole: Vec<Value> = json_lines(&bench.said(&["events", "--json"]));
    assert_eq!(whole.iter().map(|event| event["id"].as_i64().unwrap()).collect::<Vec<_>>(), [1, 2, 3]);
    assert_eq!(whole[1]["state"], "dead");
    assert_eq!(whole[1]["attempts"], 1);
    assert_eq!(whole[1]["verdict"], "answered 400: invalid_json");
    assert_eq!(whole[2]["otas_event_id"], "e-3");
    assert_eq!(whole[2]["metadata"]["seq"], 2, "stored JSON is unchanged");
    let refused: Value = serde_json::from_str(&bench.said(&["events", "show", "2"])).unwrap();
    let said = &refused["history"][0];
    assert_eq!((&said["verdict"], &said["posts"]), (&"answered 400: invalid_json".into(), &1.into()));
}

#[test]
fn events_are_chosen_by_state_session_and_number() {
    let bench = Bench::new();
    bench.append(4);
    bench.settle(1, Outcome::Dead { verdict: "no".into() });
    let other = bench.store.begin_session("run-2", "k", "{}").unwrap();
    bench.append_to(other, 1);
    let ids = |arguments: &[&str]| -> Vec<i64> {
        let said = bench.said(&[&["events", "--json"], arguments].concat());
        json_lines(&said).iter().map(|event| event["id"].as_i64().unwrap()).collect()
    };
    assert_eq!(ids(&["--limit", "2"]), [4, 5]);
    assert_eq!(ids(&["--state", "dead"]), [1]);
    assert_eq!(ids(&["--session", "run-2"]), [5]);
    assert_eq!(ids(&["--session", &bench.session.id().to_string(), "--state", "pending"]), [2, 3, 4]);
    let one = bench.said(&["events", "show", "4"]);
    assert!(one.lines().count() > 5, "{one}");
    assert_eq!(serde_json::from_str::<Value>(&one).unwrap()["id"], 4);
    assert_eq!(bench.said(&["events", "--id", "4"]), one);
    let wrong = bench.run(&["events", "show", "four"]);
    assert_eq!(
        (wrong.status.code(), text(&wrong.stderr).contains("expected the number of an event")),
        (Some(2), true)
    );
    for (arguments, told) in [
        (["events", "--id", "9"], "there is no event 9 in the store"),
        (["events", "--session", "x"], "session not found: `x`"),
    ] {
        let done = bench.run(&arguments);
        assert_eq!((done.status.code(), text(&done.stderr).contains(told)), (Some(1), true), "{done:?}");
    }
}

#[test]
fn a_missing_store_is_an_error_and_is_not_created() {
    let folder = Folder::new();
    folder.configure("");
    for arguments in [&["events"][..], &["events", "show", "1"], &["retry", "--dead"]] {
        let done = folder.program().args(arguments).output().unwrap();
        assert_eq!(done.status.code(), Some(1), "{arguments:?}");
        assert!(text(&done.stderr).contains("event store not found"), "{}", text(&done.stderr));
        assert!(!folder.path().join("events.db").exists());
    }
}

#[test]
fn following_prints_new_events_until_it_is_stopped() {
    let bench = Bench::new();
    bench.append(2);
    for signal in [Signal::INT, Signal::TERM] {
        let mut child =
            bench.folder.program().args(["events", "--follow", "--json"]).stdout(Stdio::piped()).spawn().unwrap();
        let mut out = Lines::of(child.stdout.take().unwrap());
        let mut next = || serde_json::from_str::<Value>(&out.next().unwrap()).unwrap()["id"].as_i64().unwrap();
        let before = bench.store.counts(None).unwrap().total as i64;
        for id in 1..=before {
            assert_eq!(next(), id);
        }
        bench.append(1);
        assert_eq!(next(), before + 1);
        bench.append(2);
        assert_eq!((next(), next()), (before + 2, before + 3));
        kill_process(Pid::from_child(&child), signal).unwrap();
        assert_eq!(ended(&mut child), Some(0));
    }
}

#[test]
fn a_closed_output_pipe_is_not_a_failure() {
    let bench = Bench::new();
    bench.append(2_000);
    let mut child =
        bench.folder.program().args(["events", "--json", "--limit", "2000"]).stdout(Stdio::piped()).spawn().unwrap();
    drop(child.stdout.take());
    assert_eq!(ended(&mut child), Some(0));
}

#[test]
fn dead_events_are_retried_by_number_or_all() {
    let bench = Bench::new();
    bench.append(4);
    for id in 1..=3 {
        bench.settle(id, Outcome::Dead { verdict: "no".into() });
    }
    bench.settle(4, Outcome::Delivered { otas_event_id: "e".into() });
    assert_eq!(bench.said(&["retry", "2"]), "1 event is pending again\n");
    assert_eq!(bench.store.event(2).unwrap().state, State::Pending);
    for (id, told) in [
        ("2", "event 2 is pending, not dead"),
        ("4", "event 4 is delivered, not dead"),
        ("9", "there is no event 9 in the store"),
    ] {
        let done = bench.run(&["retry", "1", id]);
        assert_eq!(done.status.code(), Some(1));
        assert!(text(&done.stderr).contains(told), "{}", text(&done.stderr));
    }
    assert_eq!(bench.store.counts(None).unwrap(), Counts { total: 4, pending: 1, delivered: 1, dead: 2, kept: 0 });
    assert_eq!(bench.said(&["retry", "--dead", "--session", "run-1"]), "2 events are pending again\n");
    assert_eq!(bench.said(&["retry", "--dead"]), "no dead event found; nothing to retry\n");
    assert_eq!(bench.store.counts(None).unwrap(), Counts { total: 4, pending: 3, delivered: 1, dead: 0, kept: 0 });
    for usage in [&["retry"][..], &["retry", "1", "--dead"], &["retry", "1", "--session", "1"]] {
        assert_eq!(bench.run(usage).status.code(), Some(2), "{usage:?}");
    }
}

#[tokio::test]
async fn flush_delivers_the_backlog_and_reports_the_rest() {
    let otas = TestOtas::start().await;
    let bench = Arc::new(Bench::of(&otas));
    bench.append(5);
    let flush = |arguments: &'static [&'static str]| {
        let bench = bench.clone();
        async move { tokio::task::spawn_blocking(move || bench.run(arguments)).await.unwrap() }
    };
    let done = flush(&["flush"]).await;
    assert_eq!(
        (done.status.code(), &*text(&done.stdout)),
        (Some(0), "5 delivered, 0 waiting, 0 given up\n"),
        "{done:?}"
    );
    assert_eq!(otas.events().await.len(), 5);
    otas.down().await;
    bench.append(2);
    let done = flush(&["flush", "--timeout", "5s"]).await;
    assert_eq!(
        (done.status.code(), &*text(&done.stdout)),
        (Some(1), "0 delivered, 2 waiting, 0 given up\n"),
        "{done:?}"
    );
    assert!(text(&done.stderr).contains("waiting events stay stored: "), "{done:?}");
    otas.up().await;
    assert_eq!(flush(&["flush"]).await.status.code(), Some(0));
    assert_eq!(bench.run(&["flush", "--timeout", "soon"]).status.code(), Some(2));
}

#[tokio::test]
async fn a_proxy_is_ready_during_outages_until_it_cannot_record_or_stops() {
    let otas = TestOtas::start().await;
    otas.down().await;
    let proxy = TestProxy::new().otas(&otas).with(|c| c.store.on_full = OnFull::Refuse).run().await;
    eventually("it tells what is wrong with OTAS", async || {
        let (status, body) = admin(&proxy, "/readyz").await;
        let body: Value = serde_json::from_str(&body).unwrap();
        assert_eq!((status, &body["ready"]), (200, &Value::Bool(true)), "{body}");
        body["delivery"]["trouble"].is_string()
    })
    .await;
    otas.up().await;
    proxy.stop().await;
}

#[tokio::test]
async fn a_proxy_in_audit_mode_with_a_full_store_is_not_ready() {
    let (otas, origin) = (TestOtas::start().await, TestOrigin::http().await);
    otas.down().await;
    let proxy = TestProxy::new().otas(&otas).with(|c| {
        c.store.on_full = OnFull::Refuse;
        c.store.max_bytes = 1;
    });
    let proxy = proxy.run().await;
    eventually("it is not ready", async || {
        let _ = proxy.client().get(origin.url("/bytes/1")).send().await.unwrap();
        let (status, body) = admin(&proxy, "/readyz").await;
        assert_eq!(status == 503, body.contains("cannot be recorded"), "{body}");
        status == 503
    })
    .await;
    otas.up().await;
    proxy.stop().await;
}

#[tokio::test]
async fn metrics_are_open_metrics_and_add_up() {
    let (otas, origin) = (TestOtas::start().await, TestOrigin::http().await);
    let proxy = TestProxy::new().otas(&otas).run().await;
    for _ in 0..3 {
        assert_eq!(proxy.client().get(origin.url("/bytes/10")).send().await.unwrap().status(), 200);
    }
    otas.events_at_least(3, PATIENCE).await;
    let mut all = BTreeMap::new();
    eventually("all are counted as delivered", async || {
        let (status, body) = admin(&proxy, "/metrics").await;
        assert_eq!(status, 200);
        all = figures(&body);
        all["otas_proxy_events{state=\"delivered\"}"] == 3.0
            && all["otas_proxy_verdicts_total{verdict=\"delivered\"}"] == 3.0
            && all["otas_proxy_calls_stored_total"] == 3.0
    })
    .await;
    for (name, value) in [
        ("otas_proxy_calls_stored_total", 3.0),
        ("otas_proxy_events{state=\"pending\"}", 0.0),
        ("otas_proxy_events{state=\"delivered\"}", 3.0),
        ("otas_proxy_events_shed_total", 0.0),
        ("otas_proxy_delivery_trouble", 0.0),
        ("otas_proxy_delivery_held", 1.0),
        ("otas_proxy_oldest_pending_age_seconds", 0.0),
    ] {
        assert_eq!(all.get(name), Some(&value), "{name} in {all:?}");
    }
    assert!(all["otas_proxy_store_bytes"] > 0.0 && all["otas_proxy_posts_in_flight_limit"] >= 1.0, "{all:?}");
    proxy.stop().await;
}

/// A client that uses no proxy.
fn direct() -> reqwest::Client {
    let tls = rustls::ClientConfig::builder_with_provider(Arc::new(rustls::crypto::aws_lc_rs::default_provider()))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(rustls::RootCertStore::empty())
        .with_no_client_auth();
    reqwest::Client::builder().no_proxy().tls_backend_preconfigured(tls).build().unwrap()
}

/// The admin port's answer: status and body.
async fn admin(proxy: &Running, path: &str) -> (u16, String) {
    let reply = direct().get(format!("http://{}{path}", proxy.app.admin_addr)).send().await.unwrap();
    (reply.status().as_u16(), reply.text().await.unwrap())
}

/// Strictly parsed OpenMetrics text: each metric belongs to a family with type and help.
fn figures(body: &str) -> BTreeMap<String, f64> {
    let (mut families, mut figures) = (BTreeSet::new(), BTreeMap::new());
    let body = body.strip_suffix("# EOF\n").expect("it ends with EOF");
    for line in body.lines() {
        if let Some(rest) = line.strip_prefix("# ") {
            let (kind, rest) = rest.split_once(' ').unwrap();
            assert!(["HELP", "TYPE", "UNIT"].contains(&kind), "{line}");
            families.insert(rest.split(' ').next().unwrap().to_owned());
            continue;
        }
        let (name, value) = line.rsplit_once(' ').unwrap();
        let bare = name.split('{').next().unwrap();
        let family = ["_total", "_info"].iter().find_map(|end| bare.strip_suffix(end)).unwrap_or(bare);
        assert!(families.contains(family), "{line}");
        assert_eq!(figures.insert(name.to_owned(), value.parse::<f64>().unwrap()), None, "{line}");
    }
    figures
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

fn json_lines(text: &str) -> Vec<Value> {
    text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

/// A program that must end by itself. Returns its exit code.
fn ended(child: &mut Child) -> Option<i32> {
    let until = Instant::now() + PATIENCE;
    while Instant::now() < until {
        if let Some(status) = child.try_wait().unwrap() {
            return status.code();
        }
        std::thread::sleep(Duration::from_millis(10));
    }
    child.kill().unwrap();
    panic!("it did not end");
}

/// A folder with settings and a store that has one session, `run-1`.
struct Bench {
    folder: Folder,
    store: Store,
    session: SessionRow,
}

impl Bench {
    fn new() -> Self {
        Self::with("", "k")
    }

    /// Its events belong to the agent of this OTAS.
    fn of(otas: &TestOtas) -> Self {
        let (url, key) = (otas.url(), otas.key());
        let settings = format!(
            "[otas]\nbrain_url = '{url}'\nuasam_url = '{url}'\nagent_key = '{}'\n[delivery]\nbackoff_min_ms = 5\n",
            key.expose()
        );
        Self::with(&settings, &key_id(&key))
    }

    fn with(settings: &str, key_id: &str) -> Self {
        let folder = Folder::new();
        folder.configure(settings);
        let store = Store::open(&folder.path().join("events.db")).unwrap();
        let session = store.begin_session("run-1", key_id, "{}").unwrap();
        Self { folder, store, session }
    }

    fn append(&self, count: usize) {
        self.append_to(self.session, count);
    }

    fn append_to(&self, session: SessionRow, count: usize) {
        let json = |seq| {
            format!(
                r#"{{"path":"/v1/chat","method":"POST","status_code":200,"latency_ms":1.5,"error":"","metadata":{{"seq":{seq}}}}}"#
            )
        };
        let jsons: Vec<String> = (0..count).map(json).collect();
        let events = (0..).zip(&jsons).map(|(seq, json)| NewEvent {
            bodies: &[],
            event_id: Uuid::now_v7(),
            seq,
            started_at_ms: 1_700_000_000_000,
            method: "POST",
            host: "api.example.com",
            path: "/v1/chat",
            status_code: 200,
            latency_ms: 1.5,
            request_bytes: 0,
            response_bytes: 0,
            error: "",
            outline: "",
            llm: "",
            json: json.as_bytes(),
        });
        let events: Vec<NewEvent<'_>> = events.collect();
        self.store.writer().unwrap().append(session, &events).unwrap();
    }

    fn settle(&self, id: i64, outcome: Outcome) {
        self.store.settle(&[Settlement { id, attempts: 1, outcome }]).unwrap();
    }

    fn run(&self, arguments: &[&str]) -> Output {
        self.folder.program().args(arguments).output().unwrap()
    }

    /// The output of a command that must succeed.
    fn said(&self, arguments: &[&str]) -> String {
        let done = self.run(arguments);
        assert!(done.status.success(), "{}", text(&done.stderr));
        text(&done.stdout)
    }
}
