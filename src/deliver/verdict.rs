//! The verdict on an event after a reply of Brain: one pure, total function over the contract's table.

use super::reply::Envelope;
use super::{Reply, TransportError};

/// What to do with an event after a post.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verdict {
    /// OTAS accepted it.
    Delivered {
        /// OTAS's id for it.
        event_id: String,
    },
    /// The event is not at fault: retry later.
    Retry {
        /// What happened.
        reason: String,
    },
    /// Brain refused the key. UASAM must be asked, because Brain gives the same answer when UASAM is down or slow (contract).
    CheckKey,
    /// The session token is no longer valid: open a new session, then send the event again.
    RenewSession {
        /// What happened.
        reason: String,
    },
    /// An operator must fix something. All events are kept.
    Pause {
        /// Which events are paused.
        scope: Scope,
        /// The problem.
        reason: String,
        /// What to do.
        advice: &'static str,
    },
    /// The event may be at fault: after its attempts it is dead.
    Refused {
        /// What happened.
        reason: String,
        /// How certain that is.
        blame: Blame,
    },
}

/// What is at fault.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Blame {
    /// OTAS checked the event and found it malformed.
    Event,
    /// The event or OTAS's database. The event, if others are accepted meanwhile.
    Unclear,
}

/// What a pause stops.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Scope {
    /// All events of the agent key.
    Key,
    /// The events of one session.
    Session,
}

/// What is known about the credentials of the post.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CredentialFacts {
    /// Brain refused the key a moment ago, and UASAM then found it valid.
    pub key_is_good: bool,
    /// Where the token came from.
    pub token: TokenOrigin,
}

/// The origin of a session token.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TokenOrigin {
    /// The settings.
    Settings,
    /// A session that we opened with the key.
    Opened,
    /// As `Opened`, but the token before was refused and no event has been accepted with the new one yet.
    Renewed,
}

/// Judges the reply to a post. Only an acknowledgement with an event id counts as delivered.
pub fn verdict(answer: &Result<Reply, TransportError>, known: CredentialFacts) -> Verdict {
    let reply = match answer {
        Ok(reply) => reply,
        Err(error) => return Verdict::Retry { reason: error.to_string() },
    };
    let envelope = reply.envelope();
    let event_id = envelope.as_ref().filter(|envelope| envelope.succeeded).and_then(|it| it.text("event_id"));
    match (reply.status, event_id) {
        (200 | 201, Some(event_id)) => Verdict::Delivered { event_id: event_id.to_owned() },
        (400 | 413 | 414 | 422 | 431, _) => bad_request(reply, envelope),
        (401, _) => unauthorized(reply, envelope, known),
        (403, _) => forbidden(reply, envelope, known.token),
        // Any 500: one that only this event gets must not block the others. 502 to 504 never reach OTAS.
        (500, _) => Verdict::Refused { reason: reply.summary(), blame: Blame::Unclear },
        _ => Verdict::Retry { reason: reply.summary() },
    }
}

fn bad_request(reply: &Reply, envelope: Option<Envelope>) -> Verdict {
    let blame = match envelope.as_ref().map(|envelope| envelope.description.as_str()) {
        Some("missing_required_fields" | "invalid_json") => Blame::Event,
        // An HTML page means a body over the limit (contract), or a host name that the server does not know.
        _ => Blame::Unclear,
    };
    Verdict::Refused { reason: reply.summary(), blame }
}

fn unauthorized(reply: &Reply, envelope: Option<Envelope>, known: CredentialFacts) -> Verdict {
    let reason = reply.summary();
    match envelope.as_ref().map(|envelope| envelope.description.as_str()) {
        Some("invalid_or_expired_agent_key") if known.key_is_good => {
            Verdict::Retry { reason: format!("{reason}, but the key is valid: OTAS was too busy to check it") }
        }
        Some("invalid_or_expired_agent_key") => Verdict::CheckKey,
        Some("invalid_or_expired_token") if known.token == TokenOrigin::Renewed => Verdict::Pause {
            scope: Scope::Key,
            reason: format!("{reason} for a session token that OTAS has just issued"),
            advice: "UASAM and Brain must share one JWT secret and the same time; check that `otas.uasam_url` and \
                     `otas.brain_url` belong to one OTAS",
        },
        Some("invalid_or_expired_token") => Verdict::RenewSession { reason },
        Some("missing_agent_key" | "missing_agent_session_token") => Verdict::Pause {
            scope: Scope::Key,
            reason,
            advice: "a proxy or gateway before OTAS removes the X-OTAS-… headers: let them through",
        },
        _ => Verdict::Pause {
            scope: Scope::Key,
            reason,
            advice: "this is not OTAS's own answer: check `otas.brain_url` and any proxy in front of it",
        },
    }
}

fn forbidden(reply: &Reply, envelope: Option<Envelope>, token: TokenOrigin) -> Verdict {
    let reason = reply.summary();
    if envelope.is_none_or(|envelope| envelope.description != "session_agent_mismatch") {
        let advice = "this is not OTAS's own answer: check `otas.brain_url` and any proxy in front of it";
        return Verdict::Pause { scope: Scope::Key, reason, advice };
    }
    match token {
        TokenOrigin::Settings => Verdict::Pause {
            scope: Scope::Session,
            reason,
            advice: "the configured session token belongs to another agent than the agent key: remove `otas.session_token` \
                     (OTAS_SESSION_TOKEN), and a session is opened for you, or use the key of that agent",
        },
        TokenOrigin::Opened => Verdict::RenewSession { reason },
        TokenOrigin::Renewed => Verdict::Pause {
            scope: Scope::Key,
            reason,
            advice: "Brain says that a session opened with this key belongs to another agent: check that \
                     `otas.uasam_url` and `otas.brain_url` belong to one OTAS",
        },
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::TransportClass;
    use super::*;

    const KNOWN: CredentialFacts = CredentialFacts { key_is_good: false, token: TokenOrigin::Opened };

    fn answered(status: u16, body: &str) -> Result<Reply, TransportError> {
        Ok(Reply { status, body: body.into(), retry_after: None })
    }

    fn judge(status: u16, body: &str) -> Verdict {
        verdict(&answered(status, body), KNOWN)
    }

    fn refusal(description: &str) -> String {
        format!(r#"{{"status":0,"status_description":"{description}"}}"#)
    }

    fn described(status: u16, description: &str) -> Verdict {
        judge(status, &refusal(description))
    }

    const SAVED: &str = r#"{"status":1,"status_description":"event_captured","response":{"event_id":"e-1"}}"#;

    #[test]
    fn an_acknowledgement_with_an_event_id_means_delivered() {
        let delivered = Verdict::Delivered { event_id: "e-1".into() };
        assert_eq!(judge(201, SAVED), delivered);
        assert_eq!(judge(200, SAVED), delivered);
    }

    #[test]
    fn no_other_reply_means_delivered() {
        let surprises = [
            (200, "<html>Welcome to the hotel's network</html>"),
            (201, "<html></html>"),
            (201, ""),
            (204, ""),
            (202, SAVED),
            (301, SAVED),
            (302, ""),
            (307, "<html>login</html>"),
            (201, &SAVED[..SAVED.len() - 1]),
            (201, r#"{"status":0,"response":{"event_id":"e-1"}}"#),
            (201, r#"{"status":1,"response":{"event_id":""}}"#),
            (201, r#"{"status":1,"response":{"event_id":7}}"#),
            (201, r#"{"status":1,"response":{}}"#),
            (201, r#"{"status":"1","response":{"event_id":"e-1"}}"#),
            (201, "[]"),
        ];
        for (status, body) in surprises {
            assert!(matches!(judge(status, body), Verdict::Retry { .. }), "{status} {body}");
        }
    }

    #[test]
    fn each_row_of_the_contract_has_its_verdict() {
        assert_eq!(described(401, "invalid_or_expired_agent_key"), Verdict::CheckKey);
        for (status, description) in [(401, "invalid_or_expired_token"), (403, "session_agent_mismatch")] {
            let reason = format!("answered {status}: {description}");
            assert_eq!(described(status, description), Verdict::RenewSession { reason });
        }
        for description in ["missing_agent_key", "missing_agent_session_token"] {
            assert!(matches!(described(401, description), Verdict::Pause { scope: Scope::Key, .. }), "{description}");
        }
        for (status, description, blame) in [
            (400, "missing_required_fields", Blame::Event),
            (400, "invalid_json", Blame::Event),
            (500, "event_capture_failed", Blame::Unclear),
        ] {
            let reason = format!("answered {status}: {description}");
            assert_eq!(described(status, description), Verdict::Refused { reason, blame });
        }
        let reason = "answered 400: an HTML page".to_owned();
        assert_eq!(judge(400, "<html>"), Verdict::Refused { reason, blame: Blame::Unclear });
    }

    #[test]
    fn a_refused_key_that_was_just_verified_is_not_checked_again() {
        let answer = answered(401, &refusal("invalid_or_expired_agent_key"));
        let verdict = verdict(&answer, CredentialFacts { key_is_good: true, ..KNOWN });
        assert!(matches!(verdict, Verdict::Retry { .. }), "{verdict:?}");
    }

    #[test]
    fn a_refused_token_is_judged_by_its_origin() {
        let told = |status, description: &str, token| match verdict(
            &answered(status, &refusal(description)),
            CredentialFacts { token, ..KNOWN },
        ) {
            Verdict::Pause { scope, advice, .. } => (Some(scope), advice.contains("otas.session_token")),
            Verdict::RenewSession { .. } => (None, false),
            other => panic!("{other:?}"),
        };
        let (expired, foreign) = ("invalid_or_expired_token", "session_agent_mismatch");
        assert_eq!(told(401, expired, TokenOrigin::Settings), (None, false));
        assert_eq!(told(401, expired, TokenOrigin::Opened), (None, false));
        assert_eq!(told(401, expired, TokenOrigin::Renewed), (Some(Scope::Key), false));
        assert_eq!(told(403, foreign, TokenOrigin::Settings), (Some(Scope::Session), true));
        assert_eq!(told(403, foreign, TokenOrigin::Opened), (None, false));
        assert_eq!(told(403, foreign, TokenOrigin::Renewed), (Some(Scope::Key), false));
    }

    #[test]
    fn replies_that_are_not_from_otas_keep_the_event() {
        for status in [401, 403] {
            assert!(matches!(judge(status, "<html>"), Verdict::Pause { .. }), "{status}");
        }
        for status in [404, 405, 407, 408, 425, 429, 502, 503, 504, 599] {
            assert!(matches!(judge(status, "<html>"), Verdict::Retry { .. }), "{status}");
        }
    }

    #[test]
    fn a_post_without_a_reply_is_retried() {
        for class in [
            TransportClass::Unreachable,
            TransportClass::Certificate,
            TransportClass::TimedOut,
            TransportClass::Interrupted,
        ] {
            let answer = Err(TransportError { class, detail: "x".into() });
            assert!(matches!(verdict(&answer, KNOWN), Verdict::Retry { .. }), "{class}");
        }
    }

    fn bodies() -> impl Strategy<Value = Vec<u8>> {
        let descriptions = prop_oneof![
            Just("event_captured".to_owned()),
            Just("invalid_or_expired_agent_key".to_owned()),
            Just("invalid_or_expired_token".to_owned()),
            Just("session_agent_mismatch".to_owned()),
            Just("event_capture_failed".to_owned()),
            "[a-z_]{0,12}",
        ];
        let envelopes =
            (0_i64..3, descriptions, proptest::option::of("[a-f0-9]{0,8}")).prop_map(|(status, text, id)| {
                let response = serde_json::json!({ "event_id": id });
                serde_json::json!({ "status": status, "status_description": text, "response": response }).to_string()
            });
        prop_oneof![
            proptest::collection::vec(any::<u8>(), 0..64),
            envelopes.clone().prop_map(String::into_bytes),
            (envelopes, any::<proptest::sample::Index>()).prop_map(|(whole, cut)| {
                let cut = cut.index(whole.len());
                whole.into_bytes()[..cut].to_vec()
            }),
        ]
    }

    proptest! {
        #[test]
        fn every_answer_has_a_verdict_and_only_an_acknowledgement_delivers(
            status in prop_oneof![any::<u16>(), 100_u16..600, Just(200), Just(201)], body in bodies(),
            key_is_good in any::<bool>(),
            token in prop_oneof![Just(TokenOrigin::Settings), Just(TokenOrigin::Opened), Just(TokenOrigin::Renewed)]
        ) {
            let acknowledged = matches!(status, 200 | 201)
                && serde_json::from_slice::<serde_json::Value>(&body).is_ok_and(|body| {
                    body["status"] == 1 && body["response"]["event_id"].as_str().is_some_and(|id| !id.is_empty())
                });
            let verdict = verdict(&Ok(Reply { status, body, retry_after: None }), CredentialFacts { key_is_good, token });
            prop_assert_eq!(matches!(verdict, Verdict::Delivered { .. }), acknowledged);
        }
    }
}
