//! Where a value came from.

use std::collections::BTreeMap;
use std::fmt;

/// The layer, and the place in it, that a value came from. Ordered as problems are listed: places in the file first.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Source {
    /// The settings file.
    File {
        /// The file's path as people know it: relative to the working folder where it lies below that.
        path: String,
        /// Counted from 1.
        line: usize,
        /// In characters, counted from 1.
        column: usize,
    },
    /// An environment variable.
    Environment(&'static str),
    /// A command-line flag, with its dashes.
    Flag(&'static str),
    /// Nothing set it.
    Default,
}

impl fmt::Display for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::File { path, line, .. } => write!(f, "file {path}:{line}"),
            Self::Environment(name) => write!(f, "environment {name}"),
            Self::Flag(name) => write!(f, "flag {name}"),
            Self::Default => f.write_str("default"),
        }
    }
}

/// One line of [`super::Loaded::report`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Setting {
    /// The dotted name, such as `otas.brain_url`.
    pub key: &'static str,
    /// The effective value as text: secrets masked, `not set` where there is none.
    pub value: String,
    /// Where the value came from.
    pub source: Source,
}

/// Where each setting that is not at its default came from, by dotted name.
pub(super) type Sources = BTreeMap<&'static str, Source>;
