//! opencode. It gives each sub-agent a session of its own, and names the parent's. Here that is a thread in the parent's session; the
//! session of a sub-agent's sub-agent is that of the first parent, once the calls before it are known.

use super::{Family, Part, nothing};

pub(super) const FAMILY: Family = Family {
    name: "opencode",
    telling: &["x-opencode-"],
    fields: &[
        ("x-parent-session-id", Part::Session),
        ("x-opencode-session", Part::Session),
        ("x-opencode-session-id", Part::Session),
        ("x-session-id", Part::Session),
        ("x-session-affinity", Part::Session),
        ("x-opencode-session", Part::Thread),
        ("x-opencode-session-id", Part::Thread),
        ("x-session-id", Part::Thread),
        ("x-session-affinity", Part::Thread),
        ("x-parent-session-id", Part::ParentThread),
        ("x-opencode-request", Part::Request),
    ],
    tells: nothing,
    read: |_, _| {},
};
