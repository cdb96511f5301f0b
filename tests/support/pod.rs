//! A pod in namespaces of this machine: one network that only its containers have, volumes that root made and everybody may
//! write (as `emptyDir` is), and containers that run as users without a name, a home or a right.

use std::fs::Permissions;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, Stdio};

use rustix::thread::LinkNameSpaceType;
use tempfile::TempDir;

use super::lines::Lines;

/// A user id as OpenShift gives it.
pub const SIDECAR: u32 = 1_000_680_000;
/// The agent's container has another user.
pub const AGENT: u32 = 65_533;

/// Only root can make volumes of root, and be other users.
pub fn can_be_made() -> bool {
    let root = rustix::process::geteuid().is_root();
    if !root {
        let said = b"skipped: only root can lay out a pod with several users\n";
        std::io::Write::write_all(&mut std::io::stderr(), said).unwrap();
    }
    root
}

/// A pod. Its volumes are gone with it.
pub struct Pod {
    folder: TempDir,
    pause: Child,
    _stdin: ChildStdin,
}

impl Pod {
    pub fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        std::fs::set_permissions(folder.path(), Permissions::from_mode(0o755)).unwrap();
        for name in ["private", "shared", "bin"] {
            std::fs::create_dir(folder.path().join(name)).unwrap();
        }
        let script = "ip link set lo up
            for volume in private shared; do mount -t tmpfs -o mode=0777 tmpfs $volume; done
            mount --bind \"$1\" bin
            echo laid out
            exec cat";
        let programs = Path::new(env!("CARGO_BIN_EXE_otas-proxy")).parent().unwrap();
        let mut pause = Command::new("unshare")
            .args(["--mount", "--net", "sh", "-ec", script, "sh"])
            .arg(programs)
            .current_dir(folder.path())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let said = Lines::of(pause.stdout.take().unwrap()).next();
        assert_eq!(said.as_deref(), Some("laid out"));
        let stdin = pause.stdin.take().unwrap();
        Self { folder, pause, _stdin: stdin }
    }

    /// Where a volume is mounted.
    pub fn volume(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// A file that containers can read, such as a secret.
    pub fn file(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// The settings file of the sidecar, as in `deploy/container.toml`, with more in `[tls]` and what `more` says.
    pub fn configure(&self, tls: &str, more: &str) {
        let (private, shared) = (self.volume("private"), self.volume("shared"));
        let text = format!(
            "[listen]\nproxy = '127.0.0.1:8080'\nadmin = '127.0.0.1:8081'\nsame_user = false\n\
             [tls]\nca_dir = '{0}'\nagent_dir = '{1}'\n{tls}\n[store]\npath = '{0}/events.db'\n{more}",
            private.display(),
            shared.display()
        );
        std::fs::write(self.file("proxy.toml"), text).unwrap();
    }

    /// A command of the proxy in the sidecar's container.
    pub fn sidecar(&self, arguments: &[&str]) -> Command {
        let mut command = self.enter(&["setpriv"], SIDECAR);
        command.arg(self.volume("bin/otas-proxy")).args(arguments);
        // A user without a home of its own.
        command.env("HOME", "/").env("OTAS_PROXY_CONFIG", self.file("proxy.toml"));
        command
    }

    /// A shell in the agent's container, which has no private volume and cannot write in the shared one. It has the variables
    /// of `env.sh`.
    pub fn agent(&self, script: &str) -> Command {
        let (private, shared) = (self.volume("private"), self.volume("shared"));
        let mounts = format!(
            "umount {}; mount -o remount,bind,ro {}; exec setpriv \"$@\"",
            private.display(),
            shared.display()
        );
        let mut command = self.enter(&["unshare", "--mount", "sh", "-ec", &mounts, "sh"], AGENT);
        command.args(["sh", "-ec", &format!(". {}; {script}", self.volume("shared/env.sh").display())]);
        command
    }

    /// A shell in a third container, of another user, that has all volumes mounted.
    pub fn neighbour(&self, script: &str) -> Command {
        let mut command = self.enter(&["setpriv"], AGENT);
        command.args(["sh", "-ec", script]);
        command
    }

    /// A program in the pod, without our environment.
    fn enter(&self, through: &[&str], user: u32) -> Command {
        let id = self.pause.id();
        let mut command = Command::new("nsenter");
        command
            .args([format!("--mount=/proc/{id}/ns/mnt"), format!("--net=/proc/{id}/ns/net")])
            // The folder of this process would be outside the pod.
            .args(["--wd=/", "--"])
            .args(through)
            .args(["--reuid", &user.to_string(), "--regid", "0", "--clear-groups", "--no-new-privs"])
            .args(["--inh-caps=-all", "--bounding-set=-all", "--"])
            .env_clear()
            .env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin");
        command
    }

    /// Sockets that this thread makes from now on are in the pod's network.
    pub fn enter_network(&self) {
        let network = std::fs::File::open(format!("/proc/{}/ns/net", self.pause.id())).unwrap();
        rustix::thread::move_into_link_name_space(
            std::os::fd::AsFd::as_fd(&network),
            Some(LinkNameSpaceType::Network),
        )
        .unwrap();
    }
}

impl Drop for Pod {
    fn drop(&mut self) {
        let _ = self.pause.kill();
        let _ = self.pause.wait();
    }
}
