//! The rules of masking, prepared once for the process.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use regex::Regex;
use wildmatch::WildMatch;

use super::authority::USERINFO;
use super::clean::CleanContents;
use super::commands;
use super::fingerprint::Fingerprint;
use super::formats;
use super::names::{self, Names};
use super::report;
use super::scan::Scanner;
use super::settings::{CaptureLevel, Redact};
use super::windows::long::{LongTexts, Sizes};
use crate::hosts::HostRules;

/// Session ids that are remembered for later calls, such as calls with telemetry.
const IDS_REMEMBERED: usize = 4096;

/// The rule on our own secrets.
pub(super) const OWN: &str = "own";
/// The rule on the rest of a secret that was cut.
pub(super) const CUT: &str = "cut";

/// All rules, prepared for searches. The process has one.
pub struct Redactor {
    pub(super) names: Names,
    pub(super) scanner: Arc<Scanner>,
    /// The operator's own patterns, with the ids of their rules.
    pub(super) patterns: Vec<(String, Regex)>,
    pub(super) allow: Vec<Allow>,
    capture: Vec<(HostRules, CaptureLevel)>,
    /// The longest search of one text.
    pub(super) budget: Duration,
    pub(super) fingerprint: Fingerprint,
    /// The session ids of earlier calls.
    pub(super) ids_seen: quick_cache::sync::Cache<String, ()>,
    pub(super) long: LongTexts,
    pub(super) clean: CleanContents,
}

/// Rules that are lifted for some calls.
pub(super) struct Allow {
    hosts: HostRules,
    path: Option<WildMatch>,
    pub(super) rules: Vec<WildMatch>,
}

impl Allow {
    /// Whether a call is one of these.
    pub(super) fn covers(&self, host: &str, port: u16, path: &str) -> bool {
        self.hosts.matches(host, port) && self.path.as_ref().is_none_or(|glob| glob.matches(path))
    }
}

/// What a rule on texts finds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rule {
    /// A text that the rule finds; `None` for the operator's own rules.
    pub example: Option<String>,
    /// The service whose tokens the rule finds.
    pub service: Option<&'static str>,
    /// The page, or the rule of a public set, that states the format of these tokens.
    pub source: Option<&'static str>,
}

/// The rules cannot be prepared.
#[derive(Debug, thiserror::Error)]
#[error("the rules of redaction cannot be put together; have fewer `redact.keys`")]
pub struct TooManyRules(#[from] aho_corasick::BuildError);

impl Redactor {
    /// Prepares the rules from the settings.
    ///
    /// # Errors
    /// When there are too many keys to search for at once.
    pub fn new(
        settings: &Redact,
        capture: &[(HostRules, CaptureLevel)],
        fingerprint: Fingerprint,
    ) -> Result<Self, TooManyRules> {
        Self::with_sizes(settings, capture, fingerprint, Sizes::default())
    }

    /// The same, with these sizes for long texts.
    pub(super) fn with_sizes(
        settings: &Redact,
        capture: &[(HostRules, CaptureLevel)],
        fingerprint: Fingerprint,
        sizes: Sizes,
    ) -> Result<Self, TooManyRules> {
        let names = Names::new(&settings.headers, &settings.keys);
        let long = LongTexts::new(sizes, ids_on_texts(&names));
        let clean = CleanContents::new(sizes.kept);
        let allow = settings.allow.iter().map(|allow| Allow {
            hosts: allow.hosts.clone(),
            path: allow.path.as_deref().map(WildMatch::new),
            rules: allow.rules.iter().map(|rule| WildMatch::new(rule)).collect(),
        });
        Ok(Self {
            names,
            scanner: scanner(&settings.keys)?,
            patterns: settings.patterns.iter().map(|(name, regex)| (pattern_id(name), regex.clone())).collect(),
            allow: allow.collect(),
            capture: capture.to_vec(),
            budget: settings.budget,
            fingerprint,
            ids_seen: quick_cache::sync::Cache::new(IDS_REMEMBERED),
            long,
            clean,
        })
    }

    /// Remembers what was searched in at most so many bytes; 4 MiB unless set. 0: nothing is remembered.
    pub fn remember_at_most(&self, bytes: usize) {
        self.long.remember_at_most(bytes);
        self.clean.remember_at_most(bytes);
    }

    /// How much of calls to this host is recorded.
    pub fn level(&self, host: &str, port: u16) -> CaptureLevel {
        let rule = self.capture.iter().find(|(hosts, _)| hosts.matches(host, port));
        rule.map_or(CaptureLevel::Full, |(_, level)| *level)
    }

    /// The rules on texts by their ids, sorted.
    pub fn rules(&self) -> BTreeMap<&str, Rule> {
        let formats = formats::all().map(|format| {
            let example = Some(format.example());
            (format.id, Rule { example, service: Some(format.service), source: Some(format.source) })
        });
        let services = formats::SERVICES.iter().map(|service| {
            let example = Some(service.example());
            (service.id, Rule { example, service: Some(service.name), source: Some(service.source) })
        });
        let plain = |example| Rule { example, service: None, source: None };
        let names = self.names.ids().map(|id| (id, plain(names::example(id))));
        let rest = [(USERINFO, "https://ada:pa55w0rd@host/"), (commands::COMMAND, "mysql -ppa55w0rd")]
            .map(|(id, example)| (id, plain(Some(example.to_owned()))));
        let own = self.patterns.iter().map(|(id, _)| (id.as_str(), plain(None)));
        names.chain(formats).chain(services).chain(rest).chain(own).collect()
    }
}

/// The automaton. Without keys of the operator it is the one for log lines, because it takes a few milliseconds and 1.5 MiB.
fn scanner(keys: &[String]) -> Result<Arc<Scanner>, aho_corasick::BuildError> {
    match keys {
        [] => report::scanner(),
        keys => Scanner::new(keys).map(Arc::new),
    }
}

/// The ids of the rules that a text is scanned for.
fn ids_on_texts(names: &Names) -> impl Iterator<Item = &str> {
    let formats = formats::all().map(|format| format.id);
    let services = formats::SERVICES.iter().map(|service| service.id);
    names.ids().chain(formats).chain(services).chain([USERINFO, commands::COMMAND])
}

/// Whether `allow` names a rule that does not exist. Prepares no rules for searches, because all commands check their settings.
pub(crate) fn names_unknown_rule(settings: &Redact) -> bool {
    let mut globs = settings.allow.iter().flat_map(|allow| &allow.rules).map(|rule| WildMatch::new(rule));
    let names = Names::new(&settings.headers, &settings.keys);
    let own: Vec<String> = settings.patterns.iter().map(|(name, _)| pattern_id(name)).collect();
    let ids = || ids_on_texts(&names).chain(own.iter().map(String::as_str)).chain([CUT]);
    globs.any(|glob| !ids().any(|id| glob.matches(id)))
}

/// The id of the rule for an operator's pattern.
fn pattern_id(name: &str) -> String {
    format!("pattern.{name}")
}
