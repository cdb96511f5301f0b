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

mod finding;
mod large;
mod saving;
#[path = "../shared/talk.rs"]
mod talk;
#[path = "../llm/words.rs"]
mod words;

fn main() {
    let args: Vec<String> = std::env::args().collect();
    let value = |name: &str| args.iter().position(|arg| arg == name).map(|at| args[at + 1].clone());
    let number = |name: &str, usual: usize| value(name).map_or(usual, |text| text.parse().expect("a number"));
    let only = value("--only").unwrap_or_default();
    let (events, conversations) = (number("--events", 100_000), number("--conversations", 1_000));
    let wanted = |part: &str| only.is_empty() || only == part;
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
