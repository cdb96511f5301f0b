//! How long the search for secrets takes, for each megabyte of text: prose and code as agents send them, and texts made to be slow.
//! `just masking-bench`. Compare each with prose: absolute figures are the machine's.

#![allow(clippy::print_stdout, clippy::unwrap_used, reason = "a benchmark reports and may stop")]

use std::time::{Duration, Instant};

use otas_proxy::config::Redact;
use otas_proxy::redact::{Fingerprint, Redactor};

#[path = "../src/redact/tests/hostile.rs"]
mod hostile;

use hostile::{HOSTILE, HOSTILE_TO_FORMATS};

const BYTES: usize = 1 << 20;
const REPEATS: usize = 5;

/// What an agent sends all day.
const PROSE: &str = "Please look at the session handling in src/auth.rs: the token is refreshed too late, so the first call after an hour \
fails with 401. I think the key of the cache should hold the user id, not the name. Tests are in tests/auth.rs; run them before you commit. ";

fn per_megabyte(redactor: &Redactor, text: &str) -> Duration {
    let run = || {
        let began = Instant::now();
        let _ = redactor.masking("api.test", 443, "/").message(text);
        began.elapsed()
    };
    (0..REPEATS).map(|_| run()).min().unwrap() * (1 << 20) / u32::try_from(text.len()).unwrap()
}

fn main() {
    let (headers, keys, patterns, allow) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
    let settings = Redact { headers, keys, patterns, allow, budget: Duration::from_secs(60) };
    let redactor = Redactor::new(&settings, &[], Fingerprint::new(b"bench")).unwrap();
    let filled = |part: &str| part.repeat(BYTES / part.len());
    let prose = per_megabyte(&redactor, &filled(PROSE));
    let json =
        serde_json::json!({ "messages": [{ "role": "user", "content": filled(&format!("{PROSE}\n")) }] }).to_string();
    println!("{:<36} {:>8.2} ms/MiB", "prose", prose.as_secs_f64() * 1e3);
    println!("{:<36} {:>8.2} ms/MiB", "prose in JSON", per_megabyte(&redactor, &json).as_secs_f64() * 1e3);
    let mut slowest: Vec<_> = HOSTILE
        .iter()
        .chain(HOSTILE_TO_FORMATS)
        .map(|part| (per_megabyte(&redactor, &filled(part)), *part))
        .collect();
    slowest.sort_by(|a, b| b.cmp(a));
    for (time, part) in slowest {
        let ratio = time.as_secs_f64() / prose.as_secs_f64();
        println!("{:<36} {:>8.2} ms/MiB {ratio:>8.2} × prose", format!("{part:?}"), time.as_secs_f64() * 1e3);
    }
}
