//! Looking for secrets in a text, whatever it is: JSON, lines of it, a stream of events, code, prose, or a piece of any of
//! these. One search finds the words that secrets are named by and the beginnings of known formats; what stands around each is
//! then looked at, so that a text without either costs one step a byte.
//!
//! No parser stands before it: a body that was cut, JSON in a string of JSON, an argument in a GraphQL query read alike.

use std::ops::Range;

use aho_corasick::automaton::Automaton as _;
use aho_corasick::dfa::DFA;
use aho_corasick::{BuildError, Input, Match, MatchKind, PatternID};

use super::commands;
use super::formats::{self, SERVICES};
use super::judge::{looks_secret, mixed, placeholder, reference, strong};
use super::memo::NameMemo;
use super::names::{self, Kind, Names, WORDS};
use super::patterns::Pattern;
use super::relation::{self, Logins, Related};
use super::runs::Runs;
use super::services::Service;
use super::value::{self, Sign, Value};
use super::work::steps;
use crate::deadline::Deadline;

/// A secret in a text.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Finding<'a> {
    /// Its bytes.
    pub(super) range: Range<usize>,
    /// The id of the rule that found it.
    pub(super) rule: &'a str,
    /// What stands in its place.
    pub(super) show: Show,
}

/// What stands in the place of a secret.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Show {
    /// The mask, the last four characters of a long one, the tag.
    Token,
    /// The mask and the tag.
    Password,
    /// The scheme, then as a token.
    Credentials,
    /// As a password, in these quotes: a number is none any more.
    Quoted(String),
    /// This.
    Text(String),
}

/// What is known of the ends of a text.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Ends {
    /// It begins where something was cut off.
    pub(crate) cut_start: bool,
    /// It ends where something was cut off.
    pub(crate) cut_end: bool,
}

/// The time for a text is over.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct OutOfTime;

/// What is searched for in all texts.
pub(super) struct Scanner {
    search: DFA,
    /// Of each needle of the search.
    needles: Vec<Needle>,
}

/// What a needle of the search is.
#[derive(Clone, Copy)]
enum Needle {
    /// The beginning of a known format, and whether it may also be a part of a name: `basic `, `key-`.
    Format(&'static Pattern, bool),
    /// The beginning of an authority.
    Authority,
    /// A word of a command, by its place among them.
    Command(usize),
    /// The word of a service.
    Service(&'static Service),
    /// A word in names.
    Word,
}

/// The beginning of a URL's authority, which may hold a password.
const AUTHORITY: &str = "://";
/// The longest user information that is looked for, in bytes.
const USERINFO_MAX_BYTES: usize = 1024;
/// Places that are looked at before the clock is.
const PLACES_A_LOOK: u32 = 64;
/// Nouns that an adjective before them makes the name of a secret, in prose.
const KEY_NOUNS: [&[u8]; 2] = [b"key", b"token"];
/// Such adjectives, with the space behind them.
const KEY_ADJECTIVES: [&[u8]; 7] = [b"api ", b"access ", b"secret ", b"private ", b"auth ", b"client ", b"license "];
/// The name of a secret has not more bytes.
const NAME_MAX_BYTES: usize = 56;

impl Scanner {
    /// For our own words and the last segments of the operator's keys.
    pub(super) fn new(keys: &[String]) -> Result<Self, BuildError> {
        let of_name = |prefix: &str| {
            let prefix = prefix.to_ascii_lowercase();
            WORDS.iter().any(|word| prefix.contains(word))
        };
        let formats = formats::all()
            .map(|format| (format.prefix.to_owned(), Needle::Format(format, of_name(format.prefix))))
            .chain([(AUTHORITY.to_owned(), Needle::Authority)]);
        let commands = commands::words().enumerate().map(|(at, word)| (word.to_owned(), Needle::Command(at)));
        let services = SERVICES.iter().map(|service| (service.word.to_owned(), Needle::Service(service)));
        let words = WORDS.iter().map(|word| (*word).to_owned());
        let own = keys.iter().map(|key| names::last_segment(key));
        let names = words.chain(own).map(|word| (word, Needle::Word));
        let (texts, needles): (Vec<String>, Vec<Needle>) =
            formats.chain(commands).chain(services).chain(names).unzip();
        let search =
            DFA::builder().ascii_case_insensitive(true).match_kind(MatchKind::LeftmostLongest).build(texts)?;
        Ok(Self { search, needles })
    }

    /// The first needle at `from` or later.
    #[inline]
    fn next(&self, text: &[u8], from: usize) -> Option<Match> {
        // Fails only for kinds of search that it was not built for.
        self.search.try_find(&Input::new(text).range(from..)).ok().flatten()
    }

    /// Only the search gives ids, and each has its needle.
    fn needle(&self, id: PatternID) -> Needle {
        self.needles.get(id.as_usize()).copied().unwrap_or(Needle::Word)
    }

    /// All secrets of a text that are known by their names or their looks, in the order of their beginnings.
    ///
    /// # Errors
    /// When it is not done at `deadline`.
    pub(super) fn find<'a>(
        &self,
        names: &'a Names,
        text: &str,
        ends: Ends,
        deadline: Deadline,
    ) -> Result<Vec<Finding<'a>>, OutOfTime> {
        let mut walk = Walk {
            names,
            text: text.as_bytes(),
            ends,
            found: Vec::new(),
            container_end: 0,
            name_end: 0,
            bare_end: 0,
            dull_end: 0,
            command_end: 0,
            service_end: 0,
            memo: NameMemo::new(),
            logins: Logins::default(),
        };
        steps(text.len());
        let mut runs = Runs::of(text.as_bytes());
        let mut at = 0;
        let mut looks = 0;
        while let Some(hit) = self.next(text.as_bytes(), at) {
            looks += 1;
            if looks % PLACES_A_LOOK == 0 && deadline.is_over() {
                return Err(OutOfTime);
            }
            let next = match self.needle(hit.pattern()) {
                Needle::Format(pattern, of_name) => match pattern.verify(&mut runs, hit.start(), ends.cut_end) {
                    Some((start, end)) => {
                        walk.push(start..end, pattern.id, pattern.show());
                        Some(end)
                    }
                    None if of_name => walk.named(hit.start()..hit.end()),
                    None => None,
                },
                Needle::Authority => user_information(walk.text, hit.end(), ends.cut_end).map(|secret| {
                    let end = secret.end;
                    walk.push(secret, super::USERINFO, Show::Password);
                    end
                }),
                Needle::Command(which) => walk.command(which, hit.start()..hit.end()),
                Needle::Service(service) => walk.of_service(service, hit.start()..hit.end()),
                Needle::Word => walk.named(hit.start()..hit.end()),
            };
            at = next.unwrap_or(hit.end()).max(at + 1);
            while !text.is_char_boundary(at) {
                at += 1;
            }
        }
        Ok(walk.found)
    }

    /// Masks known formats in bytes that are no text: each byte becomes `*`, so that everything stays in its place.
    pub(super) fn blot(
        &self,
        bytes: &[u8],
        cut: bool,
        mut found: impl FnMut(&'static str) -> bool,
    ) -> Option<Vec<u8>> {
        let mut out: Option<Vec<u8>> = None;
        let mut runs = Runs::of(bytes);
        let mut at = 0;
        while let Some(hit) = self.next(bytes, at) {
            at = hit.end();
            let secret = match self.needle(hit.pattern()) {
                Needle::Format(pattern, _) => pattern
                    .verify(&mut runs, hit.start(), cut)
                    .or_else(|| behind_its_length(pattern, bytes, hit.start(), cut))
                    .map(|(start, end)| (pattern.id, start..end)),
                Needle::Authority => user_information(bytes, hit.end(), cut).map(|secret| (super::USERINFO, secret)),
                Needle::Command(_) | Needle::Service(_) | Needle::Word => None,
            };
            if let Some((rule, secret)) = secret
                && found(rule)
            {
                at = secret.end.max(at);
                out.get_or_insert_with(|| bytes.to_vec())[secret].fill(b'*');
            }
        }
        out
    }
}

/// `://user:password@`, behind the slashes. A name alone is no secret.
fn user_information(text: &[u8], start: usize, cut: bool) -> Option<Range<usize>> {
    let reach = &text[start..text.len().min(start + USERINFO_MAX_BYTES)];
    let ends = |byte: &u8| {
        matches!(byte, b'/' | b'?' | b'#' | b'\\' | b'"' | b'\'' | b'<' | b'>' | b'`')
            || byte.is_ascii_whitespace()
            || byte.is_ascii_control()
    };
    let end = reach.iter().position(ends).unwrap_or(reach.len());
    steps(end);
    let authority = &reach[..end];
    match authority.iter().rposition(|byte| *byte == b'@') {
        Some(at) => {
            let colon = authority[..at].iter().position(|byte| *byte == b':')?;
            (colon + 1 < at).then_some(start..start + at)
        }
        // `postgres://user:half-a-passw` and then no more.
        None if cut && start + end == text.len() && authority.contains(&b':') => Some(start..start + end),
        None => None,
    }
}

/// A text whose length stands in one byte is not longer; nor is what may look like more of it worth a look.
const BEHIND_LENGTH_MAX_BYTES: usize = 512;

/// A known format behind a byte that is its length, as strings have it in protobuf, CBOR and the like; that byte may be a letter.
fn behind_its_length(pattern: &Pattern, bytes: &[u8], at: usize, cut: bool) -> Option<(usize, usize)> {
    let length = usize::from(*bytes.get(at.checked_sub(1)?)?);
    let reach = bytes.len().min(at + BEHIND_LENGTH_MAX_BYTES) - at;
    let whole = at + reach == bytes.len();
    let (start, end) = pattern.verify(&mut Runs::of(&bytes[at..at + reach]), 0, cut && whole)?;
    // The bytes that follow it may look like more of it.
    (pattern.prefix.len() < length && length <= end).then_some((at + start, at + end))
}

struct Walk<'n, 't> {
    names: &'n Names,
    text: &'t [u8],
    ends: Ends,
    found: Vec<Finding<'n>>,
    /// Up to here all values were looked at already.
    container_end: usize,
    /// Where the last value without quotes ended.
    bare_end: usize,
    /// Up to here values without quotes were judged to be none.
    dull_end: usize,
    /// Up to here names were looked at already.
    name_end: usize,
    /// Up to here commands were read already.
    command_end: usize,
    /// Up to here names of services were looked at already.
    service_end: usize,
    memo: NameMemo<'n>,
    logins: Logins,
}

impl<'n> Walk<'n, '_> {
    fn key(&mut self, name: Range<usize>) -> Option<(&'n str, Kind)> {
        self.memo.key(self.names, self.text, name)
    }

    fn push(&mut self, range: Range<usize>, rule: &'n str, show: Show) {
        if !range.is_empty() && !value::is_mask(&self.text[range.clone()]) {
            self.found.push(Finding { range, rule, show });
        }
    }

    /// A word was found: is it, with what stands around it, the name of a secret? Gives the place to go on from.
    fn named(&mut self, hit: Range<usize>) -> Option<usize> {
        // The name is one, however many words of the search stand in it.
        if hit.start < self.name_end {
            return None;
        }
        let name = self.name_around(hit)?;
        let (rule, kind) = self.key(name.clone())?;
        self.signed(&name, rule, kind).or_else(|| self.related(&name, rule, kind))
    }

    /// The word of a service was found: is it in the name of one of its tokens? What the name calls a secret by itself is
    /// found by the word that does.
    fn of_service(&mut self, service: &'static Service, hit: Range<usize>) -> Option<usize> {
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

    /// The word of a command that takes a password.
    fn command(&mut self, which: usize, hit: Range<usize>) -> Option<usize> {
        let begins = hit.start == 0 || !self.text[hit.start - 1].is_ascii_alphanumeric();
        if !begins || hit.start < self.command_end {
            return None;
        }
        let (password, end) = commands::password(self.text, which, hit.end);
        self.command_end = end;
        self.push(password?, commands::COMMAND, Show::Password);
        None
    }

    /// A name with a sign: `name: value`, `name=value`.
    fn signed(&mut self, name: &Range<usize>, rule: &'n str, kind: Kind) -> Option<usize> {
        let sign = value::sign_after(self.text, name)?;
        let in_url = sign.assigns && name.start > 0 && matches!(self.text[name.start - 1], b'?' | b'&' | b'#');
        if kind == Kind::Parameter && !(in_url && rule != "key.code" && rule != "key.state" && rule != "key.key") {
            return None;
        }
        match value::value_from(self.text, &sign, &mut self.bare_end) {
            Value::Quoted { range, closed, next } => {
                let content = &self.text[range.clone()];
                let asked = kind != Kind::Opaque || looks_secret(content) || (!closed && self.ends.cut_end);
                // `'Password: '`: the quote ends the string that the name stands in.
                let around = name.start.checked_sub(1).map(|before| self.text[before]);
                let outer = sign.level.is_none() && around.is_some_and(|around| around == self.text[range.start - 1]);
                // The name has other meanings.
                let asked = asked && (rule != "key.pass" || strong(content));
                if !asked || outer || content.is_empty() || reference(content) {
                    return None;
                }
                self.push(range, rule, show(kind));
                Some(next)
            }
            Value::Number(range) if kind == Kind::Digits && sign.level.is_some() => {
                let end = range.end;
                let quote = value::quote(self.text, name);
                self.push(range, rule, Show::Quoted(quote));
                Some(end)
            }
            Value::Number(_) => None,
            Value::Container(start) if kind != Kind::Opaque && start >= self.container_end => {
                let (leaves, end) = value::leaves(self.text, start);
                self.container_end = end;
                for leaf in leaves {
                    self.push(leaf, rule, show(kind));
                }
                // Names inside were dealt with; known formats in what was left may still be there.
                Some(start + 1)
            }
            Value::Container(_) => None,
            Value::Bare(range) => self.bare(range, rule, kind, in_url, sign),
            Value::None => None,
        }
    }

    /// A name and a value that another form ties to it.
    fn related(&mut self, name: &Range<usize>, rule: &'n str, kind: Kind) -> Option<usize> {
        if kind == Kind::Parameter {
            return None;
        }
        let Related { range, certain } = relation::related(self.text, name, &mut self.logins)?;
        let content = &self.text[range.clone()];
        let secret = match kind {
            Kind::Opaque => (looks_secret(content) || mixed(content)) && !placeholder(content),
            _ if certain => !placeholder(content),
            _ => strong(content),
        };
        // A name of another secret is no value.
        if !secret || self.key(range.clone()).is_some() {
            return None;
        }
        let end = range.end.max(name.end);
        self.push(range, rule, show(kind));
        Some(end)
    }

    /// `NAME=value` in code, in files of settings, in URLs; `name: value`.
    fn bare(&mut self, range: Range<usize>, rule: &'n str, kind: Kind, in_url: bool, sign: Sign) -> Option<usize> {
        // The rest of a value that was none: it has been judged once.
        if !in_url && range.start < self.dull_end {
            return None;
        }
        let range = if kind == Kind::Credentials { value::with_scheme(self.text, range) } else { range };
        let content = &self.text[range.clone()];
        steps(content.len());
        // A tag ends behind a `#`, at which values end.
        let tagged = &self.text[range.start..self.text.len().min(range.end + super::TAG_BYTES)];
        let masked = content.windows(super::MASK.len()).position(|four| four == super::MASK.as_bytes());
        if masked.is_some_and(|at| value::is_mask(&content[at..]) || value::is_mask(&tagged[at..])) {
            return None;
        }
        let word = content.rsplit(|byte| *byte == b' ').next().unwrap_or(content);
        let secret = in_url || looks_secret(word) || (kind != Kind::Opaque && strong(word));
        // What is called or looked up is code.
        if !secret || placeholder(word) || matches!(self.text.get(range.end), Some(b'(' | b'[')) {
            if kind != Kind::Opaque || !word.iter().any(u8::is_ascii_digit) {
                self.dull_end = range.end;
            }
            return self.typed(range, rule, kind, sign);
        }
        let end = range.end;
        self.push(range, rule, show(kind));
        Some(end)
    }

    /// `name: type = "value"`.
    fn typed(&mut self, range: Range<usize>, rule: &'n str, kind: Kind, sign: Sign) -> Option<usize> {
        if sign.assigns || kind == Kind::Opaque {
            return None;
        }
        let value = value::behind_a_type(self.text, range.start)?;
        let content = &self.text[value.clone()];
        if !strong(content) {
            return None;
        }
        let end = value.end;
        self.push(value, rule, show(kind));
        Some(end)
    }

    /// The whole identifier that a word stands in.
    fn name_around(&mut self, hit: Range<usize>) -> Option<Range<usize>> {
        let part = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-' | b'.' | b'$');
        let hit =
            hit.start..hit.start + self.text[hit].iter().take_while(|byte| part(**byte) || **byte >= 0x80).count();
        let left = self.text[..hit.start].iter().rev().take(NAME_MAX_BYTES).take_while(|byte| part(**byte)).count();
        let right = self.text[hit.end..].iter().take(NAME_MAX_BYTES).take_while(|byte| part(**byte)).count();
        steps(left + right);
        self.name_end = hit.end + right;
        let mut name = hit.start - left..hit.end + right;
        // The `n` of an escaped line end is no part of it.
        if name.start < hit.start
            && matches!(self.text[name.start], b'n' | b'r' | b't')
            && self.text[..name.start].ends_with(b"\\")
        {
            name.start += 1;
        }
        // `api key` in prose.
        let word = &self.text[name.clone()];
        if KEY_NOUNS.iter().any(|noun| word.eq_ignore_ascii_case(noun)) {
            let before = &self.text[..name.start];
            if let Some(adjective) = KEY_ADJECTIVES.iter().find(|word| {
                before.len() >= word.len() && before[before.len() - word.len()..].eq_ignore_ascii_case(word)
            }) {
                name.start -= adjective.len();
            }
        }
        (name.len() <= NAME_MAX_BYTES).then_some(name)
    }
}

fn show(kind: Kind) -> Show {
    match kind {
        Kind::Password | Kind::Digits => Show::Password,
        Kind::Credentials => Show::Credentials,
        Kind::Token | Kind::Opaque | Kind::Parameter => Show::Token,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_automaton_stays_small() {
        let scanner = Scanner::new(&[]).unwrap();
        assert!(scanner.search.memory_usage() < 2 << 20, "{}", scanner.search.memory_usage());
    }
}
