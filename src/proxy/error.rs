//! Everything that can go wrong between an agent and an origin, with its name, its status and its words: the one table
//! that both the agent's answer and the event are made from.

use std::borrow::Cow;
use std::net::IpAddr;
use std::time::Duration;

use http::Version;

use super::egress::Denied;
use super::strict::Violation;

/// Why a request was not answered by its origin.
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
    /// Nothing listens there.
    #[error("cannot connect to {origin}: connection refused")]
    Refused {
        /// Scheme, host and port.
        origin: String,
    },
    /// No route, or another error of the network.
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
        /// The step that was under way.
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
        /// The same in words.
        reason: String,
    },
    /// The next proxy (`upstream.proxy`) did not give us a way to the origin.
    #[error("the upstream proxy {proxy} cannot be used: {reason}")]
    NextProxy {
        /// Its URL, without credentials.
        proxy: String,
        /// What failed.
        reason: String,
    },
    /// The TLS handshake failed for another reason than the certificate.
    #[error("the TLS handshake with {origin} failed: {reason}")]
    Tls {
        /// Scheme, host and port.
        origin: String,
        /// What failed.
        reason: String,
    },
    /// The origin ended the TLS handshake with the alert that says that nothing on offer suits it.
    #[error(
        "{origin} refused the TLS handshake (alert {alert}): it takes none of the cipher suites that are offered, or wants a client certificate"
    )]
    NoCommonCipher {
        /// Scheme, host and port.
        origin: String,
        /// The alert, as RFC 8446 names it.
        alert: &'static str,
    },
    /// The origin speaks another protocol than the one agreed with the agent.
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
    #[error("{origin} broke the connection off before answering ({reason})")]
    Reset {
        /// Scheme, host and port.
        origin: String,
        /// What the system or HTTP/2 said.
        reason: String,
    },
    /// A connection that had served requests before ended before the response's head, and the request is not one to send again
    /// without being asked. An agent expects that of a connection that it keeps, and knows what to do.
    #[error("{origin} ended a kept connection without answering ({reason})")]
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
        /// The code that it gave.
        code: h2::Reason,
        /// It said that it did not handle the request.
        refused: bool,
    },
    /// What came is not HTTP.
    #[error("{origin} sent a response that is not valid HTTP ({reason})")]
    BadResponse {
        /// Scheme, host and port.
        origin: String,
        /// What the parser said.
        reason: String,
    },
    /// The head of a response came, and its content is not framed as HTTP has it.
    #[error("{origin} sent content that is not valid HTTP ({reason})")]
    BadContent {
        /// Scheme, host and port.
        origin: String,
        /// What the parser said.
        reason: String,
    },
    /// The agent broke its own request off: nobody is there to be answered.
    #[error("the agent broke off its request to {origin} ({reason})")]
    AgentLeft {
        /// Scheme, host and port.
        origin: String,
        /// What the system or HTTP/2 said.
        reason: String,
    },
    /// Every call must be recorded, and this one could not be.
    #[error("this proxy records every call (`store.on_full = \"refuse\"`), and its event store takes none now")]
    NotRecordable,
    /// The agent gave no credentials that are known.
    #[error("this proxy serves agents that it knows: no credentials were given, or they are wrong")]
    Unauthorized,
    /// A request over HTTP/2 asks for a protocol that is not to be had there (RFC 8441).
    #[error("{origin} does not offer `{protocol}` over HTTP/2")]
    NotOffered {
        /// Scheme, host and port.
        origin: String,
        /// What the request asks for.
        protocol: String,
    },
    /// No agent may call it (`[egress]`).
    #[error("{origin}{} {}", address.map(|it| format!(" ({it})")).unwrap_or_default(), denied.words())]
    EgressDenied {
        /// Scheme, host and port.
        origin: String,
        /// Why not.
        denied: Denied,
        /// The address that it has, if that is what is denied.
        address: Option<IpAddr>,
    },
    /// The agent has more than its share.
    #[error("this agent has had its {limit} {what}")]
    TooMany {
        /// What there is a limit for.
        what: &'static str,
        /// The limit.
        limit: usize,
        /// When there may be room again.
        retry_after: Duration,
    },
    /// The names that the request goes by are different hosts (`proxy.strict_host`).
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
    /// The agent did not end a request's head in time.
    #[error("the request's head did not end within {} ms", limit.as_millis())]
    SlowHead {
        /// `proxy.header_timeout_ms`
        limit: Duration,
    },
    /// The agent stopped sending in the middle of its request's content.
    #[error("the agent sent nothing of its request's content for {} ms", limit.as_millis())]
    Stalled {
        /// `proxy.stall_timeout_ms`
        limit: Duration,
    },
    /// The agent took nothing, or stopped in the middle of a frame; its connection was closed.
    #[error("the agent {what} for {} ms", limit.as_millis())]
    Stuck {
        /// What it did, in words.
        what: &'static str,
        /// `proxy.stall_timeout_ms` or `proxy.header_timeout_ms`
        limit: Duration,
    },
    /// The request is sent, and no response has begun.
    #[error("{origin} did not begin to answer within {} ms", limit.as_millis())]
    NoResponse {
        /// Scheme, host and port.
        origin: String,
        /// `proxy.response_timeout_ms`
        limit: Duration,
    },
    /// The request's head is larger than is served here.
    #[error("{reason}")]
    LargeHead {
        /// Which limit it is over.
        reason: Cow<'static, str>,
    },
    /// The request cannot be forwarded as it is.
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

/// How a request ends that its origin did not answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Ending {
    /// We answer it.
    Answer,
    /// Nobody is there to be answered.
    AgentGone,
    /// The agent's connection is closed without a word.
    Close,
    /// Its stream is reset.
    Reset {
        /// With this code.
        code: h2::Reason,
        /// The agent is to use another connection from now on.
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
            Self::StreamReset { code, .. } if version == Version::HTTP_2 => Ending::Reset { code: *code, all: false },
            _ => Ending::Answer,
        }
    }
}
