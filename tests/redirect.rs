//! `listen.transparent` and `redirect`: connections of another user that the system leads to the proxy. Each test has a network of its
//! own.

use std::os::unix::fs::PermissionsExt as _;
use std::os::unix::process::CommandExt as _;
use std::process::{Command, Output};
use std::time::Instant;

use serde_json::Value;

use crate::clients::installed::{is_there, node, node_itself};
use crate::netns::{HTTP_CLIENT, are_of_process, http_client_said, server, speaks_first};
use crate::support::island::{self, NAME, V4, V6, V6_NAME, at};
use crate::support::origin::{TestCa, TestOrigin};
use crate::support::program::{Folder, Served};
use crate::support::proxy::PATIENCE;

/// The user of agents. The proxy runs as root there.
const AGENT: u32 = 1234;

/// A proxy, and what is beyond it.
struct Outside {
    proxy: Served,
    http: TestOrigin,
    _https: [TestOrigin; 2],
}

impl Outside {
    async fn new() -> Self {
        let folder = Folder::new();
        let ca = TestCa::new(folder.path());
        folder.configure_with("agent_dir = 'public'", "[otas]\ndeliver = false\n");
        let text = std::fs::read_to_string(folder.config()).unwrap();
        let transparent = "[listen]\ntransparent = ['127.0.0.1:8089', '[::1]:8089']";
        std::fs::write(folder.config(), text.replacen("[listen]", transparent, 1)).unwrap();
        // The agent's user must reach the certificates.
        std::fs::set_permissions(folder.path(), std::fs::Permissions::from_mode(0o755)).unwrap();
        let tls = || Some(ca.server_for(&[NAME, V6_NAME], &[b"h2", b"http/1.1"]));
        let http = TestOrigin::at(at(V4, 80), None).await;
        let https = [TestOrigin::at(at(V4, 443), tls()).await, TestOrigin::at(at(V6, 443), tls()).await];
        let proxy = tokio::task::spawn_blocking(|| Served::start(folder, |program| program)).await.unwrap();
        Self { proxy, http, _https: https }
    }

    /// `otas-proxy redirect` with these arguments.
    async fn redirect(&self, arguments: &[&str]) -> Output {
        let mut program = self.proxy.folder.program();
        program.arg("redirect").args(arguments);
        output(program).await
    }

    /// Runs a program as the agents' user, with the variables for certificates and none for proxies.
    async fn agent(&self, command: &[&str]) -> String {
        let script = self.proxy.folder.path().join("public/env.sh");
        let mut program = Command::new("sh");
        program.args(["-c", ". \"$0\"; exec \"$@\"", script.to_str().unwrap()]).args(command);
        program.uid(AGENT).gid(AGENT).env_clear().env("PATH", std::env::var_os("PATH").unwrap()).current_dir("/");
        let done = output(program).await;
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        text(&done.stdout) + &text(&done.stderr)
    }

    /// Waits until so many events are stored.
    async fn events(&self, many: usize) -> Vec<Value> {
        let until = Instant::now() + PATIENCE;
        loop {
            let mut events = self.proxy.events();
            if events.len() >= many {
                events.sort_by_key(|event| event["metadata"]["event"]["id"].as_str().map(str::to_owned));
                return events;
            }
            assert!(Instant::now() < until, "{} of {many}: {events:#?}", events.len());
            tokio::time::sleep(std::time::Duration::from_millis(10)).await;
        }
    }
}

async fn output(mut program: Command) -> Output {
    tokio::task::spawn_blocking(move || program.output().unwrap()).await.unwrap()
}

fn said(done: &Output) -> String {
    assert!(done.status.success(), "{done:?}");
    String::from_utf8_lossy(&done.stdout).into_owned() + &String::from_utf8_lossy(&done.stderr)
}

#[test]
fn programs_of_a_redirected_user_are_intercepted_or_relayed_until_the_rules_are_removed() {
    island::run_with_users(
        "redirect::programs_of_a_redirected_user_are_intercepted_or_relayed_until_the_rules_are_removed",
        async {
            let outside = Outside::new().await;
            speaks_first(V4, 4000).await;
            speaks_first(V6, 4000).await;
            let before = rules();
            let agent = AGENT.to_string();
            // Twice: the second time replaces the first.
            for _ in 0..2 {
                let installed = said(&outside.redirect(&["install", "--user", &agent]).await);
                assert!(installed.contains("uid 1234") && installed.contains("port 8089"), "{installed}");
                assert!(installed.contains("Those of root (uid 0) are left alone"), "{installed}");
            }
            let client = outside.agent(&["python3", "-c", HTTP_CLIENT]).await;
            let pid = http_client_said(&client);
            let events = outside.events(5).await;
            let [first, four, six, raw, raw_six] = &events[..] else { panic!("{events:#?}") };
            for (event, host, path, kind) in [
                (first, NAME, "/status/201", "http"),
                (four, NAME, "/echo", "http"),
                (six, V6_NAME, "/echo", "http"),
                (raw, V4, "203.0.113.7:4000", "tunnel"),
                (raw_six, V6, "[2001:db8::7]:4000", "tunnel"),
            ] {
                assert_eq!(server(event), host, "{event:#}");
                assert_eq!((&event["path"], &event["metadata"]["kind"]), (&path.into(), &kind.into()), "{event:#}");
            }
            are_of_process(&events, pid);
            let udp = "import socket; s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM); s.connect(('203.0.113.7', 443)); s.send(b'x')";
            let refused = outside.agent(&["python3", "-c", udp]).await;
            assert!(refused.contains("PermissionError") || refused.contains("ConnectionRefused"), "{refused}");
            if is_there(&node_itself(20, "fetch")) {
                let script = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/clients/scripts/fetch.mjs");
                let source =
                    std::fs::read_to_string(script).unwrap().replace("process.argv[2]", "'https://origin.test/echo'");
                let program = std::env::temp_dir().join(format!("otas-node-{}", std::process::id()));
                // Its folder may be closed to other users.
                std::fs::copy(node(20), &program).unwrap();
                let answer = outside.agent(&[program.to_str().unwrap(), "--input-type=module", "-e", &source]).await;
                std::fs::remove_file(&program).unwrap();
                assert_eq!(answer, "200 {\"ask\":\"me\"}\n");
                assert_eq!(outside.events(6).await[5]["request_body"], "{\"ask\":\"me\"}");
            }
            // The proxy's own user goes directly, and so do all after the removal.
            let known = outside.events(5).await.len();
            let curl = ["curl", "-sS", "--noproxy", "*", "http://origin.test/status/204"];
            let mut root = Command::new(curl[0]);
            root.args(&curl[1..]);
            assert!(output(root).await.status.success());
            assert!(said(&outside.redirect(&["remove"]).await).contains("no longer redirected"));
            assert_eq!(rules(), before, "nothing is left over");
            assert!(said(&outside.redirect(&["remove"]).await).contains("there is nothing to remove"));
            outside.agent(&curl).await;
            assert_eq!(outside.http.received().len(), 3);
            assert_eq!(outside.events(known).await.len(), known);
        },
    );
}

/// The packet rules of this network.
fn rules() -> String {
    String::from_utf8(Command::new("nft").args(["list", "ruleset"]).output().unwrap().stdout).unwrap()
}

#[test]
fn a_connection_that_nobody_redirected_and_one_of_our_own_are_refused() {
    island::run_with_users("redirect::a_connection_that_nobody_redirected_and_one_of_our_own_are_refused", async {
        let outside = Outside::new().await;
        let called = outside.agent(&["curl", "-sS", "-i", "--noproxy", "*", "http://127.0.0.1:8089/"]).await;
        assert!(
            called.starts_with("HTTP/1.1 421 ") && called.contains("only connections that the system redirects"),
            "{called}"
        );
        let own = outside.redirect(&["print", "--user", "root"]).await;
        assert!(!own.status.success() && String::from_utf8_lossy(&own.stderr).contains("--proxy-user"), "{own:?}");
        // A rule that somebody else has made redirects the proxy's own connections to it as well.
        let file = outside.proxy.folder.path().join("loop.nft");
        let rule = "table ip everything {\n chain outgoing {\n  type nat hook output priority -100\n  tcp dport 80 redirect to :8089\n }\n}\n";
        std::fs::write(&file, rule).unwrap();
        assert!(Command::new("nft").arg("-f").arg(&file).status().unwrap().success());
        let curl = ["curl", "-sS", "-m", "20", "-w", " %{http_code}", "--noproxy", "*", "http://origin.test/"];
        let answer = outside.agent(&curl).await;
        assert!(answer.ends_with(" 502"), "{answer}");
        // Its own connection comes back to it and is refused. It dials early, and again for the call if the first is gone by then.
        let looped = |event: &Value| event["error"].as_str().unwrap().starts_with("proxy_loop: ");
        let (loops, calls): (Vec<_>, Vec<_>) = outside.events(2).await.into_iter().partition(looped);
        assert!(matches!(loops.len(), 1 | 2), "{loops:#?}");
        assert_eq!(calls.len(), 1, "{calls:#?}");
        assert_eq!((&calls[0]["path"], &calls[0]["status_code"]), (&"/".into(), &502.into()), "{calls:#?}");
        assert_eq!(outside.http.received().len(), 0);
    });
}

#[test]
fn without_a_port_a_user_or_a_cgroup_there_are_no_rules() {
    let folder = Folder::new();
    folder.configure("");
    let print = |arguments: &[&str]| {
        let done = folder.program().args(["redirect", "print"]).args(arguments).output().unwrap();
        assert_eq!(done.status.code(), Some(2), "{done:?}");
        String::from_utf8(done.stderr).unwrap()
    };
    assert!(print(&["--user", "4711"]).contains("`listen.transparent` is not set"));
    assert!(print(&[]).contains("--user"));
    let text = std::fs::read_to_string(folder.config()).unwrap();
    std::fs::write(folder.config(), text.replacen("[listen]", "[listen]\ntransparent = '0.0.0.0:8089'", 1)).unwrap();
    assert!(print(&["--user", "no-such-user"]).contains("there is no user"));
    assert!(print(&["--cgroup", "no-such.slice"]).contains("there is no cgroup `no-such.slice`"));
}
