//! `[[agents]]`

use super::super::shown::agents;
use super::key::{Key, Kind, put};
use super::part::part;

pub(super) const KEYS: &[Key] = &[Key::new(
    "agents",
    Kind::Section,
    "The agents that may call with `session.scope = \"credential\"`, one section for each. An agent puts its name and secret into \
     the proxy's URL (`http://NAME:SECRET@127.0.0.1:8080`), with a label to tell several of its runs apart \
     (`http://NAME+LABEL:SECRET@127.0.0.1:8080`). Without the right secret it gets a 407. What an entry leaves out \
     (`agent_key_file`, `project_id`, `project_domain`) is as in `[otas]`, and `agent_id` as in `[queue]`.",
    |c, g| put(&mut c.agents, g.agents()),
    |c| (!c.agents.is_empty()).then(|| agents(&c.agents)),
    part!(agents),
)
.live()
.example(
    "[[agents]]\nname = \"planner\"\nsecret_file = \"planner.secret\"\nagent_key_file = \"planner.key\"\n\
     project_id = \"00000000-0000-0000-0000-000000000000\"\nproject_domain = \"https://example.com\"",
)];
