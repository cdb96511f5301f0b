//! How fast a backlog is delivered to an OTAS that takes everything at once.

use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use otas_proxy::secret::Secret;
use otas_proxy::store::{Store, key_id};
use rusqlite::{Connection, OpenFlags};

use crate::shared::processes::started;
use crate::svg::{Plot, Series};
use crate::talk::call;

const KEY: &str = "agent_growth_measured";
const JSON: &[u8] = br#"{"method":"POST","path":"/v1/messages","status_code":200,"latency_ms":1800.0,"request_body":"","response_body":"","metadata":{"schema":1}}"#;

/// Measures backlogs of up to so many events, and draws.
pub fn run(most_events: u64) {
    let sizes =
        std::iter::successors(Some(100), |events| Some(events * 10)).take_while(|events| *events <= most_events);
    let points: Vec<(f64, f64)> = sizes.map(|events| (events as f64, deliveries_per_s(events))).collect();
    Plot {
        title: "Delivery of a backlog",
        x: "events that wait",
        y: "events/s",
        logarithmic: false,
        series: &[Series { name: "otas-proxy", points }],
    }
    .write("growth-delivery.svg");
}

fn deliveries_per_s(events: u64) -> f64 {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("events.db");
    fill(&path, events);
    let program = env!("CARGO_BIN_EXE_otas-proxy");
    let collect = ["collect", "--listen", "127.0.0.1:0"];
    let (_otas, port) = started(Command::new(program).args(collect).env("OTAS_AGENT_KEY", KEY));
    let otas = format!("http://127.0.0.1:{port}");
    let config = folder.path().join("proxy.toml");
    let settings = format!(
        "[listen]\nproxy = '127.0.0.1:0'\nadmin = '127.0.0.1:0'\n[store]\npath = 'events.db'\n[tls]\nca_dir = 'ca'\n\
         [otas]\nbrain_url = '{otas}'\nuasam_url = '{otas}'\nagent_key = '{KEY}'\n"
    );
    std::fs::write(&config, settings).unwrap();
    let began = Instant::now();
    let (_proxy, _) = started(Command::new(program).args(["serve", "--config"]).arg(&config));
    let reader = Connection::open_with_flags(&path, OpenFlags::SQLITE_OPEN_READ_ONLY).unwrap();
    let waiting = || reader.query_row("SELECT count(*) FROM events WHERE state = 0", [], |row| row.get::<_, i64>(0));
    while waiting().unwrap() > 0 {
        assert!(began.elapsed() < Duration::from_secs(600), "the backlog is not delivered");
        std::thread::sleep(Duration::from_millis(5));
    }
    let rate = events as f64 / began.elapsed().as_secs_f64();
    println!("a backlog of {events} events: {rate:.0} events/s, with the start of the proxy");
    rate
}

fn fill(path: &Path, events: u64) {
    let store = Store::open(path).unwrap();
    let session = store.begin_session("growth", &key_id(&Secret::new(KEY)), "{}").unwrap();
    let mut writer = store.writer().unwrap();
    for first in (0..events).step_by(500) {
        let calls: Vec<_> =
            (first..events.min(first + 500)).map(|n| call(JSON, &[], 1_790_000_000_000 + n as i64)).collect();
        writer.append(session, &calls).unwrap();
    }
}
