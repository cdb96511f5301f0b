//! Codex. Header fields, `x-codex-turn-metadata` (JSON) and the body's `client_metadata` name session, thread and turn. On a
//! WebSocket only `client_metadata` belongs to the turn: the fields are those of the handshake. A sub-agent has its own thread in
//! the session of its parent.

use serde_json::Value;

use super::{Call, Family, Identity, Part};

/// The member that repeats the header fields for one call.
pub(super) const CLIENT_METADATA: &str = "client_metadata";
/// The field, and the member of `client_metadata`, that holds JSON.
const TURN_METADATA: &str = "x-codex-turn-metadata";

pub(super) const FAMILY: Family = Family {
    name: "codex",
    telling: &["x-codex-"],
    fields: &[
        ("session-id", Part::Session),
        ("session_id", Part::Session),
        ("thread-id", Part::Thread),
        ("thread_id", Part::Thread),
        ("x-codex-parent-thread-id", Part::ParentThread),
        ("x-codex-window-id", Part::Window),
        ("x-openai-subagent", Part::AgentType),
    ],
    tells: |call| {
        let members = call.member(CLIENT_METADATA).as_object();
        members.is_some_and(|members| members.keys().any(|name| name.starts_with("x-codex-")))
    },
    read,
};

/// The names of the parts in JSON, with `_` for `-` and without `x-codex-`.
const NAMES: [(&str, Part); 12] = [
    ("session_id", Part::Session),
    ("thread_id", Part::Thread),
    ("turn_id", Part::Turn),
    ("parent_thread_id", Part::ParentThread),
    ("parent_turn_id", Part::ParentTurn),
    ("root_turn_id", Part::RootTurn),
    ("agent_name", Part::AgentName),
    ("thread_source", Part::ThreadSource),
    ("window_id", Part::Window),
    ("request_kind", Part::RequestKind),
    ("x_openai_subagent", Part::AgentType),
    ("subagent", Part::AgentType),
];

fn read(call: &Call<'_>, identity: &mut Identity) {
    let thread = call.field("thread-id").or_else(|| call.field("thread_id"));
    let of_body = call.member(CLIENT_METADATA);
    let turn_of_body = of_body[TURN_METADATA].as_str();
    for json in [turn_of_body.and_then(parse), Some(of_body.clone()), call.field(TURN_METADATA).and_then(parse)] {
        let Some(Value::Object(members)) = json else { continue };
        let members: Vec<(String, &str)> =
            members.iter().filter_map(|(name, value)| Some((plain(name), value.as_str()?))).collect();
        let get = |name: &str| members.iter().find(|(known, _)| known == name).map(|(_, value)| *value);
        // The metadata of another thread came along by mistake.
        if thread.is_some() && get("thread_id") != thread {
            continue;
        }
        for (name, part) in NAMES {
            identity.add(part, get(name));
        }
    }
}

fn parse(text: &str) -> Option<Value> {
    serde_json::from_str(text).ok()
}

/// `x-codex-window-id` is `window_id`.
fn plain(name: &str) -> String {
    name.strip_prefix("x-codex-").unwrap_or(name).replace('-', "_")
}
