//! The status of a gRPC call. It is not an HTTP status: it comes in the trailers (or, for a call without messages, in
//! the header fields) of a response that is always 200 (gRPC over HTTP/2, Responses).

use std::borrow::Cow;

use percent_encoding::percent_decode;

use super::headers;
use crate::capture::{Exchange, Fields};

/// The names of the status codes, by number (gRPC, Status codes).
const NAMES: [&str; 17] = [
    "OK",
    "CANCELLED",
    "UNKNOWN",
    "INVALID_ARGUMENT",
    "DEADLINE_EXCEEDED",
    "NOT_FOUND",
    "ALREADY_EXISTS",
    "PERMISSION_DENIED",
    "RESOURCE_EXHAUSTED",
    "FAILED_PRECONDITION",
    "ABORTED",
    "OUT_OF_RANGE",
    "UNIMPLEMENTED",
    "INTERNAL",
    "UNAVAILABLE",
    "DATA_LOSS",
    "UNAUTHENTICATED",
];

/// `grpc-status` and `grpc-message`.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Status {
    code: u16,
    message: String,
}

/// Whether the call is gRPC.
pub(super) fn is_grpc(exchange: &Exchange) -> bool {
    let of = |fields: &Fields| fields.get("content-type").is_some_and(|value| value.starts_with(b"application/grpc"));
    of(&exchange.request.headers)
}

/// The status of a gRPC call, if there is one.
pub(super) fn status(exchange: &Exchange) -> Option<Status> {
    let response = exchange.response.as_ref().filter(|_| is_grpc(exchange))?;
    let of = |fields: &Fields| {
        let code = str::from_utf8(fields.get("grpc-status")?).ok()?.trim().parse().ok()?;
        let message = fields.get("grpc-message").map(headers::text).unwrap_or_default();
        Some(Status { code, message: percent_decode(message.as_bytes()).decode_utf8_lossy().into_owned() })
    };
    response.trailers.as_ref().and_then(of).or_else(|| of(&response.headers))
}

impl Status {
    /// The name of the code, or its number if it has no name.
    pub(super) fn name(&self) -> Cow<'static, str> {
        NAMES.get(usize::from(self.code)).map_or_else(|| self.code.to_string().into(), |name| Cow::Borrowed(*name))
    }

    /// The event's `error`. `None` on success.
    pub(super) fn error(&self) -> Option<String> {
        let (code, name) = (self.code, self.name());
        match self.message.as_str() {
            _ if code == 0 => None,
            "" => Some(format!("grpc_{code}: {name}")),
            message => Some(format!("grpc_{code}: {name}: {message}")),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn status(code: u16, message: &str) -> Status {
        Status { code, message: message.to_owned() }
    }

    #[test]
    fn every_status_except_ok_is_an_error() {
        assert_eq!(status(0, "").error(), None);
        assert_eq!(status(5, "no such thing").error().unwrap(), "grpc_5: NOT_FOUND: no such thing");
        assert_eq!(status(16, "").error().unwrap(), "grpc_16: UNAUTHENTICATED");
        assert_eq!(status(99, "").error().unwrap(), "grpc_99: 99");
    }
}
