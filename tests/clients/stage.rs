//! A client called twice, directly and through `otas-proxy run`, and what must be the same and be said.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::time::Duration;

use serde_json::{Value, json};

use super::table::Told;
use crate::support::origin::{Received, TestCa};
use crate::support::program::{Folder, events};
use crate::support::standin::{Reply, Served, StandIn};

/// A client that takes longer than this hangs.
const PATIENCE: Duration = Duration::from_secs(120);

/// A service, a configuration that trusts it, and a folder for each of the two calls.
pub(super) struct Stage {
    pub(super) folder: Folder,
    pub(super) ca: TestCa,
    pub(super) origin: StandIn,
    pub(super) direct: PathBuf,
    pub(super) proxied: PathBuf,
}

/// What came of the two calls.
pub(super) struct Same {
    /// What the client said, both times.
    pub(super) said: String,
    /// One for each request, in the order in which they ended.
    pub(super) events: Vec<Value>,
}

impl Stage {
    /// With a service that prefers HTTP/2, or speaks HTTP/1.1 only.
    pub(super) async fn new(h2: bool, answer: impl Fn(&Received) -> Reply + Send + Sync + 'static) -> Self {
        let folder = Folder::new();
        let ca = TestCa::new(folder.path());
        let origin = StandIn::start(&ca, h2, answer).await;
        folder.configure("");
        let [direct, proxied] = ["direct", "proxied"].map(|name| folder.path().join(name));
        for folder in [&direct, &proxied] {
            std::fs::create_dir(folder).unwrap();
        }
        Self { folder, ca, origin, direct, proxied }
    }

    /// The command called directly, in its folder, with `set` in its environment and nothing else.
    pub(super) async fn directly(&self, command: &[&str], set: &[(&str, &str)]) -> Output {
        let mut program = Command::new(command[0]);
        alone(program.args(&command[1..]), &self.direct, set);
        output(program).await
    }

    /// The command called with `otas-proxy run OPTIONS`, in its folder, with `set` in the environment of that.
    pub(super) async fn run(&self, options: &[&str], command: &[&str], set: &[(&str, &str)]) -> Output {
        let mut program = self.folder.program();
        program.arg("run").args(options).arg("--config").arg(self.folder.config()).arg("--").args(command);
        alone(&mut program, &self.proxied, set);
        output(program).await
    }

    /// [`Stage::same_by`], for a client that trusts the file that a variable names.
    pub(super) async fn same(&self, told: Told, command: &[&str], trust: &str) -> Same {
        self.same_by(told, command, (trust, self.ca.file.to_str().unwrap())).await
    }

    /// Calls the command directly, trusting the service by `trust`, and with `run` and no other help. It must say the same,
    /// the service must see the same, and there must be one right event for each of its requests.
    pub(super) async fn same_by(&self, told: Told, command: &[&str], trust: (&str, &str)) -> Same {
        let direct = text_of(&self.directly(command, &[trust]).await);
        let served_directly = self.origin.served();
        let options: &[&str] = match told {
            Told::Variables | Told::Otherwise => &["--include-localhost"],
            Told::Preload => &["--include-localhost", "--preload"],
        };
        let said = text_of(&self.run(options, command, &[]).await);
        assert_eq!(said, direct, "it does not say what it said directly");
        let served = self.origin.served().split_off(served_directly.len());
        assert!(!served.is_empty(), "it made no call");
        assert_eq!(seen(&served), seen(&served_directly), "the service does not see what it saw directly");
        let events = events(self.folder.path());
        assert_eq!(facts(&events), expected(&served), "{events:#?}");
        Same { said, events }
    }
}

/// Nothing of the test's own environment but where programs are found.
fn alone(command: &mut Command, folder: &Path, set: &[(&str, &str)]) {
    command.env_clear().current_dir(folder).env("HOME", folder);
    let kept = ["PATH", "JAVA_HOME", "LD_LIBRARY_PATH"];
    command.envs(kept.iter().filter_map(|name| std::env::var_os(name).map(|value| (name, value))));
    command.envs(set.iter().copied());
}

async fn output(command: Command) -> Output {
    let mut command = tokio::process::Command::from(command);
    let running = command.stdin(std::process::Stdio::null()).kill_on_drop(true).output();
    tokio::time::timeout(PATIENCE, running).await.expect("the client hangs").unwrap()
}

/// The path of a script of ours.
pub(super) fn script(name: &str) -> String {
    format!("{}/tests/clients/scripts/{name}", env!("CARGO_MANIFEST_DIR"))
}

/// What a command that must succeed has said.
pub(super) fn text_of(done: &Output) -> String {
    assert!(done.status.success(), "{}{}", text(&done.stdout), text(&done.stderr));
    text(&done.stdout).trim().to_owned()
}

/// Bytes as text.
pub(super) fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// What a service sees of each request, in an order of its own: method, target, protocol, header names but for `Connection`
/// (which belongs to one connection, not to the call), and the body's length.
fn seen(served: &[Served]) -> Vec<String> {
    let mut all: Vec<String> = served
        .iter()
        .map(|Served { request, .. }| {
            let names = request.headers.iter().map(|(name, _)| &**name).filter(|name| *name != "connection");
            let names = names.collect::<Vec<_>>().join(" ");
            let Received { method, uri, version, body, .. } = request;
            format!("{method} {uri} {version:?} [{names}] {}", body.len())
        })
        .collect();
    all.sort();
    all
}

/// What events must say of these calls, in an order of its own.
fn expected(served: &[Served]) -> Vec<BTreeMap<&'static str, Value>> {
    sorted(served.iter().map(|Served { request, status, sent }| {
        let uri: http::Uri = request.uri.parse().unwrap();
        let agent = request.headers.iter().find(|(name, _)| name == "user-agent").map(|(_, value)| value);
        let version = if request.version == http::Version::HTTP_2 { "2" } else { "1.1" };
        BTreeMap::from([
            ("method", json!(request.method)),
            ("path", json!(uri.path())),
            ("query", json!(uri.query().unwrap_or_default())),
            ("status", json!(status)),
            ("error", json!(if *status < 400 { String::new() } else { format!("http_{status}") })),
            ("sent", sent.map_or(Value::Null, |_| json!(request.body.len()))),
            ("received", json!(sent)),
            ("agent", json!(agent)),
            ("version", json!(version)),
        ])
    }))
}

/// The same of what they do say.
fn facts(events: &[Value]) -> Vec<BTreeMap<&'static str, Value>> {
    sorted(events.iter().map(|event| {
        // What passes after an upgrade is counted, too, but the service does not say how much it was.
        let size = |name: &str| if event["status_code"] == 101 { Value::Null } else { event[name].clone() };
        let property = |name: &str| event["custom_properties"][name].clone();
        BTreeMap::from([
            ("method", event["method"].clone()),
            ("path", event["path"].clone()),
            ("query", event["query_params"].clone()),
            ("status", event["status_code"].clone()),
            ("error", event["error"].clone()),
            ("sent", size("request_size_bytes")),
            ("received", size("response_size_bytes")),
            ("agent", property("user_agent.original")),
            ("version", property("network.protocol.version")),
        ])
    }))
}

fn sorted(facts: impl Iterator<Item = BTreeMap<&'static str, Value>>) -> Vec<BTreeMap<&'static str, Value>> {
    let mut all: Vec<_> = facts.collect();
    all.sort_by_key(|facts| format!("{facts:?}"));
    all
}
