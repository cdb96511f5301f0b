//! Everything that can go wrong between an agent and an origin, with its name, its status and its words: the one table
//! that both the agent's answer and the event are made from.

use std::borrow::Cow;
use std::net::IpAddr;
use std::time::Duration;

use http::{StatusCode, Version};

use super::egress::Denied;
use super::strict::Violation;
use crate::capture::Failure;

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

/// The columns of the table: see [`ProxyError::row`].
pub(super) struct Row {
    /// Stable identifier: `error` of the event starts with it.
    pub(super) id: &'static str,
    /// What the agent gets.
    pub(super) status: StatusCode,
    /// The error type of RFC 9209 section 2.3.
    pub(super) proxy_status: &'static str,
    /// The step that failed, in a word or two.
    pub(super) step: &'static str,
    /// What to do about it.
    pub(super) hint: &'static str,
}

/// How a request ends that its origin did not answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Ending {
    /// We answer it.
    Answer,
    /// Nobody is there to be answered.
    Unheard,
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
            Self::AgentLeft { .. } => Ending::Unheard,
            Self::Lost { .. } if version == Version::HTTP_2 => {
                Ending::Reset { code: h2::Reason::INTERNAL_ERROR, all: true }
            }
            Self::Lost { .. } => Ending::Close,
            Self::StreamReset { code, .. } if version == Version::HTTP_2 => Ending::Reset { code: *code, all: false },
            _ => Ending::Answer,
        }
    }

    /// This error's row in the table.
    pub(super) fn row(&self) -> Row {
        use StatusCode as S;
        let row = |id, status, proxy_status, step, hint| Row { id, status, proxy_status, step, hint };
        match self {
            Self::Dns { .. } => row(
                "dns_not_found",
                S::BAD_GATEWAY,
                "dns_error",
                "resolve",
                "check the host's spelling and this machine's DNS",
            ),
            Self::Refused { .. } => row(
                "connect_refused",
                S::BAD_GATEWAY,
                "connection_refused",
                "connect",
                "check the port, and that the origin is up",
            ),
            Self::Unreachable { .. } => row(
                "connect_failed",
                S::BAD_GATEWAY,
                "destination_ip_unroutable",
                "connect",
                "check this machine's network and the origin's address",
            ),
            Self::Timeout { .. } => row(
                "connect_timeout",
                S::GATEWAY_TIMEOUT,
                "connection_timeout",
                "connect",
                "check that the origin can be reached, or raise proxy.connect_timeout_ms",
            ),
            Self::Certificate { check, .. } => row(
                check,
                S::BAD_GATEWAY,
                "tls_certificate_error",
                "tls",
                "the origin must present a certificate that is valid for its name; nothing was sent to it",
            ),
            Self::Tls { .. } => row(
                "tls_handshake_failed",
                S::BAD_GATEWAY,
                "tls_protocol_error",
                "tls",
                "check that the origin speaks TLS 1.2 or 1.3 on this port; nothing was sent to it",
            ),
            Self::NoCommonCipher { .. } => row(
                "tls_no_common_cipher",
                S::BAD_GATEWAY,
                "tls_protocol_error",
                "tls",
                "offered are TLS 1.3, and TLS 1.2 with ECDHE and AES-GCM or ChaCha20-Poly1305; the TLS library has no CBC cipher \
                 suites, RSA key exchange or finite-field Diffie-Hellman. List the host in tls.passthrough, so that agents speak \
                 to it themselves (unread), or a certificate for it in tls.client_certificates; nothing was sent to it",
            ),
            Self::NextProxy { .. } => row(
                "upstream_proxy_failed",
                S::BAD_GATEWAY,
                "destination_unavailable",
                "upstream proxy",
                "check `upstream.proxy` and what that proxy allows; hosts in `upstream.no_proxy` are called directly",
            ),
            Self::Protocol { .. } => row(
                "protocol_changed",
                S::BAD_GATEWAY,
                "tls_protocol_error",
                "tls",
                "open a new connection: it will agree on a protocol anew",
            ),
            Self::Closed { .. } => row(
                "origin_closed",
                S::BAD_GATEWAY,
                "connection_terminated",
                "response",
                "the request may or may not have been handled; try again if that does no harm",
            ),
            Self::Reset { .. } => row(
                "origin_reset",
                S::BAD_GATEWAY,
                "connection_terminated",
                "response",
                "the request may or may not have been handled; try again if that does no harm",
            ),
            Self::Lost { .. } => row(
                "origin_closed",
                S::BAD_GATEWAY,
                "connection_terminated",
                "response",
                "the agent's connection was ended in the same way; the request may or may not have been handled",
            ),
            Self::StreamReset { refused: true, .. } => row(
                "origin_refused",
                S::BAD_GATEWAY,
                "connection_terminated",
                "response",
                "the origin did not handle the request; it can be sent again",
            ),
            Self::StreamReset { code: h2::Reason::HTTP_1_1_REQUIRED, .. } => row(
                "origin_reset",
                S::BAD_GATEWAY,
                "http_protocol_error",
                "response",
                "the origin did not handle the request; it serves this over HTTP/1.1, so the client must not offer h2",
            ),
            Self::StreamReset { code: h2::Reason::ENHANCE_YOUR_CALM, .. } => row(
                "origin_reset",
                S::BAD_GATEWAY,
                "connection_terminated",
                "response",
                "the origin finds that this client sends too much; send less at once, or more slowly",
            ),
            Self::StreamReset { .. } => row(
                "origin_reset",
                S::BAD_GATEWAY,
                "connection_terminated",
                "response",
                "the request may or may not have been handled; try again if that does no harm",
            ),
            Self::BadResponse { .. } => row(
                "origin_bad_response",
                S::BAD_GATEWAY,
                "http_protocol_error",
                "response",
                "the origin must speak HTTP on this port",
            ),
            Self::BadContent { .. } => row(
                "origin_bad_response",
                S::BAD_GATEWAY,
                "http_protocol_error",
                "response",
                "the agent got what came before; the origin's framing must follow RFC 9112 section 7",
            ),
            Self::AgentLeft { .. } => row(
                "agent_left",
                S::BAD_REQUEST,
                "http_request_error",
                "request",
                "the origin got a part of the request; it was told that the rest does not come",
            ),
            Self::NotRecordable => row(
                "not_recordable",
                S::SERVICE_UNAVAILABLE,
                "proxy_internal_error",
                "record",
                "nothing was sent; make room on the disk of `store.path` or raise `store.max_bytes`, then try again",
            ),
            Self::Unauthorized => row(
                "proxy_unauthorized",
                S::PROXY_AUTHENTICATION_REQUIRED,
                "http_request_denied",
                "authenticate",
                "put NAME:SECRET of an entry of `[[agents]]` into the proxy's URL: http://NAME:SECRET@host:port",
            ),
            Self::NotOffered { .. } => row(
                "protocol_not_offered",
                S::NOT_IMPLEMENTED,
                "http_upgrade_failed",
                "request",
                "open a WebSocket over HTTP/1.1 instead; other protocols are not passed on by extended CONNECT",
            ),
            Self::EgressDenied { .. } => row(
                "egress_denied",
                S::FORBIDDEN,
                "http_request_denied",
                "egress",
                "nothing was sent; which hosts agents may call is set in [egress] of this proxy's settings",
            ),
            Self::TooMany { .. } => row(
                "agent_limit",
                S::TOO_MANY_REQUESTS,
                "http_request_denied",
                "admit",
                "nothing was sent; come again later, or raise proxy.agent_connections or proxy.agent_requests_per_second",
            ),
            Self::HostMismatch { .. } => row(
                "host_mismatch",
                S::FORBIDDEN,
                "http_request_denied",
                "request",
                "nothing was sent; CONNECT, the TLS server name and Host must name one host (proxy.strict_host)",
            ),
            Self::Loop { .. } => row(
                "proxy_loop",
                S::LOOP_DETECTED,
                "proxy_loop_detected",
                "connect",
                "call the service itself, not the proxy's own port",
            ),
            Self::SlowHead { .. } => row(
                "request_timeout",
                S::REQUEST_TIMEOUT,
                "http_request_error",
                "request",
                "nothing was sent to the origin; send the head at once, or raise proxy.header_timeout_ms",
            ),
            Self::Stalled { .. } => row(
                "request_stalled",
                S::REQUEST_TIMEOUT,
                "http_request_error",
                "request",
                "the origin was told that the rest does not come; send on, or raise proxy.stall_timeout_ms",
            ),
            Self::Stuck { .. } => row(
                "agent_stalled",
                S::REQUEST_TIMEOUT,
                "http_request_error",
                "connection",
                "its connection was closed; read what is sent, or raise proxy.stall_timeout_ms",
            ),
            Self::NoResponse { .. } => row(
                "response_timeout",
                S::GATEWAY_TIMEOUT,
                "http_response_timeout",
                "response",
                "the request may or may not have been handled; if it takes so long, raise proxy.response_timeout_ms",
            ),
            Self::LargeHead { .. } => row(
                "request_head_too_large",
                S::REQUEST_HEADER_FIELDS_TOO_LARGE,
                "http_request_error",
                "request",
                "send fewer or smaller header fields, or raise proxy.max_header_bytes",
            ),
            Self::BadRequest { .. } => row(
                "bad_request",
                S::BAD_REQUEST,
                "http_request_error",
                "request",
                "the client must send it as RFC 9110 and RFC 9112 have it",
            ),
        }
    }

    /// After how many seconds the agent may come again (RFC 9110 10.2.3).
    pub(super) fn retry_after_seconds(&self) -> Option<u64> {
        match self {
            Self::TooMany { retry_after, .. } => Some(retry_after.as_millis().div_ceil(1000).max(1) as u64),
            _ => None,
        }
    }

    /// The same as a failure for the event.
    pub(super) fn failure(&self) -> Failure {
        let row = self.row();
        Failure { id: row.id, detail: format!("{self}; {}", row.hint) }
    }
}
