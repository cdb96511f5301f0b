//! What a coding agent's calls cost: conversations that grow by a tool result a turn and are sent whole each time, in
//! the form of Anthropic's Messages API, with streamed answers. This proxy (capture, redaction and store on) and a bare
//! hyper proxy without any of that pass the same calls alternately, in clear and intercepted.
//!
//! `just bench-llm`, or `cargo bench --bench llm -- --reps 5 --agents 4 --turns 10,120 --only intercepted`. `--table FILE`
//! writes the Markdown for `docs/benchmarks.md`.
//!
//! CPU is the user and system time of the proxy's process, until its work behind the calls is done. Compare ratios,
//! which are paired within a repetition: absolute figures depend on the machine.

#![allow(
    clippy::print_stdout,
    clippy::print_stderr,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a benchmark reports and may stop"
)]
#![allow(unreachable_pub, dead_code, reason = "its modules are its own or shared")]

mod agents;
mod figures;
mod measure;
mod options;
mod origin;
#[path = "../shared/mod.rs"]
mod shared;
mod words;

use std::path::Path;

/// The role of one process of the benchmark. Other processes than the first are the same program, started again.
fn main() {
    let args: Vec<String> = std::env::args().skip(1).filter(|a| a != "--bench").collect();
    match args.first().map(String::as_str) {
        Some("--role") => role(&args[1], &args[2..]),
        _ => measure::run(&options::Options::parse(&args)),
    }
}

fn role(name: &str, args: &[String]) {
    match name {
        "origin" => origin::serve(Path::new(&args[0])),
        "bare" => shared::bare::serve(Path::new(&args[0])),
        "load" => agents::run(args),
        other => panic!("no role {other}"),
    }
}
