//! All integration tests, in one program: files by question.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test says what it expects by it")]

mod accidents;
mod attacks;
mod attribution;
mod authority;
mod capture;
mod chaos;
mod check;
mod clients;
mod collector;
mod command_line;
mod damage;
mod delivery;
mod docs;
mod domain;
mod durability;
mod events;
mod export;
mod finding;
#[cfg(feature = "nats")]
mod fleet;
mod forwarding;
mod guards;
mod inherited;
mod interception;
mod layers;
mod links;
mod masking;
mod mcp;
mod migration;
mod models;
#[cfg(target_os = "linux")]
mod netns;
mod notes;
mod one_proxy;
#[cfg(feature = "otlp")]
mod otlp;
mod outage;
mod outlived;
mod page;
mod peers;
mod pods;
mod processes;
mod prompt;
mod quotas;
mod redaction;
#[cfg(target_os = "linux")]
mod redirect;
mod reload;
mod runs;
mod searching;
mod sessions;
mod share;
mod shown;
mod side_by_side;
mod sinks;
mod socks;
mod steering;
mod stopping;
mod store;
mod strictness;
mod support;
mod terminal;
mod unreadable;
mod upstream_proxy;
mod warm;
mod websocket;
mod whole_bodies;
mod wire;
