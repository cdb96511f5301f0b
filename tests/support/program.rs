//! The program itself, as a user starts it, in a folder of its own.

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use otas_proxy::store::{EventRow, Filter, Inspector, State, Store};
use serde_json::Value;
use tempfile::TempDir;

use super::lines::Lines;
use super::proxy::trusting;

/// A folder with a configuration.
pub struct Folder(TempDir);

impl Folder {
    pub fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    pub fn path(&self) -> &Path {
        self.0.path()
    }

    /// The configuration file.
    pub fn config(&self) -> PathBuf {
        self.path().join("proxy.toml")
    }

    /// Writes a configuration: free ports, files in this folder, origins' roots in `origin-ca.pem` if it is there,
    /// and what `more` says.
    pub fn configure(&self, more: &str) {
        self.configure_with("", more);
    }

    /// The same, with more in `[tls]` as well.
    pub fn configure_with(&self, tls: &str, more: &str) {
        let roots = if self.path().join("origin-ca.pem").exists() { "origin_ca_file = 'origin-ca.pem'" } else { "" };
        let text = format!(
            "[listen]\nproxy = '127.0.0.1:0'\nadmin = '127.0.0.1:0'\n[tls]\nca_dir = 'ca'\n{roots}\n{tls}\n[store]\npath = 'events.db'\n{more}"
        );
        std::fs::write(self.config(), text).unwrap();
    }

    /// The program, with nothing in its environment that could reach it from outside.
    pub fn program(&self) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_otas-proxy"));
        command
            .current_dir(self.path())
            .env("HOME", self.path())
            .env_remove("XDG_DATA_HOME")
            .env_remove("XDG_CONFIG_HOME");
        for name in
            ["OTAS_AGENT_KEY", "OTAS_SESSION_TOKEN", "OTAS_PROJECT_ID", "OTAS_PROJECT_DOMAIN", "OTAS_BRAIN_URL"]
        {
            command.env_remove(name);
        }
        for name in
            ["SSL_CERT_FILE", "REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE", "AWS_CA_BUNDLE", "GIT_SSL_CAINFO", "PIP_CERT"]
        {
            command.env_remove(name);
        }
        for name in
            ["CARGO_HTTP_CAINFO", "npm_config_cafile", "NODE_EXTRA_CA_CERTS", "DENO_CERT", "NIX_SSL_CERT_FILE"]
        {
            command.env_remove(name);
        }
        for name in ["JAVA_TOOL_OPTIONS", "PHP_INI_SCAN_DIR", "WGETRC", "GRPC_DEFAULT_SSL_ROOTS_FILE_PATH"] {
            command.env_remove(name);
        }
        for name in ["CODEX_CA_CERTIFICATE", "HTTPLIB2_CA_CERTS", "CLOUDSDK_CORE_CUSTOM_CA_CERTS_FILE"] {
            command.env_remove(name);
        }
        for name in ["OTAS_UASAM_URL", "OTAS_PROXY_LOG", "NO_PROXY", "no_proxy"] {
            command.env_remove(name);
        }
        // Named, for a file that is merely found may not say everything. It need not be there.
        match self.config().exists() {
            true => command.env("OTAS_PROXY_CONFIG", "proxy.toml"),
            false => command.env_remove("OTAS_PROXY_CONFIG"),
        };
        for name in
            ["HTTP_PROXY", "http_proxy", "HTTPS_PROXY", "https_proxy", "ALL_PROXY", "all_proxy", "OTAS_PROXY_URL"]
        {
            command.env_remove(name);
        }
        for name in ["NODE_OPTIONS", "PYTHONPATH", "OTAS_UPSTREAM_PROXY", "XDG_STATE_HOME"] {
            command.env_remove(name);
        }
        // Colours depend on these. With CI set there are colours even where TERM is dumb.
        for name in ["NO_COLOR", "CLICOLOR", "CLICOLOR_FORCE", "CI"] {
            command.env_remove(name);
        }
        let otel = |name: &std::ffi::OsString| name.to_string_lossy().starts_with("OTEL_");
        for (name, _) in std::env::vars_os().filter(|(name, _)| otel(name)) {
            command.env_remove(name);
        }
        command
    }
}

/// The program, with at most so many descriptors.
pub fn with_descriptors(most: usize) -> impl FnOnce(Command) -> Command {
    move |program| {
        let mut limited = Command::new("prlimit");
        limited.arg(format!("--nofile={most}:{most}")).arg(program.get_program());
        limited.current_dir(program.get_current_dir().unwrap());
        with_variables_of(&program, &mut limited);
        limited
    }
}

/// Sets and removes the variables that this command sets and removes.
pub fn with_variables_of(of: &Command, command: &mut Command) {
    for (name, value) in of.get_envs() {
        match value {
            Some(value) => command.env(name, value),
            None => command.env_remove(name),
        };
    }
}

/// The bytes of a file. A journal of SQLite may be gone by now: then it holds nothing.
pub fn content_of(path: &Path) -> Vec<u8> {
    match std::fs::read(path) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Vec::new(),
        read => read.unwrap(),
    }
}

/// All events of a store's file, oldest first.
pub fn rows(path: &Path) -> Vec<EventRow> {
    let mut rows = Store::open(path).unwrap().list(&Filter { limit: usize::MAX, ..Filter::default() }).unwrap();
    rows.reverse();
    rows
}

/// Panics if something in a store cannot be read, or does not agree.
pub fn verified(store: &Path) {
    let mut faults = Vec::new();
    let store = Inspector::open(store).unwrap();
    store.verify(&mut |fault| faults.push(fault.to_string())).unwrap();
    assert!(faults.is_empty(), "{faults:#?}");
}

/// What the events of a store's file say: in the file itself, bodies are compressed.
pub fn stored_texts(path: &Path) -> Vec<u8> {
    rows(path).into_iter().flat_map(|row| row.json).collect()
}

/// The events that the embedded collector of this folder's proxies has saved, in the order in which their calls began.
pub fn events(folder: &Path) -> Vec<Value> {
    let events = rows(&folder.join("events.db")).into_iter().map(|row| {
        assert_eq!(row.state, State::Delivered, "not delivered: {}", String::from_utf8_lossy(&row.json));
        serde_json::from_slice(&row.json).unwrap()
    });
    let mut events: Vec<Value> = events.collect();
    // UUIDs of version 7.
    events.sort_by_key(|event| event["metadata"]["event"]["id"].as_str().map(str::to_owned));
    events
}

/// The Python that has the client libraries, if `check.sh` has made it.
pub fn python() -> String {
    let made = || concat!(env!("CARGO_MANIFEST_DIR"), "/target/clients/bin/python3").to_owned();
    std::env::var("OTAS_TEST_PYTHON").unwrap_or_else(|_| made())
}

/// A `serve` in a process of its own. Killed when dropped.
pub struct Served {
    pub child: Child,
    /// Where agents connect.
    pub url: String,
    /// Where people look.
    pub page: String,
    pub folder: Folder,
}

impl Served {
    /// Starts it; `wrapped` may put another program around it.
    pub fn start(folder: Folder, wrapped: impl FnOnce(Command) -> Command) -> Self {
        let mut command = wrapped(folder.program());
        let mut child = command
            .args(["serve", "--config", "proxy.toml"])
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        // It says where it listens once it does; the rest of what it says is read so that it never waits for us.
        let (mut said, mut errors) = (Lines::of(child.stdout.take().unwrap()), child.stderr.take().unwrap());
        std::thread::spawn(move || std::io::copy(&mut errors, &mut std::io::sink()));
        let url = said
            .by_ref()
            .find_map(|line| line.split_whitespace().find(|word| word.starts_with("http://")).map(str::to_owned))
            .expect("it says where it listens");
        let page = said
            .by_ref()
            .find_map(|line| line.split_whitespace().find(|word| word.contains("?code=")).map(str::to_owned))
            .expect("it says where calls are shown");
        Self { child, url, page, folder }
    }

    /// Its folder, for the next one; this one is killed.
    pub fn into_folder(mut self) -> Folder {
        std::mem::replace(&mut self.folder, Folder::new())
    }

    /// A client that uses it and trusts its CA.
    pub fn client(&self) -> reqwest::Client {
        let ca = self.folder.path().join("ca").join("ca.pem");
        let proxy = reqwest::Proxy::all(&self.url).unwrap();
        reqwest::Client::builder().proxy(proxy).tls_backend_preconfigured(trusting(&ca)).build().unwrap()
    }

    /// The events in its store, oldest first.
    pub fn events(&self) -> Vec<Value> {
        let store = Store::open(&self.folder.path().join("events.db")).unwrap();
        let rows = store.list(&Filter { limit: usize::MAX, ..Filter::default() }).unwrap();
        rows.iter().rev().map(|row| serde_json::from_slice(&row.json).unwrap()).collect()
    }
}

impl Drop for Served {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
