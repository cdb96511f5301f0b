//! The store by itself: what saving a body costs, and how quick a store with 100,000 events of 1,000 conversations is: its list, an
//! event with a body of 1 MiB, its sizes, retention, deletion, and appends beside them, and how quickly a text is found in bodies.
//!
//! `just bench-store`, or `cargo bench --bench store -- --events 100000 --conversations 1000 --only saving`.

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
mod finding;
mod large;
mod saving;
#[path = "../shared/talk.rs"]
mod talk;
#[path = "../llm/words.rs"]
mod words;

fn main() {
    let args = args::Args::read();
    let (events, conversations) = (args.number("--events", 100_000), args.number("--conversations", 1_000));
    let wanted = |part: &str| args.text("--only").is_none_or(|only| only == part);
    if wanted("saving") {
        saving::run();
    }
    if wanted("large") {
        large::run(events, conversations);
    }
    if wanted("finding") {
        finding::run(events, conversations);
    }
}
