//! What is wrong with the settings, and what to do about it.

use std::fmt;
use std::io;

use super::source::Source;

/// Why the settings cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// The settings file could not be read.
    #[error("cannot read the settings file {path} ({found_by})")]
    Read {
        /// The file's path as people know it.
        path: String,
        /// Why it was read: the flag or variable that names it, or its standard place.
        found_by: &'static str,
        /// The system's error.
        source: io::Error,
    },
    /// A built-in default is malformed: a fault of this program.
    #[error("a built-in default URL is malformed")]
    Default(#[from] url::ParseError),
    /// Every problem with the values, one line each, in the order of their places.
    #[error("{}", lines(.0))]
    Invalid(Vec<Problem>),
}

/// One thing that is wrong, shown as `proxy.toml:12:1: otas.brian_url: unknown key; did you mean otas.brain_url?`
/// (with backquotes around the suggestion), or with the variable or flag in place of the file position.
///
/// Never holds a text value that was set: it may be a secret.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    /// Its place. [`Source::Default`]: a required setting is missing.
    pub source: Source,
    /// The dotted name. `None` when the file is not even TOML.
    pub key: Option<String>,
    /// The problem, and what was expected.
    pub message: String,
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.source {
            Source::File { path, line, column } => write!(f, "{path}:{line}:{column}: ")?,
            Source::Environment(_) | Source::Flag(_) => write!(f, "{}: ", self.source)?,
            Source::Default => {}
        }
        if let Some(key) = &self.key {
            write!(f, "{key}: ")?;
        }
        f.write_str(&self.message)
    }
}

fn lines(problems: &[Problem]) -> String {
    problems.iter().map(Problem::to_string).collect::<Vec<_>>().join("\n")
}
