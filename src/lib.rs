//! otas-proxy: a transparent logging HTTP(S) forward proxy for AI agents.
//!
//! The path of a request, top to bottom:
//!
//! ```text
//!  agent
//!    | TCP
//!  proxy/listener     accept for ever, spawn
//!  proxy/guard        HTTP/1.x is read strictly (proxy/strict, pure) before hyper sees it
//!  proxy/connection   serve HTTP on one stream, route each request  <-----------+
//!    |- CONNECT ----> proxy/tunnel    dial, then decide: intercept / relay ------+ decrypted stream
//!    |                   tls/         our CA, a leaf per name (cached), roots for origins
//!    |- request ----> proxy/forward   one request to the origin and back, bytes untouched
//!    |                   proxy/message   pure rules: hop-by-hop, target form, Host
//!    |                   proxy/upstream  resolve, connect, TLS, pool; every step timed
//!    |- failure ----> proxy/respond   the one table from our errors to what the agent sees
//!    v
//!  capture/           the body wrapper: passes frames on unchanged, keeps head and tail, reports its end once
//!  capture/socket     reads a copy of a WebSocket's bytes: websocket/ (pure) finds its messages
//!  capture/model      reads a copy of a call to a model: llm/ (pure) finds its facts
//!  capture/exchange   joins both halves, outcome and timings: exactly one Exchange per request
//!    v  ---------------- bounded hand-off; everything below is off the request's path ----------------
//!  report/            one thread: makes events, appends them in groups, keeps the store in bounds, reports gaps
//!  event/             Exchange -> Event: decode, text or base64, fit OTAS's limits (pure functions)
//!  redact/            secrets masked in it: by name, by look, our own by their text; in logs and panics as well
//!  store/             SQLite (WAL): pending -> delivered | dead; bounded, replaced when damaged
//!  deliver/           sessions, verdict (pure), workers -> OTAS
//!  sinks/             the same events to other places: JSON lines, spans
//! ```
//!
//! Beside the flow: [`peer`] (the owner of a local connection's other end), [`callers`] (each caller's session), [`config`] (typed -> `proxy.toml` -> validated),
//! [`cli`] (one file a command), [`admin`]
//! (health, readiness), [`metrics`], [`collector`] (the embedded OTAS-compatible endpoint) and [`app`], the only file that knows every part.

pub mod admin;
pub mod app;
pub mod callers;
pub mod capture;
mod cause;
pub mod cli;
mod clock;
mod codings;
pub mod collector;
pub mod config;
mod console;
mod deadline;
pub mod deliver;
pub mod event;
pub mod export;
#[cfg(any(test, fuzzing))]
pub mod fuzzing;
pub mod hosts;
mod known_agents;
pub mod llm;
pub mod metrics;
pub mod peer;
pub mod prices;
mod private_file;
pub mod proxy;
pub mod redact;
pub mod report;
pub mod secret;
mod serving;
pub mod sinks;
pub mod stats;
pub mod store;
pub mod tls;
mod users;
mod visible;
pub mod websocket;
