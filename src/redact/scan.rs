//! The search of a text for secrets. The text may be JSON, lines of JSON, a stream of events, code, prose, or a piece of any of
//! these. The words that name secrets and the prefixes of known formats are found by one automaton, which reads only where one of them
//! may begin ([`Starts`]). The text around each hit is then examined ([`Walk`]).
//!
//! The text is not parsed first, so a cut body, JSON in a string of JSON and an argument of a GraphQL query are all searched alike.

use std::collections::HashMap;
use std::ops::Range;
use std::sync::OnceLock;

use aho_corasick::automaton::Automaton as _;
use aho_corasick::dfa::DFA;
use aho_corasick::{Anchored, BuildError, Match, MatchKind, PatternID, StartKind};

use super::authority::{AUTHORITY, ESCAPED_AUTHORITIES, USERINFO, escaped_user_information, user_information};
use super::commands;
use super::finding::{Ends, Finding, OutOfTime, Show};
use super::formats::{self, SERVICES};
use super::names::{self, Names, WORDS};
use super::part::{Carry, Limits, Part, Searched, Wants};
use super::patterns::Pattern;
use super::reach;
use super::runs::Runs;
use super::services::Service;
use super::starts::Starts;
use super::trail::Beside;
use super::walk::Walk;
use super::work::steps;
use crate::deadline::Deadline;

/// The automaton that searches all texts.
pub(super) struct Scanner {
    search: DFA,
    /// Where it may find something.
    starts: Starts,
    /// The meaning of each needle of `search`.
    needles: Vec<Needle>,
    /// The length of the longest needle in bytes.
    longest: usize,
    /// The needles themselves.
    texts: Vec<String>,
    /// How far the automaton reads behind each needle.
    read_on: OnceLock<Vec<usize>>,
}

/// The meaning of a needle.
#[derive(Clone, Copy)]
pub(super) enum Needle {
    /// The prefix of a known format, and whether it can also stand in a name (`basic `, `key-`).
    Format(&'static Pattern, bool),
    /// The sign before the authority of a URL.
    Authority,
    /// The same behind percent-escapes, and how often it is escaped.
    EscapedAuthority(u8),
    /// The word of a command, as its index in the list of commands.
    Command(usize),
    /// The word of a service.
    Service(&'static Service),
    /// A word that names of secrets contain.
    Word,
}

/// Hits between two looks at the clock.
const PLACES_A_LOOK: u32 = 64;
/// The work for a byte that the automaton reads, with all that is done for each byte of a text.
const BYTE_WORK: usize = 4;
/// The work for a hit, and for a byte of its needle.
const HIT_WORK: usize = 55;
const NEEDLE_WORK: usize = 8;
/// The work to note a hit for the readings without escapes.
const NOTE_WORK: usize = 300;
/// The work to follow these notes to a hit.
const FOLLOW_WORK: usize = 70;
/// The work for a secret, which is masked later.
const FOUND_WORK: usize = 270;

impl Scanner {
    /// Searches for our own words and for the last segments of the operator's keys.
    pub(super) fn new(keys: &[String]) -> Result<Self, BuildError> {
        let of_name = |prefix: &str| {
            let prefix = prefix.to_ascii_lowercase();
            WORDS.iter().any(|word| prefix.contains(word))
        };
        let formats = formats::all()
            .map(|format| (format.prefix.to_owned(), Needle::Format(format, of_name(format.prefix))))
            .chain([(AUTHORITY.to_owned(), Needle::Authority)])
            .chain(ESCAPED_AUTHORITIES.map(|(sign, times)| (sign.to_owned(), Needle::EscapedAuthority(times))));
        let commands = commands::words().enumerate().map(|(at, word)| (word.to_owned(), Needle::Command(at)));
        let services = SERVICES.iter().map(|service| (service.word.to_owned(), Needle::Service(service)));
        let words = WORDS.iter().map(|word| (*word).to_owned());
        let own = keys.iter().map(|key| names::last_segment(key));
        let names = words.chain(own).map(|word| (word, Needle::Word));
        let (texts, needles): (Vec<String>, Vec<Needle>) =
            formats.chain(commands).chain(services).chain(names).unzip();
        let longest = texts.iter().map(String::len).max().unwrap_or_default();
        let search = DFA::builder()
            .ascii_case_insensitive(true)
            .match_kind(MatchKind::LeftmostLongest)
            .start_kind(StartKind::Anchored)
            .build(&texts)?;
        let starts = Starts::of(texts.iter().map(String::as_str));
        Ok(Self { search, starts, needles, longest, texts, read_on: OnceLock::new() })
    }

    /// The first needle in a range.
    #[inline]
    pub(super) fn next(&self, text: &[u8], range: Range<usize>) -> Option<Match> {
        let text = text.get(..range.end)?;
        let mut at = range.start;
        loop {
            at = self.starts.next(text, at)?;
            if let Some(hit) = self.longest_at(text, at) {
                return Some(hit);
            }
            at += 1;
        }
    }

    /// The longest needle at a place.
    #[inline]
    fn longest_at(&self, text: &[u8], at: usize) -> Option<Match> {
        // It fails only for kinds of search that the automaton was not built for.
        let mut state = self.search.start_state(Anchored::Yes).ok()?;
        let mut hit = None;
        for (end, byte) in (at + 1..).zip(&text[at..]) {
            state = self.search.next_state(Anchored::Yes, state, *byte);
            if self.search.is_special(state) {
                if self.search.is_dead(state) {
                    break;
                }
                // A shorter needle may end here that began behind this place.
                if self.search.is_match(state)
                    && let needle = self.search.match_pattern(state, 0)
                    && self.search.pattern_len(needle) == end - at
                {
                    hit = Some(Match::new(needle, at..end));
                }
            }
        }
        hit
    }

    /// How far the automaton reads behind a hit, in bytes: a longer needle may stand there, in which this one stands as well.
    fn read_on(&self, id: PatternID) -> usize {
        let all = self.read_on.get_or_init(|| read_on(&self.texts));
        all.get(id.as_usize()).copied().unwrap_or(self.longest)
    }

    /// The meaning of a hit. Each id that the automaton gives has one.
    pub(super) fn needle(&self, id: PatternID) -> Needle {
        self.needles.get(id.as_usize()).copied().unwrap_or(Needle::Word)
    }

    /// All secrets of a text that are known by their name or their format, in the order of their starts.
    ///
    /// # Errors
    /// When the search is not done by `deadline`.
    pub(super) fn find<'a>(
        &self,
        names: &'a Names,
        text: &str,
        ends: Ends,
        deadline: Deadline,
    ) -> Result<Vec<Finding<'a>>, OutOfTime> {
        let part = Part { range: 0..text.len(), carry: Carry::default() };
        Ok(self.find_in(names, text, part, ends, Limits::of(deadline), Beside::Nothing)?.found)
    }

    /// The secrets of a text whose name or prefix stands in a part of it. Found one after another, the parts of a text give what a
    /// search of the whole text gives, if [`Wants`] is heeded.
    ///
    /// # Errors
    /// When the search is not done within `limits`.
    pub(super) fn find_in<'a, 't>(
        &self,
        names: &'a Names,
        text: &'t str,
        Part { range: part, carry }: Part,
        ends: Ends,
        limits: Limits,
        mut beside: Beside<'_, 't, 'a>,
    ) -> Result<Searched<'a>, OutOfTime> {
        let mut walk = Walk::new(names, text.as_bytes(), ends);
        let mut at = walk.resume(part.start, carry);
        reach::note(matches!(beside, Beside::Note(_)));
        match &mut beside {
            Beside::Nothing => {}
            Beside::Note(steps) => steps.begin(walk.pause(0, at)),
            Beside::Follow(_, known) => walk.known = known.take(),
        }
        steps(part.len());
        let mut runs = Runs::of(text.as_bytes());
        let (mut looks, mut work) = (0, 0);
        // A needle that begins in the part may end behind it.
        let limit = text.len().min(part.end + self.longest);
        loop {
            if let Beside::Follow(Some(follower), _) = &mut beside
                && let Some(state) = follower.skip(&walk.pause(0, at))
            {
                at = walk.resume(0, state);
            }
            let Some(hit) = self.next(text.as_bytes(), at..limit).filter(|hit| hit.start() < part.end) else { break };
            if limits.enough.is_some_and(|enough| wants(&walk, &runs) >= enough) {
                break;
            }
            let (from, found) = (at, walk.found.len());
            looks += 1;
            work += match beside {
                Beside::Note(_) => NOTE_WORK,
                Beside::Follow(Some(_), _) => FOLLOW_WORK,
                Beside::Nothing | Beside::Follow(None, _) => 0,
            };
            if work > limits.work || (looks % PLACES_A_LOOK == 0 && limits.deadline.is_over()) {
                return Err(OutOfTime);
            }
            let next = match self.needle(hit.pattern()) {
                Needle::Format(pattern, of_name) => match pattern.verify(&mut runs, hit.start(), ends.cut_end) {
                    Some(secret) => {
                        let end = secret.end;
                        walk.push(secret, pattern.id, pattern.show());
                        Some(end)
                    }
                    None if of_name => walk.named(hit.start()..hit.end()),
                    None => None,
                },
                Needle::Authority => user_information(text.as_bytes(), hit.end(), ends.cut_end).map(|secret| {
                    let end = secret.end;
                    walk.push(secret, USERINFO, Show::Password);
                    end
                }),
                Needle::EscapedAuthority(times) => {
                    escaped_user_information(text.as_bytes(), hit.end(), times, ends.cut_end).map(|secret| {
                        let end = secret.end;
                        walk.push(secret, USERINFO, Show::Password);
                        end
                    })
                }
                Needle::Command(which) => walk.command(which, hit.start()..hit.end()),
                Needle::Service(service) => walk.of_service(service, hit.start()..hit.end()),
                Needle::Word => walk.named(hit.start()..hit.end()),
            };
            at = next.unwrap_or(hit.end()).max(at + 1);
            while !text.is_char_boundary(at) {
                at += 1;
            }
            work += HIT_WORK
                + hit.len() * NEEDLE_WORK
                + (at - from) * BYTE_WORK
                + (walk.found.len() - found) * FOUND_WORK
                + walk.worked();
            if let Beside::Note(steps) = &mut beside {
                let looked = reach::taken();
                let read = hit.end() + self.read_on(hit.pattern());
                steps.put(looked.start.min(from)..looked.end.max(read), walk.touched(), walk.pause(0, at));
            }
        }
        let (carry, wants) = (walk.pause(part.end, at), wants(&walk, &runs));
        work += part.end.saturating_sub(at) * BYTE_WORK;
        Ok(Searched { found: walk.found, carry, wants, work })
    }
}

/// Whether more text behind a text would change what was found in it until now.
fn wants(walk: &Walk<'_, '_>, runs: &Runs<'_>) -> Wants {
    if runs.reached_end() { walk.wants.max(Wants::More) } else { walk.wants }
}

/// For each needle: how many bytes a longer one has behind it at most.
fn read_on(needles: &[String]) -> Vec<usize> {
    let lower: Vec<_> = needles.iter().map(|needle| needle.to_ascii_lowercase()).collect();
    let mut behind: HashMap<&[u8], usize> = lower.iter().map(|needle| (needle.as_bytes(), 0)).collect();
    for needle in &lower {
        let bytes = needle.as_bytes();
        for (start, end) in (0..bytes.len()).flat_map(|start| (start + 1..bytes.len()).map(move |end| (start, end))) {
            if let Some(most) = behind.get_mut(&bytes[start..end]) {
                *most = (*most).max(bytes.len() - end);
            }
        }
    }
    lower.iter().map(|needle| behind.get(needle.as_bytes()).copied().unwrap_or_default()).collect()
}

#[cfg(test)]
mod tests {
    use aho_corasick::{AhoCorasick, Input};
    use proptest::prelude::*;

    use super::*;
    use crate::redact::testing::redactor;
    use crate::redact::tests::hostile::{HOSTILE, HOSTILE_TO_FORMATS, HOSTILE_TO_GRAMMARS};

    #[test]
    fn a_search_ends_when_a_longer_text_is_searched_anyway_or_its_work_is_done() {
        let text = format!("-----BEGIN PRIVATE KEY-----! {}", "key=a ".repeat(1_000));
        let find = |limits| {
            let part = Part { range: 0..text.len(), carry: Carry::default() };
            redactor().scanner.find_in(&redactor().names, &text, part, Ends::default(), limits, Beside::Nothing)
        };
        let none = Limits::of(Deadline::after(std::time::Duration::from_secs(60)));
        let all = find(none).unwrap();
        let some = find(Limits { enough: Some(Wants::More), ..none }).unwrap();
        assert_eq!((all.wants, some.wants), (Wants::More, Wants::More));
        assert!(
            all.work > 1_000 * HIT_WORK && some.work < text.len() * BYTE_WORK + 10 * HIT_WORK,
            "{}, {}",
            all.work,
            some.work
        );
        assert!(find(Limits { work: all.work / 2, ..none }).is_err());
        assert!(find(Limits { work: all.work, ..none }).is_ok());
    }

    proptest! {
        #[test]
        fn the_first_and_longest_needle_is_found_as_if_each_place_was_examined(
            pieces in prop::collection::vec(
                prop_oneof![
                    prop::sample::select([HOSTILE, HOSTILE_TO_FORMATS, HOSTILE_TO_GRAMMARS].concat()).prop_map(str::to_owned),
                    ".{0,12}",
                    "[a-zA-Z_. :-]{0,12}",
                    (any::<prop::sample::Index>(), 0_usize..30)
                        .prop_map(|(nth, bytes)| nth.get(&redactor().scanner.texts).chars().take(bytes).collect()),
                ],
                0..12,
            ),
            capital in any::<bool>(),
            from in 0_usize..40,
        ) {
            let scanner = &redactor().scanner;
            let all = AhoCorasick::builder()
                .ascii_case_insensitive(true)
                .match_kind(MatchKind::LeftmostLongest)
                .build(&scanner.texts)
                .unwrap();
            let text = if capital { pieces.concat().to_ascii_uppercase() } else { pieces.concat() };
            let text = text.as_bytes();
            let mut at = from.min(text.len());
            loop {
                let found = scanner.next(text, at..text.len());
                prop_assert_eq!(found, all.find(Input::new(text).range(at..)));
                let Some(found) = found else { break };
                at = found.start() + 1;
            }
        }
    }

    #[test]
    fn needles_of_any_length_are_found_at_each_place() {
        for key in ["a", "bc", "def"] {
            let scanner = Scanner::new(&[key.to_owned()]).unwrap();
            for before in 0..20 {
                let text = format!("{}{key}{}", ".".repeat(before), ".".repeat(before / 2));
                let found = scanner.next(text.as_bytes(), 0..text.len()).unwrap();
                assert_eq!((found.start(), found.end()), (before, before + key.len()), "{text}");
            }
        }
    }

    #[test]
    fn behind_a_needle_the_rest_of_longer_ones_is_read() {
        let needles = ["pass", "key", "passkeys", "XKEYS"].map(str::to_owned);
        assert_eq!(read_on(&needles), [4, 1, 0, 0]);
    }

    #[test]
    fn the_automaton_stays_small() {
        let scanner = Scanner::new(&[]).unwrap();
        assert!(scanner.search.memory_usage() < 2 << 20, "{}", scanner.search.memory_usage());
    }
}
