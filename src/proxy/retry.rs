//! Whether a request that got no answer is sent again (RFC 9110 9.2.2, RFC 9113 8.7).

use http::Method;

/// What is known of a request that got no answer.
#[derive(Debug, Clone, Copy)]
pub(super) struct LostRequest {
    /// Not a byte of it was accepted by the connection.
    pub(super) unsent: bool,
    /// The origin said that it did not handle it (`REFUSED_STREAM`, or a GOAWAY that leaves it out).
    pub(super) refused: bool,
    /// The connection had carried a request before, or was opened for another agent connection.
    pub(super) kept: bool,
    /// A byte of an answer had come.
    pub(super) response_begun: bool,
    /// Its method is idempotent.
    pub(super) idempotent: bool,
    /// There is content, and nothing of it was sent: the origin cannot have handled the request.
    pub(super) withheld: bool,
    /// Its content can be sent from the beginning.
    pub(super) whole: bool,
    /// How often it was sent before.
    pub(super) sent: u8,
    /// How often it was tried before, sent or not.
    pub(super) tries: u8,
}

/// What becomes of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Retry {
    /// It is sent again, on the same connection if that is good.
    Again,
    /// It is sent again, on another connection.
    Elsewhere,
    /// The agent decides: what it sees is what it would see directly, the end of a kept connection.
    Agent,
    /// The agent is told what failed.
    Fail,
}

/// How often a request is sent in all that the origin did not handle, or that no connection took.
const TRIES: u8 = 3;

/// Decides.
pub(super) fn decide(lost: LostRequest) -> Retry {
    let LostRequest { unsent, refused, kept, response_begun, idempotent, withheld, whole, sent, tries } = lost;
    if unsent && tries < TRIES {
        return Retry::Again;
    }
    if refused && whole && sent + 1 < TRIES {
        return if sent == 0 { Retry::Again } else { Retry::Elsewhere };
    }
    if refused || unsent || !kept || response_begun {
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
        kept: true,
        response_begun: false,
        idempotent: true,
        withheld: false,
        whole: true,
        sent: 0,
        tries: 0,
    };

    #[test]
    fn what_may_be_repeated_is_sent_again_once_on_another_connection() {
        assert_eq!(decide(KEPT), Retry::Elsewhere);
        assert_eq!(decide(LostRequest { sent: 1, ..KEPT }), Retry::Agent);
        assert_eq!(decide(LostRequest { whole: false, ..KEPT }), Retry::Agent, "its content is gone");
        let post = LostRequest { idempotent: false, ..KEPT };
        assert_eq!(decide(post), Retry::Agent);
        assert_eq!(decide(LostRequest { withheld: true, ..post }), Retry::Elsewhere);
    }

    #[test]
    fn an_answer_that_began_and_a_new_connection_are_failures() {
        assert_eq!(decide(LostRequest { response_begun: true, ..KEPT }), Retry::Fail);
        assert_eq!(decide(LostRequest { kept: false, ..KEPT }), Retry::Fail);
    }

    #[test]
    fn what_was_not_handled_is_sent_again_whatever_it_is() {
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
