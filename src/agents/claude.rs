//! Claude Code. It names its session in a header field and in `metadata.user_id`, which is JSON in a string; versions before 2.1
//! wrote `user_HASH_account_UUID_session_UUID` there. A sub-agent's calls have its id and the session of its parent.

use serde_json::Value;

use super::{Call, Family, Identity, Part};

/// The member with the ids of device, account and session.
pub(super) const USER_ID: &str = "metadata.user_id";

pub(super) const FAMILY: Family = Family {
    name: "claude",
    telling: &["x-claude-code-"],
    fields: &[
        ("x-claude-code-session-id", Part::Session),
        ("x-claude-code-agent-id", Part::Agent),
        ("x-claude-code-parent-agent-id", Part::ParentAgent),
        ("x-claude-code-agent-type", Part::AgentType),
        ("x-claude-code-request-class", Part::RequestKind),
        ("x-client-request-id", Part::Request),
    ],
    tells: |call| session(call).is_some(),
    read: |call, identity: &mut Identity| identity.add(Part::Session, session(call).as_deref()),
};

/// The session in the body.
fn session(call: &Call<'_>) -> Option<String> {
    let text = call.member(USER_ID).as_str()?;
    if let Ok(Value::Object(user)) = serde_json::from_str::<Value>(text) {
        let is_of_claude = user.contains_key("device_id") || user.contains_key("account_uuid");
        return user.get("session_id").filter(|_| is_of_claude)?.as_str().map(str::to_owned);
    }
    let (user, session) = text.strip_prefix("user_")?.split_once("_session_")?;
    user.contains("_account_").then(|| session.to_owned())
}
