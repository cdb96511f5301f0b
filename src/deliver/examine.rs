//! Checks whether delivery would work. It makes the worker's calls once and saves no event.

use std::time::Duration;

use serde_json::Value;

use super::client::OtasClient;
use super::credentials::Credentials;
use super::session::{self, KeyCheck, NotOpen, Trouble, created, judge_key, refused_key};
use super::{
    CredentialFacts, DeliverError, Reply, TokenError, TokenOrigin, TransportClass, TransportError, Verdict,
    check_token, verdict,
};
use crate::clock::now_ms;
use crate::config;
use crate::secret::Secret;

/// The result of one step, for people.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Finding {
    /// Good.
    Good(String),
    /// Bad.
    Bad {
        /// The problem.
        problem: String,
        /// What to do.
        cure: String,
    },
    /// Not checked, and why.
    NotTried(String),
}

/// The results of all steps.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Examined {
    /// UASAM's answer about the agent key.
    pub key: Finding,
    /// The session: the configured token, or one opened for this check.
    pub session: Finding,
    /// Brain's answer about both.
    pub brain: Finding,
}

type Answer = Result<Reply, TransportError>;

/// Asks OTAS whether it would accept events with these settings. `None`: there is no agent key. Without a configured token, a
/// session is opened with `meta`. No event is saved: Brain gets an event without any field, which it refuses only after it has
/// accepted key and token (contract: order of the checks).
///
/// # Errors
/// When no HTTP client can be created from the settings.
pub async fn examine(
    otas: &config::Otas,
    tls: rustls::ClientConfig,
    attempt_timeout: Duration,
    meta: &Value,
) -> Result<Option<Examined>, DeliverError> {
    let Some(credentials) = Credentials::configured(otas) else { return Ok(None) };
    let client = OtasClient::new(otas, tls, attempt_timeout)?;
    let key = judged_key(&client.verify_key(&credentials.key).await, &credentials, otas.project_id.as_deref());
    if !matches!(key, Finding::Good(_)) {
        let not_tried = |what: &str| Finding::NotTried(format!("{what} needs a key that OTAS accepts"));
        return Ok(Some(Examined { key, session: not_tried("a session"), brain: not_tried("logging") }));
    }
    let (session, token) = match &otas.session_token {
        Some(token) => configured(token),
        None => opened(&client.create_session(&credentials.key, meta).await, &credentials),
    };
    let origin = if otas.session_token.is_some() { TokenOrigin::Settings } else { TokenOrigin::Renewed };
    let brain = match token {
        Some(token) => judged_brain(&client.log_event(&credentials.key, &token, b"{}".to_vec()).await, origin),
        None => Finding::NotTried("logging needs a session".to_owned()),
    };
    Ok(Some(Examined { key, session, brain }))
}

fn judged_key(answer: &Answer, credentials: &Credentials, configured_project: Option<&str>) -> Finding {
    match judge_key(answer) {
        KeyCheck::Good { project_id, agent_id } => {
            match session::identity(project_id, agent_id, configured_project) {
                Ok(identity) => {
                    let agent = identity.agent_id.map(|id| format!("agent {id} of ")).unwrap_or_default();
                    Finding::Good(format!("UASAM accepts it: {agent}project {}", identity.project_id))
                }
                Err(trouble) => trouble.into(),
            }
        }
        KeyCheck::Refused => refused_key(&credentials.key, credentials.are_from_file()).into(),
        KeyCheck::Unclear { reason } => bad(reason, cure(answer, "otas.uasam_url")),
    }
}

fn configured(token: &Secret) -> (Finding, Option<Secret>) {
    match check_token(token, now_ms() / 1_000) {
        Ok(_) => (Finding::Good("the token of `otas.session_token` has not expired".to_owned()), Some(token.clone())),
        Err(error) => {
            let problem = match error {
                TokenError::NotAToken => {
                    "`otas.session_token` is not an OTAS token (a JWT in three parts, `eyJ…`)".to_owned()
                }
                TokenError::Expired(ago_s) => format!("`otas.session_token` expired {ago_s} s ago"),
            };
            (bad(problem, "Remove `otas.session_token` (OTAS_SESSION_TOKEN); a session is then opened for you"), None)
        }
    }
}

fn opened(answer: &Answer, credentials: &Credentials) -> (Finding, Option<Secret>) {
    match created(answer) {
        Ok(token) => (Finding::Good("UASAM opens one".to_owned()), Some(token)),
        Err(NotOpen::KeyRefused) => (refused_key(&credentials.key, credentials.are_from_file()).into(), None),
        Err(NotOpen::Retry { reason }) => (bad(reason, cure(answer, "otas.uasam_url")), None),
    }
}

/// Brain's answer to an empty event with a valid key and token.
fn judged_brain(answer: &Answer, token: TokenOrigin) -> Finding {
    if answer.as_ref().is_ok_and(|reply| {
        reply.status == 400 && reply.envelope().is_some_and(|it| it.description == "missing_required_fields")
    }) {
        return Finding::Good("Brain accepts key and token".to_owned());
    }
    match verdict(answer, CredentialFacts { key_is_good: true, token }) {
        Verdict::Pause { reason, advice, .. } => bad(format!("Brain {reason}"), advice),
        Verdict::RenewSession { reason } => bad(
            format!("Brain {reason} for the token in `otas.session_token`"),
            "Remove `otas.session_token` (OTAS_SESSION_TOKEN); a session is then opened for you",
        ),
        Verdict::Retry { reason } => bad(format!("Brain: {reason}"), cure(answer, "otas.brain_url")),
        Verdict::Refused { reason, .. } => bad(format!("Brain {reason}"), cure(answer, "otas.brain_url")),
        // Neither can happen: nothing that could be saved was sent, and the key is valid.
        Verdict::Delivered { .. } | Verdict::CheckKey => bad(
            "Brain's answer is not one of OTAS's".to_owned(),
            "Check `otas.brain_url` and any proxy in front of it",
        ),
    }
}

/// What to do about a failed call.
fn cure(answer: &Answer, setting: &str) -> String {
    match answer {
        Err(error) => match error.class {
            TransportClass::Unreachable => {
                format!("Start OTAS, or correct `{setting}`; events stay in the store until then")
            }
            TransportClass::Certificate => {
                format!("Add the root of its certificate to `tls.origin_ca_file`, or correct `{setting}`")
            }
            TransportClass::TimedOut | TransportClass::Interrupted => {
                "Check the load on OTAS (it is slow under load); events stay in the store until then".to_owned()
            }
        },
        Ok(reply) if reply.status >= 500 => {
            "Check OTAS's own log (is its database up?); events stay in the store until then".to_owned()
        }
        Ok(reply) if reply.envelope().is_some() => "Try again: OTAS is busy".to_owned(),
        Ok(_) => format!("This is not OTAS's own answer: check `{setting}` and any proxy in front of it"),
    }
}

fn bad(problem: String, cure: impl Into<String>) -> Finding {
    Finding::Bad { problem, cure: cure.into() }
}

impl From<Trouble> for Finding {
    fn from(trouble: Trouble) -> Self {
        bad(trouble.problem, trouble.cure)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answered(status: u16, body: &str) -> Answer {
        Ok(Reply { status, body: body.into(), retry_after: None })
    }

    fn refusal(status: u16, description: &str) -> Answer {
        answered(status, &format!(r#"{{"status":0,"status_description":"{description}"}}"#))
    }

    fn told(finding: &Finding) -> (&str, &str) {
        match finding {
            Finding::Bad { problem, cure } => (problem, cure),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn brain_is_good_only_when_it_complains_about_missing_fields() {
        let good = judged_brain(&refusal(400, "missing_required_fields"), TokenOrigin::Renewed);
        assert!(matches!(good, Finding::Good(_)));
        let by = |answer: &Answer, token| {
            let finding = judged_brain(answer, token);
            let (problem, cure) = told(&finding);
            format!("{problem} | {cure}")
        };
        for (answer, words) in [
            (refusal(401, "invalid_or_expired_agent_key"), "too busy to check it | Try again"),
            (refusal(401, "invalid_or_expired_token"), "UASAM and Brain must share one JWT secret"),
            (refusal(403, "session_agent_mismatch"), "belong to one OTAS"),
            (refusal(401, "missing_agent_key"), "removes the X-OTAS-… headers"),
            (refusal(500, "event_capture_failed"), "is its database up?"),
            (answered(200, "<html>hotel</html>"), "check `otas.brain_url`"),
            (answered(404, "<html>"), "check `otas.brain_url`"),
        ] {
            let told = by(&answer, TokenOrigin::Renewed);
            assert!(told.contains(words), "{told}");
        }
        let told = by(&refusal(401, "invalid_or_expired_token"), TokenOrigin::Settings);
        assert!(told.contains("Remove `otas.session_token`"), "{told}");
        for (class, words) in [
            (TransportClass::Unreachable, "correct `otas.brain_url`"),
            (TransportClass::Certificate, "tls.origin_ca_file"),
            (TransportClass::TimedOut, "slow"),
        ] {
            let told = by(&Err(TransportError { class, detail: "x".into() }), TokenOrigin::Renewed);
            assert!(told.contains(words), "{told}");
        }
    }

    #[test]
    fn a_configured_token_is_checked_before_it_is_used() {
        let (finding, token) = configured(&Secret::new("not one"));
        assert!(token.is_none() && told(&finding).1.contains("Remove `otas.session_token`"));
    }
}
