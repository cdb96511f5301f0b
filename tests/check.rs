//! `otas-proxy check`: each fault of a set-up is named, with its cure.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener};
use std::os::unix::fs::PermissionsExt;
use std::process::{Command, Output};
use std::time::{Duration, SystemTime};

use otas_proxy::secret::Secret;
use serde_json::Value;

use crate::support::origin::TestCa;
use crate::support::otas::TestOtas;
use crate::support::program::{Folder, Served, python};

/// What a check found.
struct Found {
    code: Option<i32>,
    report: Value,
}

impl Found {
    /// The finding about `what`: its state, and its detail with its cure.
    fn about(&self, what: &str) -> (&str, String) {
        let line = self.report["checks"].as_array().unwrap().iter().find(|line| line["what"] == what);
        let line = line.unwrap_or_else(|| panic!("nothing about {what}: {:#}", self.report));
        let text = |name: &str| line[name].as_str().unwrap_or_default();
        assert_eq!(matches!(text("state"), "warn" | "fail"), !text("cure").is_empty(), "{line:#}");
        (text("state"), format!("{} -> {}", text("detail"), text("cure")))
    }

    /// `what` is in this state, and all of `words` are said of it.
    fn says(&self, what: &str, state: &str, words: &[&str]) {
        let (found, told) = self.about(what);
        assert_eq!(found, state, "{told}");
        words.iter().for_each(|word| assert!(told.contains(word), "{word:?} is not in {told:?}"));
    }
}

async fn check(folder: &Folder, arguments: &[&str], set: &[(&str, &str)]) -> Found {
    let mut program = folder.program();
    // The environment that the tests run in may be made for another proxy.
    for name in ["HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "OTAS_PROXY_URL"] {
        program.env_remove(name).env_remove(name.to_ascii_lowercase());
    }
    program.args(["check", "--json"]).args(arguments).envs(set.iter().copied());
    // A client library would block the runtime that its OTAS runs on.
    let done = tokio::task::spawn_blocking(move || program.output().unwrap()).await.unwrap();
    let report = serde_json::from_slice(&done.stdout).unwrap_or_else(|error| panic!("{error}: {done:?}"));
    Found { code: done.status.code(), report }
}

/// Settings that lead to this OTAS.
fn leading_to(url: &str, more: &str) -> Folder {
    let folder = Folder::new();
    folder.configure(&format!("[otas]\nbrain_url = '{url}'\nuasam_url = '{url}'\n{more}"));
    folder
}

/// An OTAS that refuses every key, and whose clock is off.
fn refusing(clock: SystemTime) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let mut stream = stream.unwrap();
            let mut request = [0; 4096];
            let _ = stream.read(&mut request);
            let body = r#"{"status":0,"status_description":"invalid_agent_key","response":{}}"#;
            let head = format!(
                "Date: {}\r\nContent-Length: {}\r\nConnection: close",
                httpdate::fmt_http_date(clock),
                body.len()
            );
            let _ = write!(stream, "HTTP/1.1 401 Unauthorized\r\n{head}\r\n\r\n{body}");
        }
    });
    url
}

fn is_installed(program: &str) -> bool {
    Command::new(program).arg("--version").output().is_ok()
}

/// A folder to be put first on the PATH: its `wget` is curl that trusts nothing but `roots`.
fn path_with_a_wget_that_trusts(roots: &TestCa, folder: &Folder) -> String {
    let bin = folder.path().join("bin");
    std::fs::create_dir(&bin).unwrap();
    let wget = bin.join("wget");
    let script =
        format!("#!/bin/sh\nfor url; do :; done\nexec curl -sS --cacert '{}' \"$url\"\n", roots.file.display());
    std::fs::write(&wget, script).unwrap();
    std::fs::set_permissions(&wget, std::fs::Permissions::from_mode(0o755)).unwrap();
    format!("{}:{}", bin.display(), std::env::var("PATH").unwrap())
}

#[tokio::test(flavor = "multi_thread")]
async fn each_fault_of_a_broken_set_up_is_named_with_its_cure() {
    let hour = Duration::from_secs(3600);
    let folder = leading_to(&refusing(SystemTime::now() + hour), "agent_key = 'agent_ab_cd_ef'\n");
    let holder = TcpListener::bind("127.0.0.1:0").unwrap();
    let taken = holder.local_addr().unwrap().to_string();
    let roots = tempfile::tempdir().unwrap();
    let path = path_with_a_wget_that_trusts(&TestCa::new(roots.path()), &folder);
    let what = ["--listen-proxy", &taken, "configuration", "ports", "store", "otas", "clock", "ca", "curl", "wget"];
    let found = check(&folder, &what, &[("PATH", &path)]).await;

    assert_eq!(found.code, Some(1));
    found.says(
        "listen.proxy",
        "fail",
        &[&taken, &format!("(process {})", std::process::id()), "choose another port"],
    );
    found.says("agent key", "fail", &["OTAS refuses the agent key", "more than two underscores", "Issue a new key"]);
    found.says("session", "skipped", &["needs a key"]);
    found.says("clock", "warn", &["s behind OTAS's", "Set this machine's clock"]);
    for (what, state) in [("configuration", "ok"), ("listen.admin", "ok"), ("store", "ok"), ("ca", "ok")] {
        found.says(what, state, &[]);
    }
    if is_installed("curl") {
        found.says("curl", "ok", &["uses the proxy and trusts its CA"]);
        found.says("wget", "fail", &["does not trust its CA", "curl: (60)", "~/.wgetrc"]);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_good_set_up_passes_and_leaves_no_event_in_otas() {
    let otas = TestOtas::start().await;
    let folder = leading_to(&otas.url(), "");
    let key = otas.key();
    let found = check(&folder, &["otas", "clock"], &[("OTAS_AGENT_KEY", key.expose())]).await;
    assert_eq!((found.code, &found.report["ok"]), (Some(0), &Value::Bool(true)), "{:#}", found.report);
    found.says("agent key", "ok", &[&otas.project_id().to_string()]);
    found.says("session", "ok", &[]);
    found.says("Brain", "ok", &["accepts key and token"]);
    found.says("clock", "ok", &[]);
    assert_eq!((otas.events().await.len(), otas.sessions().await.len()), (0, 1));
    assert!(!folder.path().join("events.db").exists(), "nothing is made that was not there");
}

#[tokio::test(flavor = "multi_thread")]
async fn each_fault_of_the_credentials_has_its_own_diagnosis() {
    let otas = TestOtas::start().await;
    let (key, other) = (otas.key(), otas.another_agent("other").await);
    let foreign: Secret = otas.session_token(&other).await;
    let set = |more: &[(&'static str, &str)]| -> Vec<(&'static str, String)> {
        let key = ("OTAS_AGENT_KEY", key.expose().to_owned());
        std::iter::once(key).chain(more.iter().map(|(name, value)| (*name, (*value).to_owned()))).collect()
    };
    let project = "00000000-0000-4000-8000-000000000000";
    for (set, what, words) in [
        (set(&[("OTAS_PROJECT_ID", project)]), "agent key", ["belongs to project", "Remove `otas.project_id`"]),
        (
            set(&[("OTAS_SESSION_TOKEN", "no-token")]),
            "session",
            ["is not an OTAS token", "Remove `otas.session_token`"],
        ),
        (
            set(&[("OTAS_SESSION_TOKEN", foreign.expose())]),
            "Brain",
            ["session_agent_mismatch", "belongs to another agent"],
        ),
        (set(&[("OTAS_BRAIN_URL", "http://127.0.0.1:1")]), "Brain", ["unreachable", "correct `otas.brain_url`"]),
        (set(&[("OTAS_UASAM_URL", "http://127.0.0.1:1")]), "agent key", ["unreachable", "correct `otas.uasam_url`"]),
    ] {
        let set: Vec<(&str, &str)> = set.iter().map(|(name, value)| (*name, value.as_str())).collect();
        let found = check(&leading_to(&otas.url(), ""), &["otas"], &set).await;
        assert_eq!(found.code, Some(1));
        found.says(what, "fail", &words);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_proxy_of_ours_on_the_port_is_no_fault() {
    let folder = Folder::new();
    folder.configure("");
    let served = Served::start(folder, |program| program);
    let address: SocketAddr = served.url.trim_start_matches("http://").parse().unwrap();
    let found = check(&served.folder, &["ports", "--listen-proxy", &address.to_string()], &[]).await;
    assert_eq!(found.code, Some(0));
    found.says("listen.proxy", "ok", &["an otas-proxy listens on"]);
    assert!(served.events().is_empty(), "looking for it is no call");
}

#[tokio::test(flavor = "multi_thread")]
async fn readable_settings_and_key_files_are_reported_with_the_remedy() {
    let folder = Folder::new();
    folder.configure("[otas]\nbrian_url = 'http://localhost:1'\n");
    let found = check(&folder, &[], &[]).await;
    assert_eq!(found.code, Some(1));
    found.says("configuration", "fail", &["proxy.toml:", "did you mean `otas.brain_url`", "docs/configuration.md"]);

    folder.configure("");
    assert_eq!(check(&folder, &["ca"], &[]).await.code, Some(0));
    let key = folder.path().join("ca/ca.key");
    std::fs::set_permissions(&key, std::fs::Permissions::from_mode(0o644)).unwrap();
    let found = check(&folder, &["curl"], &[]).await;
    assert_eq!(found.code, Some(1));
    found.says("ca", "fail", &["mode 0644", "`chmod 0600 "]);
}

/// An environment made by hand: what it lacks is told, and nothing is added to it.
#[tokio::test(flavor = "multi_thread")]
async fn what_the_present_environment_lacks_is_reported() {
    if !is_installed("curl") {
        return;
    }
    let folder = Folder::new();
    folder.configure("");
    let as_is = ["--as-is", "--listen-proxy", "127.0.0.1:18080", "curl"];
    let found = check(&folder, &as_is, &[]).await;
    found.says("curl", "fail", &["none of its calls reached the proxy", "`HTTPS_PROXY` is not set"]);
    let proxy = ("HTTPS_PROXY", "http://127.0.0.1:18080");
    let found = check(&folder, &as_is, &[proxy]).await;
    found.says("curl", "fail", &["does not trust its CA", "`CURL_CA_BUNDLE` is not set"]);
    let bundle = folder.path().join("ca/bundle.pem");
    let found = check(&folder, &as_is, &[proxy, ("CURL_CA_BUNDLE", bundle.to_str().unwrap())]).await;
    assert_eq!(found.code, Some(0));
    found.says("curl", "ok", &["uses the proxy"]);

    std::fs::write(folder.path().join("planner.secret"), "open-sesame-open-sesame").unwrap();
    folder
        .configure("[session]\nscope = 'credential'\n[[agents]]\nname = 'planner'\nsecret_file = 'planner.secret'\n");
    let trusts = ("CURL_CA_BUNDLE", bundle.to_str().unwrap());
    let found = check(&folder, &as_is, &[proxy, trusts]).await;
    found.says("curl", "fail", &["407", "NAME:SECRET@"]);
    let proxy = ("HTTPS_PROXY", "http://planner:open-sesame-open-sesame@127.0.0.1:18080");
    assert_eq!(check(&folder, &as_is, &[proxy, trusts]).await.code, Some(0));
}

#[tokio::test(flavor = "multi_thread")]
async fn each_agents_own_key_is_looked_at() {
    let otas = TestOtas::start().await;
    let agents = "[[agents]]\nname = 'good'\nsecret_file = 'secret'\nagent_key_file = 'good.key'\n\
                  [[agents]]\nname = 'bad'\nsecret_file = 'other'\nagent_key_file = 'bad.key'\n";
    let folder = leading_to(&otas.url(), &format!("[session]\nscope = 'credential'\n{agents}"));
    for (file, content) in [
        ("secret", "open-sesame-open-sesame"),
        ("other", "another-secret-another"),
        ("good.key", otas.key().expose()),
        ("bad.key", "agent_wrong_key"),
    ] {
        std::fs::write(folder.path().join(file), content).unwrap();
        std::fs::set_permissions(folder.path().join(file), std::fs::Permissions::from_mode(0o600)).unwrap();
    }
    let found = check(&folder, &["otas"], &[]).await;
    found.says("Brain (good)", "ok", &[]);
    found.says("agent key (bad)", "fail", &["Issue a new key", "otas.agent_key_file"]);
}

/// Whatever is installed here is called in earnest; what `run --preload` sets is enough for all of it.
#[tokio::test(flavor = "multi_thread")]
async fn with_preload_every_installed_client_goes_through_and_trusts_the_proxy() {
    let folder = Folder::new();
    folder.configure("");
    let python = std::path::PathBuf::from(python());
    let path = format!("{}:{}", python.parent().unwrap().display(), std::env::var("PATH").unwrap());
    let all = [
        "curl",
        "wget",
        "git",
        "urllib",
        "requests",
        "httpx",
        "aiohttp",
        "pip",
        "node-fetch",
        "node-https",
        "npm",
        "java",
    ];
    let mut arguments = vec!["--preload", "ca"];
    arguments.extend(all);
    let found = check(&folder, &arguments, &[("PATH", &path)]).await;
    found.says("ca", "ok", &[]);
    for client in all {
        let (state, told) = found.about(client);
        // A machine with much to do may be too slow; that says so and is no failure.
        assert!(
            matches!(state, "ok" | "warn" | "skipped") || told.contains("it is not installed"),
            "{client}: {state} {told}"
        );
    }
}

#[test]
fn people_get_a_table_with_each_cure_under_its_finding() {
    let folder = Folder::new();
    folder.configure("");
    let run = |arguments: &[&str]| -> Output { folder.program().arg("check").args(arguments).output().unwrap() };
    let done = run(&["configuration", "store", "ca", "--store-path", "proxy.toml/events.db"]);
    let told = String::from_utf8_lossy(&done.stdout).into_owned();
    assert_eq!(done.status.code(), Some(1), "{told}");
    let lines: Vec<&str> = told.lines().collect();
    assert!(lines[0].starts_with("ok ") && lines[0].contains("configuration"), "{told}");
    assert!(lines[1].starts_with("fail ") && lines[2].trim_start().starts_with("→ "), "{told}");
    assert!(lines[3].starts_with("ok ") && lines[3].contains("may sign until"), "{told}");
    assert_eq!(run(&["no-such-thing"]).status.code(), Some(2));
}
