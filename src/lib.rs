//! otas-proxy: a transparent logging HTTP(S) forward proxy for AI agents.
//!
//! The path of a request, top to bottom:
//!
//! ```text
//!  agent
//!    | TCP
//!  proxy/listener     accepts connections, one task for each  (proxy/socks: opens the same tunnel for SOCKS5 agents; proxy/transparent: for redirected ones)
//!  proxy/guard        reads HTTP/1.x strictly (proxy/strict, pure) and within time limits, before hyper sees it
//!  proxy/connection   serves HTTP on one stream, routes each request  <-------------+
//!    |- CONNECT ----> proxy/tunnel    dials, then decides: intercept or relay ------+ decrypted stream
//!    |                   proxy/sniff      what the agent speaks, from its first bytes (pure)
//!    |                   tls/             our CA, a leaf for each name (cached), roots for origins
//!    |- request ----> proxy/forward   one request to the origin and back, bytes untouched
//!    |                   proxy/message    hop-by-hop fields, Host, Via (pure); proxy/request_target: the target (pure)
//!    |                   proxy/send       picks the connection
//!    |                   proxy/retry      whether an unanswered request is sent again (pure); proxy/outgoing keeps its body
//!    |                   proxy/upstream   resolve, connect, TLS, idle connections; every step timed
//!    |                   proxy/lenient    reads the heads of origins' HTTP/1.x responses (pure), before hyper sees them
//!    |                   proxy/interim    1xx responses to an HTTP/1.1 agent
//!    |- 101 --------> proxy/upgrade   relays bytes; a WebSocket's are also copied  (proxy/relay: both ways, counted)
//!    |- failure ----> proxy/error     each failure's sentence; its status, hint and id: proxy/error_table; answered by proxy/respond
//!    v
//!  capture/body       passes frames on untouched, shows them to capture/keeper, reports the end exactly once
//!  capture/socket     reads a WebSocket's copied bytes beside its relay: websocket/ (pure) finds the messages and turns in them
//!  capture/model      reads a model call's copied bytes beside its data path: llm/ (pure) finds the facts in them
//!  capture/recorder   both bodies hold a clone of it; dropping the last clone hands the Exchange to report/, exactly once
//!    v  ---------------- report/handoff: bounded, never waits; all below is off the request's path ----------------
//!  report/            one thread: Exchange -> Event -> store, in groups; reports gaps, notes calls in flight; searchers beside it
//!  event/             Exchange -> Event (pure): decode (codings/), text or base64, mask (redact/), fit OTAS's limits
//!  store/             SQLite (WAL): pending -> delivered | dead; bodies stored once (chunks); bounded (retention)
//!  deliver/           events -> OTAS: sessions and their tokens, verdict (pure), back-off (pure), pace (pure), worker
//!  sinks/             events -> JSON lines or OTLP, each sink from its own place in the store
//! ```
//!
//! `ARCHITECTURE.md` says what the other modules are for, and which file to open for which change.

pub mod admin;
pub mod agents;
pub mod app;
mod brief;
pub mod callers;
pub mod capture;
mod cause;
mod chunking;
pub mod cli;
mod clock;
mod codings;
pub mod collector;
pub mod config;
mod console;
pub mod conversation;
mod deadline;
pub mod deliver;
pub mod event;
pub mod export;
#[cfg(any(test, fuzzing))]
pub mod fuzzing;
mod happened;
pub mod hosts;
mod known_agents;
pub mod llm;
pub mod metrics;
mod naming;
#[cfg(feature = "nats")]
mod nats;
#[cfg(target_os = "linux")]
pub mod netns;
pub mod peer;
pub mod prices;
mod private_file;
mod private_folder;
pub mod proxy;
pub mod query;
pub mod quotas;
pub mod redact;
#[cfg(feature = "nats")]
pub mod relay;
pub mod report;
pub mod run_view;
pub mod runs;
mod search;
pub mod secret;
mod serving;
pub mod sinks;
pub mod stats;
pub mod store;
mod system;
pub mod tls;
mod users;
mod visible;
pub mod websocket;
