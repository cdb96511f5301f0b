//! What ran, and how it ended: a line of a table for each test of a client, in a file of its own.

use std::io::Write;
use std::path::Path;

use super::installed::Client;

/// How a client was told of the proxy.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Told {
    /// By the variables that `run` sets.
    Variables,
    /// With `run --preload`.
    Preload,
    /// Not by `run`: it is no client.
    Otherwise,
}

/// One line. It says "failed" unless the test comes to its end.
pub(super) struct Row {
    family: &'static str,
    name: String,
    version: String,
    what: &'static str,
    told: Told,
    result: &'static str,
}

impl Row {
    /// For `client` doing `what`. `None` if it is not installed, which is noted; if it must be (`OTAS_REQUIRE_CLIENTS=1`,
    /// as `check.sh` sets it), the test fails.
    pub(super) fn of(client: &Client, what: &'static str, told: Told) -> Option<Self> {
        let row = Self::if_installed(client, what, told);
        let required = std::env::var("OTAS_REQUIRE_CLIENTS").as_deref() == Ok("1");
        assert!(row.is_some() || !required, "{} is not installed", client.name);
        row
    }

    /// The same for a client that `check.sh` cannot install.
    pub(super) fn if_installed(client: &Client, what: &'static str, told: Told) -> Option<Self> {
        let version = client.version.clone();
        let missing = version.is_none();
        let row = Self {
            family: client.family,
            name: client.name.clone(),
            version: version.unwrap_or_else(|| "–".to_owned()),
            what,
            told,
            result: if missing { "not installed" } else { "failed" },
        };
        if !missing {
            return Some(row);
        }
        let name = client.name.clone();
        drop(row);
        // Past the harness, which shows what is printed of tests that fail only.
        let said = format!("{name} is not installed, so this was NOT tested: {what}\n");
        std::io::stderr().write_all(said.as_bytes()).unwrap();
        None
    }

    /// The test has come to its end.
    pub(super) fn passed(mut self) {
        self.result = "passed";
    }
}

impl Drop for Row {
    fn drop(&mut self) {
        let told = match self.told {
            Told::Variables => "`run`",
            Told::Preload => "`run --preload`",
            Told::Otherwise => "–",
        };
        let fields = [self.family, &self.name, &self.version, self.what, told, self.result];
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("target/clients-table");
        let file = fields[..5].join(" ").replace(|c: char| !c.is_ascii_alphanumeric(), "-");
        std::fs::create_dir_all(&folder).unwrap();
        std::fs::write(folder.join(file + ".tsv"), fields.join("\t") + "\n").unwrap();
    }
}
