//! The program itself, as a user starts it, in a folder of its own.

use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::Value;
use tempfile::TempDir;

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
        let roots = if self.path().join("origin-ca.pem").exists() { "origin_ca_file = 'origin-ca.pem'" } else { "" };
        let text = format!(
            "[listen]\nproxy = '127.0.0.1:0'\nadmin = '127.0.0.1:0'\n[tls]\nca_dir = 'ca'\n{roots}\n[store]\npath = 'events.db'\n{more}"
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
        for name in ["OTAS_UASAM_URL", "OTAS_PROXY_CONFIG", "OTAS_PROXY_LOG", "NO_PROXY", "no_proxy"] {
            command.env_remove(name);
        }
        command
    }
}

/// The events that the embedded collector of this folder's proxies has saved, in order.
pub fn events(folder: &Path) -> Vec<Value> {
    let db = rusqlite::Connection::open(folder.join("events.db")).unwrap();
    let mut rows = db.prepare("SELECT json, state FROM events ORDER BY id").unwrap();
    let rows = rows.query_map([], |row| Ok((row.get::<_, Vec<u8>>(0)?, row.get::<_, i64>(1)?))).unwrap();
    rows.map(|row| {
        let (json, state) = row.unwrap();
        assert_eq!(state, 1, "not delivered: {}", String::from_utf8_lossy(&json));
        serde_json::from_slice(&json).unwrap()
    })
    .collect()
}

/// The Python that has the client libraries: `check.sh` makes it.
pub fn python() -> String {
    std::env::var("OTAS_TEST_PYTHON").unwrap_or_else(|_| {
        let made = Path::new(env!("CARGO_MANIFEST_DIR")).join("target/clients/bin/python3");
        assert!(made.exists(), "no Python with requests and httpx: run ./check.sh once, or set OTAS_TEST_PYTHON");
        made.display().to_string()
    })
}
