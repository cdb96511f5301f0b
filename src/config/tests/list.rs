//! The list of settings agrees with the parser and with `proxy.toml`.

use super::super::keys::{self, Kind};
use super::*;

const OWN_FILE: &str = include_str!("../../../proxy.toml");

/// Every setting of the file, the commented-out ones too: section, name and the whole line without its `#`.
fn own_lines() -> Vec<(&'static str, &'static str, &'static str)> {
    let mut section = "";
    let mut lines = Vec::new();
    for line in OWN_FILE.lines() {
        let line = line.strip_prefix('#').unwrap_or(line);
        if let Some(name) = line.strip_prefix('[') {
            section = name.trim_matches(['[', ']']);
        } else if let Some((name, _)) = line.split_once(" = ").filter(|_| !line.starts_with(' ')) {
            lines.push((section, name, line));
        }
    }
    lines
}

#[test]
fn our_own_file_sets_nothing_so_that_there_is_one_ca_and_one_store() {
    let (found, without) = (Case::found(OWN_FILE).loaded(), Case::new().loaded());
    assert!(found.sources.is_empty());
    assert!(found.config.tls.ca_dir.ends_with("home/.local/share/otas-proxy/ca"));
    assert_eq!(line(&found, "store.path").1, line(&without, "store.path").1);
}

/// The lines that the list has for one setting, uncommented: an example if there is one.
fn example(key: &keys::Key) -> Option<String> {
    let example = key.example?;
    let (section, leaf) = key.name.split_once('.').unwrap_or(("", key.name));
    match key.kind {
        Kind::Section => Some(example.to_owned()),
        _ => Some(format!("[{section}]\n{leaf} = {example}")),
    }
}

#[test]
fn the_parser_takes_each_example() {
    let mut checked = 0;
    for key in keys::all() {
        let Some(text) = example(key) else { continue };
        let scope = if key.name == "agents" { "[session]\nscope = \"credential\"\n" } else { "" };
        let case = Case::file(&format!("{scope}{text}\n"))
            .write("cwd/agent.key", KEY)
            .write("cwd/planner.key", OTHER_KEY)
            .write("cwd/planner.secret", "s3cret")
            .write("cwd/otlp.headers", "x-key=v")
            .write("cwd/prices.toml", include_str!("../../../prices.example.toml"))
            .env("OTAS_AGENT_KEY", if key.name == keys::SESSION_TOKEN { KEY } else { "" });
        let (_, source) = line(&case.loaded(), key.name);
        assert!(source.starts_with("file proxy.toml:"), "{}: {source}", key.name);
        checked += 1;
    }
    assert!(checked >= 12, "only {checked}");
}

#[test]
fn the_parser_takes_the_limits_and_the_choices_that_the_list_states_and_nothing_else() {
    let refused = |key: &keys::Key, value: &str| {
        let (section, leaf) = key.name.split_once('.').unwrap();
        let refused = Case::file(&format!("[{section}]\n{leaf} = {value}\n")).load().err();
        // Rules between settings are about other things.
        refused.is_some_and(|error| error.to_string().contains("expected"))
    };
    let mut checked = (0, 0);
    for key in keys::all() {
        match key.kind {
            Kind::Number { least, most } => {
                assert!(!refused(key, &least.to_string()) && !refused(key, &most.to_string()), "{}", key.name);
                assert!(
                    refused(key, &(least - 1).to_string()) && refused(key, &(most + 1).to_string()),
                    "{}",
                    key.name
                );
                checked.0 += 1;
            }
            Kind::Choice(names) => {
                for name in names() {
                    assert!(!refused(key, &format!("{name:?}")), "{} {name}", key.name);
                    assert!(key.meaning.contains(&format!("`{name:?}`")), "{} does not explain {name}", key.name);
                }
                assert!(refused(key, "\"another\""), "{}", key.name);
                checked.1 += 1;
            }
            Kind::Text | Kind::Plain | Kind::Section => {}
        }
    }
    assert!(checked.0 >= 20 && checked.1 == 5, "{checked:?}");
}

#[test]
fn values_commented_out_in_our_file_are_the_defaults() {
    let defaults = Case::new().loaded();
    let mut checked = 0;
    for (section, name, line) in own_lines() {
        let is_table = ["event.properties", "agents", keys::SINKS].contains(&section);
        let dotted = if is_table { section.to_owned() } else { format!("{section}.{name}") };
        let default = defaults.report().into_iter().find(|setting| setting.key == dotted).unwrap();
        // Examples: the defaults of these depend on the user.
        let is_example = default.value == "not set" || ["tls.ca_dir", "store.path"].contains(&&*dotted);
        if is_example || ["event.properties", "agents", keys::SINKS].contains(&section) {
            continue;
        }
        let named =
            Case::file(&format!("[{section}]\n{line}\n")).flags(|flags| flags.config = Some("proxy.toml".into()));
        let loaded = named.loaded();
        assert_eq!(self::line(&loaded, &dotted), pair(&default.value, "file proxy.toml:2"));
        checked += 1;
    }
    let with_default = defaults.report().into_iter().filter(|setting| setting.value != "not set").count();
    assert_eq!(checked, with_default - ["tls.ca_dir", "store.path", "event.properties"].len());
}
