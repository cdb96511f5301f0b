//! Runs the scenarios alternately and prints the table.

use std::collections::BTreeMap;

use crate::shared::processes::{Bench, PROXIES, median, order};

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
    let bench = Bench::start();
    println!("median of {} repetitions of {} s; {}", options.reps, options.secs, bench.cores());
    for scenario in
        SCENARIOS.iter().filter(|s| options.only.as_ref().is_none_or(|word| s.name.contains(word.as_str())))
    {
        let mut seen: BTreeMap<&str, Vec<Figures>> = BTreeMap::new();
        for rep in 0..options.reps {
            for name in order(rep) {
                let figures = measure(&bench, name, scenario, options.secs);
                seen.entry(name).or_default().push(figures);
            }
        }
        let [bare, ours] = PROXIES;
        print(scenario, &seen[bare], &seen[ours]);
    }
}

fn measure(bench: &Bench, name: &str, scenario: &Scenario, secs: f64) -> Figures {
    let proxy = bench.proxy(name);
    let load = |secs: f64| {
        let (connections, secs, post) =
            (scenario.connections.to_string(), secs.to_string(), scenario.post_bytes.to_string());
        bench.load(&proxy, scenario.tls, &[scenario.path, &connections, &secs, scenario.mode, &post])
    };
    load(0.3);
    let before = proxy.cpu_seconds();
    let seen = load(secs);
    let used = proxy.cpu_seconds() - before;
    let [calls, errors, seconds, bytes, p50_us, p99_us] = seen[..] else { panic!("the load said nothing") };
    Figures {
        cpu_us: used / calls.max(1.0) * 1e6,
        p50_us,
        p99_us,
        calls_per_s: calls / seconds,
        mb_per_s: bytes / seconds / 1e6,
        peak_rss_mib: proxy.peak_rss_mib(),
        errors,
    }
}

fn print(scenario: &Scenario, bare: &[Figures], ours: &[Figures]) {
    println!("\n{}", scenario.name);
    println!(
        "{:<12} {:>12} {:>9} {:>9} {:>9} {:>9} {:>9} {:>7}",
        "", "CPU us/call", "p50 us", "p99 us", "calls/s", "MB/s", "RSS MiB", "errors"
    );
    for (name, all) in PROXIES.into_iter().zip([bare, ours]) {
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
