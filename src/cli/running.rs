//! Which proxies of this user run, so that other commands use the same CA and the same store: `serve` leaves a small file in the
//! user's state folder, and readers ask the admin port that it names whether the proxy still runs.

use std::io::{self, Write as _};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::admin_call::{self, reachable};
use crate::config::state_folder;
use crate::secret::only_ours;
use crate::system::files::{DirBuilderExt as _, OpenOptionsExt as _};

/// A proxy that runs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Running {
    /// Its run id, as in `/status`.
    pub(super) run_id: String,
    /// Where agents connect.
    pub(super) proxy: SocketAddr,
    /// Its admin port.
    pub(super) admin: SocketAddr,
    /// The folder of the CA that it signs with.
    pub(super) ca_dir: PathBuf,
    /// The file that its events are in.
    pub(super) store: PathBuf,
}

/// The file by which other commands find a proxy. Removed when dropped.
pub(super) struct Announced(PathBuf);

impl Drop for Announced {
    fn drop(&mut self) {
        // A file that is left misleads nobody, because readers ask the port.
        let _ = std::fs::remove_file(&self.0);
    }
}

impl Running {
    /// Writes the file for other commands of this user. `None`: no variable names a folder for it.
    ///
    /// # Errors
    /// When the file cannot be written.
    pub(super) fn announce(&self) -> io::Result<Option<Announced>> {
        folder().map(|folder| self.announce_in(&folder)).transpose()
    }

    fn announce_in(&self, folder: &Path) -> io::Result<Announced> {
        std::fs::DirBuilder::new().recursive(true).mode(0o700).create(folder)?;
        let file = folder.join(format!("{}.json", self.run_id));
        let new = file.with_extension("new");
        let mut written = std::fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(&new)?;
        written.write_all(&serde_json::to_vec(self)?)?;
        std::fs::rename(&new, &file)?;
        Ok(Announced(file))
    }

    /// Whether its admin port answers, and says that it is this one.
    fn answers(&self) -> io::Result<bool> {
        Ok(run_id_at(self.admin)?.is_some_and(|run_id| run_id == self.run_id))
    }

    /// Whether a connection to `listen` reaches it.
    pub(super) fn is_at(&self, listen: SocketAddr) -> bool {
        reachable(self.proxy) == reachable(listen)
    }
}

/// The run id of the proxy with this admin port. `None`: what answers there is not a proxy.
///
/// # Errors
/// When nothing answers there.
pub(super) fn run_id_at(admin: SocketAddr) -> io::Result<Option<String>> {
    let answer = admin_call::get(admin, "/status")?;
    let status = serde_json::from_str::<Value>(&answer.body).ok();
    Ok(status.and_then(|status| status["run_id"].as_str().map(str::to_owned)))
}

/// Proxies of this user that run.
pub(super) fn all() -> Vec<Running> {
    folder().map(|folder| all_in(&folder)).unwrap_or_default()
}

fn folder() -> Option<PathBuf> {
    state_folder(&|name| std::env::var(name).ok()).map(|folder| folder.join("running"))
}

fn all_in(folder: &Path) -> Vec<Running> {
    let files = std::fs::read_dir(folder).into_iter().flatten().filter_map(|entry| Some(entry.ok()?.path()));
    let mut all: Vec<Running> = files.filter_map(|file| running(&file)).collect();
    all.sort_by(|a, b| a.run_id.cmp(&b.run_id));
    all
}

/// The proxy that a file describes. The file is removed if that proxy has ended.
fn running(file: &Path) -> Option<Running> {
    // Whoever may write it could lead agents to another proxy.
    only_ours(file).ok()?;
    let running: Running = serde_json::from_slice(&std::fs::read(file).ok()?).ok()?;
    match running.answers() {
        Ok(true) => Some(running),
        Err(error) if matches!(error.kind(), io::ErrorKind::TimedOut | io::ErrorKind::WouldBlock) => None,
        _ => {
            let _ = std::fs::remove_file(file);
            None
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io::Read as _;
    use std::net::TcpListener;
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    fn one(run_id: &str, admin: SocketAddr) -> Running {
        Running {
            run_id: run_id.to_owned(),
            proxy: "0.0.0.0:8080".parse().unwrap(),
            admin,
            ca_dir: "/ca".into(),
            store: "/s.db".into(),
        }
    }

    /// An admin port that says so often who it is.
    fn admin(run_id: &'static str, times: usize) -> SocketAddr {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        std::thread::spawn(move || {
            for _ in 0..times {
                let (mut stream, _) = listener.accept().unwrap();
                let mut asked = [0; 1024];
                let _ = stream.read(&mut asked).unwrap();
                let body = format!("{{\"run_id\":\"{run_id}\"}}");
                let _ = write!(stream, "HTTP/1.1 200 OK\r\nconnection: close\r\n\r\n{body}");
            }
        });
        address
    }

    #[test]
    fn only_proxies_that_answer_are_running_and_stale_files_are_removed() {
        let folder = tempfile::tempdir().unwrap();
        let at = folder.path().join("running");
        assert!(all_in(&at).is_empty(), "no folder yet");
        let runs = one("a", admin("a", 1));
        let announced = runs.announce_in(&at).unwrap();
        // Another one has its port now; and one has ended.
        let (replaced, ended) = (one("b", admin("x", 1)), one("c", "127.0.0.1:1".parse().unwrap()));
        let left = [replaced.announce_in(&at).unwrap(), ended.announce_in(&at).unwrap()];
        assert_eq!(all_in(&at), [runs]);
        assert!(left.iter().all(|file| !file.0.exists()));
        // Others may have written it.
        std::fs::set_permissions(&announced.0, std::fs::Permissions::from_mode(0o644)).unwrap();
        assert!(all_in(&at).is_empty() && announced.0.exists());
        let file = announced.0.clone();
        drop(announced);
        assert!(!file.exists());
    }

    #[test]
    fn a_listener_on_every_address_is_reached_by_loopback() {
        let at = |text: &str| text.parse::<SocketAddr>().unwrap();
        assert!(one("a", at("127.0.0.1:1")).is_at(at("127.0.0.1:8080")));
        assert!(!one("a", at("127.0.0.1:1")).is_at(at("127.0.0.1:8081")));
        assert_eq!(reachable(at("[::]:1")), at("[::1]:1"));
    }
}
