//! Instructions, counted by callgrind: of the parts that work on each call, and of a whole call through the proxy. They do not
//! depend on how busy the machine is, so `./check.sh` compares them with `benches/counts/counts.txt` and fails when one has grown by
//! more than 5 % (10 % for a whole call, of which some depends on the clock). A change that is worth its cost changes the file in the same commit.
//!
//! `just counts` compares; `just counts --write` writes the file; `just counts --only masking` counts only some.

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
mod callgrind;
mod compared;
mod end_to_end;
mod parts;
#[path = "../shared/talk.rs"]
mod talk;
#[path = "../llm/words.rs"]
mod words;

use std::process::ExitCode;

fn main() -> ExitCode {
    let args = args::Args::read();
    if let Some(part) = args.text("--part") {
        parts::run(part, args.number("--times", 1));
        return ExitCode::SUCCESS;
    }
    let wanted = |name: &&str| args.text("--only").is_none_or(|only| name.contains(only));
    let parts = parts::PARTS.into_iter().filter(|(name, ..)| wanted(name));
    let parts = parts.map(|(name, times, runs)| (name, parts::count(name, times, runs)));
    let calls = end_to_end::NAMES.into_iter().filter(wanted).map(|name| (name, end_to_end::count()));
    let counted: Vec<(&str, u64)> = parts.chain(calls).collect();
    if std::env::args().any(|arg| arg == "--write") {
        compared::write(&counted);
        return ExitCode::SUCCESS;
    }
    if compared::all_within(&counted) { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}
