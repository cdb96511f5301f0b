//! Qwen Code. With Alibaba's models, the body names the session and the prompt. A sub-agent's prompts are
//! `SESSION#SUB-AGENT#NUMBER`.

use super::{Call, Family, Identity, Part, nothing, numbered};

/// The member with the session.
pub(super) const SESSION_ID: &str = "metadata.sessionId";
/// The member with the prompt.
pub(super) const PROMPT_ID: &str = "metadata.promptId";

pub(super) const FAMILY: Family = Family { name: "qwen", telling: &[], fields: &[], tells: nothing, read };

fn read(call: &Call<'_>, identity: &mut Identity) {
    let session = call.member(SESSION_ID).as_str();
    identity.add(Part::Session, session);
    let Some(prompt) = call.member(PROMPT_ID).as_str() else { return };
    let of_session = session.and_then(|session| prompt.strip_prefix(session)?.strip_prefix('#'));
    match of_session.and_then(numbered) {
        Some(agent) => identity.add(Part::Agent, Some(agent)),
        None => identity.add(Part::Turn, Some(prompt)),
    }
}
