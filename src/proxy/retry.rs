//! Whether a request without a response is sent again (RFC 9110 9.2.2, RFC 9113 8.7).

use http::Method;

/// What is known about a request that got no response.
#[derive(Debug, Clone, Copy)]
pub(super) struct LostRequest {
    /// The connection accepted no byte of it.
    pub(super) unsent: bool,
    /// The origin said that it did not handle it (`REFUSED_STREAM`, or a GOAWAY that excludes it).
    pub(super) refused: bool,
    /// The origin reset the request's HTTP/2 stream, and the connection lives on.
    pub(super) reset: bool,
    /// The connection had carried a request before, or it was opened for another agent connection.
    pub(super) kept: bool,
    /// At least one byte of the response had come.
    pub(super) response_begun: bool,
    /// Its method is idempotent.
    pub(super) idempotent: bool,
    /// It has content, and none of it was sent. So the origin cannot have handled the request.
    pub(super) withheld: bool,
    /// Its content can be sent from the beginning.
    pub(super) whole: bool,
    /// How many times it was sent again before.
    pub(super) sent: u8,
    /// How many tries failed before, sent or not.
    pub(super) tries: u8,
}

/// What happens to a request without a response.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Retry {
    /// It is sent again, on the same connection if that is usable.
    Again,
    /// It is sent again, on another connection.
    Elsewhere,
    /// The agent decides. Its connection ends, like the reused connection to the origin has ended.
    Agent,
    /// The agent gets an error response.
    Fail,
}

/// How many times a request is sent in total if the origin did not handle it, or if no connection accepted it.
const TRIES: u8 = 3;

/// Decides whether a request is sent again.
pub(super) fn decide(lost: LostRequest) -> Retry {
    let LostRequest { unsent, refused, reset, kept, response_begun, idempotent, withheld, whole, sent, tries } = lost;
    if unsent && tries < TRIES {
        return Retry::Again;
    }
    if refused && whole && sent + 1 < TRIES {
        return if sent == 0 { Retry::Again } else { Retry::Elsewhere };
    }
    if refused || reset || unsent || !kept || response_begun {
        return Retry::Fail;
    }
    match (idempotent || withheld) && whole && sent == 0 {
        true => Retry::Elsewhere,
        false => Retry::Agent,
    }
}

/// Whether a method may be repeated (RFC 9110 9.2.2).
pub(super) fn is_idempotent(method: &Method) -> bool {
    matches!(*method, Method::GET | Method::HEAD | Method::OPTIONS | Method::TRACE | Method::PUT | Method::DELETE)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A GET on a kept connection that ended without a byte.
    const KEPT: LostRequest = LostRequest {
        unsent: false,
        refused: false,
        reset: false,
        kept: true,
        response_begun: false,
        idempotent: true,
        withheld: false,
        whole: true,
        sent: 0,
        tries: 0,
    };

    #[test]
    fn a_repeatable_request_is_sent_again_once_on_another_connection() {
        assert_eq!(decide(KEPT), Retry::Elsewhere);
        assert_eq!(decide(LostRequest { sent: 1, ..KEPT }), Retry::Agent);
        assert_eq!(decide(LostRequest { whole: false, ..KEPT }), Retry::Agent, "its content is gone");
        let post = LostRequest { idempotent: false, ..KEPT };
        assert_eq!(decide(post), Retry::Agent);
        assert_eq!(decide(LostRequest { withheld: true, ..post }), Retry::Elsewhere);
    }

    #[test]
    fn a_reset_stream_is_the_origins_answer_on_any_connection() {
        assert_eq!(decide(LostRequest { reset: true, ..KEPT }), Retry::Fail);
        assert_eq!(decide(LostRequest { reset: true, refused: true, ..KEPT }), Retry::Again);
    }

    #[test]
    fn an_answer_that_began_and_a_new_connection_are_failures() {
        assert_eq!(decide(LostRequest { response_begun: true, ..KEPT }), Retry::Fail);
        assert_eq!(decide(LostRequest { kept: false, ..KEPT }), Retry::Fail);
    }

    #[test]
    fn an_unhandled_request_is_sent_again_whatever_its_method() {
        let refused = LostRequest { refused: true, idempotent: false, kept: false, ..KEPT };
        assert_eq!(decide(refused), Retry::Again);
        assert_eq!(decide(LostRequest { sent: 1, ..refused }), Retry::Elsewhere);
        assert_eq!(decide(LostRequest { sent: 2, ..refused }), Retry::Fail);
        assert_eq!(decide(LostRequest { whole: false, ..refused }), Retry::Fail);
        let unsent = LostRequest { unsent: true, idempotent: false, ..KEPT };
        assert_eq!(decide(unsent), Retry::Again);
        assert_eq!(decide(LostRequest { tries: TRIES, ..unsent }), Retry::Fail);
    }
}
