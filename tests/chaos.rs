//! Chaos: OTAS fails in every way and the proxy is killed again and again. Each call that an agent saw end, and that was stored
//! before a kill, has exactly one event. No event is invented or altered. (A run prints how long delivery took.)
//!
//! A *producer* sends calls with unique ids through the real program; the *origin* echoes; the *backend* is the strict test
//! OTAS with faults; after the faults the *judge* compares. `OTAS_CHAOS_ROUNDS` and `OTAS_CHAOS_SEED` make it longer and
//! repeatable: `just chaos`.

#![allow(clippy::print_stdout, reason = "the seed of a failure, and what a long run saw")]

mod faults;
mod judge;
mod producer;
mod runs;

use std::time::{Duration, Instant};

use crate::support::origin::TestOrigin;
use crate::support::otas::TestOtas;
use crate::support::program::{Folder, Served, verified};
use crate::support::proxy::eventually;
use faults::Random;
use judge::{Kill, judge};
use producer::Producer;

/// The proxy's maximum memory.
const MEMORY_KIB: u64 = 160 << 10;

/// Rounds of a run in the normal suite.
const ROUNDS: usize = 6;

fn setting(name: &str, default: u64) -> u64 {
    std::env::var(name).ok().map_or(default, |text| text.parse().unwrap())
}

/// OTAS's address. Retries are quick, because rounds are short.
fn configured(otas: &TestOtas) -> Folder {
    let (folder, url, key) = (Folder::new(), otas.url(), otas.key());
    folder.configure(&format!(
        "[otas]\nbrain_url = '{url}'\nuasam_url = '{url}'\nagent_key = '{}'\n\
         [delivery]\nbackoff_min_ms = 5\nbackoff_max_ms = 50\nattempt_timeout_ms = 1000\n",
        key.expose()
    ));
    folder
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn each_call_has_one_event_despite_faults_and_kills() {
    let seed = setting("OTAS_CHAOS_SEED", 20_261_123);
    let rounds = usize::try_from(setting("OTAS_CHAOS_ROUNDS", ROUNDS as u64)).unwrap();
    println!("OTAS_CHAOS_SEED={seed} OTAS_CHAOS_ROUNDS={rounds}");
    let mut random = Random::new(seed);
    let (otas, origin) = (TestOtas::start().await, TestOrigin::http().await);
    let mut folder = configured(&otas);
    let producer = Producer::start(origin.url("/echo"), seed);
    let (mut kills, mut lost_answers) = (Vec::new(), 0);
    for round in 0..rounds {
        let mut served = Served::start(folder, |program| program);
        producer.use_proxy(Some((round, &served)));
        for _ in 0..random.below(3) {
            lost_answers += faults::next(&otas, &mut random).await;
            producer.more(20 + random.below(60)).await;
        }
        // Ended calls are stored soon, and then survive everything.
        let (store, ended) = (served.folder.path().join("events.db"), producer.ended(round));
        eventually("what has ended is stored", async || ended.is_subset(&judge::stored(&store))).await;
        // Somewhere in the middle of the next calls.
        producer.more(1 + random.below(40)).await;
        let stored = judge::stored(&store);
        let memory = memory_kib(served.child.id());
        assert!(memory < MEMORY_KIB, "{memory} KiB");
        served.child.kill().unwrap();
        kills.push(Kill { at: Instant::now(), stored });
        served.child.wait().unwrap();
        verified(&store);
        producer.use_proxy(None);
        folder = served.into_folder();
    }
    // The faults have ended: everything arrives, and a new call works.
    otas.up().await;
    let served = Served::start(folder, |program| program);
    producer.use_proxy(Some((rounds, &served)));
    producer.more(5).await;
    let calls = producer.stop().await;
    let store = served.folder.path().join("events.db");
    let ended = calls.values().filter(|call| call.proxy == rounds).count();
    drained(&store, ended, Duration::from_secs(60 + rounds as u64)).await;
    let memory = memory_kib(served.child.id());
    assert!(memory < MEMORY_KIB, "{memory} KiB");
    judge(&otas, &calls, &kills, lost_answers, &store).await;
    verified(&store);
}

/// Waits until all calls of the last session are stored, no event is pending, and no call is noted as in flight.
async fn drained(store: &std::path::Path, ended: usize, within: Duration) {
    let stored = || judge::number(store, "SELECT total FROM sessions ORDER BY id DESC LIMIT 1");
    let waiting = || judge::number(store, "SELECT sum(total - delivered - dead) FROM sessions");
    let noted = || judge::number(store, "SELECT count(*) FROM open_exchanges");
    let until = Instant::now() + within;
    while stored() < ended as i64 || waiting() + noted() > 0 {
        assert!(
            Instant::now() < until,
            "{} of {ended} stored, {} wait, {} noted as open",
            stored(),
            waiting(),
            noted()
        );
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

/// The maximum memory of a process so far.
fn memory_kib(pid: u32) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let line = status.lines().find(|line| line.starts_with("VmHWM:")).unwrap();
    line.split_whitespace().nth(1).unwrap().parse().unwrap()
}
