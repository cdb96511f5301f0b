//! Gemini CLI. With Google's code assistant, the body names the session and the prompt; with an API key, nothing does.

use super::{Call, Family, Identity, Part, nothing};

/// The member with the session.
pub(super) const SESSION_ID: &str = "request.session_id";
/// The member with the id of the user's prompt.
pub(super) const USER_PROMPT_ID: &str = "user_prompt_id";

pub(super) const FAMILY: Family = Family { name: "gemini", telling: &[], fields: &[], tells: nothing, read };

fn read(call: &Call<'_>, identity: &mut Identity) {
    identity.add(Part::Session, call.member(SESSION_ID).as_str());
    identity.add(Part::Turn, call.member(USER_PROMPT_ID).as_str());
}
