//! `[session]`

use super::super::shown::{ms, name_of};
use super::super::types::Scope;
use super::key::{Key, Kind, choice, milliseconds, put};
use super::limits::LONGEST_MS;
use super::part::part;

/// Calls in flight keep their session open. Whether there are any is looked up once a minute.
const LEAST_IDLE_MS: i64 = 120_000;

pub(super) const KEYS: &[Key] = &[
    choice!(
        session.scope,
        Scope,
        "What has its own session in OTAS. `\"proxy\"`: each start of the proxy, so each `run`. `\"credential\"`: each of \
         `[[agents]]`, and each of its labels. `\"process\"`: each agent process of this machine (Linux). An agent that opens a \
         session itself, or names one in `X-OTAS-AGENT-SESSION-TOKEN`, is logged in that session."
    ),
    Key::new(
        "session.agent_processes",
        Kind::Plain,
        "With `\"process\"`: the names of agents' programs and scripts, as globs (`[\"claude\", \"python*\", \"agent.py\"]`). Of a \
         calling process and its ancestors, the topmost that matches is the agent. If none matches, it is the leader of the Unix \
         session: in a terminal, the shell.",
        |c, g| put(&mut c.session.agent_processes, g.programs()),
        |c| Some(format!("{:?}", c.session.agent_processes)),
        part!(session.agent_processes),
    ).live(),
    milliseconds!(
        "session.idle_timeout_ms",
        session.idle_timeout,
        (LEAST_IDLE_MS)..=LONGEST_MS,
        "A caller's session is closed after this time without calls. Its next call opens another."
    ).live(),
];
