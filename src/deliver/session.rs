//! Questions to UASAM: the agent of a key, and a new session.

use std::time::Duration;

use super::{Reply, TransportError};
use crate::secret::Secret;

/// The owner of a key, as OTAS or the settings say.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Identity {
    /// The project id for each event.
    pub(super) project_id: String,
    /// OTAS's id of the agent.
    pub(super) agent_id: Option<String>,
}

/// UASAM's answer about a key.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum KeyCheck {
    /// The key is valid and belongs to this project and agent.
    Good { project_id: Option<String>, agent_id: Option<String> },
    /// The key is refused.
    Refused,
    /// UASAM gave no clear answer.
    Unclear { reason: String },
}

/// Why opening a session failed.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum NotOpen {
    /// A retry may work.
    Retry { reason: String },
    /// The key is refused.
    KeyRefused,
}

/// A problem that only an operator can fix.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Trouble {
    /// The problem.
    pub(super) problem: String,
    /// What to do.
    pub(super) cure: &'static str,
}

impl std::fmt::Display for Trouble {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}. {}", self.problem, self.cure)
    }
}

/// Compares UASAM's answer about a valid key with the settings.
///
/// # Errors
/// The problem, and what to do.
pub(super) fn identity(
    project_id: Option<String>,
    agent_id: Option<String>,
    configured_project: Option<&str>,
) -> Result<Identity, Trouble> {
    match (project_id, configured_project) {
        (Some(found), Some(configured)) if !found.eq_ignore_ascii_case(configured) => Err(Trouble {
            problem: format!(
                "`otas.project_id` is {configured}, but the agent key belongs to project {found}, and OTAS files events \
                 under the key's project"
            ),
            cure: "Remove `otas.project_id` (OTAS_PROJECT_ID), or use the key of an agent of that project",
        }),
        (Some(project_id), _) => Ok(Identity { project_id, agent_id }),
        (None, Some(configured)) => Ok(Identity { project_id: configured.to_owned(), agent_id }),
        (None, None) => Err(Trouble {
            problem: "OTAS accepts the agent key but does not say which project it belongs to".to_owned(),
            cure: "Set `otas.project_id`",
        }),
    }
}

/// How long a key that was accepted before is retried before an operator is asked for a new one. UASAM refuses every key while
/// its database is down (contract), and a new key would revoke the valid one.
const REFUSED_IN_DOUBT: Duration = Duration::from_secs(300);

/// Whether a refusal is doubtful: OTAS accepted the key before, and has refused it only for this long.
pub(super) fn refusal_is_in_doubt(was_good: bool, refused_for: Duration) -> bool {
    was_good && refused_for < REFUSED_IN_DOUBT
}

/// The warning until then.
pub(super) const REFUSED_AFTER_GOOD: &str = "OTAS refuses the agent key that it accepted before: either UASAM cannot reach its \
     database (it then refuses every key), or the key has expired or was replaced. It is checked again";

/// The problem when UASAM refuses a key, and what to do.
pub(super) fn refused_key(key: &Secret, from_file: bool) -> Trouble {
    let shape = match key.expose().strip_prefix("agent_").map(|rest| rest.matches('_').count()) {
        None | Some(0) => ". It does not look like one (`agent_<prefix>_<secret>`): copy it whole",
        Some(1) => "",
        Some(_) => {
            ". It has more than two underscores: if one of them is in its prefix, OTAS can never accept it \
             (it splits a key at its first two underscores), and only a new key helps"
        }
    };
    let cure = if from_file {
        "Issue a new key in OTAS (this revokes the old one, so first check that OTAS itself works) and write it to the file of \
         `otas.agent_key_file`: it is read without a restart"
    } else {
        "Issue a new key in OTAS (this revokes the old one, so first check that OTAS itself works), put it into the settings \
         and restart: the backlog is then delivered"
    };
    let problem = "OTAS refuses the agent key: it is wrong, expired (after 30 days) or replaced by a newer one, or UASAM cannot \
                   reach its database (it then refuses every key)";
    Trouble { problem: format!("{problem}{shape}"), cure }
}

/// Judges the answer to a key check.
pub(super) fn judge_key(answer: &Result<Reply, TransportError>) -> KeyCheck {
    let reply = match answer {
        Ok(reply) => reply,
        Err(error) => return KeyCheck::Unclear { reason: format!("OTAS's key check: {error}") },
    };
    match (reply.status, reply.envelope()) {
        (200, Some(envelope)) if envelope.succeeded => KeyCheck::Good {
            project_id: envelope.text("project_id").map(str::to_owned),
            agent_id: envelope.text_in("agent", "id").map(str::to_owned),
        },
        (401, Some(envelope)) if envelope.description == "invalid_agent_key" => KeyCheck::Refused,
        _ => KeyCheck::Unclear { reason: format!("OTAS's key check {}", reply.summary()) },
    }
}

/// Judges the reply to opening a session. Returns its token.
pub(super) fn created(answer: &Result<Reply, TransportError>) -> Result<Secret, NotOpen> {
    let reply = match answer {
        Ok(reply) => reply,
        Err(error) => return Err(NotOpen::Retry { reason: format!("opening a session: {error}") }),
    };
    let retry = || NotOpen::Retry { reason: format!("opening a session: {}", reply.summary()) };
    match (reply.status, reply.envelope()) {
        (200 | 201, Some(envelope)) if envelope.succeeded => {
            envelope.text("jwt_token").map(Secret::new).ok_or_else(retry)
        }
        (401, Some(envelope)) if envelope.description == "invalid_agent_key" => Err(NotOpen::KeyRefused),
        _ => Err(retry()),
    }
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
    fn a_key_check_is_clear_only_with_an_otas_answer() {
        let good = r#"{"status":1,"response":{"project_id":"p-1","agent":{"id":"a"}}}"#;
        let known = KeyCheck::Good { project_id: Some("p-1".into()), agent_id: Some("a".into()) };
        assert_eq!(judge_key(&reply(200, good)), known);
        let refused = r#"{"status":0,"status_description":"invalid_agent_key"}"#;
        assert_eq!(judge_key(&reply(401, refused)), KeyCheck::Refused);
        for unclear in [reply(401, "<html>"), reply(200, "<html>"), reply(500, refused), reply(302, ""), away()] {
            assert!(matches!(judge_key(&unclear), KeyCheck::Unclear { .. }), "{unclear:?}");
        }
    }

    #[test]
    fn a_session_is_open_only_with_a_token() {
        let good = r#"{"status":1,"response":{"Header_value":"X-OTAS-AGENT-SESSION-TOKEN","jwt_token":"t.t.t"}}"#;
        assert!(created(&reply(200, good)).is_ok_and(|token| token == Secret::new("t.t.t")));
        let refused = r#"{"status":0,"status_description":"invalid_agent_key"}"#;
        assert!(created(&reply(401, refused)).is_err_and(|error| error == NotOpen::KeyRefused));
        let empty = r#"{"status":1,"response":{}}"#;
        for later in [reply(200, empty), reply(200, "<html>"), reply(400, refused), reply(500, refused), away()] {
            assert!(matches!(created(&later), Err(NotOpen::Retry { .. })), "{later:?}");
        }
    }

    #[test]
    fn a_project_setting_that_differs_from_the_keys_is_an_error() {
        let of = |found: Option<&str>, configured| identity(found.map(str::to_owned), None, configured);
        assert_eq!(of(Some("p-1"), None).unwrap().project_id, "p-1");
        assert_eq!(of(Some("p-1"), Some("P-1")).unwrap().project_id, "p-1");
        assert_eq!(of(None, Some("p-2")).unwrap().project_id, "p-2");
        let told = of(Some("p-1"), Some("p-2")).unwrap_err().to_string();
        assert!(told.contains("p-1") && told.contains("p-2") && told.contains("otas.project_id"), "{told}");
        assert!(of(None, None).unwrap_err().to_string().contains("otas.project_id"));
    }

    #[test]
    fn a_refusal_is_doubtful_only_for_a_key_that_was_valid() {
        assert!(refusal_is_in_doubt(true, Duration::ZERO) && refusal_is_in_doubt(true, Duration::from_secs(299)));
        assert!(!refusal_is_in_doubt(true, Duration::from_secs(300)) && !refusal_is_in_doubt(false, Duration::ZERO));
        let meanwhile = REFUSED_AFTER_GOOD.to_lowercase();
        assert!(meanwhile.contains("database") && meanwhile.contains("expired") && !meanwhile.contains("issue"));
        let told = refused_key(&Secret::new("agent_a_b"), false).to_string();
        assert!(told.contains("database") && told.contains("expired") && told.contains("Issue a new key"), "{told}");
    }

    #[test]
    fn a_refused_key_is_diagnosed_by_its_shape_and_not_shown() {
        let told = |key: &str| refused_key(&Secret::new(key), false).to_string();
        assert!(told("agent_ab_cd_ef").contains("more than two underscores"));
        assert!(!told("agent_abcd_ef").contains("underscores"));
        assert!(told("sk-123").contains("does not look like one"));
        assert!(!told("agent_abcd_verysecret").contains("verysecret"));
        assert!(refused_key(&Secret::new("agent_a_b"), true).to_string().contains("without a restart"));
        assert!(told("agent_a_b").contains("and restart"));
        assert!(told("agent_a_b").contains("UASAM cannot reach its database"), "both causes");
    }
}
