//! opencode. A sub-agent is a session of its own.

use super::{Family, Part, nothing};

pub(super) const FAMILY: Family = Family {
    name: "opencode",
    telling: &["x-opencode-"],
    fields: &[
        ("x-opencode-session", Part::Session),
        ("x-opencode-session-id", Part::Session),
        ("x-session-id", Part::Session),
        ("x-session-affinity", Part::Session),
        ("x-parent-session-id", Part::ParentSession),
        ("x-opencode-request", Part::Request),
    ],
    tells: nothing,
    read: |_, _| {},
};
