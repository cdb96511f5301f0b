//! A real `nats-server` with JetStream, on a free port of 127.0.0.1 and in a folder of its own.

use std::io::{BufRead as _, BufReader};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{self, Receiver};

use tempfile::TempDir;

use super::nobody::Nobody;

/// A server. Killed when dropped.
pub struct TestNats {
    folder: TempDir,
    /// Held all the time, so that the server gets the same port again after a restart.
    ports: Vec<Nobody>,
    name: String,
    settings: String,
    max_file_store: &'static str,
    child: Option<Child>,
}

/// Whether there is a `nats-server`; a test fails when it must be there (`OTAS_REQUIRE_CLIENTS=1`) and is not.
#[allow(clippy::print_stderr, reason = "nothing is skipped silently")]
pub fn is_installed(test: &str) -> bool {
    let found = Command::new("nats-server").arg("--version").output().is_ok();
    let required = std::env::var("OTAS_REQUIRE_CLIENTS").is_ok_and(|value| value == "1");
    assert!(found || !required, "{test}: there is no nats-server (Debian package nats-server)");
    if !found {
        eprintln!("{test}: not run: there is no nats-server");
    }
    found
}

impl TestNats {
    /// One server. `settings` are added to its own.
    pub fn start(settings: &str) -> Self {
        let mut server = Self::prepare("one", settings);
        server.up();
        server
    }

    /// One server with little room for streams.
    pub fn small(max_file_store: &'static str) -> Self {
        let mut server = Self::prepare("one", "");
        server.max_file_store = max_file_store;
        server.up();
        server
    }

    /// Three servers that form a cluster.
    pub fn cluster() -> Vec<Self> {
        let mut servers: Vec<Self> = ["a", "b", "c"].map(|name| Self::prepare(name, "")).into();
        let routes: Vec<String> =
            servers.iter().map(|server| format!("nats-route://{}", server.ports[1].addr)).collect();
        for server in &mut servers {
            let listen = server.ports[1].addr;
            server.settings =
                format!("cluster {{ name: fleet, listen: \"{listen}\", routes: [{}] }}", routes.join(", "));
            server.spawn();
        }
        servers
    }

    fn prepare(name: &str, settings: &str) -> Self {
        let (folder, ports) = (tempfile::tempdir().unwrap(), vec![Nobody::new(), Nobody::new()]);
        Self {
            folder,
            ports,
            name: name.to_owned(),
            settings: settings.to_owned(),
            max_file_store: "1TB",
            child: None,
        }
    }

    /// `nats://127.0.0.1:PORT`
    pub fn url(&self) -> String {
        format!("nats://{}", self.ports[0].addr)
    }

    /// Where it keeps its streams.
    pub fn files(&self) -> PathBuf {
        self.folder.path().join("streams")
    }

    /// Ends it with `kill -9`.
    pub fn kill(&mut self) {
        if let Some(mut child) = self.child.take() {
            child.kill().unwrap();
            child.wait().unwrap();
        }
    }

    /// Starts it, on the same port and with the same files, and waits until it serves.
    pub fn up(&mut self) {
        let said = self.spawn();
        // JetStream has read its files by then.
        let ready = said.iter().any(|line| line.contains("Server is ready"));
        assert!(ready, "the server has ended");
    }

    /// Starts it. What it says comes line by line.
    fn spawn(&mut self) -> Receiver<String> {
        // Without a limit of its own, it takes three quarters of what the disk has free, which may be less than the streams' sizes.
        let settings = format!(
            "server_name: {}\nlisten: \"{}\"\nmax_payload: 4MB\njetstream {{ store_dir: \"{}\", max_file_store: {} }}\n{}\n",
            self.name,
            self.ports[0].addr,
            self.files().display(),
            self.max_file_store,
            self.settings
        );
        let file = self.folder.path().join("server.conf");
        std::fs::write(&file, settings).unwrap();
        let mut server = Command::new("nats-server");
        server.arg("-c").arg(&file).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped());
        let mut child = server.spawn().unwrap();
        let (told, said) = mpsc::channel();
        let lines = BufReader::new(child.stderr.take().unwrap()).lines();
        // All is read, so that the server never waits for us.
        std::thread::spawn(move || lines.map_while(Result::ok).for_each(|line| drop(told.send(line))));
        self.child = Some(child);
        said
    }
}

impl Drop for TestNats {
    fn drop(&mut self) {
        self.kill();
    }
}
