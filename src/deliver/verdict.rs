//! What an answer of Brain means for an event: one pure, total function over the contract's table.

use super::reply::Envelope;
use super::{Reply, TransportError};

/// What to do with an event after a post.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verdict {
    /// OTAS has it.
    Delivered {
        /// OTAS's name for it.
        event_id: String,
    },
    /// Not the event's fault: send it again later.
    Retry {
        /// What happened.
        reason: String,
    },
    /// Brain refused the key. UASAM must be asked: Brain says the same when UASAM is down or slow (contract).
    CheckKey,
    /// The session's token is no longer good: open a new session for it, then send the event again.
    RenewSession {
        /// What happened.
        reason: String,
    },
    /// A person must put something right. Keep everything.
    Pause {
        /// Whose events wait for that.
        scope: Scope,
        /// What is wrong.
        reason: String,
        /// What to do.
        advice: &'static str,
    },
    /// The event itself may be at fault: after its tries it is dead.
    Refused {
        /// What happened.
        reason: String,
        /// How sure that is.
        blame: Blame,
    },
}

/// Whose fault a refusal is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Blame {
    /// OTAS looked at the event and found it malformed.
    Event,
    /// The event's, or that of OTAS's database: it is the event's when others get through meanwhile.
    Unclear,
}

/// What a pause holds back.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Scope {
    /// All events of the agent key.
    Key,
    /// The events of one session.
    Session,
}

/// What was known of the credentials that the event was posted with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Known {
    /// UASAM was asked about the key when Brain last refused it, a moment ago, and found it good.
    pub key_is_good: bool,
    /// Where the token came from.
    pub token: TokenOrigin,
}

/// Where a session token came from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TokenOrigin {
    /// The settings.
    Settings,
    /// A session that we opened with the key.
    Opened,
    /// As `Opened`, because the token before was refused, and no event has been taken with the new one yet.
    Renewed,
}

/// Judges the answer to a post. Only an acknowledgement that names the event counts as delivered.
pub fn verdict(answer: &Result<Reply, TransportError>, known: Known) -> Verdict {
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
        // Any 500, for one that only this event gets must not block the others. 502 to 504 never reach the event.
        (500, _) => Verdict::Refused { reason: reply.summary(), blame: Blame::Unclear },
        _ => Verdict::Retry { reason: reply.summary() },
    }
}

fn bad_request(reply: &Reply, envelope: Option<Envelope>) -> Verdict {
    let blame = match envelope.as_ref().map(|envelope| envelope.description.as_str()) {
        Some("missing_required_fields" | "invalid_json") => Blame::Event,
        // An HTML page is a body over the limit (contract), but also a host name that the server does not know.
        _ => Blame::Unclear,
    };
    Verdict::Refused { reason: reply.summary(), blame }
}

fn unauthorized(reply: &Reply, envelope: Option<Envelope>, known: Known) -> Verdict {
    let reason = reply.summary();
    match envelope.as_ref().map(|envelope| envelope.description.as_str()) {
        Some("invalid_or_expired_agent_key") if known.key_is_good => {
            Verdict::Retry { reason: format!("{reason}, but the key is good: OTAS was too busy to check it") }
        }
        Some("invalid_or_expired_agent_key") => Verdict::CheckKey,
        Some("invalid_or_expired_token") if known.token == TokenOrigin::Renewed => Verdict::Pause {
            scope: Scope::Key,
            reason: format!("{reason}, of a session token that it has only just issued"),
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
            advice: "this is not OTAS's own answer: check `otas.brain_url` and what stands before it",
        },
    }
}

fn forbidden(reply: &Reply, envelope: Option<Envelope>, token: TokenOrigin) -> Verdict {
    let reason = reply.summary();
    if envelope.is_none_or(|envelope| envelope.description != "session_agent_mismatch") {
        let advice = "this is not OTAS's own answer: check `otas.brain_url` and what stands before it";
        return Verdict::Pause { scope: Scope::Key, reason, advice };
    }
    match token {
        TokenOrigin::Settings => Verdict::Pause {
            scope: Scope::Session,
            reason,
            advice: "the configured session token belongs to another agent than the key: remove `otas.session_token` \
                     (OTAS_SESSION_TOKEN) to let a session be opened, or give the key of that agent",
        },
        TokenOrigin::Opened => Verdict::RenewSession { reason },
        TokenOrigin::Renewed => Verdict::Pause {
            scope: Scope::Key,
            reason,
            advice: "it says that a session which was opened with this very key belongs to another agent: check that \
                     `otas.uasam_url` and `otas.brain_url` belong to one OTAS",
        },
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::TransportClass;
    use super::*;

    const KNOWN: Known = Known { key_is_good: false, token: TokenOrigin::Opened };

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
    fn an_acknowledgement_that_names_the_event_is_delivered() {
        let delivered = Verdict::Delivered { event_id: "e-1".into() };
        assert_eq!(judge(201, SAVED), delivered);
        assert_eq!(judge(200, SAVED), delivered);
    }

    #[test]
    fn nothing_else_that_looks_like_success_is() {
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
    fn a_refused_key_that_was_just_found_good_is_not_asked_about_again() {
        let answer = answered(401, &refusal("invalid_or_expired_agent_key"));
        let verdict = verdict(&answer, Known { key_is_good: true, ..KNOWN });
        assert!(matches!(verdict, Verdict::Retry { .. }), "{verdict:?}");
    }

    #[test]
    fn what_a_refused_token_means_and_what_to_do_depends_on_where_it_came_from() {
        let told = |status, description: &str, token| match verdict(
            &answered(status, &refusal(description)),
            Known { token, ..KNOWN },
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
    fn strangers_answers_keep_the_event() {
        for status in [401, 403] {
            assert!(matches!(judge(status, "<html>"), Verdict::Pause { .. }), "{status}");
        }
        for status in [404, 405, 407, 408, 429, 502, 503, 504, 599] {
            assert!(matches!(judge(status, "<html>"), Verdict::Retry { .. }), "{status}");
        }
    }

    #[test]
    fn a_call_without_an_answer_is_tried_again() {
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
            let verdict = verdict(&Ok(Reply { status, body, retry_after: None }), Known { key_is_good, token });
            prop_assert_eq!(matches!(verdict, Verdict::Delivered { .. }), acknowledged);
        }
    }
}
