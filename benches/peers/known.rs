//! The other proxies: how they are started, and what they do with a call.

use std::path::{Path, PathBuf};
use std::process::Command;

/// Another proxy.
pub struct Peer {
    pub name: &'static str,
    /// What it does, in words.
    pub does: &'static str,
    /// Prints its version.
    asks: Vec<String>,
    start: Start,
}

/// The command that starts it, and the file of the CA that agents trust, for a port, a folder of its own and the benchmark's folder.
type Start = fn(u16, &Path, &Path) -> (Vec<String>, PathBuf);

impl Peer {
    /// See [`Start`].
    pub fn start(&self, port: u16, own: &Path, bench: &Path) -> (Vec<String>, PathBuf) {
        (self.start)(port, own, bench)
    }

    /// Its version. `None`: it is not installed.
    pub fn version(&self) -> Option<String> {
        let (program, args) = self.asks.split_first()?;
        let said = Command::new(program).args(args).output().ok()?;
        let said = String::from_utf8_lossy(&said.stdout).into_owned();
        let is_version = |word: &&str| word.starts_with(|c: char| c.is_ascii_digit()) && word.contains('.');
        said.split_whitespace().find(is_version).map(str::to_owned)
    }
}

/// All that are known.
pub fn all() -> Vec<Peer> {
    let version = |package: &str| {
        let file = installed(&format!("npm/node_modules/{package}/package.json"));
        words(&["node", "-p", &format!("require({file:?}).version")])
    };
    vec![
        Peer {
            name: "mitmproxy",
            does: "intercepts (`mitmdump -q`); holds each body in memory while it passes, keeps nothing",
            asks: words(&[&installed("venv/bin/mitmdump"), "--version"]),
            start: mitmproxy,
        },
        Peer {
            name: "proxelar",
            does: "intercepts; holds each call in memory",
            asks: words(&[&installed("bin/proxelar"), "--version"]),
            start: proxelar,
        },
        Peer {
            name: "mockttp",
            does: "intercepts; records nothing (`recordTraffic: false`)",
            asks: version("mockttp"),
            start: |port, _, bench| {
                let ca = bench.join("proxy-ca");
                (node("mockttp.mjs", port, &ca), ca.join("ca.pem"))
            },
        },
        Peer {
            name: "http-mitm-proxy",
            does: "intercepts; keeps nothing",
            asks: version("http-mitm-proxy"),
            start: |port, own, _| (node("http-mitm-proxy.cjs", port, own), own.join("certs/ca.pem")),
        },
        Peer {
            name: "squid",
            does: "no cache, no log; TLS goes through a tunnel, not intercepted",
            asks: words(&["/usr/sbin/squid", "-v"]),
            start: squid,
        },
        Peer {
            name: "tinyproxy",
            does: "closes each plain connection after its answer; TLS goes through a tunnel, not intercepted",
            asks: words(&["tinyproxy", "-v"]),
            start: tinyproxy,
        },
    ]
}

fn words(words: &[&str]) -> Vec<String> {
    words.iter().map(|word| (*word).to_owned()).collect()
}

fn installed(name: &str) -> String {
    format!("{}/target/peers/{name}", env!("CARGO_MANIFEST_DIR"))
}

/// A script beside this file, which finds the packages in `target/peers/npm`.
fn node(script: &str, port: u16, folder: &Path) -> Vec<String> {
    let into = PathBuf::from(installed("npm")).join(script);
    std::fs::copy(Path::new(env!("CARGO_MANIFEST_DIR")).join("benches/peers").join(script), &into).unwrap();
    words(&["node", &into.display().to_string(), &port.to_string(), &folder.display().to_string()])
}

fn mitmproxy(port: u16, own: &Path, bench: &Path) -> (Vec<String>, PathBuf) {
    let ca = ["ca.key", "ca.pem"].map(|name| std::fs::read_to_string(bench.join("proxy-ca").join(name)).unwrap());
    std::fs::write(own.join("mitmproxy-ca.pem"), ca.concat()).unwrap();
    let folder = format!("confdir={}", own.display());
    let (program, port) = (installed("venv/bin/mitmdump"), port.to_string());
    let command =
        [&*program, "-q", "--listen-host", "127.0.0.1", "-p", &port, "--set", &folder, "--set", "ssl_insecure=true"];
    (words(&command), bench.join("proxy-ca/ca.pem"))
}

fn proxelar(port: u16, own: &Path, _: &Path) -> (Vec<String>, PathBuf) {
    let (program, port, folder) = (installed("bin/proxelar"), port.to_string(), own.display().to_string());
    let command = [&*program, "-i", "terminal", "-p", &port, "--upstream-trust", "insecure", "--ca-dir", &folder];
    (words(&command), own.join("proxelar-ca.pem"))
}

fn squid(port: u16, own: &Path, bench: &Path) -> (Vec<String>, PathBuf) {
    let file = own.join("squid.conf");
    let folder = own.display();
    let text = format!(
        "http_port 127.0.0.1:{port}\nhttp_access allow all\ncache deny all\ncache_mem 8 MB\naccess_log none\ncache_log {folder}/squid.log\n\
         pid_filename none\ncoredump_dir {folder}\nshutdown_lifetime 0 seconds\nmax_filedescriptors 8192\npinger_enable off\n"
    );
    std::fs::write(&file, text).unwrap();
    // It gives up root, and must read its settings then.
    std::fs::set_permissions(own, std::os::unix::fs::PermissionsExt::from_mode(0o777)).unwrap();
    (words(&["/usr/sbin/squid", "-N", "-f", &file.display().to_string()]), bench.join("origin-ca/ca.pem"))
}

fn tinyproxy(port: u16, own: &Path, bench: &Path) -> (Vec<String>, PathBuf) {
    let file = own.join("tinyproxy.conf");
    let text = format!(
        "Port {port}\nListen 127.0.0.1\nTimeout 600\nMaxClients 2000\nLogLevel Error\nLogFile \"{}/log\"\n",
        own.display()
    );
    std::fs::write(&file, text).unwrap();
    (words(&["tinyproxy", "-d", "-c", &file.display().to_string()]), bench.join("origin-ca/ca.pem"))
}
