//! What people read of the settings, made from the list that parses them: `proxy.toml` and the tables of the reference page.

use std::path::Path;

use super::defaults;
use super::keys::{Applies, Key, Kind, SECTIONS, Section};
use super::types::Config;

/// Where our own files lie unless `XDG_DATA_HOME` says otherwise.
const DATA: &str = "~/.local/share/otas-proxy";
/// How long a line of prose in the file may be, in characters, without its `# `.
const WIDTH: usize = 98;
const DAY_MS: i64 = 86_400_000;

const HEAD: &str = "\
# Settings of otas-proxy.
#
# Each setting stands here once, and none is set. Lines without a space after the `#` are settings: they
# show the default, or an example where the text names another default. Remove the `#` to set one.
#
# Environment variables override this file, and command-line flags override both. `otas-proxy config`
# prints every setting in force and where it came from.
#
# The file in use is the one that --config names, else OTAS_PROXY_CONFIG. Without either,
# otas-proxy/proxy.toml below $XDG_CONFIG_HOME (or ~/.config) is read, and ./proxy.toml over it.
# A ./proxy.toml that nobody named may come from somebody else, so it may set only a few things
# (SECURITY.md lists them). Any other setting stops the start; --config ./proxy.toml allows it.
#
# Relative paths start from the folder of this file. Times are in milliseconds (_ms), sizes in bytes
# (_bytes). An unknown name or an invalid value stops the start, with its line and column.
#
# A running `serve` takes over what changes here, except settings that \"Needs a restart.\" stands at.
#
# This file is generated from src/config/keys: change it there, then run `just reference`.
";

/// The text of `proxy.toml`: every setting with its meaning, commented out.
///
/// # Errors
/// Only if a default URL were malformed, which a test rules out.
pub fn settings_file() -> Result<String, url::ParseError> {
    let defaults = defaults::config(Path::new(DATA))?;
    let sections = SECTIONS.iter().map(|section| in_file(section, &defaults));
    Ok(format!("{HEAD}{}", sections.collect::<String>()))
}

/// The tables of the reference page, one for each section of the file, in Markdown.
///
/// # Errors
/// As [`settings_file`].
pub fn settings_tables() -> Result<String, url::ParseError> {
    let defaults = defaults::config(Path::new(DATA))?;
    Ok(SECTIONS.iter().map(|section| table(section, &defaults)).collect::<Vec<_>>().join("\n"))
}

fn in_file(section: &Section, defaults: &Config) -> String {
    let is_whole = section.keys.iter().any(|key| key.name == section.name);
    let keys = section.keys.iter().map(|key| {
        let facts = facts(key, defaults, true);
        let prose = [key.meaning, &facts].into_iter().filter(|text| !text.is_empty()).flat_map(wrapped);
        let prose: String = prose.map(|line| format!("# {line}\n")).collect();
        let lines: String = value_lines(key, defaults).lines().map(commented_out).collect();
        format!("\n{prose}{lines}")
    });
    let head = if is_whole { String::new() } else { format!("\n[{}]", section.name) };
    format!("{head}{}", keys.collect::<String>())
}

/// What stands below the prose: the name with its default or an example.
fn value_lines(key: &Key, defaults: &Config) -> String {
    let leaf = key.name.rsplit_once('.').map_or(key.name, |(_, leaf)| leaf);
    match (key.kind, key.example) {
        (Kind::Section, example) => example.unwrap_or_default().to_owned(),
        (_, Some(example)) => format!("{leaf} = {example}"),
        (_, None) => format!("{leaf} = {}", as_toml(key, defaults).unwrap_or_default()),
    }
}

fn commented_out(line: &str) -> String {
    if line.is_empty() { "\n".to_owned() } else { format!("#{line}\n") }
}

fn table(section: &Section, defaults: &Config) -> String {
    let brackets = match section.keys {
        [key] if key.name == section.name => format!("[[{}]]", section.name),
        _ => format!("[{}]", section.name),
    };
    let row = |key: &Key| {
        let cell = |text: String| text.replace('|', "\\|");
        let meaning = [key.meaning.to_owned(), facts(key, defaults, false)].join(" ");
        format!(
            "| `{}` | {} | {} |\n",
            key.name,
            cell(default_cell(key, defaults)),
            cell(meaning.trim_end().to_owned())
        )
    };
    let rows: String = section.keys.iter().map(row).collect();
    format!("### `{brackets}`\n\n| setting | default | meaning |\n|---|---|---|\n{rows}")
}

/// The default as the settings file writes it. `None`: there is no value.
fn as_toml(key: &Key, defaults: &Config) -> Option<String> {
    let shown = (key.show)(defaults)?;
    match key.kind {
        Kind::Text | Kind::Choice(_) => Some(format!("\"{shown}\"")),
        Kind::Plain | Kind::Number { .. } => Some(shown),
        Kind::Section => None,
    }
}

fn default_cell(key: &Key, defaults: &Config) -> String {
    match as_toml(key, defaults) {
        Some(value) => match in_words(key.name, value.parse().ok()) {
            Some(words) => format!("`{value}` ({words})"),
            None => format!("`{value}`"),
        },
        None => key.unset.unwrap_or("none").to_owned(),
    }
}

/// Limits, default, variable, flag, and whether a change needs a restart, in short sentences. `in_file`: what the page has in its own column is said, too.
fn facts(key: &Key, defaults: &Config, in_file: bool) -> String {
    let mut facts = Vec::new();
    match key.kind {
        Kind::Number { least, most } => {
            let most = match in_words(key.name, Some(most)) {
                Some(words) => format!("{most} ({words})"),
                None => most.to_string(),
            };
            facts.push(format!("From {least} to {most}."));
        }
        Kind::Choice(names) => {
            let names: Vec<String> = names().iter().map(|name| format!("`{name:?}`")).collect();
            facts.push(format!("One of {}.", names.join(", ")));
        }
        Kind::Text | Kind::Plain | Kind::Section => {}
    }
    if in_file && let Some(default) = default_in_words(key, defaults) {
        facts.push(format!("Default: {default}."));
    }
    facts.extend(key.variable.map(|variable| format!("Variable: `{variable}`.")));
    facts.extend(key.flag.as_ref().map(|flag| format!("Flag: `{}`.", flag.name)));
    facts.extend((key.applies == Applies::AtStart).then(|| "Needs a restart.".to_owned()));
    facts.join(" ")
}

/// The default, where the line below does not show it or shows a large number.
fn default_in_words(key: &Key, defaults: &Config) -> Option<String> {
    match (key.kind, key.example) {
        (Kind::Section, _) => None,
        (Kind::Number { .. }, None) => in_words(key.name, (key.show)(defaults)?.parse().ok()),
        (_, None) => None,
        (_, Some(_)) => {
            let default = as_toml(key, defaults).map(|value| value.trim_matches('"').to_owned());
            Some(default.unwrap_or_else(|| key.unset.unwrap_or("none").to_owned()))
        }
    }
}

/// A time or a size in a unit that people read. `None`: it has neither unit, or reads well as it is.
fn in_words(name: &str, number: Option<i64>) -> Option<String> {
    let units: &[(i64, &str)] = match name.rsplit_once('_')?.1 {
        "ms" => &[(DAY_MS, "day"), (3_600_000, "hour"), (60_000, "min"), (1_000, "s")],
        "bytes" => &[(1 << 50, "PiB"), (1 << 40, "TiB"), (1 << 30, "GiB"), (1 << 20, "MiB"), (1 << 10, "KiB")],
        _ => return None,
    };
    let number = number?;
    let (unit, name) = units.iter().find(|(unit, _)| number >= *unit && number % unit == 0)?;
    Some(format!("{} {name}", number / unit))
}

/// Lines of at most `WIDTH` characters, without backquotes. What stands in backquotes is not broken.
fn wrapped(text: &str) -> Vec<String> {
    let mut lines = vec![String::new()];
    for word in words(text.trim_end()) {
        match lines.last_mut() {
            Some(line) if line.is_empty() => line.push_str(&word),
            Some(line) if line.chars().count() + 1 + word.chars().count() <= WIDTH => {
                line.push(' ');
                line.push_str(&word);
            }
            _ => lines.push(word),
        }
    }
    lines
}

/// The words between spaces; code in backquotes is one word with what adjoins it.
fn words(text: &str) -> Vec<String> {
    let (mut words, mut in_code) = (vec![String::new()], false);
    for c in text.chars() {
        match (c, words.last_mut()) {
            ('`', _) => in_code = !in_code,
            (' ', _) if !in_code => words.push(String::new()),
            (_, Some(word)) => word.push(c),
            _ => {}
        }
    }
    words
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn code_is_not_broken_and_its_backquotes_are_left_out() {
        let long = "word ".repeat(18);
        assert_eq!(wrapped(&format!("{long}`a b c d e f g h`, end")), [long.trim_end(), "a b c d e f g h, end"]);
    }

    #[test]
    fn numbers_are_said_in_a_unit_that_divides_them() {
        for (name, number, words) in [
            ("a_ms", 900_000, Some("15 min")),
            ("a_ms", 86_400_000, Some("1 day")),
            ("a_ms", 500, None),
            ("a_bytes", 4 << 30, Some("4 GiB")),
            ("a_bytes", 1000, None),
            ("max_connections", 3_600_000, None),
        ] {
            assert_eq!(in_words(name, Some(number)).as_deref(), words, "{name} {number}");
        }
    }
}
