//! What tells this session apart from others, in OTAS's list of sessions.

use serde_json::{Value, json};

use super::command_line::CommandLine;
use crate::redact::Redactor;
use crate::system::{self, machine};
use crate::{known_agents, users};

/// Words of a command that may name the agent: what follows is its task.
const AGENT_WORDS: usize = 2;

/// The `meta` of the session of `run`: facts about this process, its command and the user's own pairs, whose secrets are masked.
pub(super) fn of_run(command: &[String], own: &[(String, String)], redactor: &Redactor) -> Value {
    let mut meta = of_this_process(&CommandLine::masked(command, redactor).line());
    if let Some(agent) = agent(command) {
        meta["agent"] = json!(agent);
    }
    for (name, value) in own {
        let (name, value) = redactor.masking("", 0, "").pair(name, value);
        meta[name] = json!(value);
    }
    meta
}

/// Facts about this process: `command`, which has no secret, host, user, process number, time and version.
pub(super) fn of_this_process(command: &str) -> Value {
    let now = time::OffsetDateTime::now_utc();
    json!({
        "command": command,
        "host": machine::name(),
        "user": user(),
        "pid": std::process::id(),
        "started_at": now.format(&time::format_description::well_known::Rfc3339).unwrap_or_default(),
        "proxy": concat!("otas-proxy ", env!("CARGO_PKG_VERSION")),
    })
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
    use crate::redact::testing::redactor;

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
            assert_eq!(of_run(&words, &[], redactor())["agent"].as_str(), name, "{command}");
        }
    }
}
