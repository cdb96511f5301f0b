//! `[proxy]`

use super::super::shown::ms;
use super::key::{Key, Kind, milliseconds, number, put, switch};
use super::limits::{CONNECTIONS, LONGEST_MS};

/// What clients take for granted: 8 KiB.
const LEAST_HEADER_BYTES: i64 = 8 << 10;
/// hyper reads heads of some 400 KiB at most: 384 KiB.
const HEADER_BYTES: i64 = 384 << 10;
/// More than any client opens.
const STREAMS: i64 = 65_536;
/// More than one proxy serves.
const REQUESTS_PER_SECOND: i64 = 1_000_000;

pub(super) const KEYS: &[Key] = &[
    switch!(
        proxy.via,
        "Add a `Via` header to what is forwarded (RFC 9110, section 7.6.3). Off by default, because it changes what some origins \
         answer."
    ).live(),
    milliseconds!(
        "proxy.connect_timeout_ms",
        proxy.connect_timeout,
        1..=LONGEST_MS,
        "Limit for resolving a name, connecting and the TLS handshake together."
    ).live(),
    milliseconds!(
        "proxy.handshake_timeout_ms",
        proxy.handshake_timeout,
        1..=LONGEST_MS,
        "Limit for an agent's own handshakes: TLS with the proxy, from its first byte, and SOCKS."
    ).live(),
    milliseconds!(
        "proxy.header_timeout_ms",
        proxy.header_timeout,
        1..=LONGEST_MS,
        "Limit for a request head, from its first byte to its last. Then the agent gets a 408."
    ).live(),
    milliseconds!(
        "proxy.idle_timeout_ms",
        proxy.idle_timeout,
        1..=LONGEST_MS,
        "How long a connection without a request stays open."
    ).live(),
    milliseconds!(
        "proxy.stall_timeout_ms",
        proxy.stall_timeout,
        1..=LONGEST_MS,
        "How long an agent may send nothing in the middle of a request body (HTTP/1.1; then a 408) or of a frame (HTTP/2), or \
         read nothing of a response."
    ).live(),
    milliseconds!(
        "proxy.response_timeout_ms",
        proxy.response_timeout,
        1..=LONGEST_MS,
        "How long an origin that has the whole request may take to begin its response (models think). Then the agent gets a 504. \
         A response that has begun may take any time."
    ).live(),
    number!(
        proxy.max_header_bytes,
        (LEAST_HEADER_BYTES)..=HEADER_BYTES,
        "The largest request head. A larger one gets a 431."
    ).live(),
    number!(
        proxy.max_connections,
        1..=CONNECTIONS,
        "The most connections from agents at once. Further ones wait until one ends."
    ).live(),
    number!(
        proxy.max_streams,
        1..=STREAMS,
        "The most requests in flight on one HTTP/2 connection of an agent. Further ones wait."
    ).live(),
    milliseconds!(
        "proxy.shutdown_grace_ms",
        proxy.shutdown_grace,
        0..=LONGEST_MS,
        "How long calls in flight may go on after a SIGTERM."
    ).live(),
    number!(
        proxy.agent_connections,
        0..=CONNECTIONS,
        "The most connections of one agent at once. Further ones get a 429. 0: no limit. An agent is a name of `[[agents]]`, an \
         agent process (`session.scope = \"process\"`), or else a client's address."
    ).live(),
    number!(
        proxy.agent_requests_per_second,
        0..=REQUESTS_PER_SECOND,
        "The most requests of one agent in a second, CONNECT included. Further ones get a 429. 0: no limit."
    ).live(),
    switch!(
        proxy.strict_host,
        "Refuse requests (403) whose CONNECT, TLS server name and `Host` name different hosts. If off, `metadata.names` of their \
         events has all three."
    ).live(),
];
