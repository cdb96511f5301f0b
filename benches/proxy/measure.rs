//! Runs the scenarios alternately and prints the table.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

/// The command-line options.
pub struct Options {
    reps: usize,
    secs: f64,
    only: Option<String>,
}

impl Options {
    /// `--reps N --secs S --only WORD`
    pub fn parse(args: &[String]) -> Self {
        let value = |name: &str| args.iter().position(|a| a == name).and_then(|at| args.get(at + 1)).cloned();
        Self {
            reps: value("--reps").and_then(|v| v.parse().ok()).unwrap_or(5),
            secs: value("--secs").and_then(|v| v.parse().ok()).unwrap_or(1.5),
            only: value("--only"),
        }
    }
}

struct Scenario {
    name: &'static str,
    tls: bool,
    path: &'static str,
    connections: usize,
    mode: &'static str,
    post_bytes: usize,
}

const SCENARIOS: [Scenario; 8] = [
    Scenario {
        name: "plain keep-alive, 200 B",
        tls: false,
        path: "/small",
        connections: 64,
        mode: "keep",
        post_bytes: 0,
    },
    Scenario {
        name: "intercepted keep-alive, 200 B",
        tls: true,
        path: "/small",
        connections: 64,
        mode: "keep",
        post_bytes: 0,
    },
    Scenario {
        name: "intercepted POST 10 KiB echo",
        tls: true,
        path: "/echo",
        connections: 64,
        mode: "keep",
        post_bytes: 10 << 10,
    },
    Scenario {
        name: "intercepted, one at a time",
        tls: true,
        path: "/small",
        connections: 1,
        mode: "keep",
        post_bytes: 0,
    },
    Scenario {
        name: "intercepted new connection each",
        tls: true,
        path: "/small",
        connections: 8,
        mode: "new",
        post_bytes: 0,
    },
    Scenario { name: "intercepted 1 MiB", tls: true, path: "/mib", connections: 4, mode: "keep", post_bytes: 0 },
    Scenario { name: "intercepted 100 MiB", tls: true, path: "/100mib", connections: 1, mode: "keep", post_bytes: 0 },
    // Here a call is an event of a stream. Its latency is the time from being sent to being read.
    Scenario {
        name: "1,000 event streams",
        tls: true,
        path: "/sse",
        connections: 1000,
        mode: "events",
        post_bytes: 0,
    },
];

/// One measurement of one proxy.
#[derive(Clone, Default)]
struct Figures {
    cpu_us: f64,
    p50_us: f64,
    p99_us: f64,
    calls_per_s: f64,
    mb_per_s: f64,
    peak_rss_mib: f64,
    errors: f64,
}

/// Runs and prints.
pub fn run(options: &Options) {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    let cpu = CpuOf::this_machine();
    let mut origin = start(&cpu.pinned(1), "origin", &[&folder.join("origin-ca").display().to_string()]);
    let ports = first_line(&mut origin);
    let (plain, secure) = ports.split_once(' ').unwrap();
    println!(
        "median of {} repetitions of {} s; proxy on core 0, origin and load on core 1: {}",
        options.reps, options.secs, cpu.pins
    );
    for scenario in
        SCENARIOS.iter().filter(|s| options.only.as_ref().is_none_or(|word| s.name.contains(word.as_str())))
    {
        let port = if scenario.tls { secure } else { plain };
        let mut seen: BTreeMap<&str, Vec<Figures>> = BTreeMap::new();
        for rep in 0..options.reps {
            let order = if rep % 2 == 0 { ["bare", "otas-proxy"] } else { ["otas-proxy", "bare"] };
            for name in order {
                let figures = measure(&cpu, name, scenario, port, folder, options.secs);
                seen.entry(name).or_default().push(figures);
            }
        }
        print(scenario, &seen["bare"], &seen["otas-proxy"]);
    }
    end(origin);
}

fn measure(cpu: &CpuOf, name: &str, scenario: &Scenario, port: &str, folder: &Path, secs: f64) -> Figures {
    let (mut proxy, proxy_port) = match name {
        "bare" => {
            let mut proxy = start(&cpu.pinned(0), "bare", &[&folder.display().to_string()]);
            let port = first_line(&mut proxy);
            (proxy, port)
        }
        _ => otas_proxy(cpu, folder),
    };
    let load = |secs: f64| {
        let ca = if scenario.tls { folder.join("proxy-ca/ca.pem").display().to_string() } else { "-".to_owned() };
        let (connections, secs, post) =
            (scenario.connections.to_string(), secs.to_string(), scenario.post_bytes.to_string());
        let args = [&proxy_port, port, &ca, scenario.path, &connections, &secs, scenario.mode, &post];
        let load = start(&cpu.pinned(1), "load", &args);
        let out = load.wait_with_output().unwrap();
        let words: Vec<f64> =
            String::from_utf8(out.stdout).unwrap().split_whitespace().map(|w| w.parse().unwrap()).collect();
        words
    };
    load(0.3);
    let before = cpu.seconds(proxy.id());
    let seen = load(secs);
    let used = cpu.seconds(proxy.id()) - before;
    let [calls, errors, seconds, bytes, p50_us, p99_us] = seen[..] else { panic!("the load said nothing") };
    let figures = Figures {
        cpu_us: used / calls.max(1.0) * 1e6,
        p50_us,
        p99_us,
        calls_per_s: calls / seconds,
        mb_per_s: bytes / seconds / 1e6,
        peak_rss_mib: peak_rss_mib(proxy.id()),
        errors,
    };
    proxy.kill().unwrap();
    proxy.wait().unwrap();
    figures
}

/// This proxy with its defaults. OTAS is unreachable, so every event is kept.
fn otas_proxy(cpu: &CpuOf, folder: &Path) -> (Child, String) {
    for old in ["", "-wal", "-shm"] {
        let _ = std::fs::remove_file(folder.join(format!("store.db{old}")));
    }
    let config = folder.join("proxy.toml");
    std::fs::write(
        &config,
        "[listen]\nproxy = '127.0.0.1:0'\nadmin = '127.0.0.1:0'\n\
         [otas]\nbrain_url = 'http://127.0.0.1:9'\nuasam_url = 'http://127.0.0.1:9'\nagent_key = 'agent_bench_measured'\n\
         [tls]\nca_dir = 'proxy-ca'\norigin_ca_file = 'origin-ca/ca.pem'\n[store]\npath = 'store.db'\n",
    )
    .unwrap();
    let mut command = cpu.pinned(0);
    command.push(env!("CARGO_BIN_EXE_otas-proxy").to_owned());
    let mut child = spawn(&command, &["serve", "--config", &config.display().to_string()]);
    let line = first_line(&mut child);
    let port = line.rsplit_once(':').unwrap().1.trim().to_owned();
    (child, port)
}

fn start(pinned: &[String], role: &str, args: &[&str]) -> Child {
    let mut command = pinned.to_vec();
    command.push(std::env::current_exe().unwrap().display().to_string());
    spawn(&command, &[&["--role", role], args].concat())
}

fn spawn(command: &[String], args: &[&str]) -> Child {
    Command::new(&command[0])
        .args(&command[1..])
        .args(args)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .unwrap()
}

fn first_line(child: &mut Child) -> String {
    let mut line = String::new();
    BufReader::new(child.stdout.as_mut().unwrap()).read_line(&mut line).unwrap();
    line.trim().to_owned()
}

fn end(mut child: Child) {
    child.kill().unwrap();
    child.wait().unwrap();
}

/// CPU time and CPU pinning on this machine.
struct CpuOf {
    pins: bool,
    ticks_per_second: f64,
}

impl CpuOf {
    fn this_machine() -> Self {
        let cores = std::thread::available_parallelism().map_or(1, usize::from);
        let taskset = Command::new("taskset").arg("-V").stdout(Stdio::null()).stderr(Stdio::null()).status().is_ok();
        let ticks = Command::new("getconf").arg("CLK_TCK").output().ok();
        let ticks = ticks.and_then(|o| String::from_utf8(o.stdout).ok()).and_then(|t| t.trim().parse().ok());
        Self { pins: cores > 1 && taskset, ticks_per_second: ticks.unwrap_or(100.0) }
    }

    fn pinned(&self, core: usize) -> Vec<String> {
        if self.pins { vec!["taskset".to_owned(), "-c".to_owned(), core.to_string()] } else { Vec::new() }
    }

    /// The user and system time of a process (`taskset` becomes the program that it starts, so the id is the
    /// program's).
    fn seconds(&self, pid: u32) -> f64 {
        // The kernel adds the last time slice at the next tick.
        std::thread::sleep(Duration::from_millis(20));
        let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap();
        let fields: Vec<&str> = stat.rsplit_once(')').unwrap().1.split_whitespace().collect();
        let ticks = fields[11].parse::<f64>().unwrap() + fields[12].parse::<f64>().unwrap();
        ticks / self.ticks_per_second
    }
}

fn peak_rss_mib(pid: u32) -> f64 {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let line = status.lines().find(|l| l.starts_with("VmHWM")).unwrap();
    line.split_whitespace().nth(1).unwrap().parse::<f64>().unwrap() / 1024.0
}

fn print(scenario: &Scenario, bare: &[Figures], ours: &[Figures]) {
    println!("\n{}", scenario.name);
    println!(
        "{:<12} {:>12} {:>9} {:>9} {:>9} {:>9} {:>9} {:>7}",
        "", "CPU us/call", "p50 us", "p99 us", "calls/s", "MB/s", "RSS MiB", "errors"
    );
    for (name, all) in [("bare", bare), ("otas-proxy", ours)] {
        let m = |f: fn(&Figures) -> f64| median(all.iter().map(f).collect());
        println!(
            "{name:<12} {:>12.1} {:>9.0} {:>9.0} {:>9.0} {:>9.1} {:>9.1} {:>7.0}",
            m(|f| f.cpu_us),
            m(|f| f.p50_us),
            m(|f| f.p99_us),
            m(|f| f.calls_per_s),
            m(|f| f.mb_per_s),
            m(|f| f.peak_rss_mib),
            all.iter().map(|f| f.errors).sum::<f64>(),
        );
    }
    let ratio = |f: fn(&Figures) -> f64| median(ours.iter().zip(bare).map(|(o, b)| f(o) / f(b)).collect());
    println!(
        "{:<12} {:>12.2} {:>9.2} {:>9.2} {:>9.2} {:>9.2} {:>9.2}",
        "ratio",
        ratio(|f| f.cpu_us),
        ratio(|f| f.p50_us),
        ratio(|f| f.p99_us),
        ratio(|f| f.calls_per_s),
        ratio(|f| f.mb_per_s),
        ratio(|f| f.peak_rss_mib),
    );
}

fn median(mut all: Vec<f64>) -> f64 {
    all.sort_by(f64::total_cmp);
    all.get(all.len() / 2).copied().unwrap_or_default()
}
