//! What tells this session apart from others, in OTAS's list of sessions.

use serde_json::{Map, Value, json};

use super::command_line;
use crate::system::{self, machine};
use crate::{known_agents, users};

/// Words of a command that may name the agent: what follows is its task.
const AGENT_WORDS: usize = 2;

/// The session's `meta`: command (secrets masked), host, user, time, version, and the user's own pairs.
pub(super) fn of_this_process(command: &[String], own: &[(String, String)]) -> Value {
    let mut meta = Map::new();
    meta.insert("command".into(), json!(command_line::masked(command)));
    if let Some(agent) = agent(command) {
        meta.insert("agent".into(), json!(agent));
    }
    meta.insert("host".into(), json!(machine::name()));
    meta.insert("user".into(), json!(user()));
    meta.insert("pid".into(), json!(std::process::id()));
    let now = time::OffsetDateTime::now_utc();
    let started = now.format(&time::format_description::well_known::Rfc3339).unwrap_or_default();
    meta.insert("started_at".into(), json!(started));
    meta.insert("proxy".into(), json!(concat!("otas-proxy ", env!("CARGO_PKG_VERSION"))));
    for (key, value) in own {
        meta.insert(key.clone(), json!(value));
    }
    Value::Object(meta)
}

/// The agent that a command starts: its program, or what a program such as `node` or `npx` runs.
fn agent(command: &[String]) -> Option<&'static str> {
    let words = command.iter().map(String::as_str).filter(|word| !word.starts_with('-'));
    words.take(AGENT_WORDS).find_map(known_agents::of_program)
}

/// Who runs this process: by the variable for it, else by the user id.
fn user() -> String {
    let named = std::env::var(system::users::NAME).ok().filter(|name| !name.is_empty());
    named.or_else(|| system::users::real().map(users::name)).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_agent_is_told_by_the_command() {
        for (command, name) in [
            ("claude -p hello", Some("claude")),
            ("npx -y @openai/codex exec", Some("codex")),
            ("node /opt/lib/gemini.js", Some("gemini")),
            ("python3 agent.py with claude", None),
        ] {
            let words: Vec<String> = command.split(' ').map(str::to_owned).collect();
            assert_eq!(agent(&words), name, "{command}");
            assert_eq!(of_this_process(&words, &[])["agent"].as_str(), name, "{command}");
        }
    }
}
