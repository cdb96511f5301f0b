//! Masking secrets on their way to the disk, to OTAS and to people. The wire is never touched: this works on copies.
//!
//! ```text
//!  headers, urls   fields, queries and forms, by the names in them
//!  scan            any text: names with values (names, value), known formats (formats, patterns), tokens under a
//!                 service's name (services), user information of URLs
//!    |- streams    secrets that a stream of events tells in pieces (deltas), also one that is a string of JSON
//!    |- escapes    secrets behind `\u0041`
//!    |- edges      what a cut left of a secret
//!  identity        ids of an agent's session, which are no secrets
//!  report          our own secrets (secret::registry) in logs and panics
//!  fingerprint     the tag that stands for a secret
//! ```
//!
//! Invariants: what is masked is valid where it stands (a JSON string stays one), masks are known and left alone, and the work
//! for a text is bounded by [`Redact::budget`]; a text that would take more is withheld whole.

mod commands;
mod deltas;
mod edges;
mod escapes;
mod fingerprint;
mod formats;
mod headers;
mod identity;
mod judge;
mod memo;
mod names;
mod patterns;
mod probe;
mod relation;
mod report;
mod runs;
mod scan;
mod services;
mod settings;
mod streams;
mod urls;
mod value;
mod work;

#[cfg(any(test, fuzzing))]
pub(crate) mod fuzzing;
#[cfg(any(test, fuzzing))]
pub(crate) mod testing;
#[cfg(test)]
mod tests;

use std::borrow::Cow;
use std::cmp::Reverse;
use std::sync::Arc;
use std::time::Duration;

use regex::Regex;

pub use self::fingerprint::{FINGERPRINT_KEY_FILE, Fingerprint};
pub use self::probe::{SlowPattern, slow_patterns};
pub use self::report::{MaskedStderr, masked, panics_are_masked};
pub(crate) use self::scan::{Ends, OutOfTime};
pub use self::settings::{CaptureLevel, Redact, RedactAllow};

use self::identity::Identity;
use self::names::{Kind, Names};
use self::scan::{Finding, Scanner, Show};
use crate::deadline::Deadline;
use crate::hosts::HostRules;
use crate::secret::{MASK, registry as own};

/// A secret of at least this many bytes is long enough to show its last four characters, so that two keys can be told
/// apart.
const TAIL_FROM_BYTES: usize = 20;
/// `#` and the tag.
const TAG_BYTES: usize = 9;
/// What stands in the place of a text that could not be looked through in time.
pub(crate) const WITHHELD: &str = "[otas-proxy: withheld, since it could not be searched for secrets in its time]";

/// Ids of agents' sessions that are remembered for other calls, such as those of telemetry.
const IDS_REMEMBERED: usize = 4096;
/// Rules on names under which agents write such ids.
const OF_IDS: [&str; 2] = ["key.session_id", "key.session"];

/// Matches of an operator's pattern before the clock is looked at.
const MATCHES_A_LOOK: usize = 16;

/// The rule on our own secrets.
const OWN: &str = "own";
/// The rule on what a cut left of a secret.
const CUT: &str = "cut";
/// The rule on user information in URLs.
const USERINFO: &str = "url.userinfo";

/// All rules, made ready. One for a process.
pub struct Redactor {
    names: Names,
    scanner: Scanner,
    patterns: Vec<(String, Regex)>,
    allow: Vec<Allow>,
    capture: Vec<(HostRules, CaptureLevel)>,
    budget: Duration,
    fingerprint: Fingerprint,
    /// Ids that earlier calls told.
    ids_seen: quick_cache::sync::Cache<String, ()>,
}

/// Rules that are lifted for some calls.
struct Allow {
    hosts: HostRules,
    path: Option<wildmatch::WildMatch>,
    rules: Vec<wildmatch::WildMatch>,
}

/// What a rule of texts finds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rule {
    /// A text that it finds; `None` for the operator's own rules.
    pub example: Option<String>,
    /// Whose tokens it finds.
    pub service: Option<&'static str>,
    /// The page, or the rule of a public set, that states what they look like.
    pub source: Option<&'static str>,
}

/// The rules cannot be made ready.
#[derive(Debug, thiserror::Error)]
#[error("the rules of redaction cannot be put together; have fewer `redact.keys`")]
pub struct TooManyRules(#[from] aho_corasick::BuildError);

impl Redactor {
    /// From the settings.
    ///
    /// # Errors
    /// When there are too many keys to search for at once.
    pub fn new(
        settings: &Redact,
        capture: &[(HostRules, CaptureLevel)],
        fingerprint: Fingerprint,
    ) -> Result<Self, TooManyRules> {
        let allow = settings.allow.iter().map(|allow| Allow {
            hosts: allow.hosts.clone(),
            path: allow.path.as_deref().map(wildmatch::WildMatch::new),
            rules: allow.rules.iter().map(|rule| wildmatch::WildMatch::new(rule)).collect(),
        });
        Ok(Self {
            names: Names::new(&settings.headers, &settings.keys),
            scanner: Scanner::new(&settings.keys)?,
            patterns: settings.patterns.iter().map(|(name, regex)| (pattern_id(name), regex.clone())).collect(),
            allow: allow.collect(),
            capture: capture.to_vec(),
            budget: settings.budget,
            fingerprint,
            ids_seen: quick_cache::sync::Cache::new(IDS_REMEMBERED),
        })
    }

    /// How much of calls to this host is recorded.
    pub fn level(&self, host: &str, port: u16) -> CaptureLevel {
        let rule = self.capture.iter().find(|(hosts, _)| hosts.matches(host, port));
        rule.map_or(CaptureLevel::Full, |(_, level)| *level)
    }

    /// Masks for one call.
    pub fn masking(&self, host: &str, port: u16, path: &str) -> Masking<'_> {
        let lifts = |allow: &&Allow| {
            allow.hosts.matches(host, port) && allow.path.as_ref().is_none_or(|glob| glob.matches(path))
        };
        Masking {
            redactor: self,
            lifted: self.allow.iter().filter(lifts).flat_map(|allow| &allow.rules).collect(),
            own: own::searcher(),
            identity: Identity::default(),
            counts: Vec::new(),
            withheld: false,
            texts_withheld: false,
            of_form: None,
            masks: memo::MaskMemo::default(),
        }
    }

    /// The rules of texts, each once, sorted.
    pub fn rules(&self) -> std::collections::BTreeMap<&str, Rule> {
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

    /// The ids of all rules, each at least once, in no order.
    fn ids(&self) -> impl Iterator<Item = &str> {
        let patterns =
            formats::all().map(|format| format.id).chain(formats::SERVICES.iter().map(|service| service.id));
        let own = self.patterns.iter().map(|(id, _)| id.as_str());
        self.names.ids().chain(patterns).chain(own).chain([CUT, USERINFO, commands::COMMAND])
    }

    /// The mask of a secret that a machine made.
    fn token(&self, secret: &str) -> String {
        let tail = secret.char_indices().rev().nth(3).map_or("", |(at, _)| &secret[at..]);
        // A tail must not begin inside an escape, nor end a string.
        let odd = |byte: u8| matches!(byte, b'%' | b'\\' | b'"' | b'&' | b'#');
        let tail = if secret.len() < TAIL_FROM_BYTES || secret.bytes().rev().take(12).any(odd) { "" } else { tail };
        format!("{MASK}{tail}#{}", self.fingerprint.tag(&plain(secret)))
    }

    /// The mask of a secret whose end says too much.
    fn password(&self, secret: &str) -> String {
        format!("{MASK}#{}", self.fingerprint.tag(&plain(secret)))
    }
}

/// Whether `allow` has a rule that is none of those there are.
pub(crate) fn names_unknown_rule(settings: &Redact) -> bool {
    let Ok(redactor) = Redactor::new(settings, &[], Fingerprint::new(&[])) else { return false };
    settings.allow.iter().flat_map(|allow| &allow.rules).any(|rule| {
        let glob = wildmatch::WildMatch::new(rule);
        !redactor.ids().any(|id| glob.matches(id))
    })
}

fn pattern_id(name: &str) -> String {
    format!("pattern.{name}")
}

/// Without JSON's escapes, so that a secret has one tag wherever it stands.
fn plain(secret: &str) -> Cow<'_, str> {
    if !secret.contains('\\') {
        return Cow::Borrowed(secret);
    }
    serde_json::from_str(&format!("\"{secret}\"")).map_or(Cow::Borrowed(secret), Cow::Owned)
}

/// Masks for one call, and counts by rule.
pub struct Masking<'a> {
    redactor: &'a Redactor,
    lifted: Vec<&'a wildmatch::WildMatch>,
    own: Option<Arc<own::Searcher>>,
    identity: Identity,
    counts: Vec<(&'a str, u32)>,
    withheld: bool,
    /// Whether all texts are, without a search.
    texts_withheld: bool,
    /// That of the form whose values are searched.
    of_form: Option<Deadline>,
    masks: memo::MaskMemo,
}

/// What can be read of bytes of which few are no text: each of those is a `?`, so that everything keeps its place.
fn readable(bytes: &[u8]) -> Option<String> {
    const BINARY_OF_A_HUNDRED: usize = 30;
    let mut text = String::with_capacity(bytes.len());
    let mut binary = bytes.iter().filter(|byte| byte.is_ascii_control() && !byte.is_ascii_whitespace()).count();
    for chunk in bytes.utf8_chunks() {
        text.push_str(chunk.valid());
        text.extend(chunk.invalid().iter().map(|_| '?'));
        binary += chunk.invalid().len();
        if binary * 100 > bytes.len() * BINARY_OF_A_HUNDRED {
            return None;
        }
    }
    Some(text)
}

/// A secret in a text, and what stands in its place.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Masked<'a> {
    /// Its bytes.
    pub range: std::ops::Range<usize>,
    /// The rule that found it.
    pub rule: &'a str,
    /// What is shown instead.
    pub shown: String,
}

/// What was counted at some time.
pub(crate) struct Counted<'a>(Vec<(&'a str, u32)>);

impl<'a> Masking<'a> {
    /// Learns from a request's header fields by which ids the agent names its session. They are shown from then on.
    pub(crate) fn recognise<'f>(&mut self, fields: impl Iterator<Item = (&'f str, &'f [u8])> + Clone) {
        self.identity = Identity::of(fields);
        self.remember_ids();
    }

    /// The same from a body.
    fn learn(&mut self, text: &str) {
        if self.identity.learn(text) {
            self.remember_ids();
        }
    }

    fn remember_ids(&self) {
        let seen = &self.redactor.ids_seen;
        for id in self.identity.ids().filter(|id| !seen.contains_key(*id)) {
            seen.insert(id.to_owned(), ());
        }
    }

    /// Whether what `rule` found is an id of an agent's session, and so no secret.
    fn is_identity(&self, rule: &str, value: &str) -> bool {
        OF_IDS.contains(&rule) && self.is_id(value)
    }

    fn is_id(&self, value: &str) -> bool {
        self.identity.has(value) || self.redactor.ids_seen.contains_key(value)
    }

    /// The value to show for a form field, if its name is one of a secret.
    pub fn field(&mut self, name: &str, value: &str) -> Option<String> {
        let redactor = self.redactor;
        let (rule, kind) = redactor.names.key(name.as_bytes())?;
        if value.is_empty() || value::is_mask(value.as_bytes()) {
            return None;
        }
        self.shown_as(value, kind, rule)
    }

    /// A short text, such as a path, a sentence or a header field. One that takes too long is withheld.
    pub fn line(&mut self, text: &str) -> Option<String> {
        self.short(text, Ends::default())
    }

    fn short(&mut self, text: &str, ends: Ends) -> Option<String> {
        let deadline = self.of_form.unwrap_or_else(|| Deadline::of(text, self.redactor.budget));
        match self.findings(text, ends, deadline) {
            Ok(found) => self.apply(text, found),
            Err(OutOfTime) => {
                self.withheld = true;
                Some(WITHHELD.to_owned())
            }
        }
    }

    /// A message of its own, such as one of a WebSocket. One that takes too long is withheld.
    pub fn message(&mut self, text: &str) -> Option<String> {
        self.text(text, Ends::default()).unwrap_or_else(|OutOfTime| Some(WITHHELD.to_owned()))
    }

    /// A body, or a message, whatever is in it.
    ///
    /// # Errors
    /// When it cannot be looked through in its time: then nothing of it may be shown.
    pub(crate) fn text(&mut self, text: &str, ends: Ends) -> Result<Option<String>, OutOfTime> {
        if self.texts_withheld {
            return Err(OutOfTime);
        }
        self.learn(text);
        let found = self.findings(text, ends, Deadline::of(text, self.redactor.budget));
        self.withheld |= found.is_err();
        Ok(self.apply(text, found?))
    }

    /// Bytes that are no text: known formats, passwords in URLs and our own secrets are blotted out. Where only a few bytes are
    /// no text, all that a text is searched for is.
    pub(crate) fn bytes(&mut self, bytes: &[u8], cut: bool) -> Option<Vec<u8>> {
        let nearly = readable(bytes).and_then(|text| self.nearly_text(bytes, &text, cut));
        self.binary(nearly.as_deref().unwrap_or(bytes), cut).or(nearly)
    }

    fn binary(&mut self, bytes: &[u8], cut: bool) -> Option<Vec<u8>> {
        let redactor = self.redactor;
        let mut blotted = redactor.scanner.blot(bytes, cut, |rule| !self.is_lifted(rule) && self.count(rule));
        for secret in self.own.clone().iter().flat_map(|own| own.find_all(bytes)) {
            blotted.get_or_insert_with(|| bytes.to_vec())[secret].fill(b'*');
            self.count(OWN);
        }
        blotted
    }

    /// `text` is what can be read of the bytes, each byte in its place.
    fn nearly_text(&mut self, bytes: &[u8], text: &str, cut: bool) -> Option<Vec<u8>> {
        let ends = Ends { cut_start: false, cut_end: cut };
        let Ok(found) = self.findings(text, ends, Deadline::of(text, self.redactor.budget)) else {
            self.withheld = true;
            return Some(WITHHELD.as_bytes().to_vec());
        };
        let masks = self.merged(text, found);
        let mut blotted = (!masks.is_empty()).then(|| bytes.to_vec())?;
        for Masked { range, rule, .. } in masks {
            blotted[range].fill(b'*');
            self.count(rule);
        }
        Some(blotted)
    }

    /// Our own secrets in what is written already, JSON included.
    pub(crate) fn own(&self, text: &str) -> Option<String> {
        self.own.as_ref().and_then(|own| own.mask(text)).map(|(masked, _)| masked)
    }

    /// Notes that something was withheld.
    pub(crate) fn withhold(&mut self) {
        self.withheld = true;
    }

    /// From now on texts are withheld instead of searched. Short lines are searched all the same.
    pub(crate) fn withhold_texts(&mut self) {
        self.withheld = true;
        self.texts_withheld = true;
    }

    /// Whether something was withheld because it was not searched.
    pub fn withheld(&self) -> bool {
        self.withheld
    }

    /// The ids of the rules that found something, and how often each did.
    pub fn counts(&self) -> &[(&'a str, u32)] {
        &self.counts
    }

    /// How much was masked.
    pub fn total(&self) -> u64 {
        self.counts.iter().map(|(_, count)| u64::from(*count)).sum()
    }

    pub(crate) fn counted(&self) -> Counted<'a> {
        Counted(self.counts.clone())
    }

    /// Takes back what was counted since.
    pub(crate) fn recount(&mut self, counted: &Counted<'a>) {
        self.counts.clone_from(&counted.0);
    }

    /// Masks what stands elsewhere in the event, too, and is counted there.
    pub(crate) fn uncounted(&mut self, mask: impl FnOnce(&mut Self) -> Option<String>) -> Option<String> {
        let before = self.counted();
        let masked = mask(self);
        self.recount(&before);
        masked
    }

    /// What the scanner finds in a text, also behind its escapes.
    fn scanned(&self, text: &str, ends: Ends, deadline: Deadline) -> Result<Vec<Finding<'a>>, OutOfTime> {
        let redactor = self.redactor;
        let find = |text: &str| redactor.scanner.find(&redactor.names, text, ends, deadline);
        let mut found = find(text)?;
        let shadows = [escapes::Shadow::of(text), escapes::Shadow::of_markup(text)];
        for shadow in shadows.into_iter().flatten() {
            found.extend(find(&shadow.text)?.into_iter().map(|finding| shadow.cast_back(finding)));
        }
        Ok(found)
    }

    /// What the operator's patterns find, and our own secrets.
    fn listed(&self, text: &str, deadline: Deadline) -> Result<Vec<Finding<'a>>, OutOfTime> {
        let mut found = Vec::new();
        for (rule, regex) in &self.redactor.patterns {
            for (nth, secret) in regex.find_iter(text).enumerate() {
                if nth % MATCHES_A_LOOK == 0 && deadline.is_over() {
                    return Err(OutOfTime);
                }
                found.push(Finding { range: secret.range(), rule, show: Show::Token });
            }
            if deadline.is_over() {
                return Err(OutOfTime);
            }
        }
        let own = self.own.iter().flat_map(|own| own.find_all(text.as_bytes()));
        found.extend(own.map(|range| Finding { range, rule: OWN, show: Show::Text(MASK.to_owned()) }));
        Ok(found)
    }

    fn findings(&self, text: &str, ends: Ends, deadline: Deadline) -> Result<Vec<Finding<'a>>, OutOfTime> {
        let mut found = self.scanned(text, ends, deadline)?;
        found.retain(|finding| !self.is_identity(finding.rule, &text[finding.range.clone()]));
        if deadline.is_over() {
            return Err(OutOfTime);
        }
        found.extend(self.in_streams(text, deadline)?);
        found.extend(self.listed(text, deadline)?);
        if ends.cut_end {
            let cut = own::cut_off(text);
            found.extend(cut.map(|start| Finding {
                range: start..text.len(),
                rule: OWN,
                show: Show::Text(MASK.to_owned()),
            }));
            // The end of what is left is no end, and its tag would be nobody's.
            for finding in found.iter_mut().filter(|finding| finding.range.end == text.len()) {
                finding.show = Show::Text(MASK.to_owned());
            }
        }
        if ends.cut_start {
            let cut = edges::rest_of_a_secret(text).into_iter();
            found.extend(cut.map(|range| Finding { range, rule: CUT, show: Show::Text(MASK.to_owned()) }));
        }
        Ok(found)
    }

    /// What would be masked in a text, in its order: where, by which rule, and what would stand there.
    ///
    /// `None` when it cannot be looked through in its time: it would be withheld.
    pub fn explain(&self, text: &str) -> Option<Vec<Masked<'a>>> {
        let found = self.findings(text, Ends::default(), Deadline::of(text, self.redactor.budget)).ok()?;
        Some(self.merged(text, found))
    }

    fn apply(&mut self, text: &str, found: Vec<Finding<'a>>) -> Option<String> {
        let masks = self.merged(text, found);
        if masks.is_empty() {
            return None;
        }
        let mut out = String::with_capacity(text.len());
        let mut copied = 0;
        for Masked { range, rule, shown } in masks {
            out.push_str(&text[copied..range.start]);
            if !shown.is_empty() {
                self.count(rule);
            }
            out.push_str(&shown);
            copied = range.end;
        }
        out.push_str(&text[copied..]);
        Some(out)
    }

    /// Findings in their order, each byte in one of them.
    fn merged(&self, text: &str, mut found: Vec<Finding<'a>>) -> Vec<Masked<'a>> {
        found.retain(|finding| !self.is_lifted(finding.rule) && !finding.range.is_empty());
        // Of two that begin alike the longer one says more, and of two that are alike the one on our own.
        found.sort_by_key(|finding| (finding.range.start, Reverse(finding.range.end), finding.rule != OWN));
        self.masks.searched(text.len());
        let mut masks: Vec<Masked<'a>> = Vec::with_capacity(found.len());
        for Finding { range, rule, show } in found {
            match masks.last_mut() {
                Some(last) if range.end <= last.range.end => {}
                // Two that overlap are one, whose end goes with its beginning.
                Some(last) if range.start < last.range.end => last.range.end = range.end,
                _ => {
                    let shown = self.shown(&text[range.clone()], &show);
                    masks.push(Masked { range, rule, shown });
                }
            }
        }
        masks
    }

    fn shown(&self, secret: &str, show: &Show) -> String {
        match show {
            Show::Token => self.masks.mask(0, secret, || self.redactor.token(secret)),
            Show::Password => self.masks.mask(1, secret, || self.redactor.password(secret)),
            Show::Credentials => self.credentials(secret),
            Show::Quoted(quote) => format!("{quote}{}{quote}", self.redactor.password(secret)),
            Show::Text(text) => text.clone(),
        }
    }

    /// The mask of a whole value, counted; `None` when its rule is lifted.
    fn shown_as(&mut self, value: &str, kind: Kind, rule: &'a str) -> Option<String> {
        if self.is_lifted(rule) || self.is_identity(rule, value) {
            return None;
        }
        self.count(rule);
        Some(match kind {
            Kind::Password | Kind::Digits => self.redactor.password(value),
            Kind::Credentials => self.credentials(value),
            Kind::Token | Kind::Opaque | Kind::Parameter => self.redactor.token(value),
        })
    }

    fn is_lifted(&self, rule: &str) -> bool {
        rule != OWN && self.lifted.iter().any(|lifted| lifted.matches(rule))
    }

    fn count(&mut self, rule: &'a str) -> bool {
        match self.counts.iter_mut().find(|(known, _)| *known == rule) {
            Some((_, count)) => *count += 1,
            None => self.counts.push((rule, 1)),
        }
        true
    }
}
