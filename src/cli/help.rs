//! The help of commands: two examples for each, and a short form without the flags of settings. A test parses each example.

use clap::Command;

use crate::config::FLAGS_HEADING;

/// The command whose short help has all settings. They are what it is about.
const ABOUT_SETTINGS: &str = "serve";

/// A line for people, and the command line that does it.
type Example = (&'static str, &'static str);

/// By the path of the command, without the program's name.
const EXAMPLES: [(&str, [Example; 2]); 44] = [
    (
        "",
        [
            ("See it work, without network or credentials", "otas-proxy demo"),
            ("Log every call of one agent", "otas-proxy run -- python agent.py"),
        ],
    ),
    (
        "serve",
        [
            ("Run a proxy for all agents of this user", "otas-proxy serve"),
            (
                "Listen on another port, with the agent key in a file",
                "otas-proxy serve --listen-proxy 9000 --agent-key-file agent.key",
            ),
        ],
    ),
    (
        "run",
        [
            ("Log every call of one agent", "otas-proxy run -- python agent.py"),
            (
                "Also log calls to localhost, and wait up to 5 minutes for delivery",
                "otas-proxy run --include-localhost --wait 5m -- ./agent",
            ),
        ],
    ),
    (
        "env",
        [
            ("Let this shell use the proxy that runs", "eval \"$(otas-proxy env)\""),
            ("Write an env file for a container", "otas-proxy env --shell docker > proxy.env"),
        ],
    ),
    (
        "events",
        [
            (
                "List what failed at one host within the hour",
                "otas-proxy events --since 1h host:api.example.com status:error",
            ),
            ("Show what agents did within the hour, as trees", "otas-proxy events --tree --since 1h"),
        ],
    ),
    (
        "events show",
        [
            ("Print one event with its headers and bodies", "otas-proxy events show 12"),
            ("Print its response body", "otas-proxy events show --json 12 | jq -r .response_body"),
        ],
    ),
    (
        "show",
        [
            ("Print one event with its headers and bodies", "otas-proxy show 12"),
            ("Read its conversation with the model", "otas-proxy show 12 --conversation"),
        ],
    ),
    (
        "diff",
        [
            ("Print what a call changed against the previous one of its conversation", "otas-proxy diff 16"),
            ("Compare two calls to models", "otas-proxy diff 12 16"),
        ],
    ),
    (
        "page",
        [
            ("Print a link that opens the page", "otas-proxy page"),
            ("Print it for the proxy on another admin port", "otas-proxy page --listen-admin 127.0.0.1:9001"),
        ],
    ),
    (
        "ui",
        [
            ("Show the calls of a run that has ended", "otas-proxy ui"),
            ("Show a copy of a store, on port 9001", "otas-proxy ui --store-path copy.db --listen 127.0.0.1:9001"),
        ],
    ),
    (
        "search",
        [
            ("Find the calls with a text in their bodies", "otas-proxy search 'no such file'"),
            ("Find it in today's calls to one model", "otas-proxy search parse_config model:sonnet since:1d"),
        ],
    ),
    (
        "mcp",
        [
            ("Serve the calls of the proxy that runs", "otas-proxy mcp"),
            (
                "Let Claude Code read the calls in a copy of a store",
                "claude mcp add calls -- otas-proxy mcp --store-path copy.db",
            ),
        ],
    ),
    (
        "stats",
        [
            ("Print totals of everything that is stored", "otas-proxy stats"),
            ("Print what each model cost within the day", "otas-proxy stats --by model --since 1d"),
        ],
    ),
    (
        "runs",
        [
            ("List the sessions of agents", "otas-proxy runs"),
            ("List those that called a model within the day", "otas-proxy runs --llm --since 1d"),
        ],
    ),
    (
        "share",
        [
            ("Write a call to a file that anyone can open", "otas-proxy share 12 --output call.html"),
            (
                "Write a whole run, by the beginning of its session's id",
                "otas-proxy share 0b9f5d4e --output run.html",
            ),
        ],
    ),
    (
        "note",
        [
            ("Write a note on a call", "otas-proxy note 12 the retry that worked"),
            ("Remove it", "otas-proxy note 12 ''"),
        ],
    ),
    (
        "flush",
        [
            ("Deliver everything that waits", "otas-proxy flush"),
            ("Give up after ten minutes", "otas-proxy flush --timeout 10m"),
        ],
    ),
    (
        "retry",
        [
            ("Deliver two dead events again", "otas-proxy retry 17 18"),
            ("Deliver all dead events of one session again", "otas-proxy retry --dead --session 3"),
        ],
    ),
    (
        "store",
        [
            ("Print the size of the store", "otas-proxy store info"),
            ("Check that everything stored can be read", "otas-proxy store verify"),
        ],
    ),
    (
        "store info",
        [
            ("Print the size of the store", "otas-proxy store info"),
            ("Print the bytes that its bodies take", "otas-proxy store info --json | jq .stored_bytes"),
        ],
    ),
    (
        "store verify",
        [
            ("Check that everything stored can be read", "otas-proxy store verify"),
            ("Check another store", "otas-proxy store verify --store-path backup/events.db"),
        ],
    ),
    (
        "store compact",
        [
            ("Give unused space back to the disk", "otas-proxy store compact"),
            ("Do so for another store", "otas-proxy store compact --store-path old/events.db"),
        ],
    ),
    (
        "store clear",
        [
            ("Delete what was delivered over a week ago", "otas-proxy store clear --before 7d"),
            (
                "Delete all calls to one host, also undelivered ones",
                "otas-proxy store clear --host api.test --undelivered",
            ),
        ],
    ),
    (
        "collect",
        [
            ("Run the endpoint in memory, on port 8002", "otas-proxy collect"),
            ("Keep what it gets in a file, on any free port", "otas-proxy collect --listen 127.0.0.1:0 --db otas.db"),
        ],
    ),
    (
        "demo",
        [
            ("Let two scripted agents work, and show their calls", "otas-proxy demo"),
            ("Only the table, and keep the files", "otas-proxy demo --no-wait --keep demo-files"),
        ],
    ),
    (
        "check",
        [("Check everything", "otas-proxy check"), ("Check the store and one client", "otas-proxy check store curl")],
    ),
    (
        "ca",
        [
            ("Print the certificates that agents must trust", "otas-proxy ca show"),
            ("Write them to a file", "otas-proxy ca export otas-proxy.pem"),
        ],
    ),
    (
        "ca show",
        [
            ("Print the certificates that agents must trust", "otas-proxy ca show"),
            ("Print those of another CA folder", "otas-proxy ca show --ca-dir certs"),
        ],
    ),
    (
        "ca export",
        [
            ("Write the certificates as PEM", "otas-proxy ca export otas-proxy.pem"),
            ("Write a trust store for Java", "otas-proxy ca export --format p12 otas-proxy.p12"),
        ],
    ),
    (
        "ca install",
        [
            ("Say what would be done", "otas-proxy ca install --dry-run"),
            ("Let the system trust the CA of another folder", "otas-proxy ca install --ca-dir certs"),
        ],
    ),
    (
        "ca uninstall",
        [
            ("Say what would be done", "otas-proxy ca uninstall --dry-run"),
            ("Remove the CA from the system's trust store", "otas-proxy ca uninstall"),
        ],
    ),
    (
        "ca rotate",
        [
            ("Replace the CA within two weeks", "otas-proxy ca rotate --overlap 14d"),
            ("Let the new CA sign now", "otas-proxy ca rotate --finish"),
        ],
    ),
    (
        "redirect",
        [
            ("Print the rules that redirect a user's connections", "otas-proxy redirect print --user agent"),
            ("Install them", "sudo otas-proxy redirect install --user agent"),
        ],
    ),
    (
        "relay",
        [
            ("Deliver the events of a fleet", "otas-proxy relay --config relay.toml"),
            ("Do so with the store in another place", "otas-proxy relay --store-path /srv/relay.db"),
        ],
    ),
    (
        "relay init",
        [
            ("Make the streams, on one server", "otas-proxy relay init"),
            ("Make them in a cluster, with room for 50 GiB", "otas-proxy relay init --replicas 3 --max-bytes 50GiB"),
        ],
    ),
    (
        "relay status",
        [
            ("Show what waits", "otas-proxy relay status"),
            ("Do so with the settings of a relay", "otas-proxy relay status --config relay.toml"),
        ],
    ),
    (
        "redirect print",
        [
            ("Print the rules for a user", "otas-proxy redirect print --user agent"),
            (
                "Print the rules for a service, for a proxy that runs as `otas`",
                "otas-proxy redirect print --cgroup system.slice/agents.service --proxy-user otas",
            ),
        ],
    ),
    (
        "redirect install",
        [
            ("Redirect a user's connections", "sudo otas-proxy redirect install --user agent"),
            ("Redirect those of a service", "sudo otas-proxy redirect install --cgroup system.slice/agents.service"),
        ],
    ),
    (
        "redirect remove",
        [
            ("Redirect nothing any more", "sudo otas-proxy redirect remove"),
            ("The same, as root already", "otas-proxy redirect remove"),
        ],
    ),
    (
        "redact",
        [
            ("List the secrets in a file", "otas-proxy redact request.json"),
            ("Print a text as it would be stored", "printenv | otas-proxy redact --text -"),
        ],
    ),
    (
        "config",
        [
            ("Print the settings in force", "otas-proxy config"),
            ("Print those of one file", "otas-proxy config --config /etc/otas-proxy/proxy.toml"),
        ],
    ),
    (
        "healthcheck",
        [
            ("Ask whether the proxy is ready", "otas-proxy healthcheck"),
            ("Ask the one with this settings file", "otas-proxy healthcheck --config /etc/otas-proxy/proxy.toml"),
        ],
    ),
    (
        "completions",
        [
            ("Complete in this bash", "source <(otas-proxy completions bash)"),
            ("Install for fish", "otas-proxy completions fish > ~/.config/fish/completions/otas-proxy.fish"),
        ],
    ),
    (
        "man",
        [
            ("Read the manual page", "otas-proxy man | man -l -"),
            ("Write the page of one command", "otas-proxy man ca rotate > otas-proxy-ca-rotate.1"),
        ],
    ),
];

/// The command and its subcommands, each with its examples below its help.
pub(super) fn completed(command: Command) -> Command {
    completed_at(command, "")
}

fn completed_at(command: Command, path: &str) -> Command {
    let command = match path {
        ABOUT_SETTINGS => command,
        _ => command.mut_args(|arg| {
            let is_setting = arg.get_help_heading() == Some(FLAGS_HEADING) && arg.get_id() != "config";
            arg.hide_short_help(is_setting)
        }),
    };
    let examples = EXAMPLES.iter().find(|(its, _)| *its == path).map(|(_, examples)| shown(&command, examples));
    let command = match examples {
        Some(text) => command.after_help(text),
        None => command,
    };
    command.mut_subcommands(|sub| {
        let path = format!("{path} {}", sub.get_name());
        completed_at(sub, path.trim_start())
    })
}

fn shown(command: &Command, examples: &[Example]) -> String {
    let style = command.get_styles().get_header();
    let lines = examples.iter().map(|(what, line)| format!("\n  # {what}\n  {line}\n"));
    format!("{style}Examples:{style:#}{}", lines.collect::<String>()).trim_end().to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The words of the call of otas-proxy in a shell's line: from its name to a pipe, a redirection or a closing bracket.
    fn words(line: &str) -> Vec<String> {
        let call = &line[line.find("otas-proxy ").unwrap_or_else(|| panic!("{line}"))..];
        let end = call.find(" | ").or_else(|| call.find(" > ")).or_else(|| call.find(')')).unwrap_or(call.len());
        call[..end].split(' ').map(str::to_owned).collect()
    }

    fn paths(command: &Command, path: &str, into: &mut Vec<String>) {
        into.push(path.to_owned());
        for sub in command.get_subcommands().filter(|sub| sub.get_name() != "help") {
            paths(sub, format!("{path} {}", sub.get_name()).trim_start(), into);
        }
    }

    #[test]
    fn each_command_has_two_examples_that_the_command_line_takes() {
        let command = crate::cli::command().unwrap();
        let mut all = Vec::new();
        paths(&command, "", &mut all);
        all.sort();
        let mut listed: Vec<&str> = EXAMPLES.iter().map(|(path, _)| *path).collect();
        listed.sort_unstable();
        assert_eq!(all, listed, "the commands, and those with examples");
        for (path, examples) in EXAMPLES {
            for (_, line) in examples {
                let words = words(line);
                let command = command.clone();
                if let Err(error) = command.try_get_matches_from(&words) {
                    panic!("{line}: {error}");
                }
                assert!(words[1..].join(" ").starts_with(path), "{line} is no example of {path:?}");
            }
        }
    }

    #[test]
    fn the_short_help_leaves_settings_to_the_long_one_but_for_serve() {
        for (name, short_has_all) in [("serve", true), ("run", false), ("events", false)] {
            let mut command = crate::cli::command().unwrap();
            let sub = command.find_subcommand_mut(name).unwrap();
            let (short, long) = (sub.render_help().to_string(), sub.render_long_help().to_string());
            assert!(short.contains("--config") && long.contains("--brain-url"), "{name}");
            assert_eq!(short.contains("--brain-url"), short_has_all, "{name}: {short}");
        }
    }

    #[test]
    fn each_help_has_one_line_of_purpose_and_its_examples() {
        fn check(command: &mut Command) {
            let short = command.render_help().to_string();
            let name = command.get_name().to_owned();
            let purpose = command.get_about().map(ToString::to_string).unwrap_or_default();
            assert!(!purpose.is_empty() && purpose.len() <= 100 && !purpose.ends_with('.'), "{name}: {purpose:?}");
            assert!(short.starts_with(&purpose) && short.contains("Examples:\n  # "), "{name}: {short}");
            for sub in command.get_subcommands_mut().filter(|sub| sub.get_name() != "help") {
                check(sub);
            }
        }
        let mut command = crate::cli::command().unwrap();
        command.build();
        check(&mut command);
    }
}
