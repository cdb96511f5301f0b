//! The finished record of one request and its outcome. The data path hands it to the reporting path.

use std::borrow::Cow;
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

/// One request and its outcome. There is exactly one for each request that reached the proxy, however it ended.
#[derive(Clone)]
pub struct Exchange {
    /// UUIDv7: the id of this exchange, also in OTAS (`metadata.event.id`).
    pub id: Uuid,
    /// Wall-clock time when the request head had been read.
    pub started_at: SystemTime,
    /// A request that we read, or a tunnel that we only relayed.
    pub kind: Kind,
    /// The agent's socket.
    pub agent: SocketAddr,
    /// Who calls.
    pub caller: Caller,
    /// Why it gets no event, if so.
    pub unlogged: Option<Unlogged>,
    /// The lookup of the caller's process, which runs beside the exchange.
    pub process: ProcessLookup,
    /// The origin that was called.
    pub origin: Origin,
    /// The address that we connected to.
    pub peer: Option<SocketAddr>,
    /// The protocol spoken on both sides (there is no translation).
    pub version: Version,
    /// The TLS session with the origin, if any.
    pub tls: Option<TlsFacts>,
    /// The host names of the call, if they differ.
    pub names: Option<Box<HostNames>>,
    /// Why it was relayed unread, if so.
    pub blind: Option<Blind>,
    /// Whether the upstream connection was reused.
    pub connection_reused: bool,
    /// How often the request was retried, because a connection ended or an origin refused it without a response.
    pub sent_again: u8,
    /// The request of the agent.
    pub request: RequestFacts,
    /// The response that the agent got: the origin's, or one of ours (then `outcome` is a failure). `None`: the agent
    /// left before there was one.
    pub response: Option<ResponseFacts>,
    /// How it ended.
    pub outcome: Outcome,
    /// The duration of each step.
    pub timings: Timings,
    /// Set for a WebSocket, or a turn on one. Then both bodies are decompressed messages.
    pub websocket: Option<WebSocket>,
    /// The facts of a model call, if it is one.
    pub llm: Option<Box<crate::llm::Facts>>,
}

/// A WebSocket, or one turn on it.
#[derive(Clone)]
pub enum WebSocket {
    /// The exchange is a WebSocket, from its handshake to its end.
    Socket(Box<SocketFacts>),
    /// The exchange is one turn on a WebSocket: the agent's question and the whole answer.
    Turn(TurnFacts),
}

/// Facts about a WebSocket.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct SocketFacts {
    /// The summary of its messages.
    pub summary: Summary,
    /// Bytes from the agent, including frame headers.
    pub agent_bytes: u64,
    /// Bytes from the origin, including frame headers.
    pub origin_bytes: u64,
    /// Turns, each of which has its own event.
    pub turns: u64,
    /// Why reading ended before the socket did, if so. Then `summary` is what was known by then.
    pub given_up: Option<&'static str>,
}

impl SocketFacts {
    /// For a socket whose recording was interrupted.
    pub(super) fn interrupted(self) -> Self {
        Self { given_up: self.given_up.or(Some("interrupted")), ..self }
    }
}

/// The place of a turn.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TurnFacts {
    /// The exchange of the WebSocket.
    pub socket: Uuid,
    /// Its number on that WebSocket, from 1.
    pub number: u64,
}

/// The kind of traffic of an exchange.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// An HTTP request that was read and forwarded (or refused).
    Http,
    /// A CONNECT tunnel that was relayed unread, or failed. Sizes are the bytes each way.
    Tunnel,
}

/// Why a tunnel was relayed unread.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Blind {
    /// Its host is in `tls.passthrough`.
    Configured,
    /// Agents have refused our certificate for its host (`tls.learn_passthrough`).
    Learned,
    /// Its content is neither TLS nor HTTP.
    UnknownProtocol,
    /// The agent offers only ALPN protocols that we do not speak.
    UnknownAlpn,
    /// Its SNI is not a DNS name, so neither side's TLS can be spoken.
    UnreadableName,
    /// It offers no TLS version or no cipher suite that we speak.
    UnknownTls,
}

impl Blind {
    /// Its name in `metadata.blind`.
    pub fn name(self) -> &'static str {
        match self {
            Self::Configured => "configured",
            Self::Learned => "learned",
            Self::UnknownProtocol => "unknown_protocol",
            Self::UnknownAlpn => "unknown_alpn",
            Self::UnreadableName => "unreadable_server_name",
            Self::UnknownTls => "unknown_tls",
        }
    }
}

/// The server that is called: scheme, host, port.
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
    /// Host and port in the form of a CONNECT target (RFC 9110, section 7.1).
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

/// Facts about the TLS session with the origin.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TlsFacts {
    /// `TLSv1.3` or `TLSv1.2`.
    pub version: &'static str,
    /// The ALPN protocol that the origin selected, if any.
    pub alpn: Option<&'static str>,
    /// Its certificate was not verified, but matches the one in `tls.pinned`.
    pub pinned: bool,
}

/// The host names of one call.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HostNames {
    /// In its target: CONNECT, SOCKS or an absolute URL.
    pub target: Box<str>,
    /// In its TLS with us (SNI), if any.
    pub sni: Option<Box<str>>,
    /// In its `Host` field or `:authority`.
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
    /// The method, not shortened.
    pub method: Method,
    /// The path exactly as received, no query. `/` for a tunnel.
    pub path: String,
    /// The query exactly as received, without `?`. `None` when there was no `?`.
    pub query: Option<String>,
    /// The header fields as received; over HTTP/2, `:authority` is added as `host`.
    pub headers: Fields,
    /// The captured body.
    pub body: Captured,
    /// The trailer fields, if any.
    pub trailers: Option<Fields>,
}

impl Exchange {
    /// Joins both bodies: see [`Captured::join`].
    pub fn join_bodies(&mut self) {
        self.bodies_mut().for_each(Captured::join);
    }

    /// A copy without the bodies, of which it has the sizes.
    pub fn without_bodies(&self) -> Self {
        let mut copy = self.clone();
        for body in copy.bodies_mut() {
            *body = Captured { total_bytes: body.total_bytes, end: body.end, ..Captured::default() };
        }
        copy
    }

    /// The request's body, and the response's if there is one.
    pub(crate) fn bodies_mut(&mut self) -> impl Iterator<Item = &mut Captured> {
        [&mut self.request.body].into_iter().chain(self.response.as_mut().map(|response| &mut response.body))
    }
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
    /// The captured body.
    pub body: Captured,
    /// The trailer fields, if any.
    pub trailers: Option<Fields>,
    /// For an event stream: when its first pieces arrived.
    pub arrivals: Vec<Arrival>,
    /// Faults of the response that reached the agent all the same.
    pub faults: Vec<OriginFault>,
}

/// The bounded copy of one body: its first and last bytes, its true size, and how it ended.
#[derive(Debug, Clone, Default)]
pub struct Captured {
    /// The first bytes, in pieces as they arrived.
    pub head: Vec<Bytes>,
    /// The last bytes that are not in `head`, in pieces as they arrived.
    pub tail: Vec<Bytes>,
    /// The true size: all bytes that passed.
    pub total_bytes: u64,
    /// How the body ended.
    pub end: BodyEnd,
}

impl Captured {
    /// The bytes that were kept, without the gap between them.
    pub fn kept(&self) -> Cow<'_, [u8]> {
        match (&self.head[..], &self.tail[..]) {
            ([only], []) => Cow::Borrowed(only),
            (head, tail) => Cow::Owned([head, tail].concat().concat()),
        }
    }

    /// Puts what has no gap in it into one piece, which all readers share. Of a long body there is only this copy.
    pub fn join(&mut self) {
        if self.omitted_bytes() == 0 {
            self.head.append(&mut self.tail);
        }
        for pieces in [&mut self.head, &mut self.tail] {
            if pieces.len() > 1 {
                let mut joined = Vec::with_capacity(pieces.iter().map(Bytes::len).sum());
                // Each piece is freed as soon as it is copied.
                pieces.drain(..).for_each(|piece| joined.extend_from_slice(&piece));
                pieces.push(joined.into());
            }
        }
    }

    /// Bytes between `head` and `tail` that were not kept.
    pub fn omitted_bytes(&self) -> u64 {
        let kept: usize = self.head.iter().chain(&self.tail).map(Bytes::len).sum();
        self.total_bytes.saturating_sub(kept as u64)
    }
}

/// How a body ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum BodyEnd {
    /// Completely. Also for an empty body.
    #[default]
    Complete,
    /// The sender failed or reset the connection.
    SenderFailed,
    /// The receiver left before the end.
    ReceiverLeft,
    /// The proxy was shut down.
    ShutDown,
}

/// How an exchange ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    /// The agent got the origin's whole response, whatever its status.
    Complete,
    /// Something failed. The agent may have got a response of ours.
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

/// The duration of each step, on one monotonic clock. `None`: the step did not happen.
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
    /// How long the proxy waited for the agent to send its request body, until the response began; only if a
    /// millisecond or more.
    pub agent: Option<Duration>,
    /// OTAS's `latency_ms`: from the request head being forwarded to the last byte received, without the time that the
    /// agent took to send its body. If nothing was forwarded: from the request head being read to the response.
    pub latency: Duration,
    /// From the request head being read to the end of the exchange.
    pub total: Duration,
}
