//! The proxy as the sidecar of a pod: volumes that root made and everybody may write, users without a name and a home, start order,
//! and the end during calls.

#![cfg(target_os = "linux")]

use std::future::Future;
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};

use crate::support::origin::{TestCa, TestOrigin};
use crate::support::otas::TestOtas;
use crate::support::pod::{Pod, can_be_made};
use crate::support::program::Folder;
use crate::support::proxy::eventually;

/// As long as a start-up probe would try.
const PROBE: Duration = Duration::from_secs(60);
const STREAMS: usize = 50;

/// Runs a test in the network of a pod of its own, on a thread of its own: the thread's network cannot be changed back.
fn in_a_pod<F: Future<Output = ()>>(test: impl FnOnce(Pod) -> F + Send) {
    if !can_be_made() {
        return;
    }
    let pod = Pod::new();
    let run = || {
        pod.enter_network();
        tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(test(pod));
    };
    std::thread::scope(|scope| scope.spawn(run).join()).unwrap();
}

fn text(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr)
}

/// A command that ran to its end, beside the servers of this test.
async fn output(mut command: Command) -> Output {
    tokio::task::spawn_blocking(move || command.output().unwrap()).await.unwrap()
}

/// The sidecar's main process. Killed when dropped.
struct Sidecar(Option<Child>);

impl Sidecar {
    /// Started, and ready as the start-up probe says. The agent is started only then.
    async fn start(pod: &Pod) -> Self {
        let command = || pod.sidecar(&["healthcheck"]);
        let before = output(command()).await;
        assert!(
            !before.status.success() && text(&before).contains("no proxy answers on 127.0.0.1:8081"),
            "{before:?}"
        );
        let mut serve = pod.sidecar(&["serve"]);
        let mut this = Self(Some(serve.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap()));
        let until = Instant::now() + PROBE;
        loop {
            let probe = output(command()).await;
            if probe.status.success() {
                return this;
            }
            let ended = this.0.as_mut().unwrap().try_wait().unwrap();
            if ended.is_some() || Instant::now() > until {
                panic!("{}: {}", text(&probe), text(&this.0.take().unwrap().wait_with_output().unwrap()));
            }
        }
    }

    fn terminate(&self) {
        kill_process(Pid::from_child(self.0.as_ref().unwrap()), Signal::TERM).unwrap();
    }

    async fn ended(mut self) -> Output {
        let child = self.0.take().unwrap();
        tokio::task::spawn_blocking(move || child.wait_with_output().unwrap()).await.unwrap()
    }
}

impl Drop for Sidecar {
    fn drop(&mut self) {
        if let Some(mut child) = self.0.take() {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

#[test]
fn volumes_of_root_will_do_and_the_agent_gets_certificates_but_no_key() {
    in_a_pod(|pod| async move {
        let folder = tempfile::tempdir().unwrap();
        let ca = TestCa::new(folder.path());
        let origin = TestOrigin::https(&ca).await;
        let roots = pod.file("origin-ca.pem");
        std::fs::copy(&ca.file, &roots).unwrap();
        let tls = format!("origin_ca_file = '{}'", roots.display());
        pod.configure(&tls, "[otas]\ndeliver = false\n");
        let sidecar = Sidecar::start(&pod).await;
        let url = origin.url("/bytes/9");
        let script = format!(
            "unset NO_PROXY no_proxy
             curl -sS '{url}' | wc -c
             cd {}; ls shared
             ! ls private/ca.key 2>/dev/null; ! touch shared/x 2>/dev/null; ! grep -rl 'PRIVATE KEY' shared",
            pod.volume("").display()
        );
        let agent = output(pod.agent(&script)).await;
        assert!(agent.status.success(), "{}", text(&agent));
        let listed = text(&agent);
        assert!(listed.starts_with("9\n"), "{listed}");
        for name in ["bundle.pem", "ca.pem", "env.sh", "php", "preload", "truststore.p12", "wgetrc"] {
            assert!(listed.lines().any(|line| line == name), "{name}: {listed}");
        }
        sidecar.terminate();
        let ended = sidecar.ended().await;
        assert!(ended.status.success(), "{}", text(&ended));
        let script = format!(
            "cd {}; test -e ca.key; for file in ca.key events.db admin.token; do ! cat $file >/dev/null; done",
            pod.volume("private").display()
        );
        let readable = output(pod.neighbour(&script)).await;
        assert!(readable.status.success(), "{}", text(&readable));
        assert_eq!(text(&readable).matches("Permission denied").count(), 3, "{}", text(&readable));
    });
}

#[test]
fn a_sidecar_that_is_stopped_during_50_streams_lets_them_end_and_delivers_them() {
    in_a_pod(|pod| async move {
        let (otas, origin) = (TestOtas::start().await, TestOrigin::http().await);
        let sidecar = started(&pod, &otas).await;
        let agent = streams(&pod, &origin);
        eventually("all streams have begun", async || origin.received().len() == STREAMS).await;
        sidecar.terminate();
        assert_whole(agent).await;
        let ended = sidecar.ended().await;
        assert!(ended.status.success(), "{}", text(&ended));
        assert_eq!(otas.events().await.len(), STREAMS, "{}", text(&ended));
    });
}

#[test]
fn what_a_sidecar_cannot_deliver_stays_in_its_volume_for_the_next_one() {
    in_a_pod(|pod| async move {
        let (otas, origin) = (TestOtas::start().await, TestOrigin::http().await);
        let sidecar = started(&pod, &otas).await;
        otas.down().await;
        let agent = streams(&pod, &origin);
        eventually("all streams have begun", async || origin.received().len() == STREAMS).await;
        sidecar.terminate();
        assert_whole(agent).await;
        let ended = sidecar.ended().await;
        assert!(text(&ended).contains("50 waiting"), "{}", text(&ended));
        assert_eq!(otas.events().await.len(), 0);
        otas.up().await;
        let next = started(&pod, &otas).await;
        eventually("all is delivered", async || otas.events().await.len() == STREAMS).await;
        drop(next);
    });
}

/// The agent of `deploy/k8s` has what `env --shell k8s` prints for the settings of the image.
#[test]
fn the_manifest_has_the_variables_that_env_prints() {
    let folder = Folder::new();
    let at = |path: &str| std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join(path);
    let mut env = folder.program();
    env.env("OTAS_PROXY_CONFIG", at("deploy/container.toml"));
    let done = env.args(["env", "--shell", "k8s"]).output().unwrap();
    assert!(done.status.success(), "{}", text(&done));
    let part: String = text(&done).lines().map(|line| format!("          {line}\n")).collect();
    let manifest = std::fs::read_to_string(at("deploy/k8s/base/deployment.yaml")).unwrap();
    assert!(manifest.contains(&part), "the agent's container should have:\n{part}");
}

/// A sidecar that delivers to this OTAS, and does not wait long for one that is down. Its key is a file.
async fn started(pod: &Pod, otas: &TestOtas) -> Sidecar {
    let key = pod.file("agent.key");
    std::fs::write(&key, otas.key().expose()).unwrap();
    let url = otas.url();
    let settings = format!(
        "[otas]\nbrain_url = '{url}'\nuasam_url = '{url}'\nagent_key_file = '{}'\n[delivery]\ndrain_timeout_ms = 3000\n",
        key.display()
    );
    pod.configure("", &settings);
    Sidecar::start(pod).await
}

/// An agent that reads 50 streams at once.
fn streams(pod: &Pod, origin: &TestOrigin) -> tokio::task::JoinHandle<Output> {
    let url = origin.url("/sse/20/100");
    let script = format!(
        "unset NO_PROXY no_proxy; for i in $(seq {STREAMS}); do curl -sSN '{url}' | grep -c ^data: & done; wait"
    );
    tokio::spawn(output(pod.agent(&script)))
}

async fn assert_whole(agent: tokio::task::JoinHandle<Output>) {
    let agent = agent.await.unwrap();
    assert_eq!(text(&agent), "20\n".repeat(STREAMS));
}
