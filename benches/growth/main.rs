//! How the proxy grows: calls a second, p99 and memory with more connections and more cores; memory with more open streams; delivery
//! with a longer backlog; the start with a larger store. Draws plots into `docs/`.
//!
//! `just bench-growth`, or `cargo bench --bench growth -- --only connections --store-gib 1`.

#![allow(
    clippy::print_stdout,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a benchmark reports and may stop"
)]
#![allow(unreachable_pub, dead_code, reason = "its modules are its own or shared")]

#[path = "../shared/args.rs"]
mod args;
mod backlog;
mod connections;
#[path = "../proxy/load.rs"]
mod load;
#[path = "../proxy/origin.rs"]
mod origin;
#[path = "../shared/mod.rs"]
mod shared;
mod start;
mod svg;
#[path = "../shared/talk.rs"]
mod talk;
#[path = "../llm/words.rs"]
mod words;

use std::path::Path;

use shared::processes::Bench;

/// The role of one process of the benchmark. Other processes than the first are the same program, started again.
fn main() {
    let args: Vec<String> = std::env::args().skip(1).filter(|a| a != "--bench").collect();
    match args.first().map(String::as_str) {
        Some("--role") => role(&args[1], &args[2..]),
        _ => measure(),
    }
}

fn role(name: &str, args: &[String]) {
    match name {
        "origin" => origin::serve(Path::new(&args[0])),
        "bare" => shared::bare::serve(Path::new(&args[0])),
        "load" => load::run(args),
        other => panic!("no role {other}"),
    }
}

fn measure() {
    let args = args::Args::read();
    let wanted = |part: &str| args.text("--only").is_none_or(|only| only == part);
    let secs = args.text("--secs").unwrap_or("2");
    if wanted("connections") {
        connections::run(&Bench::start(), secs);
    }
    if wanted("streams") {
        connections::streams(&Bench::start(), secs);
    }
    if wanted("backlog") {
        backlog::run(args.number("--events", 100_000));
    }
    if wanted("store") {
        start::run(args.number("--store-gib", 10.0));
    }
}
