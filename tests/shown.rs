//! What was captured reaches people: it steers no terminal, turns no text around, and a reader that leaves ends a command quietly.

use std::io::{BufRead as _, BufReader, Write as _};
use std::os::unix::process::CommandExt as _;
use std::process::{Command, Output, Stdio};

use otas_proxy::store::{NewEvent, Store};
use serde_json::{Value, json};

use crate::page::{client, plain};
use crate::support::origin::TestOrigin;
use crate::support::otas::{Answer, TestOtas};
use crate::support::program::{Folder, Served};
use crate::support::proxy::{TestProxy, eventually};
use crate::support::sample::{STEERING, Sample, append, steering, steers};

/// A store whose only call has such text in every place.
fn with_steering() -> Folder {
    let folder = Folder::new();
    folder.configure("");
    let store = Store::open(&folder.path().join("events.db")).unwrap();
    let session = store.begin_session(&steering("run"), "key-1", &meta().to_string()).unwrap();
    append(&store, session, &[Sample::steering()]);
    folder
}

/// What a session says of its agent, with such text.
fn meta() -> Value {
    let caller = json!({ "agent": steering("agent"), "label": steering("label") });
    json!({ "command": steering("command"), "agent": steering("program"), "caller": caller })
}

fn run(folder: &Folder, arguments: &[&str]) -> Output {
    folder.program().args(arguments).output().unwrap()
}

#[test]
fn no_command_lets_captured_text_steer_a_terminal() {
    let folder = with_steering();
    for arguments in [
        &["events"][..],
        &["events", "--json"],
        &["events", "--id", "1"],
        &["events", "show", "1"],
        &["events", "show", "--json", "1"],
        &["events", "--curl", "1"],
        &["events", "--har", "-"],
        &["stats"],
        &["stats", "--json"],
        &["stats", "--by", "agent"],
        &["stats", "--by", "session", "--json"],
        &["runs"],
        &["runs", "--json"],
        &["events", "--tree"],
        &["events", "--tree", "--json"],
        &["share", "1", "--output", "-"],
        &["share", &steering("run"), "--output", "-"],
    ] {
        let done = run(&folder, arguments);
        let said = String::from_utf8(done.stdout).unwrap();
        assert!(done.status.success() && !said.is_empty(), "{arguments:?}");
        assert!(!said.contains(steers), "{arguments:?}: {said:?}");
        assert!(!String::from_utf8_lossy(&done.stderr).contains(steers), "{arguments:?}");
    }
    let table = String::from_utf8(run(&folder, &["events"]).stdout).unwrap();
    for place in ["method", "host", "path", "model", "error"] {
        assert!(table.contains(&format!(r"{place}:a\u{{1b}}[2J\u{{9b}}31m\u{{7f}}\u{{202e}}b")), "{place}: {table}");
    }
    let all = ["path", "query", "value", "sent", "received", "error", "model", "answer"];
    // A HAR file has the path and the query as a URL, and no facts of models.
    let in_har = ["value", "sent", "received"];
    for (arguments, places) in [
        (&["events", "--json"][..], &all[..]),
        (&["events", "show", "1"], &all),
        (&["events", "--har", "-"], &in_har),
    ] {
        let text = String::from_utf8(run(&folder, arguments).stdout).unwrap();
        let value: Value = serde_json::from_str(&text).unwrap();
        for place in places {
            assert!(holds(&value, &steering(place)), "{arguments:?}: {place}");
        }
        assert!(text.contains(r"\u202e") && text.contains(r"\udb40\udc41"), "{arguments:?}: {text}");
    }
}

/// Whether a text in the value, also in JSON inside it, contains `text`.
fn holds(value: &Value, text: &str) -> bool {
    match value {
        Value::String(string) => {
            string.contains(text) || serde_json::from_str::<Value>(string).is_ok_and(|inner| holds(&inner, text))
        }
        Value::Array(members) => members.iter().any(|member| holds(member, text)),
        Value::Object(members) => members.iter().any(|(name, member)| name.contains(text) || holds(member, text)),
        _ => false,
    }
}

#[test]
fn calls_that_come_while_they_are_followed_steer_no_terminal() {
    let folder = Folder::new();
    folder.configure("");
    let store = Store::open(&folder.path().join("events.db")).unwrap();
    let session = store.begin_session("run-1", "key-1", &json!({ "command": STEERING }).to_string()).unwrap();
    for arguments in [&["events", "--follow"][..], &["events", "--follow", "--json"]] {
        let mut child = folder.program().args(arguments).stdout(Stdio::piped()).spawn().unwrap();
        let (mut out, mut said) = (BufReader::new(child.stdout.take().unwrap()), Vec::new());
        let mut hostile = Sample::of(STEERING, STEERING, STEERING, 500);
        hostile.error = STEERING.into();
        hostile.llm = json!({ "gen_ai.response.model": STEERING, "gen_ai.provider.name": STEERING });
        hostile.event["path"] = STEERING.into();
        let long = format!("/{}{STEERING}", "long".repeat(20_000));
        append(&store, session, &[hostile, Sample::of("GET", "a.test", &long, 200)]);
        let odd = NewEvent { host: "odd.test", json: b"{\"path\":\"/odd.test\xff\xfe\x1b[2J\"}", ..plain() };
        store
            .writer()
            .unwrap()
            .append(session, &[odd, NewEvent { host: "last.test", json: b"{\"path\":\"/last.test\"}", ..plain() }])
            .unwrap();
        while !String::from_utf8_lossy(&said).contains("last.test") {
            assert!(out.read_until(b'\n', &mut said).unwrap() > 0, "{arguments:?}: it ended");
        }
        let _ = child.kill();
        child.wait().unwrap();
        let said = String::from_utf8(said).expect("it is text");
        assert!(!said.contains(steers), "{arguments:?}: {said:?}");
        assert!(said.contains("odd.test"), "{arguments:?}");
    }
}

#[test]
fn errors_that_hold_what_was_given_steer_no_terminal() {
    let folder = Folder::new();
    let done = run(&folder, &["events", "--store-path", "\u{1b}[2J\u{202e}.db"]);
    let said = String::from_utf8(done.stderr).unwrap();
    assert!(!done.status.success() && !said.contains(steers) && said.contains(r"\u{1b}[2J"), "{said:?}");
}

/// What becomes of a command whose reader has gone before it writes.
fn unread(mut command: Command) -> Output {
    let (reader, writer) = std::io::pipe().unwrap();
    drop(reader);
    command.stdin(Stdio::null()).stdout(writer.try_clone().unwrap()).stderr(Stdio::piped());
    command.output().unwrap()
}

#[test]
fn a_reader_that_has_gone_ends_a_command_quietly() {
    let folder = with_steering();
    for arguments in [
        &["events"][..],
        &["events", "--json"],
        &["events", "--har", "-"],
        &["events", "--curl", "1"],
        &["events", "show", "1"],
        &["events", "--follow"],
        &["stats"],
        &["stats", "--json"],
        &["config"],
        &["check", "configuration", "store"],
        &["check", "--json", "configuration"],
        &["env", "--listen-proxy", "127.0.0.1:8080"],
        &["ca", "show"],
        &["ca", "export", "-"],
        &["retry", "--dead"],
    ] {
        let mut command = folder.program();
        command.args(arguments);
        let done = unread(command);
        assert_eq!(done.status.code(), Some(0), "{arguments:?}: {done:?}");
        assert!(done.stderr.is_empty(), "{arguments:?}: {}", String::from_utf8_lossy(&done.stderr));
    }
}

#[test]
fn a_run_whose_log_nobody_reads_ends_as_its_command_does() {
    let folder = Folder::new();
    folder.configure("");
    let (reader, writer) = std::io::pipe().unwrap();
    drop(reader);
    let mut command = folder.program();
    let done = command.args(["run", "sh", "-c", "exit 7"]).stderr(writer).status().unwrap();
    assert_eq!(done.code(), Some(7));
}

#[test]
fn a_log_file_has_no_colours() {
    let folder = Folder::new();
    folder.configure("");
    let mut command = folder.program();
    let done = command.env("OTAS_PROXY_LOG", "trace").args(["run", "true"]).output().unwrap();
    let said = String::from_utf8_lossy(&done.stderr);
    assert!(done.status.success() && said.lines().count() > 1 && !said.contains('\u{1b}'), "{said:?}");
}

#[test]
fn a_command_needs_no_dashes_before_it_and_keeps_its_own() {
    let folder = Folder::new();
    folder.configure("");
    for arguments in [
        &["run", "sh", "-c", "printf '%s|' \"$@\"", "x", "--meta", "a=b", "--", "-c"][..],
        &["run", "--summary", "json", "--", "sh", "-c", "printf '%s|' \"$@\"", "x", "--meta", "a=b", "--", "-c"],
    ] {
        let done = run(&folder, arguments);
        assert_eq!(String::from_utf8_lossy(&done.stdout), "--meta|a=b|--|-c|", "{done:?}");
    }
    assert_eq!(
        run(&folder, &["run", "--nonsense", "true"]).status.code(),
        Some(2),
        "an option of ours that there is not"
    );
}

#[test]
fn a_run_without_calls_is_explained() {
    let folder = Folder::new();
    folder.configure("");
    let mut command = folder.program();
    let done = command.env("NO_PROXY", "a.test").args(["run", "true"]).output().unwrap();
    let said = String::from_utf8_lossy(&done.stderr);
    for words in
        ["otas-proxy: 0 calls", "run --include-localhost -- true", "a.test", "Node before 22.21", "otas-proxy check"]
    {
        assert!(said.contains(words), "{words}: {said}");
    }
}

#[test]
fn a_client_with_a_proxy_setting_of_its_own_is_named_and_its_value_is_not() {
    let folder = Folder::new();
    folder.configure("");
    std::fs::write(folder.path().join(".npmrc"), "https-proxy=http://me:hunter2@p.test:3128\n").unwrap();
    let none = folder.program().args(["run", "true"]).output().unwrap();
    let some =
        folder.program().args(["run", "--include-localhost", "curl", "-s", "http://127.0.0.1:1/"]).output().unwrap();
    for (calls, done) in [("0 calls", none), ("1 call,", some)] {
        let said = String::from_utf8_lossy(&done.stderr);
        for words in [calls, "npm has its own proxy setting (`https-proxy` in", "OTAS_UPSTREAM_PROXY"] {
            assert!(said.contains(words), "{words}: {said}");
        }
        assert!(!said.contains("hunter2"), "{said}");
    }
    let json = folder.program().args(["run", "--summary", "json", "true"]).output().unwrap();
    let last = String::from_utf8_lossy(&json.stderr).lines().last().unwrap().to_owned();
    let summary: serde_json::Value = serde_json::from_str(&last).unwrap();
    assert_eq!(summary["bypassing_clients"], serde_json::json!(["npm"]));
}

#[test]
fn a_pipe_or_an_endless_file_in_the_working_folder_holds_up_no_command() {
    let folder = Folder::new();
    let file = folder.path().join("proxy.toml");
    let _ = std::fs::remove_file(&file);
    let config = || folder.program().env_remove("OTAS_PROXY_CONFIG").arg("config").output().unwrap();
    assert!(Command::new("mkfifo").arg(&file).status().unwrap().success());
    let said = String::from_utf8_lossy(&config().stderr).into_owned();
    assert!(said.contains("is not a regular file"), "{said}");
    std::fs::remove_file(&file).unwrap();
    std::fs::File::create(&file).unwrap().set_len(1 << 40).unwrap();
    let said = String::from_utf8_lossy(&config().stderr).into_owned();
    assert!(said.contains("it is larger than"), "{said}");
}

#[test]
fn a_har_file_that_is_there_is_not_written_over_by_accident() {
    let folder = with_steering();
    let file = folder.path().join("out.har");
    std::fs::write(&file, "mine").unwrap();
    let done = run(&folder, &["events", "--har", "out.har"]);
    assert!(!done.status.success() && String::from_utf8_lossy(&done.stderr).contains("--force"), "{done:?}");
    assert_eq!(std::fs::read_to_string(&file).unwrap(), "mine");
    assert!(run(&folder, &["events", "--har", "out.har", "--force"]).status.success());
    assert!(std::fs::read_to_string(&file).unwrap().contains("\"log\""));
}

#[test]
fn a_file_that_is_named_and_missing_is_a_wrong_usage() {
    let folder = Folder::new();
    folder.configure("");
    for command in [&["run", "--origin-ca-file", "none.pem", "true"][..], &["serve", "--origin-ca-file", "none.pem"]]
    {
        let done = run(&folder, command);
        assert_eq!(done.status.code(), Some(2), "{done:?}");
        assert!(String::from_utf8_lossy(&done.stderr).contains("none.pem"), "{done:?}");
    }
}

#[test]
fn a_port_alone_and_each_shell_are_understood() {
    let folder = Folder::new();
    folder.configure("");
    for shell in ["sh", "zsh", "ksh", "tcsh", "nu"] {
        let done = run(&folder, &["env", "--shell", shell, "--listen-proxy", "9000"]);
        let said = String::from_utf8(done.stdout).unwrap();
        assert!(done.status.success() && said.contains("http://127.0.0.1:9000"), "{shell}: {said}");
    }
}

#[test]
fn the_session_of_a_run_names_its_agent() {
    let folder = Folder::new();
    folder.configure("[otas]\ndeliver = false\n");
    std::os::unix::fs::symlink("/usr/bin/env", folder.path().join("claude")).unwrap();
    let done = run(&folder, &["run", "--include-localhost", "./claude", "curl", "-sS", "http://127.0.0.1:1/"]);
    assert!(done.status.success(), "{done:?}");
    let db = rusqlite::Connection::open(folder.path().join("events.db")).unwrap();
    let meta: String = db.query_row("SELECT meta FROM sessions", [], |row| row.get(0)).unwrap();
    assert_eq!(serde_json::from_str::<Value>(&meta).unwrap()["agent"], "claude", "{meta}");
}

#[test]
fn a_store_of_another_user_is_reported_as_such() {
    const USER: u32 = 65_532;
    if !rustix::process::geteuid().is_root() {
        return;
    }
    let folder = with_steering();
    // The folder is the user's, the store in it is root's.
    for path in [folder.path().to_owned(), folder.config()] {
        std::os::unix::fs::chown(path, Some(USER), Some(USER)).unwrap();
    }
    for arguments in [
        &["events"][..],
        &["stats"],
        &["run", "true"],
        &["serve"],
        &["flush"],
        &["retry", "--dead"],
        &["check", "store"],
    ] {
        let mut command = folder.program();
        let done = command.args(arguments).uid(USER).gid(USER).output().unwrap();
        let said = String::from_utf8_lossy(&[done.stdout, done.stderr].concat()).into_owned();
        assert!(!done.status.success() && said.contains("owned by root"), "{arguments:?}: {said}");
        assert!(!said.contains("damaged") && !said.contains("panicked"), "{arguments:?}: {said}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_page_command_has_no_link_to_a_proxy_that_has_ended() {
    let folder = Folder::new();
    folder.configure("");
    let served = tokio::task::spawn_blocking(|| Served::start(folder, |program| program)).await.unwrap();
    let admin = served.page.trim_start_matches("http://").split('/').next().unwrap().to_owned();
    let folder = served.into_folder();
    let done = run(&folder, &["page", "--listen-admin", &admin]);
    let said = String::from_utf8_lossy(&done.stderr);
    assert!(!done.status.success() && done.stdout.is_empty(), "{done:?}");
    assert!(said.contains(&format!("no proxy answers on {admin}: start `otas-proxy serve`")), "{said}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_page_command_prints_a_link_that_opens_the_running_proxys_page_once() {
    let folder = Folder::new();
    folder.configure("");
    let served = tokio::task::spawn_blocking(|| Served::start(folder, |program| program)).await.unwrap();
    let client = client();
    let link = || {
        let done = run(&served.folder, &["page"]);
        assert!(done.status.success(), "{done:?}");
        String::from_utf8(done.stdout).unwrap().trim().to_owned()
    };
    let (one, another) = (link(), link());
    assert_ne!(one, another);
    for link in [&one, &another] {
        let entered = client.get(link).send().await.unwrap();
        assert_eq!(entered.status(), 303, "{link}");
        let cookie = entered.headers()["set-cookie"].to_str().unwrap().split(';').next().unwrap().to_owned();
        let page = client.get(link.split('?').next().unwrap()).header("cookie", cookie).send().await.unwrap();
        assert_eq!(page.status(), 200);
        assert_eq!(client.get(link).send().await.unwrap().status(), 401, "{link} works once");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_page_command_has_no_link_with_another_stores_token() {
    use std::os::unix::fs::OpenOptionsExt as _;
    let folder = Folder::new();
    folder.configure("");
    let served = tokio::task::spawn_blocking(|| Served::start(folder, |program| program)).await.unwrap();
    let other = tempfile::tempdir().unwrap();
    let token =
        std::fs::File::options().write(true).create_new(true).mode(0o600).open(other.path().join("admin.token"));
    token.unwrap().write_all("a".repeat(64).as_bytes()).unwrap();
    let store = other.path().join("events.db").display().to_string();
    let done = run(&served.folder, &["page", "--store-path", &store]);
    let said = String::from_utf8_lossy(&done.stderr);
    assert!(
        done.status.code() == Some(1) && done.stdout.is_empty() && said.contains("uses another store"),
        "{done:?}"
    );
}

#[test]
fn credentials_that_run_and_env_do_not_have_are_named() {
    let folder = Folder::new();
    folder
        .configure("[session]\nscope = 'credential'\n[[agents]]\nname = 'planner'\nsecret_file = 'planner.secret'\n");
    let secret = folder.path().join("planner.secret");
    std::fs::write(&secret, "s".repeat(40)).unwrap();
    std::fs::set_permissions(&secret, std::os::unix::fs::PermissionsExt::from_mode(0o600)).unwrap();
    let ran = run(&folder, &["run", "true"]);
    let said = String::from_utf8_lossy(&ran.stderr);
    assert!(
        ran.status.code() == Some(2) && said.contains("session.scope") && said.contains("NAME:SECRET@"),
        "{ran:?}"
    );
    let env = run(&folder, &["env", "--listen-proxy", "9000"]);
    assert!(env.status.success() && String::from_utf8_lossy(&env.stderr).contains("NAME:SECRET@"), "{env:?}");
}

#[test]
fn wrong_usages_say_what_is_wrong() {
    let folder = with_steering();
    let long = "x".repeat(5_000);
    for (arguments, code, words) in [
        (&["man", "nope"][..], 2, "no such command"),
        (&["man", "--folder", "/nowhere/at/all"], 1, "cannot write the manual pages into `/nowhere/at/all`: "),
        (&["note", "1", &long], 2, "is too long"),
        (&["search", ""], 2, "is empty"),
        (&["redirect", "print"], 2, "--user or --cgroup"),
        (&["share", "session:none", "--output", "-"], 1, "`session:none`"),
    ] {
        let done = run(&folder, arguments);
        let said = String::from_utf8_lossy(&done.stderr);
        assert!(done.status.code() == Some(code) && said.contains(words), "{arguments:?}: {done:?}");
    }
    let loud = folder.program().arg("events").env("OTAS_PROXY_LOG", "loud").output().unwrap();
    let said = String::from_utf8_lossy(&loud.stderr);
    assert!(loud.status.success() && said.contains("OTAS_PROXY_LOG: `loud` is not a level"), "{said}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_page_over_a_store_needs_no_proxy_and_may_run_beside_one() {
    let folder = Folder::new();
    folder.configure("");
    let served = tokio::task::spawn_blocking(|| Served::start(folder, |program| program)).await.unwrap();
    let store = served.folder.path().join("events.db");
    let session = Store::open(&store).unwrap().begin_session("run-1", "key-1", "{}").unwrap();
    append(&Store::open(&store).unwrap(), session, &[Sample::of("GET", "seen.test", "/one", 200)]);
    let mut child = served.folder.program().arg("ui").stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    let link = tokio::task::spawn_blocking(move || lines.next().unwrap().unwrap()).await.unwrap();
    let (page, client) = (link.split("/?").next().unwrap().to_owned(), client());
    assert!(page.starts_with("http://127.0.0.1:"), "{link}");
    let refused = client.get(&page).send().await.unwrap();
    assert_eq!(refused.status(), 401);
    assert!(refused.text().await.unwrap().contains("`otas-proxy ui`"));
    let entered = client.get(&link).send().await.unwrap();
    assert_eq!(entered.status(), 303, "{link}");
    let cookie = entered.headers()["set-cookie"].to_str().unwrap().split(';').next().unwrap().to_owned();
    assert_eq!(client.get(&link).send().await.unwrap().status(), 401, "the link works once");
    let seen = async |path: &str| {
        let shown = client.get(format!("{page}{path}")).header("cookie", &cookie).send().await.unwrap();
        assert_eq!(
            (shown.status().as_u16(), shown.headers().contains_key("content-security-policy")),
            (200, true),
            "{path}"
        );
        shown.text().await.unwrap()
    };
    for (path, words) in [
        ("/", "seen.test"),
        ("/event/1", "seen.test"),
        ("/sessions", "run-1"),
        ("/health", "This page shows a store without a proxy"),
        ("/?text=hst:a", "unknown key `hst`"),
    ] {
        let text = seen(path).await;
        assert!(text.contains(words), "{path}: {text}");
    }
    append(&Store::open(&store).unwrap(), session, &[Sample::of("GET", "new.test", "/two", 200)]);
    assert!(seen("/live?after=1").await.contains("new.test"));
    let other_site = client.get(&page).header("cookie", &cookie).header("host", "evil.example").send().await.unwrap();
    assert_eq!(other_site.status(), 421);
    let pid = rustix::process::Pid::from_child(&child);
    rustix::process::kill_process(pid, rustix::process::Signal::INT).unwrap();
    assert_eq!(child.wait().unwrap().code(), Some(0));
    let done = run(&served.folder, &["ui", "--listen", "0.0.0.0:0"]);
    assert!(done.status.code() == Some(2) && String::from_utf8_lossy(&done.stderr).contains("loopback"), "{done:?}");
}

#[tokio::test]
async fn messages_of_otas_are_escaped_in_the_status() {
    let (otas, origin) = (TestOtas::start().await, TestOrigin::http().await);
    otas.answer_all(Answer::refusal(503, STEERING));
    let proxy = TestProxy::new().otas(&otas).run().await;
    proxy.client().get(origin.url("/bytes/1")).send().await.unwrap();
    eventually("OTAS's words are told", async || {
        proxy.status().await["delivery"]["trouble"].as_str().is_some_and(|why| why.contains("[2J"))
    })
    .await;
    for path in ["status", "readyz"] {
        let url = format!("http://{}/{path}", proxy.app.admin_addr);
        let told = client().get(url).send().await.unwrap();
        assert_eq!(told.headers()["content-type"], "application/json");
        let text = told.text().await.unwrap();
        assert!(text.contains("[2J") && !text.contains(steers), "{path}: {text:?}");
    }
}
