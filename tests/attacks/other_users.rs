//! Other users of the machine can neither use the port of a `run` nor read its files.

#![cfg(target_os = "linux")]

use std::os::unix::fs::PermissionsExt as _;
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use crate::support::lines::Lines;
use crate::support::origin::TestOrigin;
use crate::support::program::Folder;

/// A user that is neither root nor the user of the tests.
const ANOTHER_USER: u32 = 65_533;

/// A program run by another user, without any of our groups.
fn as_another(program: &str) -> Command {
    let mut command = Command::new("setpriv");
    command.args([
        "--reuid",
        &ANOTHER_USER.to_string(),
        "--regid",
        &ANOTHER_USER.to_string(),
        "--clear-groups",
        "--",
    ]);
    command.arg(program).env_remove("NO_PROXY").env_remove("no_proxy").current_dir("/");
    command
}

/// Only root can run programs as other users.
fn are_root() -> bool {
    let root = rustix::process::geteuid().is_root();
    if !root {
        let said = b"skipped: only root can run programs as another user\n";
        std::io::Write::write_all(&mut std::io::stderr(), said).unwrap();
    }
    root
}

fn files(folder: &Path) -> Vec<PathBuf> {
    let mut all = Vec::new();
    for entry in std::fs::read_dir(folder).unwrap().map(Result::unwrap) {
        match entry.file_type().unwrap().is_dir() {
            true => all.extend(files(&entry.path())),
            false => all.push(entry.path()),
        }
    }
    all
}

/// The names of the files that the other user can read.
fn readable(files: &[PathBuf]) -> Vec<String> {
    let can = |file: &&PathBuf| {
        as_another("cat").arg(file).stdout(Stdio::null()).stderr(Stdio::null()).status().unwrap().success()
    };
    let mut names: Vec<String> =
        files.iter().filter(can).map(|file| file.file_name().unwrap().to_str().unwrap().to_owned()).collect();
    names.sort();
    names
}

/// A `run` whose command waits until its stdin is closed, and the command's environment. Everybody may enter its folder.
fn running(folder: &Folder) -> (std::process::Child, Vec<String>) {
    std::fs::set_permissions(folder.path(), std::fs::Permissions::from_mode(0o755)).unwrap();
    let script = "echo \"$HTTP_PROXY\"; echo \"$SSL_CERT_FILE\"; cat";
    let mut run = folder.program();
    // The umask may be fully open.
    let mut run = run
        .args(["run", "--", "sh", "-c", script])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .process_group(0)
        .spawn()
        .unwrap();
    let mut said = Lines::of(run.stdout.take().unwrap());
    let told = (0..2).map(|_| said.next().unwrap()).collect();
    (run, told)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_second_user_can_neither_use_a_run_nor_read_its_files() {
    if !are_root() {
        return;
    }
    let origin = TestOrigin::http().await;
    let url = origin.url("/bytes/9");
    let done = tokio::task::spawn_blocking(move || {
        let folder = Folder::new();
        std::fs::write(folder.config(), "[tls]\nca_dir = 'ca'\n[store]\npath = 'events.db'\n").unwrap();
        let (mut run, told) = running(&folder);
        let curl = |mut curl: Command| {
            curl.args(["-sS", "--max-time", "20", "-x", &told[0], &url]).output().unwrap().stdout.len()
        };
        assert_eq!(curl(Command::new("curl")), 9);
        for _ in 0..3 {
            assert_eq!(curl(as_another("curl")), 0, "another user calls through it");
        }
        let all = files(folder.path());
        let named = |name: &str| all.iter().any(|file| file.file_name().unwrap() == name);
        for name in [
            "ca.key",
            "ca.pem",
            "bundle.pem",
            "events.db",
            "admin.token",
            "redaction.key",
            "collector.key",
            "collector.db",
        ] {
            assert!(named(name), "{name} is not there: {all:?}");
        }
        assert_eq!(readable(&all), ["proxy.toml"]);
        drop(run.stdin.take());
        assert!(run.wait().unwrap().success());
        assert_eq!(readable(&files(folder.path())), ["proxy.toml"], "nor afterwards");
    });
    done.await.unwrap();
    assert_eq!(origin.received().len(), 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn in_a_shared_folder_only_the_certificates_can_be_read() {
    if !are_root() {
        return;
    }
    let done = tokio::task::spawn_blocking(move || {
        let folder = Folder::new();
        std::fs::write(folder.config(), "[tls]\nca_dir = 'ca'\n[store]\npath = 'data/events.db'\n").unwrap();
        // As in the container image, so that agents of other users can trust the CA.
        std::fs::create_dir(folder.path().join("ca")).unwrap();
        std::fs::set_permissions(folder.path().join("ca"), std::fs::Permissions::from_mode(0o755)).unwrap();
        let (mut run, told) = running(&folder);
        let readable = readable(&files(folder.path()));
        assert!(
            readable.contains(&"ca.pem".to_owned()) && readable.contains(&"bundle.pem".to_owned()),
            "{readable:?}"
        );
        let ends = [".pem", ".p12", ".ini", "wgetrc", "proxy.toml"];
        let more: Vec<_> = readable.iter().filter(|name| !ends.iter().any(|end| name.ends_with(end))).collect();
        assert!(more.is_empty(), "{more:?} can be read (and {})", told[1]);
        drop(run.stdin.take());
        assert!(run.wait().unwrap().success());
    });
    done.await.unwrap();
}
