//! The masking of one call: each kind of text has its entry here, and each rule that finds something is counted.

use std::sync::Arc;

use wildmatch::WildMatch;

use super::WITHHELD;
use super::clean::SearchedAs;
use super::counts::Counts;
use super::finding::{Ends, Finding, OutOfTime};
use super::identity::Identity;
use super::mask::is_mask;
use super::memo::MaskMemo;
use super::names::Kind;
use super::redactor::{OWN, Redactor};
use crate::deadline::Deadline;
use crate::secret::registry as own;

/// Rules on names that agents also use for the ids of their sessions.
const OF_IDS: [&str; 2] = ["key.session_id", "key.session"];

/// Masks for one call, and counts by rule.
pub struct Masking<'a> {
    pub(super) redactor: &'a Redactor,
    lifted: Vec<&'a WildMatch>,
    /// Finds our own secrets.
    pub(super) own: Option<Arc<own::Searcher>>,
    pub(super) identity: Identity,
    counts: Counts<'a>,
    pub(super) withheld: bool,
    /// Whether all texts are withheld without a search.
    texts_withheld: bool,
    /// The deadline of the form whose values are searched.
    pub(super) of_form: Option<Deadline>,
    pub(super) masks: MaskMemo,
}

impl Redactor {
    /// The masking of one call.
    pub fn masking(&self, host: &str, port: u16, path: &str) -> Masking<'_> {
        let allow = self.allow.iter().filter(|allow| allow.covers(host, port, path));
        Masking {
            redactor: self,
            lifted: allow.flat_map(|allow| &allow.rules).collect(),
            own: own::searcher(),
            identity: Identity::default(),
            counts: Counts::default(),
            withheld: false,
            texts_withheld: false,
            of_form: None,
            masks: MaskMemo::default(),
        }
    }
}

impl<'a> Masking<'a> {
    /// Learns the ids of the agent's session from the header fields of a request. These ids are shown from then on.
    pub(crate) fn recognise<'f>(&mut self, fields: impl Iterator<Item = (&'f str, &'f [u8])> + Clone) {
        self.identity = Identity::of(fields);
        self.remember_ids();
    }

    /// Learns such ids from a body, or from a member of it.
    pub(crate) fn learn(&mut self, text: &str) {
        if self.identity.learn(text) {
            self.remember_ids();
        }
    }

    /// Remembers the ids. What has the format of a secret, or is matched by a pattern of the operator, is none.
    fn remember_ids(&mut self) {
        let seen = &self.redactor.ids_seen;
        let new: Vec<String> = self.identity.ids().filter(|id| !seen.contains_key(*id)).map(str::to_owned).collect();
        let (secrets, ids): (Vec<String>, Vec<String>) =
            new.into_iter().partition(|id| self.uncounted(|masking| masking.line(id)).is_some());
        self.identity.retain(|id| !secrets.contains(id));
        ids.into_iter().for_each(|id| seen.insert(id, ()));
    }

    /// Whether the finding of a rule is the id of an agent's session, and so not a secret.
    pub(super) fn is_identity(&self, rule: &str, value: &str) -> bool {
        OF_IDS.contains(&rule) && self.is_id(value)
    }

    pub(super) fn is_id(&self, value: &str) -> bool {
        self.identity.has(value) || self.redactor.ids_seen.contains_key(value)
    }

    /// The version of the list of our own secrets.
    pub(super) fn version_of_own(&self) -> u64 {
        self.own.as_ref().map_or(0, |own| own.version())
    }

    /// The mask for the value of a form field, if the field has the name of a secret.
    pub fn field(&mut self, name: &str, value: &str) -> Option<String> {
        let redactor = self.redactor;
        let (rule, kind) = redactor.names.key(name.as_bytes())?;
        if value.is_empty() || is_mask(value.as_bytes()) {
            return None;
        }
        self.shown_as(value, kind, rule)
    }

    /// Masks a short text, such as a path, a sentence or a header field. A text that is not searched in time is withheld.
    pub fn line(&mut self, text: &str) -> Option<String> {
        self.short(text, Ends::default())
    }

    pub(super) fn short(&mut self, text: &str, ends: Ends) -> Option<String> {
        let deadline = self.of_form.unwrap_or_else(|| Deadline::of(text, self.redactor.budget));
        match self.findings(text, ends, deadline) {
            Ok(found) => self.apply(text, found),
            Err(OutOfTime) => {
                self.withheld = true;
                Some(WITHHELD.to_owned())
            }
        }
    }

    /// Masks a message on its own, such as one of a WebSocket. A message that is not searched in time is withheld.
    pub fn message(&mut self, text: &str) -> Option<String> {
        self.text(text, Ends::default()).unwrap_or_else(|OutOfTime| Some(WITHHELD.to_owned()))
    }

    /// Masks a body or a message of any format.
    ///
    /// # Errors
    /// When the text is not searched in time: then no part of it may be shown.
    pub(crate) fn text(&mut self, text: &str, ends: Ends) -> Result<Option<String>, OutOfTime> {
        if self.texts_withheld {
            return Err(OutOfTime);
        }
        self.learn(text);
        let found = self.findings(text, ends, Deadline::of(text, self.redactor.budget));
        self.withheld |= found.is_err();
        Ok(self.apply(text, found?))
    }

    /// Masks binary data: known formats, passwords in URLs and our own secrets are overwritten in place. Data that is text but
    /// for a few bytes is also searched as a text.
    pub(crate) fn bytes(&mut self, bytes: &[u8], cut: bool) -> Option<Vec<u8>> {
        let clean = &self.redactor.clean;
        let content = clean.content(bytes, SearchedAs::Bytes(cut), self.version_of_own());
        if clean.has(&content) {
            return None;
        }
        let Some(text) = readable(bytes) else {
            let mut any = false;
            let blotted = self.binary(bytes, cut, &mut any);
            if !any {
                clean.add(content);
            }
            return blotted;
        };
        let nearly = self.nearly_text(bytes, &text, cut);
        self.binary(nearly.as_deref().unwrap_or(bytes), cut, &mut false).or(nearly)
    }

    /// `any`: whether something was found, also if its rule is lifted for this call.
    fn binary(&mut self, bytes: &[u8], cut: bool, any: &mut bool) -> Option<Vec<u8>> {
        let redactor = self.redactor;
        let mut blotted = redactor.scanner.blot(bytes, cut, |rule| {
            *any = true;
            let masks = !self.is_lifted(rule);
            if masks {
                self.counts.add(rule);
            }
            masks
        });
        for secret in self.own.clone().iter().flat_map(|own| own.find_all(bytes)) {
            *any = true;
            blotted.get_or_insert_with(|| bytes.to_vec())[secret].fill(b'*');
            self.counts.add(OWN);
        }
        blotted
    }

    /// `text` is the readable form of the bytes, in which each byte has the same place.
    fn nearly_text(&mut self, bytes: &[u8], text: &str, cut: bool) -> Option<Vec<u8>> {
        let ends = Ends { cut_start: false, cut_end: cut };
        let Ok(found) = self.findings(text, ends, Deadline::of(text, self.redactor.budget)) else {
            self.withheld = true;
            return Some(WITHHELD.as_bytes().to_vec());
        };
        let mut blotted: Option<Vec<u8>> = None;
        let mut counts = std::mem::take(&mut self.counts);
        self.merged(text, found, |range, rule, _| {
            blotted.get_or_insert_with(|| bytes.to_vec())[range].fill(b'*');
            counts.add(rule);
        });
        self.counts = counts;
        blotted
    }

    fn apply(&mut self, text: &str, found: Vec<Finding<'a>>) -> Option<String> {
        if found.is_empty() {
            return None;
        }
        let mut out = String::new();
        let mut copied = 0;
        let mut counts = std::mem::take(&mut self.counts);
        self.merged(text, found, |range, rule, shown| {
            if copied == 0 {
                out.reserve(text.len());
            }
            out.push_str(&text[copied..range.start]);
            if !shown.is_empty() {
                counts.add(rule);
            }
            out.push_str(shown);
            copied = range.end;
        });
        self.counts = counts;
        if copied == 0 {
            return None;
        }
        out.push_str(&text[copied..]);
        Some(out)
    }

    /// Masks our own secrets in a text that was already searched for others, such as finished JSON.
    pub(crate) fn own(&self, text: &str) -> Option<String> {
        self.own.as_ref().and_then(|own| own.mask(text)).map(|(masked, _)| masked)
    }

    /// Notes that something was withheld.
    pub(crate) fn withhold(&mut self) {
        self.withheld = true;
    }

    /// From now on texts are withheld without a search. Short lines are still searched.
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
        self.counts.all()
    }

    /// How many secrets were masked.
    pub fn total(&self) -> u64 {
        self.counts.all().iter().map(|(_, count)| u64::from(*count)).sum()
    }

    /// The counts of now.
    pub(crate) fn counted(&self) -> Counts<'a> {
        self.counts.clone()
    }

    /// Takes the counts back to an earlier time.
    pub(crate) fn recount(&mut self, counted: &Counts<'a>) {
        self.counts.clone_from(counted);
    }

    /// Masks a text that stands a second time in the event, where it is counted.
    pub(crate) fn uncounted(&mut self, mask: impl FnOnce(&mut Self) -> Option<String>) -> Option<String> {
        let before = self.counted();
        let masked = mask(self);
        self.recount(&before);
        masked
    }

    /// The mask of a whole value, which is counted; `None` when the value stays as it is.
    pub(super) fn shown_as(&mut self, value: &str, kind: Kind, rule: &'a str) -> Option<String> {
        if self.is_lifted(rule) || self.is_identity(rule, value) {
            return None;
        }
        self.counts.add(rule);
        Some(match kind {
            Kind::Password | Kind::Digits => self.redactor.fingerprint.password(value),
            Kind::Credentials => self.redactor.fingerprint.credentials(value),
            Kind::Token | Kind::Opaque | Kind::Parameter => self.redactor.fingerprint.token(value),
        })
    }

    pub(super) fn is_lifted(&self, rule: &str) -> bool {
        !self.lifted.is_empty() && rule != OWN && self.lifted.iter().any(|lifted| lifted.matches(rule))
    }
}

/// The readable form of bytes of which few are not text: each of those becomes `?`, so that everything keeps its place.
fn readable(bytes: &[u8]) -> Option<String> {
    const BINARY_OF_A_HUNDRED: usize = 30;
    let mut binary = bytes.iter().filter(|byte| byte.is_ascii_control() && !byte.is_ascii_whitespace()).count();
    // Most binary data is ruled out at once.
    if (binary + broken_at_least(bytes)) * 100 > bytes.len() * BINARY_OF_A_HUNDRED {
        return None;
    }
    let mut text = String::with_capacity(bytes.len());
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

/// So many bytes are no part of a character, at least: those that continue one where none began, and those that begin one that does
/// not go on.
fn broken_at_least(bytes: &[u8]) -> usize {
    let goes_on = |byte: u8| byte & 0xC0 == 0x80;
    let pairs = bytes.iter().zip(bytes.iter().skip(1));
    pairs.filter(|(one, next)| if goes_on(**next) { **one < 0x80 } else { **one >= 0xC0 }).count()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn no_more_bytes_are_called_broken_than_are(
            bytes in prop::collection::vec(prop_oneof![any::<u8>(), Just(b'a'), Just(0xC3), Just(0xA9), Just(0xF0)], 0..60),
        ) {
            let broken: usize = bytes.utf8_chunks().map(|chunk| chunk.invalid().len()).sum();
            prop_assert!(broken_at_least(&bytes) <= broken);
        }
    }
}
