//! A text in bodies is found: by the command, by filters and on the page, also after kills.

use std::process::Output;

use serde_json::Value;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

use crate::support::origin::TestOrigin;
use crate::support::program::{Folder, Served, verified};
use crate::support::proxy::eventually;

fn served(settings: &str) -> Served {
    let folder = Folder::new();
    folder.configure(&format!("{settings}[otas]\ndeliver = false\n"));
    Served::start(folder, |program| program)
}

fn run(folder: &Folder, args: &[&str]) -> Output {
    folder.program().args(args).output().unwrap()
}

fn said(folder: &Folder, args: &[&str]) -> String {
    let done = run(folder, args);
    assert!(done.status.success(), "{args:?}: {done:?}");
    String::from_utf8(done.stdout).unwrap()
}

fn found(folder: &Folder, text: &str) -> Vec<Value> {
    said(folder, &["search", text, "--json"]).lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

/// Posts a body, of which the answer is a copy.
async fn post(served: &Served, origin: &TestOrigin, body: String) {
    let reply = served.client().post(origin.url("/echo")).body(body.clone()).send().await.unwrap();
    assert_eq!(reply.text().await.unwrap(), body);
}

async fn stored(served: &Served, calls: usize) {
    eventually("the calls are stored", async || served.events().len() == calls).await;
}

/// Words that come once each.
fn words(from: usize, count: usize) -> String {
    (from..from + count).map(|n| format!("w{n}x{:x} ", n * n)).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_text_in_a_body_is_found_by_the_command_by_filters_and_on_the_page() {
    let (served, origin) = (served(""), TestOrigin::http().await);
    let mut talk = words(0, 3_000) + "The Needle\u{202e}\u{1b}[31m is here. ";
    post(&served, &origin, talk.clone()).await;
    talk += &words(9_000, 1_000);
    post(&served, &origin, talk).await;
    post(&served, &origin, "a short text with \"quotes\"".to_owned()).await;
    stored(&served, 3).await;
    let hits = found(&served.folder, "the needle");
    assert_eq!(hits.len(), 2, "one for the request and one for the response: {hits:?}");
    for (hit, side) in hits.iter().zip(["request", "response"]) {
        let fields = (&hit["id"], &hit["side"], &hit["text"], &hit["calls"], &hit["first_id"]);
        assert_eq!(fields, (&2.into(), &side.into(), &"The Needle".into(), &2.into(), &1.into()));
    }
    assert_eq!(found(&served.folder, "with \"quotes\"")[0]["id"], 3);
    assert_eq!(found(&served.folder, "no such text"), [0; 0]);
    let line = said(&served.folder, &["search", "the needle"]);
    assert!(
        line.starts_with("2\t") && line.contains("\trequest\t2\t…") && line.contains("\\u{202e}\\u{1b}[31m is"),
        "{line}"
    );
    let coloured = said(&served.folder, &["search", "the needle", "--color", "always", "--limit", "1"]);
    assert!(coloured.contains("\u{1b}[1mThe Needle\u{1b}[0m") && !coloured.contains("\u{1b}[31m"), "{coloured}");
    assert_eq!(found(&served.folder, "the needle").len(), 2);
    assert_eq!(said(&served.folder, &["search", "needle", "method:get"]), "");
    let listed = |query: &str| said(&served.folder, &["events", "--json", "--", query]).lines().count();
    assert_eq!((listed("needle"), listed("-needle"), listed("body:quotes"), listed("body:127.0.0.1")), (2, 1, 1, 0));
    let page = page(&served, "/?text=needle").await;
    assert!(
        page.contains("data-id=\"2\"") && page.contains("data-id=\"1\"") && !page.contains("data-id=\"3\""),
        "{page}"
    );
    // The index is beside the store, and `store info` shows its size.
    let store = served.folder.path().join("events.db");
    eventually("there is an index", async || {
        let info: Value = serde_json::from_str(&said(&served.folder, &["store", "info", "--json"])).unwrap();
        info["search_bytes"].as_u64().unwrap() > 8_192
    })
    .await;
    // Without a proxy, and without its index.
    let folder = served.into_folder();
    for side in ["-search", "-search-wal", "-search-shm"] {
        let _ = std::fs::remove_file(folder.path().join(format!("events.db{side}")));
    }
    assert_eq!(listed_in(&folder, "needle"), 2);
    assert_eq!(found(&folder, "needle").len(), 2);
    assert!(folder.path().join("events.db-search").exists(), "the command has made it again");
    let done = run(&folder, &["search", ""]);
    assert_eq!(done.status.code(), Some(2), "{done:?}");
    verified(&store);
}

async fn page(served: &Served, path: &str) -> String {
    let token = std::fs::read_to_string(served.folder.path().join("admin.token")).unwrap();
    let address = served.page.strip_prefix("http://").unwrap().split('/').next().unwrap();
    let mut stream = tokio::net::TcpStream::connect(address).await.unwrap();
    let head = format!("Host: {address}\r\nAuthorization: Bearer {}\r\nConnection: close\r\n", token.trim());
    stream.write_all(format!("GET {path} HTTP/1.1\r\n{head}\r\n").as_bytes()).await.unwrap();
    let mut page = Vec::new();
    stream.read_to_end(&mut page).await.unwrap();
    String::from_utf8_lossy(&page).into_owned()
}

fn listed_in(folder: &Folder, query: &str) -> usize {
    said(folder, &["events", "--json", query]).lines().count()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_an_index_the_same_is_found() {
    let (served, origin) = (served("search = false\n"), TestOrigin::http().await);
    post(&served, &origin, words(0, 3_000)).await;
    stored(&served, 1).await;
    assert_eq!(found(&served.folder, &words(1_500, 3)).len(), 2);
    assert!(!served.folder.path().join("events.db-search").exists());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_proxy_that_is_killed_while_it_indexes_leaves_an_index_that_the_next_one_goes_on_with() {
    let (origin, mut served) = (TestOrigin::http().await, served(""));
    let (mut talk, mut calls) = (String::new(), 0);
    for round in 0..5 {
        for _ in 0..3 {
            // Short enough to be searched for secrets in time, even by a program that is not optimised.
            talk += &words(calls * 5_000, 500);
            post(&served, &origin, talk.clone()).await;
            calls += 1;
        }
        stored(&served, calls).await;
        assert_eq!(served.events()[calls - 1]["request_body"], talk);
        let folder = served.into_folder();
        for call in [0, calls / 2, calls - 1] {
            let hits = found(&folder, &words(call * 5_000 + 490, 4));
            // Each proxy has a session of its own.
            let count = |side: &str| -> u64 {
                hits.iter().filter(|hit| hit["side"] == side).filter_map(|hit| hit["calls"].as_u64()).sum()
            };
            let expected = (calls - call) as u64;
            assert_eq!(
                (count("request"), count("response")),
                (expected, expected),
                "round {round}, call {call}: {hits:?}"
            );
        }
        verified(&folder.path().join("events.db"));
        served = Served::start(folder, |program| program);
    }
}
