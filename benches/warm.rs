//! The warm path: what a call takes that comes on a connection of its own, from an agent that starts a process for each call.
//!
//! `just warm`, or `cargo bench --bench warm`. The origin is 20 ms away: a relay delays each byte by 10 ms in both directions. A call
//! connects, calls once and closes; the time ends with the last byte of the answer. Each figure is a median, and its ratio to the same
//! call without a proxy. Takes four minutes, because connections must be idle for a while.

#![allow(
    clippy::print_stdout,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a benchmark reports and may stop"
)]
#![allow(dead_code, unreachable_pub, reason = "the tests' support has more than is needed here")]

#[path = "../tests/support/mod.rs"]
mod support;

use std::net::SocketAddr;
use std::path::Path;
use std::time::{Duration, Instant};

use support::agent::Agent;
use support::origin::{TestCa, TestOrigin};
use support::program::{Folder, Served};
use support::proxy::trusting;
use support::relay::Relay;
use tokio::time::sleep;

const ONE_WAY: Duration = Duration::from_millis(10);
/// Calls without a proxy, and proxies that are called for the first time.
const FIRST: usize = 9;
/// How long connections are idle before a call, and how many such calls. After the last one, the connection is closed, and its TLS
/// session is resumed.
const IDLE: [(u64, usize); 4] = [(1, 5), (10, 3), (50, 1), (70, 1)];

fn main() {
    tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap().block_on(async {
        println!("| | HTTP/1.1 | ratio | HTTP/2 | ratio |\n|---|---|---|---|---|");
        let (old, new): (&[&[u8]], &[&[u8]]) = (&[b"http/1.1"], &[b"h2"]);
        let (old, new) = tokio::join!(measured(old), measured(new));
        for ((what, old, direct_old), (_, new, direct_new)) in old.into_iter().zip(new) {
            println!(
                "| {what} | {:.1} ms | {:.2} | {:.1} ms | {:.2} |",
                ms(old),
                ms(old) / ms(direct_old),
                ms(new),
                ms(new) / ms(direct_new),
            );
        }
    });
}

/// What each kind of call took, and what it takes without a proxy.
async fn measured(alpn: &[&[u8]]) -> Vec<(String, Duration, Duration)> {
    let files = tempfile::tempdir().unwrap();
    let ca = TestCa::new(files.path());
    let origin = TestOrigin::h2(&ca).await;
    let relay = Relay::to(origin.addr, ONE_WAY).await;
    let (mut without, mut first, mut proxy) = (Vec::new(), Vec::new(), None);
    for _ in 0..FIRST {
        without.push(direct(&relay, &ca.file, alpn).await);
        let served = proxy.insert(served(&ca));
        // A start is not part of a call.
        sleep(Duration::from_millis(300)).await;
        first.push(through(served, &relay, alpn).await);
    }
    let (proxy, without) = (proxy.unwrap(), median(without));
    let mut rows =
        vec![("without a proxy".to_owned(), without, without), ("the first call".to_owned(), median(first), without)];
    for (idle, calls) in IDLE {
        let before = relay.connections();
        let mut took = Vec::new();
        for _ in 0..calls {
            sleep(Duration::from_secs(idle)).await;
            took.push(through(&proxy, &relay, alpn).await);
        }
        let what = if relay.connections() == before { "same connection" } else { "new connection" };
        rows.push((format!("after {idle} s idle ({what})"), median(took), without));
    }
    rows
}

/// This proxy. OTAS is unreachable, so every event is kept.
fn served(ca: &TestCa) -> Served {
    let folder = Folder::new();
    std::fs::copy(&ca.file, folder.path().join("origin-ca.pem")).unwrap();
    folder.configure(
        "[otas]\nbrain_url = 'http://127.0.0.1:9'\nuasam_url = 'http://127.0.0.1:9'\nagent_key = 'agent_bench_measured'\n",
    );
    Served::start(folder, |program| program)
}

async fn through(served: &Served, relay: &Relay, alpn: &[&[u8]]) -> Duration {
    let proxy: SocketAddr = served.url.strip_prefix("http://").unwrap().parse().unwrap();
    let config = client(&served.folder.path().join("ca/ca.pem"), alpn);
    let began = Instant::now();
    one(Agent::through(proxy, config, "localhost", relay.addr.port()).await, began).await
}

async fn direct(relay: &Relay, ca_file: &Path, alpn: &[&[u8]]) -> Duration {
    let config = client(ca_file, alpn);
    let began = Instant::now();
    one(Agent::direct(relay.addr, config, "localhost").await, began).await
}

async fn one(mut agent: Agent, began: Instant) -> Duration {
    assert_eq!(agent.get("/bytes/200").await.0, 200);
    let took = began.elapsed();
    agent.close().await;
    took
}

/// Of a process of its own: it knows no TLS session.
fn client(ca_file: &Path, alpn: &[&[u8]]) -> rustls::ClientConfig {
    let mut config = trusting(ca_file);
    config.alpn_protocols = alpn.iter().map(|protocol| protocol.to_vec()).collect();
    config
}

fn median(mut all: Vec<Duration>) -> Duration {
    all.sort();
    all[all.len() / 2]
}

fn ms(time: Duration) -> f64 {
    time.as_secs_f64() * 1000.0
}
