//! The settings of the masker: what `[redact]` and `capture.rules` say.

use std::fmt;
use std::time::Duration;

use regex::Regex;

use crate::hosts::HostRules;

/// `capture` in an entry of `capture.rules`. Each call is an event, whatever the level.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CaptureLevel {
    /// All of it.
    Full,
    /// No bodies.
    Headers,
    /// No bodies, no header fields, no query.
    Metadata,
    /// No path either: that there was a call, to whom, how long it took and how it ended.
    None,
}

impl CaptureLevel {
    /// Its names, as settings have them.
    pub(crate) const NAMES: [(&'static str, Self); 4] =
        [("full", Self::Full), ("headers", Self::Headers), ("metadata", Self::Metadata), ("none", Self::None)];
}

/// `[redact]`
#[derive(Clone)]
pub struct Redact {
    /// Header fields that are masked beside ours: names, or `*-end`.
    pub headers: Vec<String>,
    /// JSON members, form fields and query parameters that are masked beside ours.
    pub keys: Vec<String>,
    /// What is masked wherever it matches, by name.
    pub patterns: Vec<(String, Regex)>,
    /// Rules that are lifted for some calls.
    pub allow: Vec<RedactAllow>,
    /// The longest that one body may be searched for secrets; then it is withheld. Short ones are searched without a limit.
    pub budget: Duration,
}

/// As in the settings file.
impl fmt::Display for RedactAllow {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { hosts, path, rules } = self;
        write!(f, "{{ hosts = {hosts}, ")?;
        if let Some(path) = path {
            write!(f, "path = {path:?}, ")?;
        }
        write!(f, "rules = {rules:?} }}")
    }
}

/// An entry of `redact.allow`.
#[derive(Debug, Clone, PartialEq)]
pub struct RedactAllow {
    /// The hosts of the calls.
    pub hosts: HostRules,
    /// Their paths: a glob. `None`: all.
    pub path: Option<String>,
    /// The rules: ids, or globs of such.
    pub rules: Vec<String>,
}
