//! Compares this proxy (capture, redaction and store on) with a bare hyper proxy without any of that, alternately, on
//! the same loopback origin. `just bench`, or `cargo bench --bench proxy -- --reps 7 --secs 2 --only intercepted`.
//!
//! The proxy under test has core 0; origin and load share core 1 (if `taskset` is installed and there are two cores).
//! CPU is the user and system time of the proxy's process per call. Compare ratios, which are paired within a
//! repetition: absolute figures depend on the machine.

#![allow(
    clippy::print_stdout,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a benchmark reports and may stop"
)]
#![allow(unreachable_pub, dead_code, reason = "its modules are its own or shared")]

mod load;
mod measure;
mod origin;
mod scenarios;
#[path = "../shared/mod.rs"]
mod shared;

use std::path::PathBuf;

/// The role of one process of the benchmark. Other processes than the first are the same program, started again.
fn main() {
    let args: Vec<String> = std::env::args().skip(1).filter(|a| a != "--bench").collect();
    match args.first().map(String::as_str) {
        Some("--role") => role(&args[1], &args[2..]),
        _ => measure::run(&measure::Options::parse(&args)),
    }
}

fn role(name: &str, args: &[String]) {
    match name {
        "origin" => origin::serve(&PathBuf::from(&args[0])),
        "bare" => shared::bare::serve(&PathBuf::from(&args[0])),
        "load" => load::run(args),
        other => panic!("no role {other}"),
    }
}
