//! What the text around a hit says: the name of a secret, its value, and whether that value is a secret.

use std::ops::Range;

use super::commands::{self, Reads};
use super::finding::{Ends, Finding, Show};
use super::judge::{OPAQUE_MAX_BYTES, bare_looks_secret, looks_secret, mixed, placeholder, reference, strong};
use super::mask::{TAG_BYTES, is_mask};
use super::memo::NameMemo;
use super::names::{Kind, Names};
use super::part::{Carry, Fields, Wants};
use super::reach::looked;
use super::relation::{self, Context, Related};
use super::runs::Class;
use super::services::Service;
use super::trail::Known;
use super::value::{self, Sign, Value};
use super::work::steps;
use crate::secret::MASK;

/// Nouns that name a secret in prose if one of the adjectives below stands before them.
const KEY_NOUNS: [&[u8]; 2] = [b"key", b"token"];
/// These adjectives, with the space behind them.
const KEY_ADJECTIVES: [&[u8]; 7] = [b"api ", b"access ", b"secret ", b"private ", b"auth ", b"client ", b"license "];
/// The longest of them.
const KEY_ADJECTIVE_MAX_BYTES: usize = 8;
/// The name of a secret has at most so many bytes.
const NAME_MAX_BYTES: usize = 56;

/// The work for a name, and for one that is looked up; for a value behind its sign, and for a byte of it; for the search of a value
/// without a sign.
const NAME_WORK: usize = 60;
const KEY_WORK: usize = 200;
const VALUE_WORK: usize = 20;
const VALUE_BYTE_WORK: usize = 5;
const RELATED_WORK: usize = 150;
/// The work for a command, besides that for its bytes.
const COMMAND_WORK: usize = 100;
/// The work for a byte of an object whose values are collected.
const COLLECTED_WORK: usize = 2;

/// The search of one text: what was found, and how far each part of the text was examined.
pub(super) struct Walk<'n, 't> {
    names: &'n Names,
    text: &'t [u8],
    ends: Ends,
    pub(super) found: Vec<Finding<'n>>,
    /// What another search has found, which is mostly left out.
    pub(super) known: Option<Known<'t, 'n>>,
    /// The values in objects and arrays were collected up to here.
    container_end: usize,
    /// Where the last value without quotes ended.
    bare_end: usize,
    /// Up to here, values without quotes were judged not to be secrets.
    dull_end: usize,
    /// Up to here, values without quotes have no mask in them.
    unmasked_end: usize,
    /// Names were examined up to here.
    name_end: usize,
    /// The work of examinations since this was asked, without what each hit takes.
    work: usize,
    /// Commands that were read.
    commands: Reads,
    /// Names of services were examined up to here.
    service_end: usize,
    /// The fields above that the last hit depended on or has changed.
    touched: Fields,
    /// Whether what was found may go on behind the text.
    pub(super) wants: Wants,
    memo: NameMemo<'n>,
    context: Context,
}

impl<'n, 't> Walk<'n, 't> {
    pub(super) fn new(names: &'n Names, text: &'t [u8], ends: Ends) -> Self {
        Self {
            names,
            text,
            ends,
            found: Vec::new(),
            known: None,
            container_end: 0,
            bare_end: 0,
            dull_end: 0,
            unmasked_end: 0,
            name_end: 0,
            work: 0,
            commands: Reads::default(),
            service_end: 0,
            touched: Fields::NONE,
            wants: Wants::Nothing,
            memo: NameMemo::new(),
            context: Context::default(),
        }
    }

    /// Continues a search at the start of a part of the text. Returns the place of the next search.
    pub(super) fn resume(&mut self, start: usize, carry: Carry) -> usize {
        let Carry { at, container, bare, dull, name, command, commands, service } = carry;
        (self.container_end, self.bare_end, self.dull_end) = (start + container, start + bare, start + dull);
        (self.name_end, self.service_end) = (start + name, start + service);
        self.commands = Reads { end: start + command, kinds: commands };
        start + at
    }

    /// What the search of the next part, which begins at `end`, has to know; `at`: the place of the next search.
    pub(super) fn pause(&self, end: usize, at: usize) -> Carry {
        let whole = Carry {
            at,
            container: self.container_end,
            bare: self.bare_end,
            dull: self.dull_end,
            name: self.name_end,
            command: self.commands.end,
            commands: self.commands.kinds,
            service: self.service_end,
        };
        whole.further(end)
    }

    fn touch(&mut self, field: Fields) {
        self.touched = self.touched.and(field);
    }

    /// What the hits since the last call depended on or have changed.
    pub(super) fn touched(&mut self) -> Fields {
        std::mem::replace(&mut self.touched, Fields::NONE)
    }

    /// The work of examinations since the last call, without what each hit takes.
    pub(super) fn worked(&mut self) -> usize {
        std::mem::take(&mut self.work)
    }

    fn key(&mut self, name: Range<usize>) -> Option<(&'n str, Kind)> {
        let (rule, looked_up) = self.memo.key(self.names, self.text, name);
        self.work += usize::from(looked_up) * KEY_WORK;
        rule
    }

    pub(super) fn push(&mut self, range: Range<usize>, rule: &'n str, show: Show) {
        let range = self.whole_characters(range);
        if range.end == self.text.len() {
            self.wants = Wants::Rest;
        }
        if range.is_empty() || is_mask(&self.text[range.clone()]) {
            return;
        }
        let finding = Finding { range, rule, show };
        if !self.known.as_mut().is_some_and(|known| known.has(&finding)) {
            self.found.push(finding);
        }
    }

    /// The range with the rest of a character in which it begins or ends: the longest value may end in one.
    fn whole_characters(&self, mut range: Range<usize>) -> Range<usize> {
        looked(range.start..range.end + 1);
        let inside = |at: usize| self.text.get(at).is_some_and(|byte| byte & 0xC0 == 0x80);
        while inside(range.start) {
            range.start -= 1;
        }
        while inside(range.end) {
            range.end += 1;
        }
        range
    }

    /// Examines a word that names of secrets contain: the name around it, and the value of that name. Returns where the search
    /// continues; `None`: behind the word.
    pub(super) fn named(&mut self, hit: Range<usize>) -> Option<usize> {
        self.touch(Fields::NAME);
        // Several words can stand in one name, which is examined once.
        if hit.start < self.name_end {
            return None;
        }
        let name = self.name_around(hit)?;
        let (rule, kind) = self.key(name.clone())?;
        self.signed(&name, rule, kind).or_else(|| self.related(&name, rule, kind))
    }

    /// Examines the word of a service, which may stand in the name of a token of that service. A name that is a secret's without
    /// the service (`datadog_password`) is left to its own word.
    pub(super) fn of_service(&mut self, service: &'static Service, hit: Range<usize>) -> Option<usize> {
        self.touch(Fields::SERVICE);
        if hit.start < self.service_end {
            return None;
        }
        let named_until = self.name_end;
        let name = self.name_around(hit);
        self.service_end = std::mem::replace(&mut self.name_end, named_until);
        let name = name?;
        let token = service.token(self.text, &name)?;
        if self.key(name).is_some_and(|(_, kind)| kind != Kind::Parameter) {
            return None;
        }
        let end = token.end;
        self.push(token, service.id, Show::Token);
        Some(end)
    }

    /// Examines the word of a command that takes a password.
    pub(super) fn command(&mut self, which: usize, hit: Range<usize>) -> Option<usize> {
        self.touch(Fields::COMMAND);
        looked(hit.start.saturating_sub(1)..hit.end);
        let begins = hit.start == 0 || !self.text[hit.start - 1].is_ascii_alphanumeric();
        if !begins || self.commands.has(which, hit.start) {
            return None;
        }
        let (start, end) = (hit.start, hit.end);
        let read = commands::passwords(self.text, which, hit, |password| {
            self.push(password, commands::COMMAND, Show::Password);
        });
        self.work += COMMAND_WORK + read.end.saturating_sub(end) * VALUE_BYTE_WORK;
        self.commands.put(which, start, read.covers);
        None
    }

    /// The value behind a sign: `name: value`, `name=value`.
    fn signed(&mut self, name: &Range<usize>, rule: &'n str, kind: Kind) -> Option<usize> {
        let sign = value::sign_after(self.text, name)?;
        self.work += VALUE_WORK;
        let in_url = sign.assigns && name.start > 0 && matches!(self.text[name.start - 1], b'?' | b'&' | b'#');
        if kind == Kind::Parameter && !(in_url && rule != "key.code" && rule != "key.state" && rule != "key.key") {
            return None;
        }
        self.touch(Fields::BARE);
        match value::value_from(self.text, &sign, &mut self.bare_end) {
            Value::Quoted { range, closed, next } => {
                let content = &self.text[range.clone()];
                self.work += content.len() * VALUE_BYTE_WORK;
                let cut =
                    self.ends.cut_end && !closed && next == self.text.len() && content.len() <= OPAQUE_MAX_BYTES;
                let asked = kind != Kind::Opaque || looks_secret(content) || cut;
                // `'Password: '`: the quote ends the string that the name stands in.
                let around = name.start.checked_sub(1).map(|before| self.text[before]);
                let outer = sign.level.is_none() && around.is_some_and(|around| around == self.text[range.start - 1]);
                let asked =
                    asked && (rule != "key.pass" || strong(content)) && !self.is_a_pass(name, rule, sign, content);
                if !asked || outer || content.is_empty() || reference(content) {
                    return None;
                }
                self.push(range, rule, Show::of(kind));
                Some(next)
            }
            Value::Number(range) if kind == Kind::Digits && sign.level.is_some() => {
                let end = range.end;
                let (level, quote) = value::quote(self.text, name);
                self.push(range, rule, Show::Quoted(level, quote));
                Some(end)
            }
            Value::Number(_) => None,
            Value::Container(start) if kind != Kind::Opaque && self.is_not_collected(start) => {
                let end = value::leaves(self.text, start, |leaf| self.push(leaf, rule, Show::of(kind)));
                self.container_end = end;
                self.work += (end - start) * COLLECTED_WORK;
                if end == self.text.len() {
                    self.wants = Wants::Rest;
                }
                // The search continues inside: values that were not collected may have known formats.
                Some(start + 1)
            }
            Value::Container(_) => None,
            Value::Bare(range) => self.bare(name, range, rule, kind, in_url, sign),
            Value::None => None,
        }
    }

    /// Whether the values in the object or array that begins here were not collected yet.
    fn is_not_collected(&mut self, start: usize) -> bool {
        self.touch(Fields::CONTAINER);
        start >= self.container_end
    }

    /// A value that belongs to the name without a sign between them, as in XML or in a pair.
    fn related(&mut self, name: &Range<usize>, rule: &'n str, kind: Kind) -> Option<usize> {
        if kind == Kind::Parameter {
            return None;
        }
        self.work += RELATED_WORK;
        let is_secret = |content: &[u8], certain| match kind {
            Kind::Opaque => (looks_secret(content) || mixed(content)) && !placeholder(content),
            _ if certain => !placeholder(content),
            _ => strong(content),
        };
        let Related { range, certain } = relation::related(self.text, name, is_secret, &mut self.context)?;
        let secret = is_secret(&self.text[range.clone()], certain);
        // The name of another secret is not a value.
        if !secret || self.key(range.clone()).is_some() {
            return None;
        }
        let end = range.end.max(name.end);
        self.push(range, rule, Show::of(kind));
        Some(end)
    }

    /// A value without quotes: `NAME=value` in code, settings and URLs, or `name: value`.
    fn bare(
        &mut self,
        name: &Range<usize>,
        range: Range<usize>,
        rule: &'n str,
        kind: Kind,
        in_url: bool,
        sign: Sign,
    ) -> Option<usize> {
        self.touch(Fields::DULL);
        // The rest of a value that was already judged not to be a secret.
        if !in_url && range.start < self.dull_end {
            return None;
        }
        let range = if kind == Kind::Credentials { value::with_scheme(self.text, range) } else { range };
        if self.holds_mask(&range) {
            return None;
        }
        let content = &self.text[range.clone()];
        let scheme = if kind == Kind::Credentials { memchr::memrchr(b' ', content) } else { None };
        let word = &content[scheme.map_or(0, |space| space + 1)..];
        // A call or an index is code.
        let code = matches!(self.text.get(range.end), Some(b'(' | b'['));
        // Placeholders are ruled out first, which costs little: a long value can have many names in it.
        let refused = code || placeholder(word);
        if !refused {
            steps(content.len());
            self.work += content.len() * VALUE_BYTE_WORK;
        }
        let secret = !refused && (in_url || bare_looks_secret(word, kind != Kind::Opaque));
        if !secret || (!in_url && self.is_a_pass(name, rule, sign, word)) {
            let no_key = |byte: &u8| !byte.is_ascii_graphic();
            self.dull_end = if kind != Kind::Opaque || code {
                // What follows in the value is of no other kind.
                range.end
            } else if refused {
                self.dull_end
            } else if let Some(at) = word.iter().rposition(no_key) {
                // No key has such a character, but one may stand behind it.
                range.end - word.len() + at + 1
            } else if word.iter().any(u8::is_ascii_digit) {
                self.dull_end
            } else {
                range.end
            };
            return self.typed(range, rule, kind, sign);
        }
        let end = range.end;
        self.push(range, rule, Show::of(kind));
        Some(end)
    }

    /// Whether a mask stands in a value.
    fn holds_mask(&mut self, value: &Range<usize>) -> bool {
        if value.end <= self.unmasked_end {
            return false;
        }
        let content = &self.text[value.clone()];
        let star = memchr::memchr(b'*', content);
        let mask = star.and_then(|star| Some(star + memchr::memmem::find(&content[star..], MASK.as_bytes())?));
        let Some(at) = mask else {
            self.unmasked_end = value.end;
            return false;
        };
        // A value ends at `#`, but the tag of a mask stands behind it.
        looked(value.start..value.end + TAG_BYTES);
        let tagged = &self.text[value.start..self.text.len().min(value.end + TAG_BYTES)];
        is_mask(&content[at..]) || is_mask(&tagged[at..])
    }

    /// Whether `pass` is not a password but a step of some work: its value is a word with a number (`pass: shadow2`), and no user
    /// is given in front of it.
    fn is_a_pass(&mut self, name: &Range<usize>, rule: &str, sign: Sign, value: &[u8]) -> bool {
        let numbered = || {
            let (last, word) = value.split_last()?;
            Some(last.is_ascii_digit() && word.iter().all(u8::is_ascii_lowercase))
        };
        rule == "key.pass" && !sign.assigns && numbered() == Some(true) && !self.context.is_of_user(self.text, name)
    }

    /// The value behind a type: `name: type = "value"`.
    fn typed(&mut self, range: Range<usize>, rule: &'n str, kind: Kind, sign: Sign) -> Option<usize> {
        if sign.assigns || kind == Kind::Opaque {
            return None;
        }
        let (value, closed) = value::behind_a_type(self.text, range.start)?;
        if !closed {
            self.wants = self.wants.max(Wants::More);
            return None;
        }
        let content = &self.text[value.clone()];
        if !strong(content) {
            return None;
        }
        let end = value.end;
        self.push(value, rule, Show::of(kind));
        Some(end)
    }

    /// The whole identifier around a word.
    fn name_around(&mut self, hit: Range<usize>) -> Option<Range<usize>> {
        let part = |byte: u8| Class::Name.has(byte);
        let hit =
            hit.start..hit.start + self.text[hit].iter().take_while(|byte| part(**byte) || **byte >= 0x80).count();
        let left = self.text[..hit.start].iter().rev().take(NAME_MAX_BYTES).take_while(|byte| part(**byte)).count();
        let right = self.text[hit.end..].iter().take(NAME_MAX_BYTES).take_while(|byte| part(**byte)).count();
        // The byte in front may be a backslash.
        looked((hit.start - left).saturating_sub(1)..hit.end + right + 1);
        steps(left + right);
        self.work += NAME_WORK;
        self.name_end = hit.end + right;
        let mut name = hit.start - left..hit.end + right;
        // The `n` of an escaped line end is not a part of the name.
        if name.start < hit.start
            && matches!(self.text[name.start], b'n' | b'r' | b't')
            && self.text[..name.start].ends_with(b"\\")
        {
            name.start += 1;
        }
        // `api key` in prose.
        let word = &self.text[name.clone()];
        let before = &self.text[..name.start];
        if before.last() == Some(&b' ') {
            looked(name.start.saturating_sub(KEY_ADJECTIVE_MAX_BYTES)..name.start);
        }
        if before.last() == Some(&b' ')
            && KEY_NOUNS.iter().any(|noun| word.eq_ignore_ascii_case(noun))
            && let Some(adjective) = KEY_ADJECTIVES.iter().find(|word| {
                before.len() >= word.len() && before[before.len() - word.len()..].eq_ignore_ascii_case(word)
            })
        {
            name.start -= adjective.len();
        }
        (name.len() <= NAME_MAX_BYTES).then_some(name)
    }
}
