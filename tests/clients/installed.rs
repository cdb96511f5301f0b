//! Which clients are installed, and in which version.

use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::Value;

use crate::support::program::python;

/// A client, and where it belongs in the table.
pub(crate) struct Client {
    pub(crate) family: &'static str,
    pub(crate) name: String,
    /// `None` if it is not installed.
    pub(crate) version: Option<String>,
}

impl Client {
    /// By the name that the table has for it.
    pub(crate) fn called(self, name: &str) -> Self {
        Self { name: name.to_owned(), ..self }
    }

    /// In another part of the table.
    pub(crate) fn of(self, family: &'static str) -> Self {
        Self { family, ..self }
    }
}

/// Whether it is installed; a test fails when it must be (`OTAS_REQUIRE_CLIENTS=1`) and is not.
pub(crate) fn is_there(client: &Client) -> bool {
    let required = std::env::var("OTAS_REQUIRE_CLIENTS").is_ok_and(|value| value == "1");
    assert!(client.version.is_some() || !required, "{} is not installed", client.name);
    client.version.is_some()
}

/// A program, whose version is the first word with digits and dots in what it says to `question`.
pub(crate) fn program(family: &'static str, name: &str, question: &str) -> Client {
    Client { family, name: name.to_owned(), version: said_version(Path::new(name), question) }
}

/// A package of the Python that `check.sh` sets up.
pub(crate) fn python_package(name: &str) -> Client {
    let script = format!("import importlib.metadata as m; print(m.version({name:?}))");
    Client { family: "Python", name: name.to_owned(), version: said(Command::new(python()).args(["-c", &script])) }
}

/// What comes with that Python.
pub(crate) fn python_itself(name: &str) -> Client {
    Client { family: "Python", name: name.to_owned(), version: said_version(Path::new(&python()), "--version") }
}

/// A Python that checks certificates strictly by default, if there is one: from 3.13 on (on the PATH, or pyenv's).
pub(crate) fn strict_python() -> Option<PathBuf> {
    let pyenv = PathBuf::from(std::env::var_os("HOME")?).join(".pyenv/versions");
    let pyenv = std::fs::read_dir(pyenv).into_iter().flatten().flatten().map(|entry| entry.path().join("bin"));
    let path = std::env::var_os("PATH")?;
    let mut folders = std::env::split_paths(&path).chain(pyenv);
    // Not pyenv's own launcher, which needs its settings.
    let runs = |program: &PathBuf| said_version(program, "--version").is_some_and(|v| v.starts_with("3.13."));
    folders.find_map(|folder| Some(folder.join("python3.13")).filter(runs))
}

/// What comes with it.
pub(crate) fn strict_python_itself(name: &str) -> Client {
    let version = strict_python().and_then(|program| said_version(&program, "--version"));
    Client { family: "Python", name: name.to_owned(), version }
}

/// The Node of this major version that `check.sh` sets up.
pub(crate) fn node(major: u32) -> PathBuf {
    node_modules().join(format!("node{major}/bin/node"))
}

/// What comes with that Node.
pub(crate) fn node_itself(major: u32, name: &str) -> Client {
    let version = said_version(&node(major), "--version");
    Client { family: "Node", name: name.to_owned(), version: version.map(|version| format!("Node {version}")) }
}

/// A package, on that Node.
pub(crate) fn node_package(major: u32, name: &str) -> Client {
    let text = std::fs::read_to_string(node_modules().join(name).join("package.json")).ok();
    let version =
        text.map(|text| serde_json::from_str::<Value>(&text).unwrap()["version"].as_str().unwrap().to_owned());
    let node = said_version(&node(major), "--version");
    let both = version.zip(node).map(|(version, node)| format!("{version}, Node {node}"));
    Client { family: "Node", name: name.to_owned(), version: both }
}

/// Where `check.sh` installs packages for Node.
pub(crate) fn node_modules() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("target/clients-node/node_modules")
}

fn said_version(program: &Path, question: &str) -> Option<String> {
    let said = said(Command::new(program).arg(question))?;
    let is_version = |word: &&str| word.starts_with(|c: char| c.is_ascii_digit()) && word.contains('.');
    let mut words = said.split([' ', '\n', '"', '/', '(', ')']).map(|word| word.trim_start_matches('v'));
    words.find(is_version).map(str::to_owned)
}

fn said(command: &mut Command) -> Option<String> {
    let done = command.output().ok().filter(|done| done.status.success())?;
    Some(String::from_utf8_lossy(&[done.stdout, done.stderr].concat()).trim().to_owned())
}
