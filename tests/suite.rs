//! All integration tests, in one program: files by question.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test says what it expects by it")]

mod capture;
mod clients;
mod collector;
mod command_line;
mod conservation;
mod delivery;
mod durability;
mod events;
mod forwarding;
mod interception;
mod onwards;
mod outage;
mod peers;
mod socks;
mod steering;
mod strictness;
mod support;
