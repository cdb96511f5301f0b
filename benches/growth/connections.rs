//! More connections, more cores, more open streams.

use crate::shared::processes::{Bench, PROXIES, Proxy};
use crate::svg::{Plot, Series};

const CONNECTIONS: [u32; 5] = [1, 8, 64, 512, 4_096];
const STREAMS: [u32; 5] = [1, 30, 300, 1_000, 3_000];
/// A proxy, and the cores that it has.
const RUNS: [(&str, &str, &str); 3] = [
    ("bare, 1 core", "bare", "0"),
    ("otas-proxy, 1 core", "otas-proxy", "0"),
    ("otas-proxy, 2 cores", "otas-proxy", "0,1"),
];

/// Calls a second, p99 and peak memory of intercepted calls of 200 B.
pub fn run(bench: &Bench, secs: &str) {
    let [mut rates, mut slow, mut memory]: [Vec<Series>; 3] = Default::default();
    for (name, proxy, cores) in RUNS {
        let [mut of_rates, mut of_slow, mut of_memory]: [Vec<(f64, f64)>; 3] = Default::default();
        for connections in CONNECTIONS {
            let proxy = bench.proxy_on(proxy, cores);
            let (calls_per_s, p99_ms, errors) = load(&proxy, "/small", connections, secs, "keep");
            let at = f64::from(connections);
            of_rates.push((at, calls_per_s));
            of_slow.push((at, p99_ms));
            of_memory.push((at, proxy.peak_rss_mib()));
            println!(
                "{name}, {connections} connections: {calls_per_s:.0} calls/s, p99 {p99_ms:.2} ms, {:.0} MiB, {errors} errors",
                proxy.peak_rss_mib()
            );
        }
        rates.push(Series { name, points: of_rates });
        slow.push(Series { name, points: of_slow });
        memory.push(Series { name, points: of_memory });
    }
    let x = "connections";
    Plot { title: "Calls a second", x, y: "calls/s", logarithmic: false, series: &rates }.write("growth-calls.svg");
    Plot { title: "Latency, p99", x, y: "ms", logarithmic: true, series: &slow }.write("growth-latency.svg");
    Plot { title: "Peak memory", x, y: "MiB", logarithmic: false, series: &memory }.write("growth-memory.svg");
}

/// Peak memory with open event streams, each with two events a second.
pub fn streams(bench: &Bench, secs: &str) {
    let mut memory = Vec::new();
    for name in PROXIES {
        let mut points = Vec::new();
        for streams in STREAMS {
            let proxy = bench.proxy(name);
            load(&proxy, "/sse", streams, secs, "events");
            points.push((f64::from(streams), proxy.peak_rss_mib()));
            println!("{name}, {streams} streams: {:.0} MiB", proxy.peak_rss_mib());
        }
        memory.push(Series { name, points });
    }
    Plot {
        title: "Peak memory with event streams",
        x: "open streams",
        y: "MiB",
        logarithmic: false,
        series: &memory,
    }
    .write("growth-streams.svg");
}

/// Calls a second, p99 in ms, and errors.
fn load(proxy: &Proxy<'_>, path: &str, connections: u32, secs: &str, mode: &str) -> (f64, f64, f64) {
    let seen = proxy.load(true, &[path, &connections.to_string(), secs, mode, "0"]);
    let [calls, errors, seconds, _, _, p99_us] = seen[..] else { panic!("the load said nothing") };
    (calls / seconds, p99_us / 1e3, errors)
}
