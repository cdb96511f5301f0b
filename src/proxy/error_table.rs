//! The one table of errors: what the agent is answered, and what the event says.

use http::StatusCode;

use super::error::ProxyError;
use crate::capture::Failure;

/// The hint when it is not known whether the origin has handled the request.
const MAYBE_HANDLED: &str = "the origin may have handled the request; retry it if that is safe";

/// A row of the table: see [`ProxyError::row`].
pub(super) struct Row {
    /// Stable identifier. The `error` of the event starts with it.
    pub(super) id: &'static str,
    /// The status of the agent's response.
    pub(super) status: StatusCode,
    /// The error type of RFC 9209 section 2.3.
    pub(super) proxy_status: &'static str,
    /// The step that failed, in a word or two.
    pub(super) step: &'static str,
    /// What to do about it.
    pub(super) hint: &'static str,
}

impl ProxyError {
    /// This error's row in the table.
    pub(super) fn row(&self) -> Row {
        match self {
            Self::Dns { .. } => Row {
                id: "dns_not_found",
                status: StatusCode::BAD_GATEWAY,
                proxy_status: "dns_error",
                step: "resolve",
                hint: "check the host's spelling and this machine's DNS",
            },
            Self::Refused { .. } => Row {
                id: "connect_refused",
                status: StatusCode::BAD_GATEWAY,
                proxy_status: "connection_refused",
                step: "connect",
                hint: "check the port, and that the origin is running",
            },
            Self::Unreachable { .. } => Row {
                id: "connect_failed",
                status: StatusCode::BAD_GATEWAY,
                proxy_status: "destination_ip_unroutable",
                step: "connect",
                hint: "check this machine's network and the origin's address",
            },
            Self::Timeout { .. } => Row {
                id: "connect_timeout",
                status: StatusCode::GATEWAY_TIMEOUT,
                proxy_status: "connection_timeout",
                step: "connect",
                hint: "check that the origin can be reached, or raise proxy.connect_timeout_ms",
            },
            Self::Certificate { check, .. } => Row {
                id: check,
                status: StatusCode::BAD_GATEWAY,
                proxy_status: "tls_certificate_error",
                step: "tls",
                hint: "the origin must present a certificate that is valid for its name; nothing was sent to it",
            },
            Self::Tls { .. } => Row {
                id: "tls_handshake_failed",
                status: StatusCode::BAD_GATEWAY,
                proxy_status: "tls_protocol_error",
                step: "tls",
                hint: "check that the origin speaks TLS 1.2 or 1.3 on this port; nothing was sent to it",
            },
            Self::NoCommonCipher { .. } => Row {
                id: "tls_no_common_cipher",
                status: StatusCode::BAD_GATEWAY,
                proxy_status: "tls_protocol_error",
                step: "tls",
                hint: "this proxy offers TLS 1.3, and TLS 1.2 with ECDHE and AES-GCM or ChaCha20-Poly1305; its TLS library has no CBC cipher \
                 suites, RSA key exchange or finite-field Diffie-Hellman. List the host in tls.passthrough (its calls are then \
                 relayed unread), or a certificate for it in tls.client_certificates; nothing was sent to it",
            },
            Self::NextProxy { .. } => Row {
                id: "upstream_proxy_failed",
                status: StatusCode::BAD_GATEWAY,
                proxy_status: "destination_unavailable",
                step: "upstream proxy",
                hint: "check `upstream.proxy`, and what that proxy allows; hosts in `upstream.no_proxy` are called directly",
            },
            Self::Protocol { .. } => Row {
                id: "protocol_changed",
                status: StatusCode::BAD_GATEWAY,
                proxy_status: "tls_protocol_error",
                step: "tls",
                hint: "open a new connection, which negotiates the protocol again",
            },
            Self::Closed { .. } => Row {
                id: "origin_closed",
                status: StatusCode::BAD_GATEWAY,
                proxy_status: "connection_terminated",
                step: "response",
                hint: MAYBE_HANDLED,
            },
            Self::Reset { .. } => Row {
                id: "origin_reset",
                status: StatusCode::BAD_GATEWAY,
                proxy_status: "connection_terminated",
                step: "response",
                hint: MAYBE_HANDLED,
            },
            Self::Lost { .. } => Row {
                id: "origin_closed",
                status: StatusCode::BAD_GATEWAY,
                proxy_status: "connection_terminated",
                step: "response",
                hint: "the agent's connection was closed in the same way; the origin may have handled the request",
            },
            Self::StreamReset { refused: true, .. } => Row {
                id: "origin_refused",
                status: StatusCode::BAD_GATEWAY,
                proxy_status: "connection_terminated",
                step: "response",
                hint: "the origin did not handle the request; retry it",
            },
            Self::StreamReset { code: h2::Reason::HTTP_1_1_REQUIRED, .. } => Row {
                id: "origin_reset",
                status: StatusCode::BAD_GATEWAY,
                proxy_status: "http_protocol_error",
                step: "response",
                hint: "the origin did not handle the request; it requires HTTP/1.1, so the client must not offer h2",
            },
            Self::StreamReset { code: h2::Reason::ENHANCE_YOUR_CALM, .. } => Row {
                id: "origin_reset",
                status: StatusCode::BAD_GATEWAY,
                proxy_status: "connection_terminated",
                step: "response",
                hint: "the origin says that this client sends too much; send fewer requests at once, or send them more slowly",
            },
            Self::StreamReset { .. } => Row {
                id: "origin_reset",
                status: StatusCode::BAD_GATEWAY,
                proxy_status: "connection_terminated",
                step: "response",
                hint: MAYBE_HANDLED,
            },
            Self::BadResponse { .. } => Row {
                id: "origin_bad_response",
                status: StatusCode::BAD_GATEWAY,
                proxy_status: "http_protocol_error",
                step: "response",
                hint: "the origin must speak HTTP on this port",
            },
            Self::BadContent { .. } => Row {
                id: "origin_bad_response",
                status: StatusCode::BAD_GATEWAY,
                proxy_status: "http_protocol_error",
                step: "response",
                hint: "the agent got the content before the fault; the origin's framing must follow RFC 9112 section 7",
            },
            Self::AgentLeft { .. } => Row {
                id: "agent_left",
                status: StatusCode::BAD_REQUEST,
                proxy_status: "http_request_error",
                step: "request",
                hint: "the request to the origin was aborted; the origin got a part of it",
            },
            Self::NotRecordable => Row {
                id: "not_recordable",
                status: StatusCode::SERVICE_UNAVAILABLE,
                proxy_status: "proxy_internal_error",
                step: "record",
                hint: "nothing was sent; free space on the disk of `store.path` or raise `store.max_bytes`, then retry",
            },
            Self::Unauthorized => Row {
                id: "proxy_unauthorized",
                status: StatusCode::PROXY_AUTHENTICATION_REQUIRED,
                proxy_status: "http_request_denied",
                step: "authenticate",
                hint: "put NAME:SECRET of an entry of `[[agents]]` into the proxy's URL: http://NAME:SECRET@host:port",
            },
            Self::NotOffered { .. } => Row {
                id: "protocol_not_offered",
                status: StatusCode::NOT_IMPLEMENTED,
                proxy_status: "http_upgrade_failed",
                step: "request",
                hint: "open a WebSocket over HTTP/1.1 instead; this proxy forwards no other protocol by extended CONNECT",
            },
            Self::EgressDenied { .. } => Row {
                id: "egress_denied",
                status: StatusCode::FORBIDDEN,
                proxy_status: "http_request_denied",
                step: "egress",
                hint: "nothing was sent; [egress] in this proxy's settings says which hosts agents may call",
            },
            Self::TooMany { .. } => Row {
                id: "agent_limit",
                status: StatusCode::TOO_MANY_REQUESTS,
                proxy_status: "http_request_denied",
                step: "admit",
                hint: "nothing was sent; retry later, or raise proxy.agent_connections or proxy.agent_requests_per_second",
            },
            Self::HostMismatch { .. } => Row {
                id: "host_mismatch",
                status: StatusCode::FORBIDDEN,
                proxy_status: "http_request_denied",
                step: "request",
                hint: "nothing was sent; CONNECT, the TLS server name and Host must name one host (proxy.strict_host)",
            },
            Self::Loop { .. } => Row {
                id: "proxy_loop",
                status: StatusCode::LOOP_DETECTED,
                proxy_status: "proxy_loop_detected",
                step: "connect",
                hint: "call the service itself, not the proxy's own port",
            },
            Self::SlowHead { .. } => Row {
                id: "request_timeout",
                status: StatusCode::REQUEST_TIMEOUT,
                proxy_status: "http_request_error",
                step: "request",
                hint: "nothing was sent to the origin; send the head at once, or raise proxy.header_timeout_ms",
            },
            Self::Stalled { .. } => Row {
                id: "request_stalled",
                status: StatusCode::REQUEST_TIMEOUT,
                proxy_status: "http_request_error",
                step: "request",
                hint: "the request to the origin was aborted; send the content faster, or raise proxy.stall_timeout_ms",
            },
            Self::Stuck { .. } => Row {
                id: "agent_stalled",
                status: StatusCode::REQUEST_TIMEOUT,
                proxy_status: "http_request_error",
                step: "connection",
                hint: "its connection was closed; read the responses faster, or raise proxy.stall_timeout_ms",
            },
            Self::NoResponse { .. } => Row {
                id: "response_timeout",
                status: StatusCode::GATEWAY_TIMEOUT,
                proxy_status: "http_response_timeout",
                step: "response",
                hint: "the origin may have handled the request; if it needs more time, raise proxy.response_timeout_ms",
            },
            Self::LargeHead { .. } => Row {
                id: "request_head_too_large",
                status: StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE,
                proxy_status: "http_request_error",
                step: "request",
                hint: "send fewer or smaller header fields, or raise proxy.max_header_bytes",
            },
            Self::BadRequest { .. } => Row {
                id: "bad_request",
                status: StatusCode::BAD_REQUEST,
                proxy_status: "http_request_error",
                step: "request",
                hint: "the client must follow RFC 9110 and RFC 9112",
            },
        }
    }

    /// The seconds for `Retry-After` (RFC 9110 10.2.3).
    pub(super) fn retry_after_seconds(&self) -> Option<u64> {
        match self {
            Self::TooMany { retry_after, .. } => Some(retry_after.as_millis().div_ceil(1000).max(1) as u64),
            _ => None,
        }
    }

    /// The failure for the event.
    pub(super) fn failure(&self) -> Failure {
        let row = self.row();
        Failure { id: row.id, detail: format!("{self}; {}", row.hint) }
    }
}
