//! A session for each agent process (`session.scope = "process"`), with real programs: Python, Node, curl and their children.

#![cfg(target_os = "linux")]

use std::collections::{HashMap, HashSet};
use std::path::Path;
use std::time::Duration;

use otas_proxy::config::Scope;
use serde_json::Value;
use tokio::process::Command;

use crate::support::origin::TestOrigin;
use crate::support::otas::TestOtas;
use crate::support::program::{self, Folder};
use crate::support::proxy::{Running, TestProxy, eventually};

const WITHIN: Duration = Duration::from_secs(60);

/// Calls by itself; with `fork`, two children call at the same time, each in turn with its parent.
const PYTHON: &str = r#"
import os, sys, urllib.request
url, number, forks = sys.argv[1:4]
def call(who): urllib.request.urlopen(f"{url}{number}/{who}").read()
children = []
for child in ("child-1", "child-2") if forks == "fork" else ():
    pid = os.fork()
    if pid == 0:
        call(child); call(child)
        os._exit(0)
    children.append(pid)
call("python"); call("python")
for pid in children: assert os.waitpid(pid, 0)[1] == 0
"#;

/// The same in Node: children are a Node of its own and curl. It reads no variable, so it asks the proxy itself.
const NODE: &str = r#"
import http from "node:http"
import { spawn } from "node:child_process"
const [url, number, forks] = process.argv.slice(2)
const proxy = new URL(process.env.http_proxy)
const call = (who) => new Promise((done, failed) => {
  const ask = http.get({ host: proxy.hostname, port: proxy.port, path: `${url}${number}/${who}`, agent: false }, (answer) => {
    answer.resume().on("end", done)
  })
  ask.on("error", failed)
})
const ended = (child) => new Promise((done, failed) => child.on("exit", (code) => (code === 0 ? done() : failed(code))))
if (forks === "child") { await call("child-1"); await call("child-1"); process.exit(0) }
const children = forks !== "fork" ? [] : [
  spawn(process.execPath, [process.argv[1], url, number, "child"]),
  spawn("curl", ["-sS", "-o", "/dev/null", `${url}${number}/child-2`, `${url}${number}/child-2`]),
].map(ended)
await call("node"); await call("node")
await Promise.all(children)
"#;

/// The same in a shell, whose only way to call is curl.
const SHELL: &str = r#"#!/bin/sh
call() { curl -sS -o /dev/null "$1$2/$3" && curl -sS -o /dev/null "$1$2/$3"; }
if [ "$3" = fork ]; then (call "$1" "$2" child-1) & (call "$1" "$2" child-2) & fi
call "$1" "$2" curl
wait
"#;

/// Starts ten agents by one shell: of each kind one with children. `prefix` stands before each command.
async fn ten_agents(proxy: &Running, url: &str, prefix: &str, folder: &Path) {
    for (name, script) in [("agent.py", PYTHON), ("agent.mjs", NODE), ("agent.sh", SHELL)] {
        std::fs::write(folder.join(name), script).unwrap();
    }
    let mut script = String::new();
    for number in 0..10 {
        let kind = ["python3 agent.py", "node agent.mjs", "sh agent.sh"][number % 3];
        let forks = if number < 3 { "fork" } else { "alone" };
        script += &format!("{prefix} {kind} \"$0\" {number} {forks} || echo {number} failed >&2 &\n");
    }
    let mut shell = Command::new("sh");
    shell.args(["-c", &(script + "wait"), url]).current_dir(folder);
    shell.env("http_proxy", proxy.url()).env_remove("no_proxy").env_remove("NO_PROXY").env_remove("NODE_OPTIONS");
    let done = shell.output().await.unwrap();
    assert!(done.status.success() && done.stderr.is_empty(), "{}", String::from_utf8_lossy(&done.stderr));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn ten_processes_of_one_shell_three_with_children_have_ten_sessions_and_every_event_is_in_the_right_one() {
    // Told by their names; or, where there are no rules, by the sessions that they lead.
    for (rules, prefix) in [(&["agent.py", "agent.mjs", "agent.sh"][..], ""), (&[], "setsid --wait")] {
        let (otas, origin) = (TestOtas::start().await, TestOrigin::http().await);
        let rules: Vec<String> = rules.iter().map(|rule| (*rule).to_owned()).collect();
        let proxy = TestProxy::new().otas(&otas).with(|c| {
            (c.session.scope, c.session.agent_processes) = (Scope::Process, rules);
        });
        let proxy = proxy.run().await;
        let folder = proxy.folder.path().to_owned();
        ten_agents(&proxy, &origin.url("/"), prefix, &folder).await;
        let calls = 10 * 2 + 3 * 2 * 2;
        otas.events_at_least(calls, WITHIN).await;
        proxy.stop().await;
        let events = otas.stored_events().await;
        assert_eq!(events.len() as u64, calls);
        let mut of: HashMap<String, HashSet<(String, u64)>> = HashMap::new();
        for event in &events {
            let path = event.body["path"].as_str().unwrap();
            let attribution = &event.body["metadata"]["attribution"];
            assert_eq!(attribution["rule"], "process", "{path}");
            let agent = path.split('/').nth(1).unwrap().to_owned();
            of.entry(agent).or_default().insert((event.session_id.to_string(), attribution["pid"].as_u64().unwrap()));
        }
        assert!(of.len() == 10 && of.values().all(|sessions| sessions.len() == 1), "{of:?}");
        assert_eq!(of.values().flatten().collect::<HashSet<_>>().len(), 10);
        let sessions = otas.sessions().await;
        let metas: Vec<Value> = sessions.iter().map(|session| session.meta["caller"].clone()).collect();
        assert_eq!(metas.len(), 10, "{metas:?}");
        for meta in metas {
            let command = meta["command"].as_str().unwrap();
            assert!(meta["rule"] == "process" && meta["pid"].is_u64() && meta["started_at"].is_string(), "{meta}");
            assert!(command.contains("agent.") && !command.contains("http://"), "{meta}");
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_session_names_its_agent_by_the_program_or_else_by_what_it_says_it_is() {
    let (otas, origin) = (TestOtas::start().await, TestOrigin::http().await);
    let proxy = TestProxy::new().otas(&otas).with(|c| {
        (c.session.scope, c.session.agent_processes) = (Scope::Process, vec!["claude".to_owned(), "curl".to_owned()]);
    });
    let proxy = proxy.run().await;
    // The name that a program was started by is its own.
    let claude = proxy.folder.path().join("claude");
    std::os::unix::fs::symlink("/usr/bin/curl", &claude).unwrap();
    let calls = [
        (claude.to_str().unwrap(), "codex_cli_rs/0.50", Some("claude")),
        ("/usr/bin/curl", "codex_cli_rs/0.50", Some("codex")),
        ("/usr/bin/curl", "my-agent/1", None),
    ];
    for (at, (program, user_agent, _)) in calls.iter().enumerate() {
        let mut call = Command::new(program);
        call.args(["-sS", "-o", "/dev/null", "-x", &proxy.url(), "-A", user_agent, &origin.url(&format!("/{at}"))]);
        let done = call.env_remove("no_proxy").env_remove("NO_PROXY").output().await.unwrap();
        assert!(done.status.success(), "{done:?}");
    }
    otas.events_at_least(calls.len() as u64, WITHIN).await;
    proxy.stop().await;
    let (events, sessions) = (otas.stored_events().await, otas.sessions().await);
    for (at, (program, user_agent, agent)) in calls.iter().enumerate() {
        let event = events.iter().find(|event| event.body["path"] == format!("/{at}")).unwrap();
        let session = sessions.iter().find(|session| session.session_id == event.session_id).unwrap();
        assert_eq!(session.meta["agent"].as_str(), *agent, "{program} as {user_agent}: {}", session.meta);
    }
}

/// In a container, the leader of an agent's Unix session is often outside: its process id is 0 there.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn connections_of_an_agent_whose_session_leader_is_in_another_pid_namespace_belong_to_it() {
    let origin = TestOrigin::http().await;
    let folder = Folder::new();
    folder.configure("");
    let program = folder.program();
    let mut inside = std::process::Command::new("unshare");
    let user: &[&str] = if rustix::process::geteuid().is_root() { &[] } else { &["--user", "--map-root-user"] };
    inside.args(user).args(["--pid", "--fork", "--mount-proc"]).arg(program.get_program());
    inside.current_dir(folder.path());
    program::with_variables_of(&program, &mut inside);
    // It calls, each time on a new connection, until it was found twice: a call may end before its process is found.
    let agent = "import os, sys, urllib.request\n\
                 for _ in range(20_000):\n  if os.path.exists('found'): break\n  urllib.request.urlopen(sys.argv[1]).read()";
    inside.args(["run", "--include-localhost", "--", "python3", "-c", agent, &origin.url("/")]);
    let run = tokio::task::spawn_blocking(move || inside.output().unwrap());
    let store = folder.path().join("events.db");
    let pids = || {
        let bodies = program::rows(&store).into_iter().map(|row| serde_json::from_slice::<Value>(&row.json).unwrap());
        bodies.filter_map(|body| body["metadata"]["client"]["pid"].as_u64()).collect::<Vec<_>>()
    };
    let mut found = Vec::new();
    eventually("two events name the process", async || {
        if store.exists() {
            found = pids();
        }
        found.len() >= 2
    })
    .await;
    std::fs::write(folder.path().join("found"), "").unwrap();
    let done = run.await.unwrap();
    assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
    assert!(found.iter().all(|pid| pid == &found[0]), "{found:?}");
}
