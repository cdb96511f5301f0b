//! The help of flags that set something: the meaning of their settings, with variable and default.

use std::path::Path;

use super::keys::{self, Key};
use super::types::Config;
use super::{defaults, flags};

/// Gives each flag of `command` and of its subcommands that sets something the meaning of its setting as help: its first sentence
/// for `-h`, all of it for `--help`.
///
/// # Errors
/// Only if a default URL were malformed, which a test rules out.
pub fn with_flag_help(command: clap::Command) -> Result<clap::Command, url::ParseError> {
    Ok(described(command, &defaults::config(Path::new("~/.local/share/otas-proxy"))?))
}

fn described(command: clap::Command, defaults: &Config) -> clap::Command {
    let described_arg = |arg: clap::Arg| {
        let is_setting = arg.get_help_heading() == Some(flags::FLAGS_HEADING);
        match arg.get_long().filter(|_| is_setting).and_then(|long| keys::of_flag(&format!("--{long}"))) {
            Some(key) => {
                let (short, long) = help(key, defaults, arg.get_value_delimiter().is_some());
                arg.help(short).long_help(long)
            }
            None => arg,
        }
    };
    command.mut_args(described_arg).mut_subcommands(|command| described(command, defaults))
}

/// For `-h` and for `--help`.
fn help(key: &Key, defaults: &Config, is_list: bool) -> (String, String) {
    let meaning = key.meaning.replace('`', "");
    let first = meaning.split_once(". ").map_or(&*meaning, |(first, _)| first).trim_end_matches('.');
    let variable = key.variable.map(|variable| format!(" [env: {variable}]")).unwrap_or_default();
    let default = match (key.unset, (key.show)(defaults)) {
        (Some(words), _) => format!(" [default: {words}]"),
        (None, Some(value)) if value != "[]" => format!(" [default: {value}]"),
        _ => String::new(),
    };
    let list =
        if is_list { " Repeat the flag, or separate several with commas; they replace the file's list." } else { "" };
    (format!("{first}{variable}{default}"), format!("{meaning}{list}\n\nSets {}.{variable}{default}", key.name))
}
