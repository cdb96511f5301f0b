//! `--preload`: what it catches, and what it leaves alone.

use std::path::PathBuf;
use std::process::Output;

use serde_json::Value;

use super::installed::{node, node_itself, node_package, python_package};
use super::node::put_script;
use super::stage::{Stage, script, text_of};
use super::table::{Row, Told};
use crate::support::origin::{Act, RawOrigin, Received, TestOrigin};
use crate::support::program::{events, python};
use crate::support::standin::Reply;

/// Always the same.
fn hello(_: &Received) -> Reply {
    Reply::whole("text/plain", "hello")
}

/// A Node program of ours with `--preload`, in an environment that trusts the service already.
async fn node_runs(stage: &Stage, options: &[&str], name: &str, url: &str, set: &[(&str, &str)]) -> Output {
    put_script(&stage.proxied, name);
    let trust = ("NODE_EXTRA_CA_CERTS", stage.ca.file.to_str().unwrap());
    let options = [&["--preload"], options].concat();
    stage.run(&options, &[node(20).to_str().unwrap(), name, url], &[&[trust], set].concat()).await
}

fn paths(stage: &Stage) -> Vec<Value> {
    events(stage.folder.path()).iter().map(|event| event["path"].clone()).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn node_reaches_plain_origins_as_well() {
    let Some(row) = Row::of(&node_itself(20, "node:http, fetch"), "plain HTTP", Told::Preload) else { return };
    let (stage, origin) = (Stage::new(false, hello).await, TestOrigin::http().await);
    let done = node_runs(&stage, &["--include-localhost"], "both_ways.mjs", &origin.url("/bytes/10"), &[]).await;
    assert_eq!(text_of(&done), "200\n200");
    for event in events(stage.folder.path()) {
        assert_eq!((&event["path"], &event["status_code"]), (&"/bytes/10".into(), &200.into()));
        assert_eq!(event["custom_properties"]["url.scheme"], "http");
    }
    assert_eq!(events(stage.folder.path()).len(), 2);
    row.passed();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_programs_own_agent_and_exceptions_go_directly() {
    let client = node_package(20, "undici");
    let Some(row) = Row::of(&client, "agents and dispatchers of its own go directly", Told::Preload) else { return };
    for (options, name) in [(&["--include-localhost"][..], "own_agents.mjs"), (&[], "both_ways.mjs")] {
        let stage = Stage::new(false, hello).await;
        let done = node_runs(&stage, options, name, &stage.origin.url("/"), &[]).await;
        assert_eq!(text_of(&done).replace(' ', "\n"), "200\n200");
        assert_eq!(stage.origin.served().len(), 2);
        assert_eq!(paths(&stage), [Value::Null; 0]);
    }
    row.passed();
}

/// What the environment has Node load already is loaded first, and a path with spaces is one path.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nodes_options_are_added_to() {
    let client = node_itself(20, "node:https, fetch");
    let Some(row) = Row::of(&client, "beside other NODE_OPTIONS", Told::Preload) else { return };
    let stage = Stage::new(false, hello).await;
    let first = stage.folder.path().join("first.cjs");
    std::fs::write(&first, "console.log('first')").unwrap();
    let set = [("NODE_OPTIONS", &*format!("--require {}", first.display()))];
    let options = ["--include-localhost", "--ca-dir", "my \"own\" ca"];
    let done = node_runs(&stage, &options, "both_ways.mjs", &stage.origin.url("/"), &set).await;
    assert_eq!(text_of(&done), "first\n200\n200");
    assert_eq!(paths(&stage), ["/", "/"]);
    row.passed();
}

/// The script as `run` writes it.
async fn written(stage: &Stage) -> PathBuf {
    text_of(&stage.run(&["--preload"], &["true"], &[]).await);
    stage.folder.path().join("ca/preload/preload.cjs")
}

/// Any proxy will do, here one that refuses: it is asked for tunnels with the credentials of its URL, and not for hosts that
/// are excepted.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn exceptions_and_credentials_are_read_as_elsewhere() {
    let client = node_itself(20, "node:https, fetch");
    let Some(row) = Row::of(&client, "NO_PROXY and credentials", Told::Preload) else { return };
    let stage = Stage::new(false, hello).await;
    let preload = format!("--require {}", written(&stage).await.display());
    put_script(&stage.direct, "both_ways.mjs");
    let port = stage.origin.addr.port();
    let refusal = b"HTTP/1.1 407 Who are you?\r\nContent-Length: 0\r\n\r\n".to_vec();
    let proxy = RawOrigin::start(vec![Act::Write(refusal), Act::Close]).await;
    let proxy_url = format!("http://me:p%40ss@{}", proxy.addr);
    for (exceptions, host, excepted) in [
        ("other.test, localhost", "localhost", true),
        ("LOCALHOST", "localhost", true),
        (".localhost", "localhost", true),
        ("*", "localhost", true),
        ("0.0.1", "127.0.0.1", true),
        (&*format!("localhost:{port}"), "localhost", true),
        ("localhost:1", "localhost", false),
        ("host,calhost", "localhost", false),
        ("", "localhost", false),
    ] {
        let url = format!("https://{host}:{port}/");
        let set = [
            ("NODE_EXTRA_CA_CERTS", stage.ca.file.to_str().unwrap()),
            ("NODE_OPTIONS", &preload),
            ("HTTPS_PROXY", &proxy_url),
            ("NO_PROXY", exceptions),
        ];
        let done = stage.directly(&[node(20).to_str().unwrap(), "both_ways.mjs", &url], &set).await;
        let refused = format!("the proxy answered CONNECT localhost:{port} with 407 Who are you?\n").repeat(2);
        assert_eq!(text_of(&done), if excepted { "200\n200" } else { refused.trim() }, "{exceptions}");
    }
    let asked = proxy.received();
    assert_eq!(asked.matches("CONNECT ").count(), 6, "{asked}");
    assert_eq!(asked.matches("proxy-authorization: Basic bWU6cEBzcw==\r\n").count(), 6, "{asked}");
    row.passed();
}

/// What an aiohttp program says of `trust_env` holds, and the `sitecustomize` that was there is loaded, too.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn aiohttp_is_not_overruled_and_other_customizations_stay() {
    let client = python_package("aiohttp");
    let Some(row) = Row::of(&client, "trust_env=False goes directly", Told::Preload) else { return };
    for (said, calls) in [(&["False"][..], 0), (&[], 1)] {
        let stage = Stage::new(false, hello).await;
        let other = stage.folder.path().join("other");
        std::fs::create_dir(&other).unwrap();
        std::fs::write(other.join("sitecustomize.py"), "print('customized')").unwrap();
        let set = [("SSL_CERT_FILE", stage.ca.file.to_str().unwrap()), ("PYTHONPATH", other.to_str().unwrap())];
        let (python, script, url) = (python(), script("aiohttp_get.py"), stage.origin.url("/"));
        let command = [&[&*python, &*script, &*url], said].concat();
        let done = stage.run(&["--include-localhost", "--preload"], &command, &set).await;
        assert_eq!(text_of(&done), "customized\n200 hello");
        assert_eq!((stage.origin.served().len(), paths(&stage).len()), (1, calls));
    }
    row.passed();
}
