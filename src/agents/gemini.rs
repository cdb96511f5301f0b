//! Gemini CLI. With Google's code assistant, the body names the session and the prompt; with an API key, nothing does. A sub-agent's
//! prompts are `SUB-AGENT#NUMBER`.

use super::{Call, Family, Identity, Part, nothing, numbered};

/// The member with the session.
pub(super) const SESSION_ID: &str = "request.session_id";
/// The member with the id of the user's prompt.
pub(super) const USER_PROMPT_ID: &str = "user_prompt_id";

pub(super) const FAMILY: Family = Family { name: "gemini", telling: &[], fields: &[], tells: nothing, read };

fn read(call: &Call<'_>, identity: &mut Identity) {
    identity.add(Part::Session, call.member(SESSION_ID).as_str());
    let Some(prompt) = call.member(USER_PROMPT_ID).as_str() else { return };
    match numbered(prompt) {
        Some(agent) => identity.add(Part::Agent, Some(agent)),
        None => identity.add(Part::Turn, Some(prompt)),
    }
}
