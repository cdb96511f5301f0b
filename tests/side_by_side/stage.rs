//! A client's program run twice over all cases, directly and through the proxy.

use std::collections::BTreeMap;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::Arc;
use std::time::Duration;

use serde_json::Value;
use tokio::io::AsyncWriteExt;
use tokio::process::Command;

use super::origin::Origin;
use super::{cases, judge};
use crate::clients::installed::{self, is_there, node_modules};
use crate::support::origin::TestCa;
use crate::support::program;
use crate::support::proxy::TestProxy;

/// A client that takes longer than this over all cases hangs.
const PATIENCE: Duration = Duration::from_secs(120);

/// A client, and the script of ours that drives it.
pub(super) struct Client {
    pub(super) script: &'static str,
    pub(super) program: Program,
    pub(super) installed: installed::Client,
}

/// What the script is run by.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Program {
    Python,
    Node,
}

/// What came of each call, by its name.
pub(super) type Outcomes = BTreeMap<String, Value>;

/// Runs the client directly and through the proxy, and compares.
pub(super) async fn compare(client: Client) {
    if !is_there(&client.installed) {
        // Past the harness, which shows what is printed of tests that fail only.
        let said = format!("{} is not installed, so this was NOT tested\n", client.installed.name);
        std::io::stderr().write_all(said.as_bytes()).unwrap();
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let ca = TestCa::new(folder.path());
    let scripts = copied_scripts(folder.path());
    let cases = Arc::new(cases::all());
    let (alone, behind) = (Origin::start(&ca, cases.clone()).await, Origin::start(&ca, cases.clone()).await);
    let proxy = TestProxy::new().trusting(&ca).run().await;
    let direct = client.command(&scripts, &ca.file);
    let mut proxied = client.command(&scripts, &proxy.app.ca_file);
    for name in ["http_proxy", "https_proxy", "HTTP_PROXY", "HTTPS_PROXY"] {
        proxied.env(name, proxy.url());
    }
    proxied.env("NODE_USE_ENV_PROXY", "1");
    let (direct, proxied) =
        tokio::join!(outcomes(direct, alone.calls(&cases)), outcomes(proxied, behind.calls(&cases)));
    let events = proxy.events().await;
    let faults = judge::faults(client.script, &cases, (&direct, &proxied), &alone.requests(), &events);
    assert!(faults.is_empty(), "{} differences:\n{}", faults.len(), faults.join("\n"));
}

impl Client {
    fn command(&self, scripts: &Path, ca: &Path) -> Command {
        let program = match self.program {
            Program::Python => PathBuf::from(program::python()),
            Program::Node => installed::node(24),
        };
        let mut command = Command::new(program);
        command.arg(scripts.join(self.script)).env_clear().current_dir(scripts).env("HOME", scripts);
        if let Some(path) = std::env::var_os("PATH") {
            command.env("PATH", path);
        }
        for name in ["SSL_CERT_FILE", "REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE", "NODE_EXTRA_CA_CERTS"] {
            command.env(name, ca);
        }
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).kill_on_drop(true);
        command
    }
}

/// The scripts beside a link to Node's packages, for a module looks for packages beside itself.
fn copied_scripts(folder: &Path) -> PathBuf {
    let scripts = folder.join("scripts");
    std::fs::create_dir(&scripts).unwrap();
    let ours = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/side_by_side/clients");
    for entry in std::fs::read_dir(ours).unwrap().map(Result::unwrap).filter(|entry| entry.path().is_file()) {
        std::fs::copy(entry.path(), scripts.join(entry.file_name())).unwrap();
    }
    std::os::unix::fs::symlink(node_modules(), scripts.join("node_modules")).unwrap();
    scripts
}

async fn outcomes(mut command: Command, calls: Vec<(String, String)>) -> Outcomes {
    let mut running = command.spawn().unwrap();
    let mut input = running.stdin.take().unwrap();
    input.write_all(&serde_json::to_vec(&calls).unwrap()).await.unwrap();
    drop(input);
    let done = tokio::time::timeout(PATIENCE, running.wait_with_output()).await.expect("the client hangs").unwrap();
    assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
    serde_json::from_slice(&done.stdout).unwrap()
}
