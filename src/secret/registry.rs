//! The list of our own secrets, by their exact text. Each [`Secret`](super::Secret) is registered when it is created, and the CA's key
//! when it is read. The process has one list, because its log and its panics must not show them either.

use std::borrow::Cow;
use std::collections::VecDeque;
use std::ops::Range;
use std::sync::Arc;

use parking_lot::Mutex;

use super::MASK;
use super::coded::Coded;
use super::hidden::{self, Hidden};
use super::needles::Needles;

/// A shorter secret is not registered: masking so short a word everywhere would reveal it and ruin texts.
const SHORTEST_BYTES: usize = 8;
/// A shorter secret that is all letters is not registered: it may be an ordinary word.
const LETTERS_FROM_BYTES: usize = 16;
/// A text that ends with at least this many bytes of a secret was cut inside it; fewer may match by chance.
const CUT_MIN_BYTES: usize = 6;
/// Keys and passwords kept. They are never evicted.
const LASTING: usize = 4096;
/// Tokens (JWTs) kept. The oldest is evicted first; the rule `pattern.jwt` finds evicted ones by their format.
const PASSING: usize = 256;

static REGISTRY: Mutex<Registry> = Mutex::new(Registry::new());

struct Registry {
    lasting: Vec<Box<[u8]>>,
    passing: VecDeque<Box<[u8]>>,
    /// Built on first use after a change.
    searcher: Option<Arc<Searcher>>,
}

impl Registry {
    const fn new() -> Self {
        Self { lasting: Vec::new(), passing: VecDeque::new(), searcher: None }
    }

    fn add(&mut self, text: &[u8]) {
        if self.lasting.iter().chain(&self.passing).any(|known| **known == *text) {
            return;
        }
        if text.starts_with(b"eyJ") {
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
            let all: Vec<&[u8]> = self.lasting.iter().chain(&self.passing).map(AsRef::as_ref).collect();
            self.searcher = Searcher::new(&all).map(Arc::new);
        }
        self.searcher.clone()
    }
}

/// Finds all registered secrets in a text.
pub(crate) struct Searcher {
    plain: Needles,
    /// Finds secrets in base64 and in hexadecimal digits.
    coded: Coded,
    /// The length of the shortest secret. A shorter text holds none.
    shortest_bytes: usize,
    /// Whether all secrets are ASCII.
    ascii: bool,
}

impl Searcher {
    fn new(all: &[&[u8]]) -> Option<Self> {
        let plain = Needles::new(all)?;
        let coded = Coded::new(all)?;
        let shortest_bytes = all.iter().map(|text| text.len()).min()?;
        Some(Self { plain, coded, shortest_bytes, ascii: all.iter().all(|text| text.is_ascii()) })
    }

    /// The ranges of the secrets in `text`, plain or behind encodings, in order and not overlapping.
    pub(crate) fn find_all(&self, text: &[u8]) -> Vec<Range<usize>> {
        let search = |bytes: &[u8], found: &mut dyn FnMut(Range<usize>)| self.find_iter(bytes).for_each(found);
        let (coded, shortest_bytes, ascii) = (&self.coded, self.shortest_bytes, self.ascii);
        let hidden = Hidden { search: &search, coded, shortest_bytes, ascii }.find(text);
        let mut all: Vec<Range<usize>> = self.find_iter(text).collect();
        if hidden.is_empty() {
            return all;
        }
        all.extend(hidden);
        all.sort_by_key(|range| range.start);
        all.dedup_by(|next, last| {
            let overlaps = next.start < last.end;
            last.end = if overlaps { last.end.max(next.end) } else { last.end };
            overlaps
        });
        all
    }

    /// The ranges of the plain ones.
    fn find_iter<'a>(&'a self, text: &'a [u8]) -> impl Iterator<Item = Range<usize>> + 'a {
        let text = if text.len() < self.shortest_bytes { &[] } else { text };
        self.plain.find_iter(text).map(|(_, range)| range)
    }

    /// The text with each secret masked, and their number. `None`: there are none.
    pub(crate) fn mask(&self, text: &str) -> Option<(String, u32)> {
        let found = self.find_all(text.as_bytes());
        if found.is_empty() {
            return None;
        }
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

/// Registers `secret`: from now on it is masked in events, logs, errors and panics. A secret so short that it could be an
/// ordinary word is ignored.
pub(crate) fn register(secret: &str) {
    let secret = secret.trim();
    let telling = secret.len() >= LETTERS_FROM_BYTES || !secret.bytes().all(|byte| byte.is_ascii_alphabetic());
    if secret.len() >= SHORTEST_BYTES && telling {
        let mut registry = REGISTRY.lock();
        registry.add(secret.as_bytes());
        // Its forms in JSON, and in JSON inside a JSON string.
        let mut escaped = secret.to_owned();
        for _ in 0..2 {
            escaped = escaped.replace('\\', "\\\\").replace('"', "\\\"");
            registry.add(escaped.as_bytes());
        }
        hidden::readings(secret.as_bytes())
            .filter(|read| read.len() >= SHORTEST_BYTES)
            .for_each(|read| registry.add(&read));
        // In the query of a URL a space is `+`.
        if secret.contains(' ') {
            registry.add(secret.replace(' ', "+").as_bytes());
        }
    }
}

/// Registers each line of a PEM file, because a text that quotes the file may have other line ends.
pub(crate) fn register_pem(pem: &str) {
    pem.lines().filter(|line| line.len() >= LETTERS_FROM_BYTES && !line.starts_with('-')).for_each(register);
}

/// Finds all registered secrets; `None` when there are none.
pub(crate) fn searcher() -> Option<Arc<Searcher>> {
    REGISTRY.lock().searcher()
}

/// The start of a secret that is cut at the end of the text, behind an encoding or not.
pub(crate) fn cut_off(text: &str) -> Option<usize> {
    let registry = REGISTRY.lock();
    let begun = |text: &[u8]| {
        let begun = registry.lasting.iter().chain(&registry.passing).filter_map(|secret| {
            let lengths = (CUT_MIN_BYTES..secret.len()).rev();
            lengths.map(|length| &secret[..length]).find(|begun| text.ends_with(begun)).map(<[u8]>::len)
        });
        begun.max().map(|length| text.len() - length)
    };
    hidden::cut_off(text.as_bytes(), &begun).filter(|start| text.is_char_boundary(*start))
}

/// The text with each registered secret masked, and their number.
pub(crate) fn mask(text: &str) -> (Cow<'_, str>, u32) {
    match searcher().and_then(|searcher| searcher.mask(text)) {
        Some((masked, count)) => (Cow::Owned(masked), count),
        None => (Cow::Borrowed(text), 0),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn registered_secrets_are_masked_and_short_words_are_not() {
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

    #[test]
    fn tokens_are_evicted_and_keys_are_not() {
        let mut registry = Registry::new();
        registry.add(b"agent_lasting_key");
        (0..PASSING + 10).for_each(|n| registry.add(format!("eyJ{n:030}").as_bytes()));
        registry.add(b"agent_lasting_key");
        assert_eq!((registry.lasting.len(), registry.passing.len()), (1, PASSING));
        assert!(registry.searcher().unwrap().mask("an agent_lasting_key here").is_some());
        assert!(registry.searcher().unwrap().mask(&format!("eyJ{:030}", 0)).is_none());
    }
}
