//! A proxy that ends waits for the events of every session that it made events for, says what it waits for, and can be told not
//! to wait. Sessions without events are not opened.

use std::process::Stdio;
use std::time::{Duration, Instant};

use otas_proxy::app::Summary;
use otas_proxy::config::Scope;
use otas_proxy::deliver::SessionState;
use rustix::process::{Pid, Signal, kill_process};

use crate::sessions::{client, with_agents_and};
use crate::support::lines::Lines;
use crate::support::origin::TestOrigin;
use crate::support::otas::{TestOtas, UasamCall};
use crate::support::program::{Folder, Served, with_variables_of};
use crate::support::proxy::{Running, TestProxy, eventually, trusting};

const TOKEN: &str = "x-otas-agent-session-token";
/// Long enough for a stop that did not wait to be seen.
const SLOW: Duration = Duration::from_millis(50);

fn all_delivered(summary: &Summary) -> (u64, u64, u64, u64) {
    (summary.calls, summary.delivered, summary.waiting, summary.failed)
}

/// Makes calls into so many sessions while OTAS is away, then lets it come back slowly and stops.
async fn waits_for_all(otas: &TestOtas, proxy: Running, calls: u64) {
    eventually("all calls are stored", async || proxy.status().await["events"]["stored"] == calls).await;
    eventually("the figures agree", async || {
        let status = proxy.status().await;
        let (events, delivery) = (&status["events"], &status["delivery"]);
        events["pending"] == calls && delivery["backlog"] == calls && delivery["backlog_of_other_processes"] == 0
    })
    .await;
    otas.slow(SLOW);
    otas.up().await;
    let summary = proxy.stop().await;
    assert_eq!(all_delivered(&summary), (calls, calls, 0, 0), "{summary}");
    assert_eq!(otas.stored_events().await.len() as u64, calls);
}

#[tokio::test]
async fn the_session_of_the_proxy_and_one_that_is_named_by_its_token() {
    let (otas, origin) = (TestOtas::start().await, TestOrigin::http().await);
    let own = otas.session_token(&otas.key()).await;
    let proxy = TestProxy::new().otas(&otas).run().await;
    otas.down().await;
    proxy.client().get(origin.url("/proxy")).send().await.unwrap();
    for _ in 0..3 {
        proxy.client().get(origin.url("/token")).header(TOKEN, own.expose()).send().await.unwrap();
    }
    waits_for_all(&otas, proxy, 4).await;
}

#[tokio::test]
async fn a_session_that_the_agent_opened_itself() {
    let (otas, origin) = (TestOtas::start().await, TestOrigin::http().await);
    let proxy = TestProxy::new().otas(&otas).run().await;
    let create = proxy.client().post(format!("{}/api/agent/v1/session/create/", otas.url()));
    create.header("X-OTAS-AGENT-KEY", otas.key().expose()).body("{}").send().await.unwrap();
    eventually("the session is noticed", async || proxy.status().await["calls"]["unlogged"] == 1).await;
    otas.down().await;
    for _ in 0..3 {
        proxy.client().get(origin.url("/own")).send().await.unwrap();
    }
    waits_for_all(&otas, proxy, 3).await;
    assert_eq!(otas.sessions().await.len(), 1, "the proxy's own session, which has no events, is not opened");
}

#[tokio::test]
async fn the_sessions_of_labels_and_of_agents_with_keys_of_their_own() {
    let (otas, origin) = (TestOtas::start().await, TestOrigin::http().await);
    let proxy = with_agents_and(&otas, &["planner", "writer"], |proxy| proxy).await;
    otas.down().await;
    for user in ["planner", "planner+run-1", "planner+run-2", "writer", "writer+run-1"] {
        client(&proxy, user, &format!("secret-of-{}", user.split('+').next().unwrap()))
            .get(origin.url("/"))
            .send()
            .await
            .unwrap();
    }
    waits_for_all(&otas, proxy, 5).await;
    assert_eq!(otas.sessions().await.len(), 5);
}

#[tokio::test]
async fn the_sessions_of_processes() {
    let (otas, origin) = (TestOtas::start().await, TestOrigin::http().await);
    let proxy = TestProxy::new().otas(&otas).with(|c| c.session.scope = Scope::Process).run().await;
    otas.down().await;
    for _ in 0..3 {
        proxy.client().get(origin.url("/")).send().await.unwrap();
    }
    waits_for_all(&otas, proxy, 3).await;
}

/// What waits from before, or for another process, is no reason to wait.
#[tokio::test]
async fn the_events_of_earlier_processes_are_counted_apart() {
    let (otas, origin) = (TestOtas::start().await, TestOrigin::http().await);
    otas.down().await;
    let first = TestProxy::new().otas(&otas).run().await;
    first.client().get(origin.url("/")).send().await.unwrap();
    first.events_so_far(1).await;
    let path = first.app.store.path().to_owned();
    let second = TestProxy::new().otas(&otas).with(|c| c.store.path = path).run().await;
    eventually("both figures are there", async || {
        let status = second.status().await;
        (
            &status["events"]["pending"],
            &status["delivery"]["backlog"],
            &status["delivery"]["backlog_of_other_processes"],
        ) == (&0.into(), &1.into(), &1.into())
    })
    .await;
    let before = Instant::now();
    assert_eq!(all_delivered(&second.stop().await), (0, 0, 0, 0));
    assert!(before.elapsed() < Duration::from_secs(15), "it did not wait for the other's");
    otas.up().await;
    assert_eq!(all_delivered(&first.stop().await), (1, 1, 0, 0));
}

#[tokio::test]
async fn without_a_call_the_key_is_proved_and_no_session_is_opened() {
    let otas = TestOtas::start().await;
    let proxy = TestProxy::new().otas(&otas).run().await;
    let mut watch = proxy.app.watch().own().unwrap();
    watch.wait_for(|status| status.session == SessionState::Ready).await.unwrap();
    let [UasamCall { path, .. }] = &otas.uasam_calls()[..] else { panic!("{:?}", otas.uasam_calls()) };
    assert!(path.ends_with("/auth/verify/"), "{path}");
    proxy.stop().await;
    assert!(otas.sessions().await.is_empty());
}

#[tokio::test]
async fn a_wrong_key_is_reported_before_the_first_call() {
    let otas = TestOtas::start().await;
    let wrong = otas_proxy::secret::Secret::new("agent_wrong_key");
    let proxy = TestProxy::new().otas(&otas).with(|c| c.otas.agent_key = Some(wrong)).run().await;
    let mut watch = proxy.app.watch().own().unwrap();
    let paused = watch.wait_for(|status| matches!(status.session, SessionState::Paused { .. })).await.unwrap();
    assert!(paused.trouble.as_ref().unwrap().contains("OTAS refuses the agent key"), "{paused:?}");
    drop(paused);
    proxy.stop().await;
}

/// A folder whose proxy delivers to an OTAS that is away, for `run` to make one event.
fn away() -> Folder {
    let folder = Folder::new();
    folder.configure(
        "[otas]\nbrain_url = 'http://127.0.0.1:2'\nuasam_url = 'http://127.0.0.1:2'\nagent_key = 'agent_a_b'\n",
    );
    folder
}

fn run(folder: &Folder, options: &[&str]) -> (String, Duration) {
    let began = Instant::now();
    let one_call = ["--", "curl", "-sS", "http://127.0.0.1:1/nobody"];
    let arguments = ["run", "--include-localhost"].iter().chain(options).chain(&one_call);
    let done = folder.program().args(arguments).output().unwrap();
    (String::from_utf8_lossy(&done.stderr).into_owned(), began.elapsed())
}

#[test]
fn run_says_what_it_waits_for_and_for_how_long() {
    let (said, _) = run(&away(), &["--wait", "2s"]);
    assert!(
        said.contains("waiting up to 2s ") && said.contains("for 1 event to reach OTAS (http://127.0.0.1:2/)"),
        "{said}"
    );
    assert!(said.contains("unreachable") && said.contains("--no-wait"), "{said}");
    assert!(said.contains("1 waiting"), "{said}");
}

#[test]
fn run_does_not_wait_when_told_not_to() {
    let (said, took) = run(&away(), &["--no-wait"]);
    assert!(said.contains("1 waiting") && !said.contains("waiting up to"), "{said}");
    assert!(took < Duration::from_secs(15), "{took:?}");
}

#[test]
fn a_signal_while_run_waits_ends_the_waiting_at_once() {
    let folder = away();
    let arguments = ["run", "--include-localhost", "--wait", "10m", "--", "curl", "-sS", "http://127.0.0.1:1/nobody"];
    let mut child = folder.program().args(arguments).stderr(Stdio::piped()).spawn().unwrap();
    let mut stderr = Lines::of(child.stderr.take().unwrap());
    stderr.with("waiting up to");
    kill_process(Pid::from_child(&child), Signal::INT).unwrap();
    let began = Instant::now();
    let said = stderr.collect::<Vec<_>>().join("\n");
    assert!(child.wait().unwrap().success());
    assert!(said.contains("1 waiting") && said.contains("stay stored"), "{said}");
    assert!(began.elapsed() < Duration::from_secs(15), "{:?}", began.elapsed());
}

#[test]
fn a_second_ctrl_c_ends_the_waiting_and_the_exit_code_is_the_commands() {
    let folder = away();
    let script = "curl -sS http://127.0.0.1:1/nobody; echo called >&2; exec sleep 600";
    let arguments = ["run", "--include-localhost", "--wait", "10m", "--", "sh", "-c", script];
    let mut child = folder.program().args(arguments).stderr(Stdio::piped()).spawn().unwrap();
    let mut stderr = Lines::of(child.stderr.take().unwrap());
    stderr.with("called");
    kill_process(Pid::from_child(&child), Signal::INT).unwrap();
    stderr.with("waiting up to 10m");
    kill_process(Pid::from_child(&child), Signal::INT).unwrap();
    let began = Instant::now();
    let said = stderr.collect::<Vec<_>>().join("\n");
    assert_eq!(child.wait().unwrap().code(), Some(130), "{said}");
    assert!(said.contains("1 waiting") && said.contains("stay stored"), "{said}");
    assert!(began.elapsed() < Duration::from_secs(15), "{:?}", began.elapsed());
}

#[tokio::test]
async fn a_key_that_could_not_be_checked_is_not_called_good() {
    let otas = TestOtas::start().await;
    otas.uasam_away();
    let project = otas.project_id().to_string();
    let proxy = TestProxy::new().otas(&otas).with(|c| c.otas.project_id = Some(project)).run().await;
    let mut watch = proxy.app.watch().own().unwrap();
    let known = watch
        .wait_for(|status| matches!(status.session, SessionState::Ready | SessionState::Unchecked))
        .await
        .unwrap()
        .session
        .clone();
    assert_eq!(known, SessionState::Unchecked);
    proxy.stop().await;
}

/// As systemd passes a socket: descriptor 3, for the process of this id.
const ACTIVATED: &str = "exec 3<&0 </dev/null; export LISTEN_PID=$$ LISTEN_FDS=1 LISTEN_FDNAMES=proxy; exec \"$@\"";

/// A `serve` on this socket, in a folder that stays.
fn activated(socket: &std::net::TcpListener, folder: Folder) -> Served {
    Served::start(folder, |program| {
        let mut shell = std::process::Command::new("sh");
        shell.args(["-c", ACTIVATED, "sh"]).arg(program.get_program());
        shell.current_dir(program.get_current_dir().unwrap());
        with_variables_of(&program, &mut shell);
        shell.stdin(Stdio::from(std::os::fd::OwnedFd::from(socket.try_clone().unwrap())));
        shell
    })
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_socket_of_systemd_is_used_and_no_connection_is_refused_while_one_process_follows_another() {
    let origin = TestOrigin::http().await;
    let socket = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let folder = Folder::new();
    folder.configure("[otas]\ndeliver = false\n");
    let mut first = activated(&socket, folder);
    assert_eq!(first.url, format!("http://{}", socket.local_addr().unwrap()));
    let over = tokio_util::sync::CancellationToken::new();
    let calls = tokio::spawn({
        let (url, proxy, over) = (origin.url("/"), first.url.clone(), over.clone());
        let ca = first.folder.path().join("ca").join("ca.pem");
        async move {
            let mut made = 0;
            while !over.is_cancelled() {
                // A connection of its own for each call.
                let client = reqwest::Client::builder().proxy(reqwest::Proxy::all(&proxy).unwrap());
                let client = client.tls_backend_preconfigured(trusting(&ca)).build().unwrap();
                let answered = client.get(&url).header("connection", "close").send().await.unwrap();
                assert_eq!(answered.status(), 200);
                made += 1;
            }
            made
        }
    });
    eventually("calls are made", async || origin.received().len() > 5).await;
    kill_process(Pid::from_child(&first.child), Signal::TERM).unwrap();
    assert!(first.child.wait().unwrap().success());
    let before = origin.received().len();
    let second = activated(&socket, first.into_folder());
    eventually("calls go on", async || calls.is_finished() || origin.received().len() > before + 5).await;
    over.cancel();
    let made: usize = calls.await.unwrap();
    eventually("each call has its event", async || second.events().len() == made).await;
}
