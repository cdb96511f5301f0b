//! Who is at the other end: the processes that call, and other users of the machine, who may not.

#![cfg(target_os = "linux")]

use std::os::unix::fs::{PermissionsExt as _, chown};
use std::sync::Arc;

use otas_proxy::peer::{AgentRules, Ends, Peers, Process};
use serde_json::Value;
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::{TcpListener, TcpStream};
use tokio::process::Command;

use crate::support::origin::{TestCa, TestOrigin};
use crate::support::program::{Folder, Served};
use crate::support::proxy::{TestProxy, eventually, read_until};

/// A user that is neither root nor who runs the tests.
const ANOTHER_USER: u32 = 65_533;

/// curl, called directly by us.
fn curl(proxy: &str, url: &str) -> Command {
    let mut curl = Command::new("curl");
    curl.args(["-sS", "--max-time", "20", "-x", proxy, url]).env("NO_PROXY", "").env("no_proxy", "");
    curl
}

/// Only root can run programs as other users.
fn are_root() -> bool {
    let root = rustix::process::geteuid().is_root();
    if !root {
        let said = b"skipped: only root can call as another user\n";
        std::io::Write::write_all(&mut std::io::stderr(), said).unwrap();
    }
    root
}

#[tokio::test]
async fn events_name_the_process_that_called() {
    let (origin, proxy) = (TestOrigin::http().await, TestProxy::new().run().await);
    // It calls until its process was found, which nothing waits for.
    let more = format!(
        "s = connect()\nwhile True:\n  s.sendall(b'GET {} HTTP/1.1\\r\\nHost: a\\r\\n\\r\\n')\n  s.recv(9999)",
        origin.url("/bytes/9")
    );
    let mut agent = python(proxy.addr.port(), &more).spawn().unwrap();
    let named = |event: &Value| event["metadata"]["client"]["pid"] == agent.id().unwrap();
    let mut found = None;
    eventually("an event names it", async || {
        found = proxy.events_so_far(1).await.into_iter().find(&named);
        found.is_some()
    })
    .await;
    agent.kill().await.unwrap();
    let exe = found.unwrap()["metadata"]["client"]["exe"].as_str().unwrap().to_owned();
    assert!(exe.rsplit('/').next().unwrap().starts_with("python"), "{exe}");
}

#[tokio::test]
async fn processes_are_not_looked_up_if_the_settings_say_so() {
    let origin = TestOrigin::http().await;
    let proxy = TestProxy::new().with(|c| c.listen.processes = false).run().await;
    proxy.client().get(origin.url("/bytes/9")).send().await.unwrap().bytes().await.unwrap();
    let events = proxy.events().await;
    let client = events[0]["metadata"]["client"].as_object().unwrap();
    assert_eq!(client.keys().collect::<Vec<_>>(), ["addr"]);
}

#[tokio::test]
async fn the_client_that_refuses_our_certificate_is_named() {
    let folder = tempfile::tempdir().unwrap();
    let ca = TestCa::new(folder.path());
    let (origin, proxy) = (TestOrigin::https(&ca).await, TestProxy::new().trusting(&ca).run().await);
    let mut agent = proxy.connect().await;
    let authority = format!("localhost:{}", origin.addr.port());
    agent.write_all(format!("CONNECT {authority} HTTP/1.1\r\nHost: {authority}\r\n\r\n").as_bytes()).await.unwrap();
    read_until(&mut agent, "\r\n\r\n").await;
    // One that trusts the origin's CA, and not ours.
    let connector = tokio_rustls::TlsConnector::from(Arc::new(ca.client(&[])));
    let connecting = connector.connect("localhost".try_into().unwrap(), agent).into_fallible();
    // Its socket stays, so that it is found there.
    let (_refusal, _socket) = connecting.await.map(|_| "it trusts us").unwrap_err();
    let events = proxy.events().await;
    let error = events[0]["error"].as_str().unwrap();
    assert!(error.contains("client_refused_certificate"), "{error}");
    assert!(error.contains(&format!(", process {}) refused the certificate", std::process::id())), "{error}");
}

/// The processes behind the next connections to `listener`, in the order in which they connect. The connections stay open.
async fn met(peers: &Peers, listener: &TcpListener, n: usize) -> Vec<(TcpStream, Arc<Process>)> {
    let mut met = Vec::new();
    for _ in 0..n {
        let (stream, peer) = listener.accept().await.unwrap();
        let ends = Ends::new(peer, stream.local_addr().unwrap());
        let sought = peers.meet(ends).await.unwrap_or_else(|| panic!("{ends:?} may not call"));
        let process = sought.process.wait().await.unwrap_or_else(|| panic!("the process of {ends:?} is not found"));
        met.push((stream, process));
    }
    met
}

/// Python that has what `more` needs.
fn python(port: u16, more: &str) -> Command {
    let script = format!(
        "import os, socket, sys\ndef connect(): return socket.create_connection(('127.0.0.1', {port}))\n\
         def say(what): sys.stdout.write(str(what) + '\\n'); sys.stdout.flush()\n{more}"
    );
    let mut python = Command::new("python3");
    python.args(["-c", &script]).stdout(std::process::Stdio::piped()).stdin(std::process::Stdio::piped());
    python.kill_on_drop(true);
    python
}

async fn listening() -> (Peers, TcpListener, u16) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    (Peers::new(address.ip(), true, true, Vec::new()).unwrap(), listener, address.port())
}

/// Field 22 of its line; the name before it may hold anything.
fn started(pid: u32) -> u64 {
    let line = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap();
    line.rsplit_once(") ").unwrap().1.split(' ').nth(22 - 3).unwrap().parse().unwrap()
}

#[tokio::test]
async fn clients_of_all_kinds_are_found() {
    let (peers, listener, port) = listening().await;
    let url = format!("http://127.0.0.1:{port}");
    let mut node = Command::new("node");
    node.args(["-e", &format!("require('http').get('{url}')")]).stderr(std::process::Stdio::null());
    let mut shell = Command::new("sh");
    shell.args(["-c", "curl -s \"$0\"; true", &url]).env("NO_PROXY", "*").env("no_proxy", "*");
    for (name, program, below_shell) in [
        ("curl", curl(&url, "http://a.invalid/"), false),
        ("python", python(port, "connect().recv(1)"), false),
        ("node", node, false),
        ("curl", shell, true),
    ] {
        let mut program = program;
        let mut agent = program.kill_on_drop(true).spawn().unwrap();
        let (stream, process) = met(&peers, &listener, 1).await.remove(0);
        let started_here = if below_shell { process.facts.parent } else { process.facts.pid };
        assert_eq!(started_here, agent.id().unwrap(), "{name}");
        let exe = process.facts.exe.as_deref().unwrap();
        assert!(exe.rsplit('/').next().unwrap().starts_with(name), "{exe}");
        assert_eq!(process.facts.start_ticks, started(process.facts.pid));
        let shell = process.agent_process(&AgentRules::new(["sh", "dash", "bash"]));
        assert!(!below_shell || shell.pid == agent.id().unwrap(), "{shell:?}");
        drop(stream);
        agent.wait().await.unwrap();
    }
}

#[tokio::test]
async fn children_that_fork_are_processes_of_their_own_below_one_agent() {
    let (peers, listener, port) = listening().await;
    let mut agent = python(
        port,
        "for _ in range(2):\n  pid = os.fork()\n  if pid == 0:\n    s = connect(); s.recv(1); os._exit(0)\n  say(pid)\n\
         for _ in range(2): os.wait()",
    )
    .spawn()
    .unwrap();
    let agent_pid = agent.id().unwrap();
    let met = met(&peers, &listener, 2).await;
    let mut told = BufReader::new(agent.stdout.take().unwrap()).lines();
    let mut children = Vec::new();
    for _ in 0..2 {
        children.push(told.next_line().await.unwrap().unwrap().parse::<u32>().unwrap());
    }
    let mut found: Vec<u32> = met.iter().map(|(_, process)| process.facts.pid).collect();
    found.sort_unstable();
    children.sort_unstable();
    assert_eq!(found, children);
    let rules = AgentRules::new(["python*"]);
    for (_, process) in &met {
        let above: Vec<u32> = process.ancestors.iter().map(|above| above.pid).collect();
        assert_eq!((process.facts.parent, above), (agent_pid, vec![agent_pid]), "up to the proxy itself");
        let found = process.agent_process(&rules);
        assert_eq!((found.pid, found.start_ticks), (agent_pid, started(agent_pid)));
        assert_eq!(&*found.command, "python3 -c …".replace("python3", found.command.split(' ').next().unwrap()));
        assert!(process.facts.start_ticks >= found.start_ticks);
        // Without rules it is who leads the session: not one of these, for we have not begun one.
        let leader = process.agent_process(&AgentRules::default());
        // Where the tests run that may be out of sight (0), or have ended.
        let session = process.facts.unix_session;
        let expected = match std::path::Path::new(&format!("/proc/{session}/stat")).exists() {
            _ if session == 0 => process.facts.pid,
            true => session,
            false => agent_pid,
        };
        assert_eq!(leader.pid, expected);
    }
    drop(met);
    assert!(agent.wait().await.unwrap().success());
}

#[tokio::test]
async fn a_socket_that_a_child_has_inherited_is_its_parents_until_that_closes_it() {
    let (peers, listener, port) = listening().await;
    let mut agent = python(
        port,
        "first = connect(); second = connect(); pid = os.fork()\nif pid == 0: sys.stdin.read(); os._exit(0)\n\
         second.close(); say(pid); os.wait()",
    )
    .spawn()
    .unwrap();
    let child: u32 =
        BufReader::new(agent.stdout.take().unwrap()).lines().next_line().await.unwrap().unwrap().parse().unwrap();
    // Two look-ups that know nothing of each other.
    let parents = met(&peers, &listener, 1).await;
    let childs = met(&Peers::new([127, 0, 0, 1].into(), true, true, Vec::new()).unwrap(), &listener, 1).await;
    assert_eq!((parents[0].1.facts.pid, childs[0].1.facts.pid), (agent.id().unwrap(), child));
    drop(agent.stdin.take());
    assert!(agent.wait().await.unwrap().success());
}

#[tokio::test]
async fn further_connections_of_one_process_are_the_same_one_and_the_next_process_is_another() {
    let (peers, listener, port) = listening().await;
    let script = "all = [connect() for _ in range(30)]; say(os.getpid()); sys.stdin.read()";
    let mut before: Option<Arc<Process>> = None;
    for _ in 0..2 {
        let mut agent = python(port, script).spawn().unwrap();
        let met = met(&peers, &listener, 30).await;
        let first = &met[0].1;
        assert_eq!(first.facts.pid, agent.id().unwrap());
        assert!(met.iter().all(|(_, process)| Arc::ptr_eq(process, first)), "it is read once");
        assert!(before.is_none_or(|before| before.facts != first.facts));
        before = Some(first.clone());
        drop(agent.stdin.take());
        assert!(agent.wait().await.unwrap().success());
    }
}

#[tokio::test]
async fn another_user_is_not_served() {
    if !are_root() {
        return;
    }
    let (origin, proxy) = (TestOrigin::http().await, TestProxy::new().run().await);
    let url = origin.url("/bytes/9");
    let by_socks = format!("socks5://{}", proxy.addr);
    for through in [proxy.url(), proxy.url(), by_socks.clone()] {
        let mut another = curl(&through, &url);
        let output = another.uid(ANOTHER_USER).output().await.unwrap();
        assert!(!output.status.success() && output.stdout.is_empty(), "{output:?}");
    }
    for through in [proxy.url(), by_socks] {
        let ours = curl(&through, &url).output().await.unwrap();
        assert_eq!(ours.stdout.len(), 9, "{ours:?}");
    }
    assert_eq!(origin.received().len(), 2, "nothing of the other user's reached the origin");
    assert_eq!(proxy.status().await["agents"]["refused_other_user"], 3);
    assert_eq!(proxy.events().await.len(), 2);
}

#[tokio::test]
async fn every_user_is_served_if_the_settings_say_so() {
    if !are_root() {
        return;
    }
    let origin = TestOrigin::http().await;
    let proxy = TestProxy::new().with(|c| c.listen.same_user = false).run().await;
    let mut another = curl(&proxy.url(), &origin.url("/bytes/9"));
    let output = another.uid(ANOTHER_USER).output().await.unwrap();
    assert_eq!(output.stdout.len(), 9, "{output:?}");
    assert_eq!(proxy.events().await.len(), 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_users_proxy_serves_that_user_and_root_alone() {
    if !are_root() {
        return;
    }
    const USER: u32 = 65_532;
    let folder = Folder::new();
    folder.configure("");
    for path in [folder.path().to_owned(), folder.config()] {
        chown(path, Some(USER), None).unwrap();
    }
    let origin = TestOrigin::http().await;
    let served = tokio::task::spawn_blocking(move || {
        Served::start(folder, |mut program| {
            std::os::unix::process::CommandExt::uid(&mut program, USER);
            program
        })
    })
    .await
    .unwrap();
    for (uid, bytes) in [(USER, 9), (0, 9), (ANOTHER_USER, 0)] {
        let mut curl = curl(&served.url, &origin.url("/bytes/9"));
        let output = curl.uid(uid).output().await.unwrap();
        assert_eq!(output.stdout.len(), bytes, "{uid}: {output:?}");
    }
    assert_eq!(origin.received().len(), 2);
}

#[tokio::test]
async fn a_peer_that_leaves_at_once_is_not_taken_for_our_user() {
    let proxy = TestProxy::new().run().await;
    // Its socket is gone before the proxy comes to look: this runtime has one thread, and it is ours till we wait.
    let agent = std::net::TcpStream::connect(proxy.addr).unwrap();
    rustix::net::sockopt::set_socket_linger(&agent, Some(std::time::Duration::ZERO)).unwrap();
    std::io::Write::write_all(&mut &agent, b"GET http://127.0.0.1:1/ HTTP/1.1\r\nHost: a\r\n\r\n").unwrap();
    drop(agent);
    // The next one is served after it.
    let mut next = proxy.connect().await;
    next.write_all(b"GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n").await.unwrap();
    next.read_to_end(&mut Vec::new()).await.unwrap();
    assert_eq!(proxy.status().await["agents"]["refused_left"], 1);
    let paths: Vec<Value> = proxy.events().await.iter().map(|event| event["path"].clone()).collect();
    assert_eq!(paths, ["/"], "there is one event, and it is the next one's");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn another_user_can_neither_use_the_port_of_a_run_nor_read_anything_of_it_but_certificates() {
    if !are_root() {
        return;
    }
    let folder = Folder::new();
    folder.configure("");
    let origin = TestOrigin::http().await;
    // It says where the proxy is, and stays until it is told to go.
    let mut run = Command::from(folder.program());
    run.args(["run", "--config", "proxy.toml", "--", "sh", "-c", "echo $HTTP_PROXY; read go"]);
    let mut run = run
        .stdin(std::process::Stdio::piped())
        .stdout(std::process::Stdio::piped())
        .stderr(std::process::Stdio::null())
        .kill_on_drop(true)
        .spawn()
        .unwrap();
    let mut said = BufReader::new(run.stdout.take().unwrap()).lines();
    let proxy = said.next_line().await.unwrap().unwrap();
    // All that its files do not keep closed themselves is open.
    let open =
        |path: &std::path::Path| std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o755)).unwrap();
    open(folder.path());
    open(&folder.path().join("ca"));
    let mut another = curl(&proxy, &origin.url("/bytes/9"));
    let output = another.uid(ANOTHER_USER).output().await.unwrap();
    assert!(!output.status.success() && output.stdout.is_empty(), "{output:?}");
    assert!(origin.received().is_empty());
    let ours = curl(&proxy, &origin.url("/bytes/9")).output().await.unwrap();
    assert_eq!(ours.stdout.len(), 9, "{ours:?}");
    let mut find = Command::new("find");
    find.args([".", "-type", "f", "-readable"]).current_dir(folder.path()).uid(ANOTHER_USER);
    let found = String::from_utf8(find.output().await.unwrap().stdout).unwrap();
    let readable: Vec<&str> = found.lines().filter(|path| *path != "./proxy.toml").collect();
    assert!(readable.contains(&"./ca/ca.pem"), "{readable:?}");
    for path in &readable {
        let text = String::from_utf8_lossy(&std::fs::read(folder.path().join(path)).unwrap()).into_owned();
        assert!(path.starts_with("./ca/") && !path.ends_with(".key") && !text.contains("PRIVATE KEY"), "{path}");
    }
    for closed in ["events.db", "admin.token", "redaction.key", "collector.key", "collector.db", "ca/ca.key"] {
        assert!(folder.path().join(closed).exists() && !found.contains(closed), "{closed} in {found}");
    }
    drop(run.stdin.take());
    run.wait().await.unwrap();
}
