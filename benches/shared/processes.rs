//! The processes of a benchmark: an origin, a proxy and the load, each the same program in another role, or this
//! proxy. The proxy has core 0; origin and load share core 1 (if `taskset` is installed and there are two cores).

use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use tempfile::TempDir;

/// The two that are compared: the bare proxy first.
pub const PROXIES: [&str; 2] = ["bare", "otas-proxy"];

/// The order in a repetition: each is first in every other one.
pub fn order(rep: usize) -> [&'static str; 2] {
    let [bare, ours] = PROXIES;
    if rep.is_multiple_of(2) { [bare, ours] } else { [ours, bare] }
}

/// The median; 0 of nothing.
pub fn median(mut all: Vec<f64>) -> f64 {
    all.sort_by(f64::total_cmp);
    all.get(all.len() / 2).copied().unwrap_or_default()
}

/// A running origin, and where its proxies keep their files.
pub struct Bench {
    folder: TempDir,
    pins: bool,
    ticks_per_second: f64,
    plain_port: String,
    secure_port: String,
    _origin: Process,
}

impl Bench {
    /// Starts the origin (`--role origin FOLDER`).
    pub fn start() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let cores = std::thread::available_parallelism().map_or(1, usize::from);
        let taskset = Command::new("taskset").arg("-V").stdout(Stdio::null()).stderr(Stdio::null()).status().is_ok();
        let pins = cores > 1 && taskset;
        let ticks = Command::new("getconf").arg("CLK_TCK").output().ok();
        let ticks = ticks.and_then(|o| String::from_utf8(o.stdout).ok()).and_then(|t| t.trim().parse().ok());
        let mut origin = role(pins, "1", "origin", &[&folder.path().join("origin-ca").display().to_string()]);
        let ports = origin.first_line();
        let (plain, secure) = ports.split_once(' ').unwrap();
        Self {
            folder,
            pins,
            ticks_per_second: ticks.unwrap_or(100.0),
            plain_port: plain.to_owned(),
            secure_port: secure.to_owned(),
            _origin: origin,
        }
    }

    /// Which process runs where, in words.
    pub fn cores(&self) -> &'static str {
        if self.pins { "proxy on core 0, origin and load on core 1" } else { "no process has a core of its own" }
    }

    /// One of `PROXIES`, without anything from an earlier run.
    pub fn proxy(&self, name: &str) -> Proxy<'_> {
        self.proxy_on(name, "0")
    }

    /// The same with these cores (`0,1`).
    pub fn proxy_on(&self, name: &str, cores: &str) -> Proxy<'_> {
        let (process, port) = if name == PROXIES[0] { self.bare(cores) } else { self.otas_proxy(cores) };
        Proxy { bench: self, process, port }
    }

    /// The bare proxy (`--role bare FOLDER`).
    fn bare(&self, cores: &str) -> (Process, String) {
        let mut process = role(self.pins, cores, "bare", &[&self.folder.path().display().to_string()]);
        let port = process.first_line();
        (process, port)
    }

    /// This proxy with its defaults. OTAS is unreachable, so every event is kept.
    fn otas_proxy(&self, cores: &str) -> (Process, String) {
        let _ = std::fs::remove_dir_all(self.store_folder());
        std::fs::write(
            self.config(),
            "[listen]\nproxy = '127.0.0.1:0'\nadmin = '127.0.0.1:0'\n\
             [otas]\nbrain_url = 'http://127.0.0.1:9'\nuasam_url = 'http://127.0.0.1:9'\nagent_key = 'agent_bench_measured'\n\
             [tls]\nca_dir = 'proxy-ca'\norigin_ca_file = 'origin-ca/ca.pem'\n[store]\npath = 'store/otas-proxy.db'\n",
        )
        .unwrap();
        let config = self.config().display().to_string();
        started(&mut command(self.pins, cores, env!("CARGO_BIN_EXE_otas-proxy"), &["serve", "--config", &config]))
    }

    /// Runs the load through a proxy (`--role load PROXY_PORT ORIGIN_PORT CA_FILE|- ARGS`) and returns the numbers it
    /// prints.
    pub fn load(&self, proxy: &Proxy<'_>, tls: bool, args: &[&str]) -> Vec<f64> {
        let ca = self.folder.path().join("proxy-ca/ca.pem").display().to_string();
        let (port, ca) = if tls { (&self.secure_port, &*ca) } else { (&self.plain_port, "-") };
        let load = role(self.pins, "1", "load", &[&[&*proxy.port, port, ca], args].concat());
        let out = load.output();
        out.split_whitespace().map(|word| word.parse().unwrap()).collect()
    }

    /// The settings of the last otas-proxy.
    pub fn config(&self) -> PathBuf {
        self.folder.path().join("proxy.toml")
    }

    /// Where the last otas-proxy keeps its store and nothing else of size.
    pub fn store_folder(&self) -> PathBuf {
        self.folder.path().join("store")
    }
}

/// A running proxy.
pub struct Proxy<'a> {
    bench: &'a Bench,
    process: Process,
    port: String,
}

impl Proxy<'_> {
    /// The user and system time that it has used (`taskset` becomes the program that it starts, so the id is the
    /// program's).
    pub fn cpu_seconds(&self) -> f64 {
        // The kernel adds the last time slice at the next tick.
        std::thread::sleep(Duration::from_millis(20));
        let stat = self.read("stat");
        let fields: Vec<&str> = stat.rsplit_once(')').unwrap().1.split_whitespace().collect();
        let ticks = fields[11].parse::<f64>().unwrap() + fields[12].parse::<f64>().unwrap();
        ticks / self.bench.ticks_per_second
    }

    /// The most memory that it has held.
    pub fn peak_rss_mib(&self) -> f64 {
        let status = self.read("status");
        let line = status.lines().find(|l| l.starts_with("VmHWM")).unwrap();
        line.split_whitespace().nth(1).unwrap().parse::<f64>().unwrap() / 1024.0
    }

    fn read(&self, name: &str) -> String {
        std::fs::read_to_string(Path::new("/proc").join(self.process.0.id().to_string()).join(name)).unwrap()
    }
}

/// Starts a program, and gives the port that its first line ends with.
pub fn started(command: &mut Command) -> (Process, String) {
    let mut process = Process::of(command);
    let line = process.first_line();
    (process, line.rsplit_once(':').unwrap().1.trim().to_owned())
}

/// A process that is killed when it is dropped.
pub struct Process(Child);

impl Process {
    fn of(command: &mut Command) -> Self {
        let command = command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::null());
        Self(command.spawn().unwrap())
    }

    fn first_line(&mut self) -> String {
        let mut line = String::new();
        BufReader::new(self.0.stdout.as_mut().unwrap()).read_line(&mut line).unwrap();
        line.trim().to_owned()
    }

    /// Waits for its end and returns what it has printed.
    fn output(mut self) -> String {
        let out = std::io::read_to_string(self.0.stdout.as_mut().unwrap()).unwrap();
        assert!(self.0.wait().unwrap().success(), "a process of the benchmark failed");
        out
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// This program in another role.
fn role(pins: bool, cores: &str, name: &str, args: &[&str]) -> Process {
    let program = std::env::current_exe().unwrap().display().to_string();
    Process::of(&mut command(pins, cores, &program, &[&["--role", name], args].concat()))
}

/// A program with arguments, on these cores if it has some of its own.
fn command(pins: bool, cores: &str, program: &str, args: &[&str]) -> Command {
    let mut command = if pins { Command::new("taskset") } else { Command::new(program) };
    if pins {
        command.args(["-c", cores, program]);
    }
    command.args(args);
    command
}
