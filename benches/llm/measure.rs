//! Runs the rows alternately and reports them.

use std::process::Command;
use std::time::Duration;

use serde_json::Value;

use crate::figures::{Figures, HEADINGS, Row};
use crate::options::Options;
use crate::shared::processes::{Bench, PROXIES, Proxy, order};

/// The calls of an agent for one figure at the least: the clock of CPU time is too coarse for one short conversation.
const CALLS_OF_AN_AGENT: usize = 120;
/// What an idle proxy may use in `IDLE_FOR`: two ticks of a clock of 100 Hz.
const IDLE_SECONDS: f64 = 0.021;
const IDLE_FOR: Duration = Duration::from_millis(500);
/// How long the work behind the calls may take.
const WORKS_AT_MOST: Duration = Duration::from_secs(120);

/// Runs and prints.
pub fn run(options: &Options) {
    let bench = Bench::start();
    let facts = format!("{} agents; medians of {} repetitions; {}", options.agents, options.reps, bench.cores());
    println!("{facts}");
    let mut rows = Vec::new();
    for (turns, tls) in options.turns.iter().flat_map(|turns| [(*turns, false), (*turns, true)]) {
        let mut row = Row::new(turns, tls);
        if options.only.as_ref().is_some_and(|word| !row.name.contains(word.as_str())) {
            continue;
        }
        for rep in 0..options.reps {
            for name in order(rep) {
                let figures = measure(&bench, name, options.agents, turns, tls);
                eprintln!("{}, {name}: {figures:?}", row.name);
                row.add(name == PROXIES[0], figures);
            }
        }
        rows.push(row.markdown());
    }
    let table = format!("{HEADINGS}\n{}\n", rows.join("\n"));
    println!("{table}");
    if let Some(file) = &options.table {
        let today = time::OffsetDateTime::now_utc().date();
        std::fs::write(file, format!("Measured on {today} by `{}`.\n\n{table}", options.command())).unwrap();
    }
}

fn measure(bench: &Bench, name: &str, agents: usize, turns: usize, tls: bool) -> Figures {
    let proxy = bench.proxy(name);
    let conversations = CALLS_OF_AN_AGENT.div_ceil(turns);
    let before = proxy.cpu_seconds();
    let seen = proxy.load(tls, &[agents, turns, conversations].map(|n| n.to_string()).each_ref().map(|s| &**s));
    let [calls, errors, sent_bytes, received_bytes] = seen[..] else { panic!("the load said nothing") };
    assert!(errors == 0.0, "{errors} calls failed");
    let used = idle(&proxy) - before;
    let peak_rss_mib = proxy.peak_rss_mib();
    drop(proxy);
    let kept = (name != PROXIES[0]).then(|| kept(bench, calls));
    Figures {
        cpu_ms_a_call: used / calls * 1e3,
        cpu_ms_a_mb_sent: used / sent_bytes * 1e9,
        peak_rss_mib,
        stored_a_byte: kept.map(|(stored, _)| stored / (sent_bytes + received_bytes)),
        whole_share: kept.map(|(_, whole)| whole / calls),
    }
}

/// Waits until the work behind the calls is done. Returns the CPU time used so far.
fn idle(proxy: &Proxy<'_>) -> f64 {
    let mut used = proxy.cpu_seconds();
    for _ in 0..WORKS_AT_MOST.as_millis() / IDLE_FOR.as_millis() {
        std::thread::sleep(IDLE_FOR);
        let now = proxy.cpu_seconds();
        if now - used < IDLE_SECONDS {
            return now;
        }
        used = now;
    }
    panic!("the proxy still works {WORKS_AT_MOST:?} after the last call");
}

/// The bytes of the store, its log written back, and the number of calls whose event lacks nothing. Each call must have
/// its event, or the figures would flatter.
fn kept(bench: &Bench, calls: f64) -> (f64, f64) {
    let folder = bench.store_folder();
    let log = rusqlite::Connection::open(folder.join("otas-proxy.db")).unwrap();
    log.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |_| Ok(())).unwrap();
    drop(log);
    let files = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().metadata().unwrap());
    let bytes: u64 = files.filter(std::fs::Metadata::is_file).map(|file| file.len()).sum();

    let mut stats = Command::new(env!("CARGO_BIN_EXE_otas-proxy"));
    let stats = stats.args(["stats", "--json", "--config"]).arg(bench.config()).output().unwrap();
    let stats: Value = serde_json::from_slice(&stats.stdout).expect("otas-proxy stats prints JSON");
    let count = |path: &str| stats.pointer(path).and_then(Value::as_f64).expect(path);
    for path in ["/all/calls", "/all/llm_calls"] {
        assert!(count(path) == calls, "{path} is {} of {calls}: {stats}", count(path));
    }
    (bytes as f64, calls - count("/coverage/cut"))
}
