//! A burst: 500 calls a second against an OTAS as slow as it was measured to be (two workers, 200 ms for each key
//! check, a time-out of 5 s after which good keys are refused). Measures what arrives, how fast, and what the agents
//! notice.
//!
//! `just burst`, or `cargo bench --bench burst -- --events 2000`. Agents' latency is measured from the moment when a
//! call was due, three times over the same load: without a proxy, through this proxy with logging switched off for the
//! host (`tls.passthrough`: bytes are relayed unread), and intercepted, recorded and delivered.

#![allow(
    clippy::print_stdout,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a benchmark reports and may stop"
)]
#![allow(dead_code, unreachable_pub, reason = "the tests' support has more than is needed here")]

#[path = "shared/args.rs"]
mod args;
#[path = "../tests/support/mod.rs"]
mod support;

use std::time::{Duration, Instant};

use support::origin::{TestCa, TestOrigin};
use support::otas::{Overload, TestOtas};
use support::program::{Folder, Served};
use support::proxy::trusting;
use tokio::task::JoinSet;

/// Calls per second.
const RATE: u32 = 500;
/// The capacity of the OTAS: two workers, 200 ms for each event.
const CAPACITY_PER_S: f64 = 10.0;

fn main() {
    let events = args::Args::read().number("--events", 2_000);
    tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap().block_on(run(events));
}

async fn run(events: u32) {
    let files = tempfile::tempdir().unwrap();
    let ca = TestCa::new(files.path());
    let origin = TestOrigin::https(&ca).await;
    let otas = TestOtas::start().await;
    otas.overload(Overload::measured(1));

    println!("{events} calls, {RATE} a second; latency from when each was due, in ms");
    let direct = reqwest::Client::builder().no_proxy().tls_backend_preconfigured(trusting(&ca.file)).build().unwrap();
    print("no proxy", &load(&direct, &origin, events).await);
    let blind = served(&ca, &otas, "passthrough = ['localhost']");
    print("logging off", &load(&through(&blind, &ca.file), &origin, events).await);
    drop(blind);
    let logged = served(&ca, &otas, "");
    let began = Instant::now();
    let trusted = logged.folder.path().join("ca/ca.pem");
    print("logging on", &load(&through(&logged, &trusted), &origin, events).await);

    let before = otas.events().await.len();
    let (counted, resumed) = (before, Instant::now());
    let limit = Duration::from_secs(60 + u64::from(events) / 4);
    otas.events_at_least(u64::from(events), limit).await;
    let took = resumed.elapsed();
    let all = otas.events().await;
    let mut ids: Vec<&str> = all.iter().filter_map(|event| event["metadata"]["event"]["id"].as_str()).collect();
    ids.sort_unstable();
    ids.dedup();
    let refused = otas.refused().len();
    let rate = (all.len() - counted) as f64 / took.as_secs_f64();
    println!(
        "delivered {} of {events} ({} twice) in {:.0} s; refused posts {refused} ({:.1} % of the events); {rate:.1} events/s after the burst, {:.0} % of what this OTAS can do; at most {} posts at once",
        ids.len(),
        all.len() - ids.len(),
        began.elapsed().as_secs_f64(),
        100.0 * refused as f64 / f64::from(events),
        100.0 * rate / CAPACITY_PER_S,
        otas.most_posts_at_once(),
    );
}

fn served(ca: &TestCa, otas: &TestOtas, tls: &str) -> Served {
    let folder = Folder::new();
    std::fs::copy(&ca.file, folder.path().join("origin-ca.pem")).unwrap();
    let (url, key) = (otas.url(), otas.key());
    std::fs::write(
        folder.config(),
        format!(
            "[listen]\nproxy = '127.0.0.1:0'\nadmin = '127.0.0.1:0'\n[tls]\nca_dir = 'ca'\norigin_ca_file = 'origin-ca.pem'\n{tls}\n\
             [store]\npath = 'events.db'\n[otas]\nbrain_url = '{url}'\nuasam_url = '{url}'\nagent_key = '{}'\n",
            key.expose()
        ),
    )
    .unwrap();
    Served::start(folder, |program| program)
}

fn through(served: &Served, ca_file: &std::path::Path) -> reqwest::Client {
    let proxy = reqwest::Proxy::all(&served.url).unwrap();
    reqwest::Client::builder().proxy(proxy).tls_backend_preconfigured(trusting(ca_file)).build().unwrap()
}

/// The latencies of this many calls, one every 2 ms, whether or not earlier ones have ended.
async fn load(client: &reqwest::Client, origin: &TestOrigin, calls: u32) -> Vec<Duration> {
    // Connections are opened before the first call is due.
    let mut warm = JoinSet::new();
    for _ in 0..8 {
        warm.spawn(client.get(origin.url("/bytes/200")).send());
    }
    warm.join_all().await;
    let (start, mut under_way) = (Instant::now(), JoinSet::new());
    for n in 0..calls {
        let due = start + Duration::from_secs(1) * n / RATE;
        tokio::time::sleep_until(due.into()).await;
        let call = client.post(origin.url("/echo")).body("a call of the burst").send();
        under_way.spawn(async move {
            assert_eq!(call.await.unwrap().bytes().await.unwrap().len(), 19);
            due.elapsed()
        });
    }
    let mut latencies = under_way.join_all().await;
    latencies.sort_unstable();
    latencies
}

fn print(name: &str, sorted: &[Duration]) {
    let at = |share: f64| sorted[((sorted.len() - 1) as f64 * share) as usize].as_secs_f64() * 1_000.0;
    println!("  {name:12} p50 {:6.2}  p99 {:6.2}  max {:6.2}", at(0.5), at(0.99), at(1.0));
}
