//! Our own secrets, known by their very text: each [`Secret`](crate::secret::Secret) registers itself when it is made, and
//! the CA's key when it is read. The list belongs to the process, as its log and its panics do, which must not show them either.

use std::borrow::Cow;
use std::collections::VecDeque;
use std::ops::Range;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use aho_corasick::{AhoCorasick, Input, MatchKind, Span, packed};

use super::MASK;

/// What has fewer bytes is a word like any other: masking it everywhere would give it away, and ruin texts.
const SHORTEST_BYTES: usize = 8;
/// From here on a secret may be all letters.
const LETTERS_FROM_BYTES: usize = 16;
/// So many bytes of one, after which a text breaks off, are not there by chance.
const CUT_MIN_BYTES: usize = 6;
/// How many are kept for good: keys, passwords.
const LASTING: usize = 4096;
/// How many tokens are kept; the oldest go. What they look like is known as well (`pattern.jwt`).
const PASSING: usize = 256;

static REGISTRY: Mutex<Registry> = Mutex::new(Registry::new());

struct Registry {
    lasting: Vec<Box<str>>,
    passing: VecDeque<Box<str>>,
    /// Made when it is first wanted after a change.
    searcher: Option<Arc<Searcher>>,
}

impl Registry {
    const fn new() -> Self {
        Self { lasting: Vec::new(), passing: VecDeque::new(), searcher: None }
    }

    fn add(&mut self, text: &str) {
        if self.lasting.iter().chain(&self.passing).any(|known| **known == *text) {
            return;
        }
        if text.starts_with("eyJ") {
            if self.passing.len() == PASSING {
                self.passing.pop_front();
            }
            self.passing.push_back(text.into());
        } else if self.lasting.len() < LASTING {
            self.lasting.push(text.into());
        }
        self.searcher = None;
    }

    fn searcher(&mut self) -> Option<Arc<Searcher>> {
        if self.searcher.is_none() && !(self.lasting.is_empty() && self.passing.is_empty()) {
            let all: Vec<&[u8]> = self.lasting.iter().chain(&self.passing).map(|text| text.as_bytes()).collect();
            self.searcher = Searcher::new(&all).map(Arc::new);
        }
        self.searcher.clone()
    }
}

/// Finds them all.
pub(super) struct Searcher {
    way: Way,
    /// The shortest of them: no shorter text has one.
    shortest_bytes: usize,
}

enum Way {
    /// Many bytes of a text at a time: a fifth of an event's time was spent on this search before. Not on every processor, and
    /// not for more than some dozens.
    Packed(packed::Searcher),
    Any(AhoCorasick),
}

impl Searcher {
    fn new(all: &[&[u8]]) -> Option<Self> {
        let packed = packed::Config::new()
            .match_kind(packed::MatchKind::LeftmostLongest)
            .only_teddy(true)
            .builder()
            .extend(all)
            .build();
        let any = || AhoCorasick::builder().match_kind(MatchKind::LeftmostLongest).build(all).ok();
        let way = packed.map(Way::Packed).or_else(|| any().map(Way::Any))?;
        Some(Self { way, shortest_bytes: all.iter().map(|text| text.len()).min()? })
    }

    /// Where they are, one after the other.
    pub(super) fn find_iter<'a>(&'a self, text: &'a [u8]) -> impl Iterator<Item = Range<usize>> + 'a {
        let mut at = 0;
        std::iter::from_fn(move || {
            let found = self.find(text, at)?;
            at = found.end;
            Some(found)
        })
    }

    fn find(&self, text: &[u8], from: usize) -> Option<Range<usize>> {
        if text.len() - from < self.shortest_bytes {
            return None;
        }
        match &self.way {
            Way::Packed(packed) => {
                packed.find_in(text, Span { start: from, end: text.len() }).map(|found| found.start()..found.end())
            }
            Way::Any(any) => any.find(Input::new(text).range(from..)).map(|found| found.range()),
        }
    }

    /// The text without any of them, and how many there were. `None`: there are none.
    pub(super) fn mask(&self, text: &str) -> Option<(String, u32)> {
        let mut found = self.find_iter(text.as_bytes()).peekable();
        found.peek()?;
        let mut out = String::with_capacity(text.len());
        let (mut copied, mut count) = (0, 0);
        for secret in found {
            out.push_str(&text[copied..secret.start]);
            out.push_str(MASK);
            copied = secret.end;
            count += 1;
        }
        out.push_str(&text[copied..]);
        Some((out, count))
    }
}

/// From now on `secret` is masked wherever it turns up: events, logs, errors, panics. One that is too short to be told from a
/// word is not.
pub fn register(secret: &str) {
    let secret = secret.trim();
    let telling = secret.len() >= LETTERS_FROM_BYTES || !secret.bytes().all(|byte| byte.is_ascii_alphabetic());
    if secret.len() >= SHORTEST_BYTES && telling {
        let mut registry = registry();
        registry.add(secret);
        // As it stands in JSON, and in JSON in a string of JSON.
        let mut escaped = secret.to_owned();
        for _ in 0..2 {
            escaped = escaped.replace('\\', "\\\\").replace('"', "\\\"");
            registry.add(&escaped);
        }
    }
}

/// The same for each line of a PEM file's content: texts that quote it break its lines in their own ways.
pub fn register_pem(pem: &str) {
    pem.lines().filter(|line| line.len() >= LETTERS_FROM_BYTES && !line.starts_with('-')).for_each(register);
}

/// What finds them all; `None` when there are none.
pub(super) fn searcher() -> Option<Arc<Searcher>> {
    registry().searcher()
}

/// Where one begins that a cut at the text's end has left unfinished.
pub(super) fn cut_off(text: &str) -> Option<usize> {
    let registry = registry();
    let begun = registry.lasting.iter().chain(&registry.passing).filter_map(|secret| {
        let lengths = (CUT_MIN_BYTES..secret.len()).rev().filter(|length| secret.is_char_boundary(*length));
        lengths.map(|length| &secret[..length]).find(|begun| text.ends_with(begun)).map(str::len)
    });
    begun.max().map(|length| text.len() - length)
}

/// The text without any of them, and how many there were.
pub(super) fn mask(text: &str) -> (Cow<'_, str>, u32) {
    match searcher().and_then(|searcher| searcher.mask(text)) {
        Some((masked, count)) => (Cow::Owned(masked), count),
        None => (Cow::Borrowed(text), 0),
    }
}

/// A poisoned lock only means that a panic happened elsewhere: the list is still true.
fn registry() -> MutexGuard<'static, Registry> {
    REGISTRY.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn what_is_registered_is_masked_everywhere_and_words_are_not() {
        register("0wn-s3cret-of-this-test");
        register("lettersonly");
        register("x1");
        register("pass\"w\\ord");
        assert_eq!(mask(r#"{"p":"pass\"w\\ord"}"#).0, r#"{"p":"****"}"#);
        assert_eq!(mask("a 0wn-s3cret-of-this-test b lettersonly x1"), ("a **** b lettersonly x1".into(), 1));
        register_pem(
            "-----BEGIN PRIVATE KEY-----\nMIGHAgEAMBMGByqGSM49AgEG0wnPemLine\nshort\n-----END PRIVATE KEY-----\n",
        );
        assert_eq!(mask("x\\nMIGHAgEAMBMGByqGSM49AgEG0wnPemLine\\n").0, "x\\n****\\n");
    }

    proptest! {
        #[test]
        fn either_way_finds_the_same(
            secrets in prop::collection::vec("[ab]{2,9}", 1..100),
            text in "[abc]{0,400}",
        ) {
            let secrets: Vec<&[u8]> = secrets.iter().map(|text| text.as_bytes()).collect();
            let searcher = Searcher::new(&secrets).unwrap();
            let all = AhoCorasick::builder().match_kind(MatchKind::LeftmostLongest).build(&secrets).unwrap();
            let found: Vec<_> = searcher.find_iter(text.as_bytes()).collect();
            prop_assert_eq!(found, all.find_iter(&text).map(|found| found.range()).collect::<Vec<_>>());
        }
    }

    #[test]
    fn tokens_come_and_go_and_keys_stay() {
        let mut registry = Registry::new();
        registry.add("agent_lasting_key");
        (0..PASSING + 10).for_each(|n| registry.add(&format!("eyJ{n:030}")));
        registry.add("agent_lasting_key");
        assert_eq!((registry.lasting.len(), registry.passing.len()), (1, PASSING));
        assert!(registry.searcher().unwrap().mask("an agent_lasting_key here").is_some());
        assert!(registry.searcher().unwrap().mask(&format!("eyJ{:030}", 0)).is_none());
    }
}
