//! The processes of a benchmark: an origin, a proxy and the load, each the same program in another role, or this
//! proxy. The proxy has core 0; origin and load share core 1 (if `taskset` is installed and there are two cores).

use std::io::{BufRead, BufReader};
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use tempfile::TempDir;

/// The two that are compared: the bare proxy first.
pub const PROXIES: [&str; 2] = ["bare", "otas-proxy"];

/// How long a proxy may take to start.
const STARTS_WITHIN: Duration = Duration::from_secs(20);
/// How long a process may take to stop.
const ENDS_WITHIN: Duration = Duration::from_secs(60);

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
        Proxy { bench: self, process, port, ca: self.folder.path().join("proxy-ca/ca.pem") }
    }

    /// Another proxy on this port, once it accepts connections there. `ca`: the file of what agents trust, once it is there. `None`: it
    /// did not start.
    pub fn other(&self, program: &[String], port: u16, ca: PathBuf) -> Option<Proxy<'_>> {
        let (program, args) = program.split_first()?;
        let args: Vec<&str> = args.iter().map(String::as_str).collect();
        let process = Process::of(&mut command(self.pins, "0", program, &args));
        let until = Instant::now() + STARTS_WITHIN;
        while !ca.exists() || TcpStream::connect(("127.0.0.1", port)).is_err() {
            if Instant::now() > until {
                return None;
            }
            std::thread::sleep(Duration::from_millis(50));
        }
        Some(Proxy { bench: self, process, port: port.to_string(), ca })
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

    /// Where the CAs are: `origin-ca`, and the proxies' `proxy-ca` once one of `PROXIES` has run.
    pub fn folder(&self) -> &Path {
        self.folder.path()
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
    ca: PathBuf,
}

impl Proxy<'_> {
    /// Runs the load through it (`--role load PROXY_PORT ORIGIN_PORT CA_FILE|- ARGS`) and returns the numbers that the load prints.
    pub fn load(&self, tls: bool, args: &[&str]) -> Vec<f64> {
        let (bench, ca) = (self.bench, self.ca.display().to_string());
        let (port, ca) = if tls { (&bench.secure_port, &*ca) } else { (&bench.plain_port, "-") };
        let load = role(bench.pins, "1", "load", &[&[&*self.port, port, ca], args].concat());
        let out = load.output();
        out.split_whitespace().map(|word| word.parse().unwrap()).collect()
    }

    /// The user and system time that it and the processes that it started have used (`taskset` becomes the program that it starts, so the
    /// id is the program's).
    pub fn cpu_seconds(&self) -> f64 {
        // The kernel adds the last time slice at the next tick.
        std::thread::sleep(Duration::from_millis(20));
        self.tree().iter().map(|of| ticks(*of)).sum::<f64>() / self.bench.ticks_per_second
    }

    /// The most memory that it has held, with the processes that it started.
    pub fn peak_rss_mib(&self) -> f64 {
        self.tree().iter().map(|of| peak_kib(*of)).sum::<f64>() / 1024.0
    }

    /// The ids of its process and of all that this has started.
    fn tree(&self) -> Vec<u32> {
        let (mut tree, mut at) = (vec![self.process.0.id()], 0);
        while let Some(id) = tree.get(at) {
            let threads = std::fs::read_dir(format!("/proc/{id}/task")).into_iter().flatten().flatten();
            let children = threads.filter_map(|thread| std::fs::read_to_string(thread.path().join("children")).ok());
            let children: Vec<u32> = children
                .flat_map(|all| all.split_whitespace().map(|id| id.parse().unwrap()).collect::<Vec<_>>())
                .collect();
            tree.extend(children);
            at += 1;
        }
        tree
    }
}

/// User and system time; 0 when it has ended.
fn ticks(process: u32) -> f64 {
    let stat = std::fs::read_to_string(format!("/proc/{process}/stat")).unwrap_or_default();
    let fields: Vec<&str> = stat.rsplit_once(')').map_or("", |(_, rest)| rest).split_whitespace().collect();
    fields.iter().skip(11).take(2).map(|ticks| ticks.parse::<f64>().unwrap()).sum()
}

fn peak_kib(process: u32) -> f64 {
    let status = std::fs::read_to_string(format!("/proc/{process}/status")).unwrap_or_default();
    let line = status.lines().find(|line| line.starts_with("VmHWM")).unwrap_or_default();
    line.split_whitespace().nth(1).map_or(0.0, |kib| kib.parse().unwrap())
}

/// Starts a program, and gives the port that its first line ends with.
pub fn started(command: &mut Command) -> (Process, String) {
    let mut process = Process::of(command);
    let line = process.first_line();
    (process, line.rsplit_once(':').unwrap().1.trim().to_owned())
}

/// A process that is stopped when it is dropped.
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
        // SIGTERM and not SIGKILL: a program that counts for `just release-pgo` writes its counts when it ends by itself.
        let pid = rustix::process::Pid::from_child(&self.0);
        let _ = rustix::process::kill_process(pid, rustix::process::Signal::TERM);
        let begin = Instant::now();
        while matches!(self.0.try_wait(), Ok(None)) && begin.elapsed() < ENDS_WITHIN {
            std::thread::sleep(Duration::from_millis(10));
        }
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
