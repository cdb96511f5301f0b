//! The settings `[redact]` and `capture.rules`.

use std::fmt;
use std::time::Duration;

use regex::Regex;

use crate::hosts::HostRules;

/// `capture` in an entry of `capture.rules`: what is recorded. Each call is an event at every level.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CaptureLevel {
    /// Everything.
    Full,
    /// No bodies.
    Headers,
    /// No bodies, no header fields, no query.
    Metadata,
    /// No path either: only the host, the time and the outcome of the call.
    None,
}

impl CaptureLevel {
    /// The names of the levels in settings.
    pub(crate) const NAMES: [(&'static str, Self); 4] =
        [("full", Self::Full), ("headers", Self::Headers), ("metadata", Self::Metadata), ("none", Self::None)];
}

/// `[redact]`
#[derive(Clone)]
pub struct Redact {
    /// More header fields that are masked: names, or `*-end`.
    pub headers: Vec<String>,
    /// More JSON members, form fields and query parameters that are masked.
    pub keys: Vec<String>,
    /// Patterns of more secrets, by name.
    pub patterns: Vec<(String, Regex)>,
    /// Rules that are lifted for some calls.
    pub allow: Vec<RedactAllow>,
    /// The longest search of one body, which is withheld if it takes longer. Short bodies are searched without a limit.
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
    /// The paths of the calls, as a glob. `None`: all paths.
    pub path: Option<String>,
    /// The rules, as ids or globs of ids.
    pub rules: Vec<String>,
}
