//! JSON Lines: each event is one line, whatever happens to the file or the proxy; beside OTAS and instead of it.

use std::collections::BTreeSet;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Stdio;

use otas_proxy::config::{Config, Sink};
use otas_proxy::store::{Counts, State};
use serde_json::Value;

use crate::support::lines::Lines;
use crate::support::origin::TestOrigin;
use crate::support::otas::TestOtas;
use crate::support::program::{Folder, Served};
use crate::support::proxy::{Running, TestProxy, eventually};

fn lines_to(path: PathBuf) -> impl FnOnce(&mut Config) {
    move |config| config.sinks = vec![Sink::JsonLines(Some(path))]
}

async fn calls(proxy: &Running, origin: &TestOrigin, numbers: std::ops::Range<usize>) {
    for n in numbers {
        let post = proxy.client().post(origin.url(&format!("/echo/{n}"))).body("a\nb\u{2028}c");
        post.send().await.unwrap();
    }
}

/// The complete lines of a file.
fn lines(path: &Path) -> Vec<Value> {
    let text = std::fs::read_to_string(path).unwrap_or_default();
    text.lines().filter_map(|line| serde_json::from_str(line).ok()).collect()
}

fn ids<'a>(events: impl IntoIterator<Item = &'a Value>) -> BTreeSet<String> {
    events.into_iter().map(|event| event["metadata"]["event"]["id"].as_str().unwrap().to_owned()).collect()
}

/// An answer of the admin port.
async fn admin(proxy: &Running, url: &str) -> String {
    let (jar, token) = (reqwest::Client::builder().no_proxy(), proxy.token());
    let client = jar.tls_backend_preconfigured(proxy.client_tls(&[])).build().unwrap();
    client.get(url).bearer_auth(token).send().await.unwrap().text().await.unwrap()
}

/// The first line of a metric: the value for accepted events, or the trouble.
async fn figure(proxy: &Running, name: &str) -> f64 {
    let text = admin(proxy, &format!("http://{}/metrics", proxy.app.admin_addr)).await;
    let lines = text.lines().filter(|line| line.starts_with(name) && !line.contains("refused"));
    lines.map(|line| line.rsplit_once(' ').unwrap().1.parse::<f64>().unwrap()).sum()
}

#[tokio::test]
async fn a_line_equals_the_posted_event() {
    let (origin, otas, folder) = (TestOrigin::http().await, TestOtas::start().await, tempfile::tempdir().unwrap());
    let file = folder.path().join("events.jsonl");
    let proxy = TestProxy::new().otas(&otas).with(lines_to(file.clone())).run().await;
    calls(&proxy, &origin, 0..3).await;
    let summary = proxy.stop().await;
    assert_eq!((summary.delivered, summary.sinks[0].fed.sent, summary.sinks[0].waiting), (3, 3, 0));
    assert_eq!(std::fs::metadata(&file).unwrap().permissions().mode() & 0o777, 0o600);
    let (told, mut sent) = (lines(&file), otas.events().await);
    assert_eq!((told.len(), sent.len()), (3, 3));
    // Posts in flight arrive in any order; lines are in the order of the calls.
    sent.sort_by_key(|event| event["path"].as_str().unwrap().to_owned());
    for (line, event) in told.iter().zip(&sent) {
        for field in ["path", "method", "request_body", "response_body", "request_headers"] {
            assert_eq!(line[field], event[field], "{field}");
        }
        assert_eq!(
            (&line["metadata"], &line["custom_properties"]),
            (&event["metadata"], &event["custom_properties"])
        );
    }
}

#[tokio::test]
async fn the_next_process_continues_at_the_position_even_after_a_rotation() {
    let (origin, folder) = (TestOrigin::http().await, tempfile::tempdir().unwrap());
    let (file, rotated) = (folder.path().join("events.jsonl"), folder.path().join("events.jsonl.1"));
    let store = folder.path().join("events.db");
    for from in [0, 3, 6] {
        let at = store.clone();
        let proxy = TestProxy::new().with(lines_to(file.clone())).with(|config| config.store.path = at).run().await;
        calls(&proxy, &origin, from..from + 2).await;
        eventually("they are written", async || lines(&file).len() % 3 == 2).await;
        std::fs::rename(&file, &rotated).unwrap();
        calls(&proxy, &origin, from + 2..from + 3).await;
        assert_eq!(proxy.stop().await.sinks[0].fed.sent, 3);
        assert_eq!((lines(&rotated).len(), lines(&file).len()), (2, 1));
        let both: Vec<Value> = lines(&rotated).into_iter().chain(lines(&file)).collect();
        let paths: Vec<&str> = both.iter().map(|line| line["path"].as_str().unwrap()).collect();
        assert_eq!(paths, [from, from + 1, from + 2].map(|n| format!("/echo/{n}")));
        std::fs::remove_file(&file).unwrap();
    }
}

#[tokio::test]
async fn without_delivery_events_are_kept_for_sinks_and_no_session_is_opened() {
    let (origin, otas, folder) = (TestOrigin::http().await, TestOtas::start().await, tempfile::tempdir().unwrap());
    let file = folder.path().join("events.jsonl");
    let proxy = TestProxy::new().otas(&otas).with(lines_to(file.clone())).with(|config| config.otas.deliver = false);
    let proxy = proxy.run().await;
    assert!(proxy.app.collector.is_none());
    calls(&proxy, &origin, 0..3).await;
    let store = proxy.app.store.clone();
    let (summary, _folder) =
        (proxy.app.stop(std::time::Duration::from_secs(20), Default::default(), |_| {}).await, proxy.folder);
    assert_eq!((summary.kept, summary.waiting, summary.failed), (3, 0, 0));
    assert!(summary.to_string().contains("0 failed, 0 delivered, 0 waiting, 3 not for OTAS"), "{summary}");
    assert_eq!(lines(&file).len(), 3);
    assert_eq!(store.counts(None).unwrap(), Counts { total: 3, kept: 3, ..Counts::default() });
    assert_eq!(store.event(1).unwrap().state, State::Kept);
    assert!(otas.sessions().await.is_empty() && otas.events().await.is_empty());
}

#[tokio::test]
async fn an_unwritable_file_delays_nothing_and_gets_all_events_later() {
    let (origin, folder) = (TestOrigin::http().await, tempfile::tempdir().unwrap());
    let file = folder.path().join("later").join("events.jsonl");
    let proxy = TestProxy::new().with(lines_to(file.clone())).with(|config| {
        config.delivery.backoff_min = std::time::Duration::from_millis(1);
        config.delivery.backoff_max = std::time::Duration::from_millis(20);
    });
    let proxy = proxy.run().await;
    calls(&proxy, &origin, 0..3).await;
    eventually("it is in trouble", async || {
        proxy.status().await["sinks"][0]["trouble"].as_str().is_some_and(|why| why.starts_with("cannot write to "))
    })
    .await;
    assert_eq!(figure(&proxy, "otas_proxy_sink_trouble").await, 1.0);
    eventually("they are counted", async || figure(&proxy, "otas_proxy_sink_waiting").await == 3.0).await;
    let health = admin(&proxy, &format!("http://{}/health", proxy.app.admin_addr)).await;
    assert!(health.contains("accepts no events: cannot write to "), "{health}");
    std::fs::create_dir(folder.path().join("later")).unwrap();
    eventually("they are written", async || lines(&file).len() == 3).await;
    eventually("it is well", async || proxy.status().await["sinks"][0]["trouble"].is_null()).await;
    assert_eq!(figure(&proxy, "otas_proxy_sink_events_total").await, 3.0);
    proxy.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn each_stored_event_is_a_line_even_if_the_proxy_is_killed() {
    let origin = TestOrigin::http().await;
    let mut folder = Folder::new();
    folder.configure("[[sinks]]\ntype = 'jsonl'\npath = 'events.jsonl'\n");
    for round in 0..4 {
        let served = Served::start(folder, |command| command);
        let (client, before) = (served.client(), served.events().len());
        for n in 0..30 {
            client.get(origin.url(&format!("/echo/{round}/{n}"))).send().await.unwrap();
        }
        // Killed in the middle: the last events and the file were not awaited.
        eventually("most are stored", async || served.events().len() >= before + 20).await;
        folder = served.into_folder();
    }
    let served = Served::start(folder, |command| command);
    let file = served.folder.path().join("events.jsonl");
    eventually("each is a line", async || ids(&lines(&file)) == ids(&served.events())).await;
}

#[test]
fn standard_output_has_the_lines_and_nothing_else() {
    let folder = Folder::new();
    folder.configure("[otas]\ndeliver = false\n[[sinks]]\ntype = 'jsonl'\npath = '-'\n");
    let refused = folder.program().args(["run", "--config", "proxy.toml", "--", "true"]).output().unwrap();
    assert!(
        String::from_utf8_lossy(&refused.stderr).contains("standard output, which belongs to the command"),
        "{refused:?}"
    );
    assert_eq!(refused.status.code(), Some(2));

    let mut served = folder.program();
    let mut served = served
        .args(["serve", "--config", "proxy.toml"])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut said = Lines::of(served.stderr.take().unwrap());
    let url =
        said.find_map(|line| line.split_whitespace().find(|word| word.starts_with("http://")).map(str::to_owned));
    let url = url.expect("it says where it listens");
    let (mut lines, closed) = (Lines::of(served.stdout.take().unwrap()), "http://127.0.0.1:1/closed");
    std::process::Command::new("curl").args(["-s", "-x", &url, closed]).output().unwrap();
    let line: Value = serde_json::from_str(&lines.next().unwrap()).unwrap();
    assert_eq!((&line["path"], &line["method"]), (&"/closed".into(), &"GET".into()));
    served.kill().unwrap();
    served.wait().unwrap();
    assert!(lines.next().is_none());
}

#[test]
fn an_invalid_section_prevents_the_start_and_is_named() {
    let folder = Folder::new();
    for (section, words) in [
        ("type = 'jsonl'", "`jsonl` needs a `path`"),
        ("type = 'jsonl'\npath = 'a'\nendpoint = 'http://x'", "`endpoint` has no meaning"),
        ("type = 'kafka'", "one of \"jsonl\", \"otlp\""),
        ("path = '-'", "no `type`"),
        ("type = 'otlp'\nendpoint = 'http://user:hunter2@c.test'", "must not contain a user name"),
        ("type = 'otlp'\nheaders_file = 'missing'", "cannot read"),
        ("type = 'jsonl'\npath = 'a'\n[[sinks]]\ntype = 'jsonl'\npath = './a'", "the same destination"),
    ] {
        folder.configure(&format!("[[sinks]]\n{section}\n"));
        let done = folder.program().args(["config", "--config", "proxy.toml"]).output().unwrap();
        let said = String::from_utf8_lossy(&done.stderr);
        assert!(
            done.status.code() == Some(2) && said.contains(words) && said.contains("proxy.toml:"),
            "{section}\n{said}"
        );
        assert!(!said.contains("hunter2"), "{said}");
    }
    folder.configure("[otas]\ndeliver = false\nproject_domain = 'http://project.test'\n");
    let done = folder.program().args(["config", "--config", "proxy.toml"]).output().unwrap();
    assert!(
        String::from_utf8_lossy(&done.stderr).contains("otas.deliver: is false, but calls into a project"),
        "{done:?}"
    );
}
