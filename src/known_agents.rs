//! Programs that are known to be agents, by process name and by `User-Agent`.

/// A known agent.
struct Known {
    /// Its usual name.
    name: &'static str,
    /// The names of its programs, without folder and file ending.
    programs: &'static [&'static str],
    /// Prefixes of its `User-Agent`, in lower case.
    user_agents: &'static [&'static str],
}

const KNOWN: &[Known] = &[
    Known { name: "claude", programs: &["claude"], user_agents: &["claude-cli/", "claude-code/"] },
    Known { name: "codex", programs: &["codex"], user_agents: &["codex_", "codex-", "codex/"] },
    Known { name: "gemini", programs: &["gemini"], user_agents: &["geminicli", "gemini-cli"] },
    Known { name: "qwen", programs: &["qwen"], user_agents: &["qwencode", "qwen-code"] },
    Known { name: "opencode", programs: &["opencode"], user_agents: &["opencode/"] },
    Known { name: "aider", programs: &["aider"], user_agents: &["aider/"] },
    Known { name: "pi", programs: &["pi"], user_agents: &["pi-coding-agent"] },
    Known { name: "mini-swe-agent", programs: &["mini", "mini-swe-agent"], user_agents: &["mini-swe-agent"] },
    Known { name: "cursor-agent", programs: &["cursor-agent"], user_agents: &["cursor-agent"] },
    Known { name: "copilot", programs: &["copilot"], user_agents: &["copilot/", "githubcopilot", "copilot-cli"] },
    Known { name: "goose", programs: &["goose"], user_agents: &["goose/"] },
    Known { name: "amp", programs: &["amp"], user_agents: &["amp/"] },
    Known { name: "crush", programs: &["crush"], user_agents: &["crush/", "charm crush"] },
];

/// The agent whose program is `path`, with or without its folder and a file ending such as `.js`.
pub(crate) fn of_program(path: &str) -> Option<&'static str> {
    let file = path.rsplit('/').next().unwrap_or(path);
    let stem = file.split_once('.').map_or(file, |(stem, _)| stem);
    KNOWN.iter().find(|known| known.programs.contains(&stem)).map(|known| known.name)
}

/// The agent that sends this `User-Agent`.
pub(crate) fn of_user_agent(value: &str) -> Option<&'static str> {
    let begins = |with: &&str| value.get(..with.len()).is_some_and(|start| start.eq_ignore_ascii_case(with));
    KNOWN.iter().find(|known| known.user_agents.iter().any(begins)).map(|known| known.name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn agents_are_known_by_program_and_by_user_agent() {
        for (program, name) in [
            ("/usr/local/bin/claude", Some("claude")),
            ("codex", Some("codex")),
            ("/opt/x/mini", Some("mini-swe-agent")),
            ("gemini.js", Some("gemini")),
            ("claude-helper", None),
            ("python3", None),
            ("", None),
        ] {
            assert_eq!(of_program(program), name, "{program}");
        }
        for (value, name) in [
            ("claude-cli/2.1.197 (external, cli)", Some("claude")),
            ("codex_exec/0.171.0 (Linux)", Some("codex")),
            ("GeminiCLI/0.9/gemini-3-pro", Some("gemini")),
            ("opencode/1.0", Some("opencode")),
            ("curl/8.5.0", None),
            ("é", None),
        ] {
            assert_eq!(of_user_agent(value), name, "{value}");
        }
    }
}
