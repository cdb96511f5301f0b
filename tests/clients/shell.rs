//! Programs of a shell: curl, wget, git.

use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use serde_json::Value;

use super::installed::{Client, program};
use super::stage::{Stage, text, text_of};
use super::table::{Row, Told};
use crate::support::origin::{Received, TestCa, TestOrigin};
use crate::support::program::{Folder, events};
use crate::support::standin::files::files;

/// A folder with a configuration that trusts `origin`, and the origin.
async fn set_up(h2: bool) -> (Folder, TestOrigin, PathBuf) {
    let folder = Folder::new();
    let ca = TestCa::new(folder.path());
    let origin = if h2 { TestOrigin::h2(&ca).await } else { TestOrigin::https(&ca).await };
    folder.configure("");
    (folder, origin, ca.file.clone())
}

async fn run(folder: &Folder, command: &[&str]) -> Output {
    let mut program = folder.program();
    program.args(["run", "--include-localhost"]).arg("--config").arg(folder.config()).arg("--").args(command);
    output(program).await
}

/// Programs are waited for beside the runtime, which serves the origin meanwhile.
async fn output(mut command: Command) -> Output {
    tokio::task::spawn_blocking(move || command.output().unwrap()).await.unwrap()
}

fn only_event(folder: &Path) -> Value {
    let mut events = events(folder);
    assert_eq!(events.len(), 1, "{events:#?}");
    events.remove(0)
}

fn tool(name: &str) -> Client {
    program("Shell", name, "--version")
}

/// Date and the like differ between two calls; nothing else may.
fn head_without_date(head: &str) -> String {
    head.lines().filter(|l| !l.to_ascii_lowercase().starts_with("date:")).collect::<Vec<_>>().join("\n")
}

async fn curl_sees_no_difference(h2: bool, what: &'static str, flag: &str, version: &str) {
    let Some(row) = Row::of(&tool("curl"), what, Told::Variables) else { return };
    let (folder, origin, ca) = set_up(h2).await;
    let url = origin.url("/echo?q=1&x=%2F");
    let arguments =
        [flag, "-sS", "-i", "--data-binary", "{\"ask\":\"me\"}", "-H", "Content-Type: application/json", &url];
    let mut direct = Command::new("curl");
    direct.args(arguments).arg("--cacert").arg(&ca).env("NO_PROXY", "*").env("no_proxy", "*");
    let direct = output(direct).await;
    let timed = [&["curl"][..], &arguments, &["-w", "%{stderr}times %{time_total} %{time_appconnect}\n"]].concat();
    let proxied = run(&folder, &timed).await;
    assert!(proxied.status.success(), "{}", text(&proxied.stderr));
    // With a proxy curl shows the head of its answer to CONNECT first.
    let shown = text(&proxied.stdout);
    let shown = shown.split_once("\r\n\r\n").unwrap().1;
    assert_eq!(head_without_date(shown), head_without_date(&text(&direct.stdout)));
    let [sent_direct, sent_proxied]: [Received; 2] = origin.received().try_into().unwrap();
    assert_eq!(sent_direct.headers, sent_proxied.headers);
    assert_eq!((sent_direct.uri, sent_direct.version), (sent_proxied.uri, sent_proxied.version));

    let event = only_event(folder.path());
    assert_eq!((&event["path"], &event["query_params"]), (&"/echo".into(), &"q=1&x=%2F".into()));
    assert_eq!((&event["method"], &event["status_code"], &event["error"]), (&"POST".into(), &200.into(), &"".into()));
    assert_eq!((&event["request_size_bytes"], &event["response_size_bytes"]), (&12.into(), &12.into()));
    assert_eq!(
        (&event["request_body"], &event["response_body"]),
        (&"{\"ask\":\"me\"}".into(), &"{\"ask\":\"me\"}".into())
    );
    assert_eq!(event["custom_properties"]["network.protocol.version"], version);
    let said = text(&proxied.stderr);
    let times = said.lines().find_map(|l| l.strip_prefix("times ")).unwrap();
    let curls: Vec<f64> = times.split(' ').map(|w| w.parse().unwrap()).collect();
    let curls_ms = (curls[0] - curls[1]) * 1e3;
    let latency_ms = event["latency_ms"].as_f64().unwrap();
    assert!(latency_ms > 0.0 && latency_ms <= curls_ms + 5.0, "curl {curls_ms} ms, event {latency_ms} ms");
    row.passed();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn curl_over_http_1() {
    curl_sees_no_difference(false, "HTTP/1.1", "--http1.1", "1.1").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn curl_over_http_2() {
    curl_sees_no_difference(true, "HTTP/2", "--http2", "2").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn wget_trusts_us_by_its_startup_file() {
    let Some(row) = Row::of(&tool("wget"), "HTTP/1.1", Told::Variables) else { return };
    let root = tempfile::tempdir().unwrap();
    std::fs::write(root.path().join("file"), "a file\n").unwrap();
    let stage = Stage::new(false, files(root.path().to_owned())).await;
    let startup = stage.folder.path().join("wgetrc");
    std::fs::write(&startup, format!("ca_certificate = {}\n", stage.ca.file.display())).unwrap();
    let command = ["wget", "-q", "-O", "-", &stage.origin.url("/file")];
    let same = stage.same_by(Told::Variables, &command, ("WGETRC", startup.to_str().unwrap())).await;
    assert_eq!((&*same.said, same.events.len()), ("a file", 1));
    row.passed();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn git_trusts_us_by_its_own_variable() {
    let Some(row) = Row::of(&tool("git"), "ls-remote, refused", Told::Variables) else { return };
    let (folder, origin, _) = set_up(false).await;
    // The origin is no repository; that git heard it say so is what counts.
    let done = run(&folder, &["git", "ls-remote", &origin.url("/status/404/repo.git")]).await;
    assert!(text(&done.stderr).contains("not found"), "{}", text(&done.stderr));
    let event = only_event(folder.path());
    assert_eq!((&event["path"], &event["status_code"]), (&"/status/404/repo.git/info/refs".into(), &404.into()));
    row.passed();
}

/// A repository of files, as any web server can offer it.
fn repository(root: &Path) {
    let work = root.join("work");
    let git = |folder: &Path, arguments: &[&str]| {
        let mut git = Command::new("git");
        git.current_dir(folder).args(["-c", "user.name=test", "-c", "user.email=test@stand-in.test"]).args(arguments);
        text_of(&git.env("HOME", root).env("GIT_CONFIG_NOSYSTEM", "1").output().unwrap())
    };
    std::fs::create_dir(&work).unwrap();
    std::fs::write(work.join("file"), "from the repository\n").unwrap();
    git(&work, &["init", "-q"]);
    git(&work, &["add", "file"]);
    git(&work, &["commit", "-q", "-m", "A file"]);
    git(root, &["clone", "-q", "--bare", "work", "repo.git"]);
    git(&root.join("repo.git"), &["update-server-info"]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn git_clones_over_http_2() {
    let Some(row) = Row::of(&tool("git"), "clone, HTTP/2", Told::Variables) else { return };
    let root = tempfile::tempdir().unwrap();
    repository(root.path());
    let stage = Stage::new(true, files(root.path().to_owned())).await;
    let clone = "git clone -q \"$1\" clone && cat clone/file";
    let same = stage
        .same(Told::Variables, &["sh", "-c", clone, "sh", &stage.origin.url("/repo.git")], "GIT_SSL_CAINFO")
        .await;
    assert_eq!(same.said, "from the repository");
    // Its list of branches, which one is the head, a commit, a tree and a file.
    assert!(same.events.len() >= 5, "{:#?}", same.events);
    row.passed();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn calls_to_this_machine_go_directly_unless_asked_for() {
    let (folder, origin, ca) = set_up(false).await;
    let mut program = folder.program();
    let url = origin.url("/bytes/10");
    let command = ["curl", "-sS", "-o", "direct", "--cacert", ca.to_str().unwrap(), &url];
    program.arg("run").arg("--config").arg(folder.config()).arg("--").args(command);
    let done = output(program).await;
    assert!(done.status.success() && text(&done.stderr).contains("0 calls"), "{}", text(&done.stderr));
    assert_eq!(origin.received().len(), 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn certificates_that_the_parent_trusts_stay_trusted() {
    let (folder, origin, ca) = set_up(false).await;
    // Relayed blind, so that the agent sees the origin's own certificate.
    folder.configure_with("passthrough = ['localhost']", "");
    let mut program = folder.program();
    program.args(["run", "--include-localhost"]).arg("--config").arg(folder.config()).env("SSL_CERT_FILE", &ca);
    program.args(["--", "curl", "-sS", "-o", "answer", &origin.url("/bytes/10")]);
    let done = output(program).await;
    assert!(done.status.success(), "{}", text(&done.stderr));
    let event = only_event(folder.path());
    assert_eq!((&event["metadata"]["kind"], &event["error"]), (&"tunnel".into(), &"".into()));
}
