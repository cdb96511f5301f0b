//! The finished record of one request and its outcome: what the data path hands to the reporting path.

use std::fmt;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use bytes::Bytes;
use http::{Method, StatusCode, Version};
use uuid::Uuid;

use super::{Arrival, Caller, Fields, OriginFault, Unlogged};
use crate::peer::ProcessLookup;
use crate::websocket::Summary;

/// One request and its outcome. Exactly one exists for each request that reached the proxy, whatever became of it.
#[derive(Clone)]
pub struct Exchange {
    /// UUIDv7: the stable name of this exchange, also in OTAS (`metadata.event.id`).
    pub id: Uuid,
    /// Wall-clock time at which the request's head had been read.
    pub started_at: SystemTime,
    /// A request that we saw, or a tunnel that we only relayed.
    pub kind: Kind,
    /// The agent's socket.
    pub agent: SocketAddr,
    /// Who calls.
    pub caller: Caller,
    /// Why it has no event, if it is to have none.
    pub unlogged: Option<Unlogged>,
    /// Its process; looked for while the exchange goes on.
    pub process: ProcessLookup,
    /// Who was called.
    pub origin: Origin,
    /// The address that was dialled, once one answered.
    pub peer: Option<SocketAddr>,
    /// The protocol spoken on both sides (there is no translation).
    pub version: Version,
    /// The TLS session with the origin, if any.
    pub tls: Option<TlsFacts>,
    /// The names that it goes by, if they are not all the same.
    pub names: Option<Box<HostNames>>,
    /// Why it was relayed without being read, if it was.
    pub blind: Option<Blind>,
    /// Whether the upstream connection had carried a request before.
    pub connection_reused: bool,
    /// How often the request was sent again, because a connection ended or an origin refused it without an answer.
    pub sent_again: u8,
    /// What the agent asked.
    pub request: RequestFacts,
    /// What the agent was answered: the origin's response, or the one we made (then `outcome` is a failure).
    /// `None` when the agent was gone before there was any.
    pub response: Option<ResponseFacts>,
    /// How it ended.
    pub outcome: Outcome,
    /// How long each step took.
    pub timings: Timings,
    /// What it has to do with a WebSocket, if anything. Then both bodies are messages in clear.
    pub websocket: Option<WebSocket>,
    /// What it says as a call to a model, if it is one.
    pub llm: Option<Box<crate::llm::Facts>>,
}

/// A WebSocket, or a part of one.
#[derive(Clone)]
pub enum WebSocket {
    /// The exchange is a WebSocket, from its handshake to its end.
    Socket(Box<SocketFacts>),
    /// The exchange is one turn on a WebSocket: what the agent asked, and all that it was answered.
    Turn(TurnFacts),
}

/// What was learnt of a WebSocket.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct SocketFacts {
    /// What was read.
    pub summary: Summary,
    /// Bytes from the agent that were relayed, frames and all.
    pub agent_bytes: u64,
    /// The same from the origin.
    pub origin_bytes: u64,
    /// Turns that have events of their own.
    pub turns: u64,
    /// Why reading ended before the socket did, if so: then `summary` is what was known by then.
    pub given_up: Option<&'static str>,
}

impl SocketFacts {
    /// The same for a socket of which no more will be heard.
    pub(super) fn interrupted(self) -> Self {
        Self { given_up: self.given_up.or(Some("interrupted")), ..self }
    }
}

/// Where a turn belongs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TurnFacts {
    /// The exchange of its WebSocket.
    pub socket: Uuid,
    /// Its place among the turns there, from 1 on.
    pub number: u64,
}

/// What kind of traffic an exchange stands for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// An HTTP request that was read and forwarded (or refused).
    Http,
    /// A CONNECT tunnel that was relayed blind, or failed. Sizes are the bytes each way.
    Tunnel,
}

/// Why a tunnel was relayed without being read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Blind {
    /// Its host is in `tls.passthrough`.
    Configured,
    /// Agents have refused our certificate for its host (`tls.learn_passthrough`).
    Learned,
    /// What is spoken in it is neither TLS nor HTTP.
    UnknownProtocol,
    /// Its TLS is for a protocol that we do not speak.
    UnknownAlpn,
    /// Its TLS asks for a server by what is no DNS name, so that neither the agent's side nor the origin's can be spoken.
    UnreadableName,
    /// Its TLS is of a version or with cipher suites that we do not speak.
    UnknownTls,
}

/// Who is called: scheme, host, port.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Origin {
    /// `http`, `https`, or `tcp` for a tunnel whose content is unknown.
    pub scheme: &'static str,
    /// A DNS name in lower case or an IP literal without brackets.
    pub host: Arc<str>,
    /// The TCP port.
    pub port: u16,
}

impl Origin {
    /// Host and port, as a CONNECT asks for them (RFC 9110, section 7.1).
    pub fn authority(&self) -> String {
        if self.host.contains(':') {
            format!("[{}]:{}", self.host, self.port)
        } else {
            format!("{}:{}", self.host, self.port)
        }
    }
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}://{}", self.scheme, self.authority())
    }
}

/// Facts of the TLS session with the origin.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TlsFacts {
    /// `TLSv1.3` or `TLSv1.2`.
    pub version: &'static str,
    /// The ALPN protocol that the origin chose, if any.
    pub alpn: Option<&'static str>,
    /// Its certificate was not verified, but was the one that `tls.pinned` names.
    pub pinned: bool,
}

/// The names that one call goes by.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HostNames {
    /// Of its target: what CONNECT, SOCKS or an absolute URL named.
    pub target: Box<str>,
    /// Of its TLS with us (SNI), if there is any and it named one.
    pub sni: Option<Box<str>>,
    /// Of its `Host` field, or `:authority`.
    pub host: Option<Box<str>>,
}

impl fmt::Display for HostNames {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "its target is `{}`", self.target)?;
        if let Some(sni) = &self.sni {
            write!(f, ", its TLS server name `{sni}`")?;
        }
        self.host.as_ref().map_or(Ok(()), |host| write!(f, ", its Host `{host}`"))
    }
}

/// The request as the agent sent it.
#[derive(Clone)]
pub struct RequestFacts {
    /// The method, whatever its length.
    pub method: Method,
    /// The path exactly as received, no query. `/` for a tunnel.
    pub path: String,
    /// The query exactly as received, without `?`. `None` when there was no `?`.
    pub query: Option<String>,
    /// The header fields as received (over HTTP/2 with `:authority` added as `host`).
    pub headers: Fields,
    /// What was kept of the body.
    pub body: Captured,
    /// Trailer fields, if any came.
    pub trailers: Option<Fields>,
}

impl RequestFacts {
    /// A request whose body has not passed yet, or has none.
    pub fn without_body(method: Method, path: String, query: Option<String>, headers: Fields) -> Self {
        Self { method, path, query, headers, body: Captured::default(), trailers: None }
    }
}

/// The response as the agent received it.
#[derive(Clone)]
pub struct ResponseFacts {
    /// The status code.
    pub status: StatusCode,
    /// The header fields as received from the origin.
    pub headers: Fields,
    /// What was kept of the body.
    pub body: Captured,
    /// Trailer fields, if any came.
    pub trailers: Option<Fields>,
    /// Of an event stream, when its first pieces came.
    pub arrivals: Vec<Arrival>,
    /// What was wrong with it and did not keep it from the agent.
    pub faults: Vec<OriginFault>,
}

/// The bounded copy of one body: its first and its last bytes, its true size, and how it ended.
#[derive(Debug, Clone, Default)]
pub struct Captured {
    /// The first bytes, in pieces as they came.
    pub head: Vec<Bytes>,
    /// The last bytes that are not in `head`, in pieces as they came.
    pub tail: Vec<Bytes>,
    /// How many bytes passed by.
    pub total_bytes: u64,
    /// How the body ended.
    pub end: BodyEnd,
}

impl Captured {
    /// Bytes that passed between `head` and `tail` and were not kept.
    pub fn omitted_bytes(&self) -> u64 {
        let kept: usize = self.head.iter().chain(&self.tail).map(Bytes::len).sum();
        self.total_bytes.saturating_sub(kept as u64)
    }
}

/// How a body ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum BodyEnd {
    /// To its last byte (also: there was none).
    #[default]
    Complete,
    /// The side that was sending it failed or reset.
    SenderFailed,
    /// The side that was receiving it went away before the end.
    ReceiverLeft,
    /// The proxy was shut down.
    ShutDown,
}

/// How an exchange ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    /// The agent got the origin's whole response (whatever its status).
    Complete,
    /// Something failed; the agent may have got a response of our making.
    Failed(Failure),
}

/// Which of the two bodies.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Side {
    /// From the agent to the origin.
    Request,
    /// From the origin to the agent.
    Response,
}

/// Why an exchange failed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Failure {
    /// A stable identifier, such as `dns_not_found`, `connect_refused`, `tls_certificate_expired`, `agent_left`.
    pub id: &'static str,
    /// One sentence for people: which host, which step, what to do.
    pub detail: String,
}

/// How long each step took, on one monotonic clock. A step that did not happen is `None`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Timings {
    /// Name resolution.
    pub dns: Option<Duration>,
    /// TCP connect.
    pub connect: Option<Duration>,
    /// TLS handshake with the origin.
    pub tls: Option<Duration>,
    /// From the request head being forwarded to the last byte of its body.
    pub send: Option<Duration>,
    /// From the request head being forwarded to the response head.
    pub wait: Option<Duration>,
    /// From the response head to the last byte of its body.
    pub receive: Option<Duration>,
    /// How long the agent took to send its request's content once it could be forwarded, if that was a millisecond or more:
    /// the time in which there was nothing to forward, up to the beginning of the answer.
    pub agent: Option<Duration>,
    /// From when the request could be forwarded to the last byte received: OTAS's `latency_ms`. That is the time since its
    /// head was forwarded, without the time that the agent took to send its content. When nothing was forwarded: from the
    /// request head being read to the answer.
    pub latency: Duration,
    /// From the request head being read to the end of the exchange.
    pub total: Duration,
}
