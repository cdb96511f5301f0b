//! Durability: a killed proxy, a full disk, a failing disk, a store that another process holds, and the reports of what was
//! lost.

use std::collections::BTreeSet;
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use otas_proxy::config::{Durability, OnFull};
use otas_proxy::store::{Filter, NewEvent, State, Store};
use rusqlite::{Connection, OpenFlags};
use serde_json::Value;

use crate::support::manual::{ManualOrigin, piece};
use crate::support::origin::TestOrigin;
use crate::support::otas::TestOtas;
use crate::support::program::{Folder, Served, verified, with_variables_of};
use crate::support::proxy::{Running, TestProxy, eventually};

/// Settings with an OTAS that cannot be reached.
fn away() -> Folder {
    let folder = Folder::new();
    folder.configure(
        "[otas]\nbrain_url = 'http://127.0.0.1:9'\nuasam_url = 'http://127.0.0.1:9'\nagent_key = 'agent_a_b'\n",
    );
    folder
}

/// A number from a query on the file itself.
fn number(store: &std::path::Path, sql: &str) -> i64 {
    let connection = Connection::open_with_flags(store, OpenFlags::SQLITE_OPEN_READ_ONLY).unwrap();
    connection.query_row(sql, [], |row| row.get(0)).unwrap()
}

async fn post(client: &reqwest::Client, url: &str, body: String) -> u16 {
    let reply = client.post(url).body(body.clone()).send().await.unwrap();
    let status = reply.status().as_u16();
    let text = reply.text().await.unwrap();
    assert!(status != 200 || text == body, "{status} {text}");
    status
}

/// Blocks other writers until it is dropped.
fn hold(store: &std::path::Path) -> Connection {
    let holder = Connection::open(store).unwrap();
    holder.execute_batch("BEGIN IMMEDIATE").unwrap();
    holder
}

#[tokio::test]
async fn fault_12_a_killed_proxy_leaves_ended_calls_and_notes_of_calls_in_flight() {
    let mut served = Served::start(away(), |program| program);
    let (origin, mut manual) = (TestOrigin::http().await, ManualOrigin::start(None).await);
    let client = served.client();
    let streaming = client.get(format!("http://{}/stream", manual.addr)).send();
    let (reply, call) = tokio::join!(streaming, async {
        let (pieces, _) = manual.call().await.stream("text/event-stream");
        pieces.send(piece("data: one\n\n")).await.unwrap();
        pieces
    });
    let (mut reply, pieces) = (reply.unwrap(), call);
    assert_eq!(reply.chunk().await.unwrap().unwrap(), "data: one\n\n");
    for n in 0..40 {
        assert_eq!(post(&client, &origin.url("/echo"), format!("call {n}")).await, 200);
    }
    let store = served.folder.path().join("events.db");
    // The first note starts the capture of the stream's progress, so the second note contains it.
    eventually("the stream is noted with its progress", async || {
        let _ = pieces.send(piece("data: more\n\n")).await;
        let _ = reply.chunk().await;
        number(&store, "SELECT count(*) FROM open_exchanges WHERE json LIKE '%data: one%'") == 1
    })
    .await;
    eventually("the calls are stored", async || number(&store, "SELECT count(*) FROM events") == 40).await;
    served.child.kill().unwrap();
    served.child.wait().unwrap();
    verified(&store);

    let after = Store::open(&store).unwrap();
    assert_eq!(after.recover_interrupted().unwrap(), 1);
    verified(&store);
    let events = served.events();
    assert_eq!(events.len(), 41);
    let bodies: BTreeSet<_> =
        events[..40].iter().map(|event| event["request_body"].as_str().unwrap().to_owned()).collect();
    assert_eq!(bodies.len(), 40);
    let cut = &events[40];
    assert!(cut["error"].as_str().unwrap().starts_with("proxy_interrupted"), "{cut:#}");
    assert!(cut["response_body"].as_str().unwrap().starts_with("data: one\n\n"), "{cut:#}");
    assert_eq!((&cut["status_code"], &cut["metadata"]["event"]["seq"]), (&200.into(), &41.into()));
}

#[tokio::test]
async fn a_call_noted_in_flight_has_one_event_when_it_ends() {
    let mut origin = ManualOrigin::start(None).await;
    let proxy = TestProxy::new().run().await;
    let (client, url) = (proxy.client(), format!("http://{}/slow", origin.addr));
    let (reply, pieces) = tokio::join!(client.get(&url).send(), async { origin.call().await.stream("text/plain").0 });
    let store = proxy.app.store.path().to_owned();
    eventually("it is noted", async || number(&store, "SELECT count(*) FROM open_exchanges") == 1).await;
    pieces.send(piece("done")).await.unwrap();
    drop(pieces);
    assert_eq!(reply.unwrap().text().await.unwrap(), "done");
    proxy.events_so_far(1).await;
    assert_eq!(number(&store, "SELECT count(*) FROM open_exchanges"), 0);
    let events = proxy.events().await;
    assert_eq!((events.len(), &events[0]["error"], &events[0]["response_body"]), (1, &"".into(), &"done".into()));
}

/// An event without a call.
fn plain(n: u64) -> NewEvent<'static> {
    NewEvent {
        bodies: &[],
        event_id: uuid::Uuid::now_v7(),
        seq: n,
        started_at_ms: 0,
        method: "GET",
        host: "h",
        path: "/",
        status_code: 200,
        latency_ms: 1.0,
        request_bytes: 0,
        response_bytes: 0,
        error: "",
        outline: "",
        llm: "",
        json: br#"{"path":"/"}"#,
    }
}

#[test]
fn fault_13_a_truncated_log_leaves_an_intact_store_with_its_first_events() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("events.db");
    let store = Store::open(&path).unwrap();
    let session = store.begin_session("r", "k", "{}").unwrap();
    let mut writer = store.writer().unwrap();
    for n in 1..=40 {
        writer.append(session, &[plain(n)]).unwrap();
    }
    // A power loss keeps what was synced, and any prefix of the rest.
    let log = std::fs::read(path.with_file_name("events.db-wal")).unwrap();
    let mut last = 0;
    for part in 0..=20 {
        let cut = folder.path().join(format!("{part}.db"));
        std::fs::copy(&path, &cut).unwrap();
        std::fs::write(folder.path().join(format!("{part}.db-wal")), &log[..log.len() * part / 20]).unwrap();
        let after = Store::open(&cut).unwrap();
        let left = after.waiting("k", &[], 100).unwrap();
        let ids: Vec<i64> = left.iter().map(|(id, _)| *id).collect();
        assert_eq!(ids, (1..=ids.len() as i64).collect::<Vec<_>>());
        assert!(ids.len() >= last && after.health().stores_moved_aside() == 0);
        last = ids.len();
    }
    assert_eq!(last, 40);
}

#[tokio::test]
async fn fault_19_two_proxies_on_one_store_each_have_their_own_session() {
    let (otas, origin) = (TestOtas::start().await, TestOrigin::http().await);
    let one = TestProxy::new().otas(&otas).run().await;
    let shared = one.app.store.path().to_owned();
    let two = TestProxy::new().otas(&otas).with(|c| c.store.path = shared).run().await;
    for n in 0..20 {
        assert_eq!(post(&one.client(), &origin.url("/echo"), format!("one {n}")).await, 200);
        assert_eq!(post(&two.client(), &origin.url("/echo"), format!("two {n}")).await, 200);
    }
    otas.events_at_least(40, Duration::from_secs(30)).await;
    let mut of_session = std::collections::BTreeMap::<_, BTreeSet<String>>::new();
    for event in otas.stored_events().await {
        let word = event.body["request_body"].as_str().unwrap().split(' ').next().unwrap().to_owned();
        of_session.entry(event.session_id).or_default().insert(word);
    }
    assert_eq!((of_session.len(), of_session.values().all(|words| words.len() == 1)), (2, true), "{of_session:?}");
    assert_eq!(two.stop().await.delivered, 20);
    assert_eq!(one.stop().await.delivered, 20);
}

#[test]
fn fault_20_setting_the_clock_back_does_not_change_the_order() {
    let folder = tempfile::tempdir().unwrap();
    let store = Store::open(&folder.path().join("events.db")).unwrap();
    let session = store.begin_session("r", "k", "{}").unwrap();
    let mut writer = store.writer().unwrap();
    let day_ms = 86_400_000;
    for (n, at) in [(1, 20 * day_ms), (2, 19 * day_ms), (3, 21 * day_ms)] {
        writer.append(session, &[NewEvent { bodies: &[], started_at_ms: at, ..plain(n) }]).unwrap();
    }
    let order: Vec<i64> = store.waiting("k", &[], 9).unwrap().iter().map(|(id, _)| *id).collect();
    assert_eq!(order, [1, 2, 3]);
    let rows = store.list(&Filter { limit: 9, ..Filter::default() }).unwrap();
    assert_eq!(rows.iter().map(|row| row.seq).collect::<Vec<_>>(), [3, 2, 1]);
}

/// A proxy with a store of 8 MiB and an unreachable OTAS.
async fn small(otas: &TestOtas, on_full: OnFull) -> Running {
    let proxy = TestProxy::new().otas(otas).with(|c| {
        c.store.max_bytes = 8 << 20;
        c.store.min_free_bytes = 0;
        // On a busy machine calls come faster than they are searched.
        c.redact.budget = Duration::from_secs(10);
        c.capture.memory_bytes = 256 << 20;
        c.store.on_full = on_full;
        c.delivery.backoff_min = Duration::from_millis(5);
        c.delivery.backoff_max = Duration::from_millis(50);
    });
    proxy.run().await
}

/// 250 KB that differ for each call. The store compresses them to little more than half.
fn large(n: usize) -> String {
    words(n, 250_000)
}

/// Words of random consonants: nothing in them repeats, and none is the name of a secret.
fn words(seed: usize, bytes: usize) -> String {
    let mut state = (seed as u64 + 1).wrapping_mul(0x9E37_79B9_7F4A_7C15);
    let mut letter = |at: usize| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        if at % 6 == 5 { ' ' } else { char::from(b"bcdfghjklmnpqrstvwxz"[(state % 20) as usize]) }
    };
    (0..bytes).map(&mut letter).collect()
}

#[tokio::test]
async fn faults_14_and_15_a_full_store_sheds_bodies_then_events_and_reports_how_many() {
    let (otas, origin) = (TestOtas::start().await, TestOrigin::http().await);
    otas.down().await;
    let proxy = small(&otas, OnFull::DropOldest).await;
    let client = proxy.client();
    // The same text goes out and comes back, and is stored once: some 55 events fit.
    for n in 0..120 {
        assert_eq!(post(&client, &origin.url("/echo"), large(n)).await, 200);
    }
    // Gap events report it once nothing more is lost for a while.
    let calls = |events: &[Value]| events.iter().filter(|event| event["metadata"]["kind"] != "gap").count();
    let told = |events: &[Value]| -> u64 {
        events.iter().filter_map(|event| event["custom_properties"]["otas_proxy.gap.bodies"].as_u64()).sum()
    };
    let health = proxy.app.store.health();
    eventually("all calls are stored and losses are reported", async || {
        let events = proxy.events_so_far(0).await;
        calls(&events) == 120 && told(&events) == health.bodies_removed()
    })
    .await;
    let (lost, without) = (health.events_lost(), health.bodies_removed());
    assert!(lost == 0 && (60..120).contains(&without), "{lost} {without}");
    let file = std::fs::metadata(proxy.app.store.path()).unwrap().len();
    assert!(file <= 12 << 20, "{file}");
    // It recovers without a restart: delivered events make room.
    otas.up().await;
    let mut events = Vec::new();
    eventually("OTAS has it all", async || {
        events = otas.events().await;
        calls(&events) == 120 && told(&events) == without
    })
    .await;
    let removed = |event: &&Value| event["metadata"]["cut"]["bodies_removed"] == true;
    assert_eq!(events.iter().filter(removed).count() as u64, without);
    let bodies: BTreeSet<_> = events.iter().filter_map(|event| event["request_body"].as_str()).collect();
    assert!(bodies.contains(&*large(119)));
    assert_eq!(post(&client, &origin.url("/echo"), large(200)).await, 200);
    proxy.stop().await;
}

#[tokio::test]
async fn fault_14_in_audit_mode_calls_that_cannot_be_recorded_are_refused() {
    let (otas, origin) = (TestOtas::start().await, TestOrigin::http().await);
    otas.down().await;
    let proxy = small(&otas, OnFull::Refuse).await;
    let client = proxy.client();
    let mut went = 0;
    eventually("the store is full", async || {
        let reply = client.post(origin.url("/echo")).body(large(went)).send().await.unwrap();
        if reply.status() == 503 {
            let problem: Value = serde_json::from_slice(&reply.bytes().await.unwrap()).unwrap();
            assert_eq!((&problem["error"]["code"], &problem["step"]), (&"not_recordable".into(), &"record".into()));
            return true;
        }
        assert_eq!(reply.status(), 200);
        went += 1;
        false
    })
    .await;
    assert!(went >= 30, "{went}");
    assert_eq!(origin.received().len(), went, "a refused call was not forwarded");
    assert_eq!(proxy.app.store.health().events_lost() + proxy.app.store.health().bodies_removed(), 0);
    // Delivered events may be removed in audit mode.
    otas.up().await;
    eventually("calls go out again", async || {
        client.post(origin.url("/echo")).body("again").send().await.unwrap().status() == 200
    })
    .await;
    let went = origin.received().len();
    let summary = proxy.stop().await;
    let events = otas.events().await;
    assert_eq!(events.iter().filter(|event| event["status_code"] == 200).count(), went);
    assert_eq!((summary.delivered, summary.waiting, summary.failed), (events.len() as u64, 0, 0));
}

#[tokio::test]
async fn faults_14_and_18_a_disk_that_refuses_writes_disturbs_no_call_and_is_written_later() {
    // The system refuses every write past this size. The signal is ignored, so the write fails with an error.
    let limited = |program: Command| {
        let mut limited = Command::new("sh");
        let binary = program.get_program().to_owned();
        limited.args(["-c", "trap '' XFSZ; exec prlimit --fsize=700000:unlimited \"$0\" \"$@\""]).arg(binary);
        limited.current_dir(program.get_current_dir().unwrap());
        with_variables_of(&program, &mut limited);
        limited
    };
    let served = Served::start(away(), limited);
    let (origin, client) = (TestOrigin::http().await, served.client());
    for n in 0..60 {
        assert_eq!(post(&client, &origin.url("/echo"), words(n, 50_000)).await, 200);
    }
    let lifted = Command::new("prlimit")
        .args([format!("--pid={}", served.child.id()), "--fsize=unlimited:unlimited".to_owned()])
        .status()
        .unwrap();
    assert!(lifted.success());
    let store = served.folder.path().join("events.db");
    eventually("all are stored", async || number(&store, "SELECT count(*) FROM events") == 60).await;
    let bodies: BTreeSet<_> =
        served.events().iter().map(|event| event["request_body"].as_str().unwrap().to_owned()).collect();
    assert_eq!(bodies.len(), 60, "none is lost or duplicated");
}

#[tokio::test]
async fn fault_23_a_locked_store_disturbs_no_call() {
    let origin = TestOrigin::http().await;
    let proxy = TestProxy::new().run().await;
    let client = proxy.client();
    let holder = hold(proxy.app.store.path());
    for n in 0..100 {
        assert_eq!(post(&client, &origin.url("/echo"), format!("{n}")).await, 200);
    }
    drop(holder);
    assert_eq!(proxy.events().await.len(), 100);
}

#[tokio::test]
async fn strict_durability_delays_the_end_of_a_response_until_its_event_is_stored() {
    let origin = TestOrigin::http().await;
    let proxy = TestProxy::new().with(|c| c.store.durability = Durability::Strict).run().await;
    for (path, method) in [("/echo", "POST"), ("/bytes/100000", "GET"), ("/sse/3/1", "GET"), ("/bytes/5", "HEAD")] {
        let holder = hold(proxy.app.store.path());
        let released = Arc::new(AtomicBool::new(false));
        let reached = origin.received().len() + 1;
        let request = proxy.client().request(method.parse().unwrap(), origin.url(path)).body(if method == "POST" {
            "x"
        } else {
            ""
        });
        let call = tokio::spawn({
            let released = released.clone();
            async move {
                let reply = request.send().await.unwrap();
                assert_eq!(reply.status(), 200);
                let body = reply.bytes().await.unwrap();
                assert!(released.load(Ordering::SeqCst), "{path} ended before its event was stored");
                body.len()
            }
        });
        eventually("the origin has answered", async || origin.received().len() >= reached || call.is_finished())
            .await;
        released.store(true, Ordering::SeqCst);
        drop(holder);
        call.await.unwrap();
    }
    let store = proxy.app.store.clone();
    let stored = store.list(&Filter { limit: 10, ..Filter::default() }).unwrap();
    assert_eq!(stored.len(), 4);
    assert!(stored.iter().all(|row| row.error.is_empty() && row.state != State::Dead));
    proxy.stop().await;
}

#[test]
fn fault_16_a_store_that_cannot_be_created_prevents_the_start_and_is_named() {
    let folder = Folder::new();
    std::fs::write(folder.path().join("file"), "").unwrap();
    std::fs::write(
        folder.config(),
        "[listen]\nproxy = '127.0.0.1:0'\nadmin = '127.0.0.1:0'\n[tls]\nca_dir = 'ca'\n[store]\npath = 'file/events.db'\n",
    )
    .unwrap();
    let output = folder.program().args(["serve", "--config", "proxy.toml"]).output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(!output.status.success() && said.contains("file/events.db") && said.contains("writable"), "{said}");
}
