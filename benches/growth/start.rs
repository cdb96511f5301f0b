//! How long `serve` takes until it accepts connections, with a store of each size.

use std::path::Path;
use std::process::Command;
use std::time::Instant;

use otas_proxy::event::BodyText;
use otas_proxy::store::Store;

use crate::shared::processes::{median, started};
use crate::svg::{Plot, Series};
use crate::talk::{base64, call};
use crate::words::Words;

const JSON: &[u8] = br#"{"path":"/v1/messages","request_body":"","response_body":""}"#;
const REQUEST_AT: usize = 39;
const MIB: usize = 1 << 20;
const STARTS: usize = 7;
/// The sizes of the file, as parts of the largest one.
const SIZES: [f64; 5] = [0.001, 0.01, 0.1, 0.3, 1.0];

/// Measures stores of up to so many GiB, and draws.
pub fn run(most_gib: f64) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("events.db");
    let config = folder.path().join("proxy.toml");
    let settings = "[listen]\nproxy = '127.0.0.1:0'\nadmin = '127.0.0.1:0'\n[tls]\nca_dir = 'ca'\n\
        [store]\npath = 'events.db'\nmax_bytes = 1125899906842624\nkeep_bytes = 1125899906842624\n\
        [otas]\nbrain_url = 'http://127.0.0.1:9'\nuasam_url = 'http://127.0.0.1:9'\nagent_key = 'agent_growth_measured'\n";
    std::fs::write(&config, settings).unwrap();
    let mut words = Words::new(1);
    let mut points = Vec::new();
    for part in SIZES {
        fill(&path, part * most_gib, &mut words);
        let gib = file_gib(&path);
        let took = (0..STARTS).map(|_| start_ms(&config)).collect();
        points.push((gib, median(took)));
        println!("a store of {gib:.3} GiB: the proxy accepts after {:.1} ms", points[points.len() - 1].1);
    }
    let series = [Series { name: "otas-proxy", points }];
    Plot { title: "Start until accepting", x: "GiB in the store", y: "ms", logarithmic: false, series: &series }
        .write("growth-start.svg");
}

fn file_gib(path: &Path) -> f64 {
    std::fs::metadata(path).map_or(0.0, |file| file.len() as f64) / f64::from(1 << 30)
}

/// Appends events with a new body of 1 MiB each until the file has so many GiB.
fn fill(path: &Path, gib: f64, words: &mut Words) {
    let store = Store::open(path).unwrap();
    let session = store.begin_session(&format!("growth {gib}"), "key", "{}").unwrap();
    let mut writer = store.writer().unwrap();
    while file_gib(path) < gib {
        let bodies = [BodyText { at: REQUEST_AT, text: base64(words, MIB).into() }];
        writer.append(session, &[call(JSON, &bodies, 1_790_000_000_000)]).unwrap();
    }
}

fn start_ms(config: &Path) -> f64 {
    let began = Instant::now();
    let _proxy = started(Command::new(env!("CARGO_BIN_EXE_otas-proxy")).args(["serve", "--config"]).arg(config));
    began.elapsed().as_secs_f64() * 1e3
}
