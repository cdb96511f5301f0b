//! Everything that can go wrong between an agent and an origin, in words. Its identifier, status and hint: [`super::error_table`].

use std::borrow::Cow;
use std::net::IpAddr;
use std::time::Duration;

use http::Version;

use super::egress::Denied;
use super::strict::Violation;

/// Why a request got no response from its origin.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(super) enum ProxyError {
    /// The name does not resolve.
    #[error("cannot resolve `{host}`: {reason}")]
    Dns {
        /// The name.
        host: String,
        /// What the resolver said.
        reason: String,
    },
    /// The origin refused the connection.
    #[error("cannot connect to {origin}: connection refused")]
    Refused {
        /// Scheme, host and port.
        origin: String,
    },
    /// There is no route, or the network failed in another way.
    #[error("cannot connect to {origin}: {reason}")]
    Unreachable {
        /// Scheme, host and port.
        origin: String,
        /// What the system said.
        reason: String,
    },
    /// Resolving, connecting and the handshake took too long.
    #[error("{origin} did not answer within {} ms ({step})", limit.as_millis())]
    Timeout {
        /// Scheme, host and port.
        origin: String,
        /// The step that took too long.
        step: &'static str,
        /// `proxy.connect_timeout_ms`.
        limit: Duration,
    },
    /// The origin's certificate was refused.
    #[error("the TLS certificate of {origin} was refused: {reason}")]
    Certificate {
        /// Scheme, host and port.
        origin: String,
        /// The identifier of the check that failed.
        check: &'static str,
        /// Why, in words.
        reason: String,
    },
    /// The next proxy (`upstream.proxy`) failed.
    #[error("the upstream proxy {proxy} cannot be used: {reason}")]
    NextProxy {
        /// Its URL, without credentials.
        proxy: String,
        /// What failed.
        reason: String,
    },
    /// The TLS handshake failed, but not because of the certificate.
    #[error("the TLS handshake with {origin} failed: {reason}")]
    Tls {
        /// Scheme, host and port.
        origin: String,
        /// What failed.
        reason: String,
    },
    /// The origin ended the TLS handshake with an alert: it accepts none of the offered parameters.
    #[error(
        "{origin} refused the TLS handshake (alert {alert}): it accepts none of the offered cipher suites, or requires a client certificate"
    )]
    NoCommonCipher {
        /// Scheme, host and port.
        origin: String,
        /// The alert, as RFC 8446 names it.
        alert: &'static str,
    },
    /// The origin chose another protocol than the one agreed with the agent.
    #[error("{origin} no longer offers {protocol}, which this connection speaks")]
    Protocol {
        /// Scheme, host and port.
        origin: String,
        /// `h2` or `http/1.1`.
        protocol: &'static str,
    },
    /// The connection ended before the response's head.
    #[error("{origin} closed the connection without answering")]
    Closed {
        /// Scheme, host and port.
        origin: String,
    },
    /// The connection was reset before the response's head.
    #[error("{origin} reset the connection before answering ({reason})")]
    Reset {
        /// Scheme, host and port.
        origin: String,
        /// What the system or HTTP/2 said.
        reason: String,
    },
    /// A reused connection ended before the response's head, and the request cannot be retried safely. Agents expect this on
    /// connections that they reuse, and handle it themselves.
    #[error("{origin} closed a reused connection without answering ({reason})")]
    Lost {
        /// Scheme, host and port.
        origin: String,
        /// What the system or HTTP said.
        reason: String,
    },
    /// The origin ended the HTTP/2 stream, or its whole connection, before the response's head.
    #[error("{origin} reset the stream before answering ({code:?})")]
    StreamReset {
        /// Scheme, host and port.
        origin: String,
        /// The error code of the origin.
        code: h2::Reason,
        /// The origin said that it did not handle the request.
        refused: bool,
    },
    /// The response is not HTTP.
    #[error("{origin} sent a response that is not valid HTTP ({reason})")]
    BadResponse {
        /// Scheme, host and port.
        origin: String,
        /// What the parser said.
        reason: String,
    },
    /// The response's content violates its HTTP framing.
    #[error("{origin} sent content that is not valid HTTP ({reason})")]
    BadContent {
        /// Scheme, host and port.
        origin: String,
        /// What the parser said.
        reason: String,
    },
    /// The agent left before its request was complete.
    #[error("the agent left before its request to {origin} was complete ({reason})")]
    AgentLeft {
        /// Scheme, host and port.
        origin: String,
        /// What the system or HTTP/2 said.
        reason: String,
    },
    /// Every call must be recorded, and this one cannot be.
    #[error(
        "this proxy records every call (`store.on_full = \"refuse\"`), and its event store cannot accept another call now"
    )]
    NotRecordable,
    /// The agent sent no credentials, or unknown ones.
    #[error("this proxy requires credentials: they are missing or wrong")]
    Unauthorized,
    /// A request over HTTP/2 asks for a protocol that the origin does not offer (RFC 8441).
    #[error("{origin} does not offer `{protocol}` over HTTP/2")]
    NotOffered {
        /// Scheme, host and port.
        origin: String,
        /// The protocol that the request asks for.
        protocol: String,
    },
    /// Agents may not call this host (`[egress]`).
    #[error("{origin}{} {}", address.map(|it| format!(" ({it})")).unwrap_or_default(), denied.words())]
    EgressDenied {
        /// Scheme, host and port.
        origin: String,
        /// Why not.
        denied: Denied,
        /// The denied address of the host, if its address is denied.
        address: Option<IpAddr>,
    },
    /// The agent has reached a limit.
    #[error("limit reached: {limit} {what} for each agent")]
    TooMany {
        /// What is limited.
        what: &'static str,
        /// The limit.
        limit: usize,
        /// After this time the agent may try again.
        retry_after: Duration,
    },
    /// The request names different hosts (`proxy.strict_host`).
    #[error("the request names different hosts: {names}")]
    HostMismatch {
        /// All of them.
        names: String,
    },
    /// The target is this proxy itself.
    #[error("{origin} is this proxy itself")]
    Loop {
        /// Scheme, host and port.
        origin: String,
    },
    /// The agent did not send a whole request head in time.
    #[error("the request's head was not complete within {} ms", limit.as_millis())]
    SlowHead {
        /// `proxy.header_timeout_ms`
        limit: Duration,
    },
    /// The agent stopped sending before its request's content was complete.
    #[error("the agent sent no more of its request's content for {} ms", limit.as_millis())]
    Stalled {
        /// `proxy.stall_timeout_ms`
        limit: Duration,
    },
    /// The agent read nothing, or stopped within a frame. Its connection was closed.
    #[error("the agent {what} for {} ms", limit.as_millis())]
    Stuck {
        /// What it did, in words.
        what: &'static str,
        /// `proxy.stall_timeout_ms` or `proxy.header_timeout_ms`
        limit: Duration,
    },
    /// The request was sent, and no response has begun.
    #[error("{origin} did not begin to answer within {} ms", limit.as_millis())]
    NoResponse {
        /// Scheme, host and port.
        origin: String,
        /// `proxy.response_timeout_ms`
        limit: Duration,
    },
    /// The request's head is too large.
    #[error("{reason}")]
    LargeHead {
        /// Which limit it exceeds.
        reason: Cow<'static, str>,
    },
    /// The request is malformed, or cannot be forwarded.
    #[error("{reason}")]
    BadRequest {
        /// What is wrong with it.
        reason: Cow<'static, str>,
    },
}

impl From<Violation> for ProxyError {
    fn from(violation: Violation) -> Self {
        match violation {
            Violation::Malformed(reason) => Self::BadRequest { reason },
            Violation::TooLarge(reason) => Self::LargeHead { reason },
        }
    }
}

/// How a request ends that got no response from its origin.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Ending {
    /// With an error response of ours.
    Answer,
    /// The agent has left, so nobody gets a response.
    AgentGone,
    /// The agent's connection is closed without a response.
    Close,
    /// The stream is reset.
    Reset {
        /// With this code.
        code: h2::Reason,
        /// The agent must use another connection for its next request.
        all: bool,
    },
}

impl ProxyError {
    /// How a request over `version` ends because of this.
    pub(super) fn ending(&self, version: Version) -> Ending {
        match self {
            Self::AgentLeft { .. } => Ending::AgentGone,
            Self::Lost { .. } if version == Version::HTTP_2 => {
                Ending::Reset { code: h2::Reason::INTERNAL_ERROR, all: true }
            }
            Self::Lost { .. } => Ending::Close,
            // As an origin does without us that does not know the protocol (RFC 8441 section 3).
            Self::NotOffered { protocol, .. } if version == Version::HTTP_2 && protocol == "websocket" => {
                Ending::Reset { code: h2::Reason::PROTOCOL_ERROR, all: false }
            }
            Self::StreamReset { code, .. } if version == Version::HTTP_2 => Ending::Reset { code: *code, all: false },
            _ => Ending::Answer,
        }
    }
}
