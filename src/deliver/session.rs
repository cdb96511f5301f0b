//! Opening a session: the project from the key, the token from UASAM or from the settings.

use std::time::{SystemTime, UNIX_EPOCH};

use serde_json::Value;

use super::client::OtasClient;
use super::{Reply, TransportError, check_token, token};
use crate::secret::Secret;

/// A session that events can be posted in.
pub(super) struct Session {
    /// Sent with each event.
    pub(super) token: Secret,
    /// Goes into each event.
    pub(super) project_id: String,
    /// OTAS's id of it, when the token tells.
    pub(super) otas_session_id: Option<String>,
}

/// What a session is opened with.
#[derive(Clone)]
pub(super) struct Opening {
    pub(super) key: Secret,
    /// A token to use instead of opening a session.
    pub(super) token: Option<Secret>,
    /// `None`: asked of UASAM.
    pub(super) project_id: Option<String>,
    pub(super) meta: Value,
}

/// Why there is no session yet.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum NotOpen {
    /// It may work later.
    Retry { reason: String },
    /// A person must put something right: what is wrong, and what to do.
    Pause { reason: String },
}

/// What UASAM says of a key.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum KeyCheck {
    /// It is good, and belongs to this project.
    Good { project_id: Option<String> },
    /// It is refused.
    Refused,
    /// UASAM did not say.
    Unclear { reason: String },
}

/// Opens a session, with as many calls as that takes: none when both token and project are configured.
pub(super) async fn open(client: &OtasClient, opening: &Opening) -> Result<Session, NotOpen> {
    let given = opening.token.as_ref().map(|token| (token, check_token(token, now_s())));
    if let Some((_, Err(error))) = given {
        return Err(NotOpen::Pause { reason: error.to_string() });
    }
    let project_id = match &opening.project_id {
        Some(project_id) => project_id.clone(),
        None => learn_project(client, &opening.key).await?,
    };
    let token = match given {
        Some((token, _)) => token.clone(),
        None => {
            let answer = client.create_session(&opening.key, &opening.meta).await;
            created(&answer, &opening.key)?
        }
    };
    let otas_session_id = token::claims(&token).and_then(|claims| claims.otas_session_id);
    Ok(Session { token, project_id, otas_session_id })
}

/// Asks UASAM about a key on its own.
pub(super) async fn check_key(client: &OtasClient, key: &Secret) -> KeyCheck {
    judge_key(&client.verify_key(key).await)
}

/// What is wrong when UASAM refuses a key, and what to do.
pub(super) fn refused_key(key: &Secret) -> String {
    let shape = match key.expose().strip_prefix("agent_").map(|rest| rest.matches('_').count()) {
        None | Some(0) => " It does not look like one (`agent_<prefix>_<secret>`): copy it whole.",
        Some(1) => "",
        Some(_) => {
            " It has more than two underscores: if one of them is in its prefix, OTAS can never accept it \
             (it splits a key at its first two underscores), and only a new key helps."
        }
    };
    format!(
        "OTAS refuses the agent key: it is wrong, expired (after 30 days) or replaced by a newer one.{shape} \
         Issue a new key in OTAS and put it into the settings"
    )
}

async fn learn_project(client: &OtasClient, key: &Secret) -> Result<String, NotOpen> {
    match check_key(client, key).await {
        KeyCheck::Good { project_id: Some(project_id) } => Ok(project_id),
        KeyCheck::Good { project_id: None } => Err(NotOpen::Pause {
            reason: "OTAS accepts the agent key but does not tell its project: set `otas.project_id`".to_owned(),
        }),
        KeyCheck::Refused => Err(NotOpen::Pause { reason: refused_key(key) }),
        KeyCheck::Unclear { reason } => Err(NotOpen::Retry { reason }),
    }
}

fn judge_key(answer: &Result<Reply, TransportError>) -> KeyCheck {
    let reply = match answer {
        Ok(reply) => reply,
        Err(error) => return KeyCheck::Unclear { reason: format!("OTAS's key check: {error}") },
    };
    match (reply.status, reply.envelope()) {
        (200, Some(envelope)) if envelope.succeeded => {
            KeyCheck::Good { project_id: envelope.text("project_id").map(str::to_owned) }
        }
        (401, Some(envelope)) if envelope.description == "invalid_agent_key" => KeyCheck::Refused,
        _ => KeyCheck::Unclear { reason: format!("OTAS's key check {}", reply.summary()) },
    }
}

fn created(answer: &Result<Reply, TransportError>, key: &Secret) -> Result<Secret, NotOpen> {
    let reply = match answer {
        Ok(reply) => reply,
        Err(error) => return Err(NotOpen::Retry { reason: format!("opening a session: {error}") }),
    };
    let retry = || NotOpen::Retry { reason: format!("opening a session: {}", reply.summary()) };
    match (reply.status, reply.envelope()) {
        (200 | 201, Some(envelope)) if envelope.succeeded => {
            envelope.text("jwt_token").map(Secret::new).ok_or_else(retry)
        }
        (401, Some(envelope)) if envelope.description == "invalid_agent_key" => {
            Err(NotOpen::Pause { reason: refused_key(key) })
        }
        _ => Err(retry()),
    }
}

/// Now in Unix seconds; a clock before 1970 counts as 1970.
fn now_s() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_secs()).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use super::super::TransportClass;
    use super::*;

    fn reply(status: u16, body: &str) -> Result<Reply, TransportError> {
        Ok(Reply { status, body: body.into(), retry_after: None })
    }

    fn away() -> Result<Reply, TransportError> {
        Err(TransportError { class: TransportClass::Unreachable, detail: "refused".into() })
    }

    #[test]
    fn a_key_check_is_clear_only_in_otas_own_words() {
        let good = r#"{"status":1,"response":{"project_id":"p-1","agent":{"id":"a"}}}"#;
        assert_eq!(judge_key(&reply(200, good)), KeyCheck::Good { project_id: Some("p-1".into()) });
        let refused = r#"{"status":0,"status_description":"invalid_agent_key"}"#;
        assert_eq!(judge_key(&reply(401, refused)), KeyCheck::Refused);
        for unclear in [reply(401, "<html>"), reply(200, "<html>"), reply(500, refused), reply(302, ""), away()] {
            assert!(matches!(judge_key(&unclear), KeyCheck::Unclear { .. }), "{unclear:?}");
        }
    }

    #[test]
    fn a_session_is_open_only_with_a_token() {
        let key = Secret::new("agent_a_b");
        let good = r#"{"status":1,"response":{"Header_value":"X-OTAS-AGENT-SESSION-TOKEN","jwt_token":"t.t.t"}}"#;
        assert!(created(&reply(200, good), &key).is_ok_and(|token| token == Secret::new("t.t.t")));
        let refused = r#"{"status":0,"status_description":"invalid_agent_key"}"#;
        assert!(matches!(created(&reply(401, refused), &key), Err(NotOpen::Pause { .. })));
        let empty = r#"{"status":1,"response":{}}"#;
        for later in [reply(200, empty), reply(200, "<html>"), reply(400, refused), reply(500, refused), away()] {
            assert!(matches!(created(&later, &key), Err(NotOpen::Retry { .. })), "{later:?}");
        }
    }

    #[test]
    fn a_refused_key_is_diagnosed_by_its_shape_and_not_shown() {
        let told = |key: &str| refused_key(&Secret::new(key));
        assert!(told("agent_ab_cd_ef").contains("more than two underscores"));
        assert!(!told("agent_abcd_ef").contains("underscores"));
        assert!(told("sk-123").contains("does not look like one"));
        assert!(!told("agent_abcd_verysecret").contains("verysecret"));
    }
}
