//! The list of our own secrets, by their exact text. Each [`Secret`](super::Secret) is registered when it is created, and the CA's key
//! when it is read. The process has one list, because its log and its panics must not show them either.

use std::borrow::Cow;
use std::collections::VecDeque;
use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use parking_lot::Mutex;

use super::MASK;
use super::coded::Coded;
use super::hidden::{self, Hidden};
use super::plain::Plain;

/// A shorter secret is not registered: masking so short a word everywhere would reveal it and ruin texts.
const SHORTEST_BYTES: usize = 8;
/// A shorter secret that is all letters is not registered: it may be an ordinary word.
const LETTERS_FROM_BYTES: usize = 16;
/// The first part of an escape at the end of a secret has at most so many bytes.
const HALF_MAX_BYTES: usize = 6;
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
    plain: Plain,
    /// Finds secrets in base64 and in hexadecimal digits.
    coded: Coded,
    /// The length of the shortest secret. A shorter text holds none.
    shortest_bytes: usize,
    /// The length of the longest secret.
    longest_bytes: usize,
    /// Whether all secrets are ASCII.
    ascii: bool,
    /// Another one for each list of secrets.
    version: u64,
}

/// The version of the last list.
static VERSION: AtomicU64 = AtomicU64::new(0);

impl Searcher {
    pub(super) fn new<S: AsRef<[u8]>>(all: &[S]) -> Option<Self> {
        let (plain, coded) = (Plain::new(all)?, Coded::new(all)?);
        let lengths = || all.iter().map(|text| text.as_ref().len());
        let (shortest_bytes, longest_bytes) = (lengths().min()?, lengths().max()?);
        let version = VERSION.fetch_add(1, Ordering::Relaxed) + 1;
        let ascii = all.iter().all(|text| text.as_ref().is_ascii());
        Some(Self { plain, coded, shortest_bytes, longest_bytes, ascii, version })
    }

    /// The length of the longest secret.
    pub(crate) fn longest_bytes(&self) -> usize {
        self.longest_bytes
    }

    /// A number that no other list of secrets in this process has. Never 0.
    pub(crate) fn version(&self) -> u64 {
        self.version
    }

    /// The ranges of the secrets in `text`, plain or behind encodings, in order and not overlapping.
    pub(crate) fn find_all(&self, text: &[u8]) -> Vec<Range<usize>> {
        self.find_with_work(text).0
    }

    /// The same, and the work of the search (see [`hidden`]).
    pub(crate) fn find_with_work(&self, text: &[u8]) -> (Vec<Range<usize>>, usize) {
        let Self { plain, coded, shortest_bytes, ascii, .. } = self;
        let (mut all, work) = Hidden::of(plain, coded, *shortest_bytes, *ascii).find(text);
        if text.len() >= *shortest_bytes {
            plain.find(text, None, &mut |range| all.push(range));
        }
        all.sort_by_key(|range| range.start);
        all.dedup_by(|next, last| {
            let overlaps = next.start < last.end;
            last.end = if overlaps { last.end.max(next.end) } else { last.end };
            overlaps
        });
        (all, work)
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
    if is_telling(secret.as_bytes()) {
        let mut registry = REGISTRY.lock();
        forms(secret).iter().for_each(|form| registry.add(form));
    }
}

/// A secret, and the other texts that show it.
pub(super) fn forms(secret: &str) -> Vec<Vec<u8>> {
    let mut forms = Vec::new();
    // In JSON, and in JSON inside a JSON string.
    let mut escaped = secret.to_owned();
    for _ in 0..2 {
        escaped = escaped.replace('\\', "\\\\").replace('"', "\\\"");
        forms.push(escaped.as_bytes().to_vec());
    }
    forms.extend(hidden::readings(secret.as_bytes()));
    // In the query of a URL a space is `+`.
    if secret.contains(' ') {
        forms.push(secret.replace(' ', "+").into_bytes());
    }
    // What follows can make an escape of half an escape at its end.
    if let Some(half) = secret.rfind(['%', '&', '\\']).filter(|half| secret.len() - half <= HALF_MAX_BYTES) {
        forms.push(secret.as_bytes()[..half].to_vec());
    }
    forms.retain(|form| is_telling(form));
    forms.push(secret.as_bytes().to_vec());
    forms
}

/// Whether a text cannot be an ordinary word.
fn is_telling(text: &[u8]) -> bool {
    text.len() >= LETTERS_FROM_BYTES || (text.len() >= SHORTEST_BYTES && !text.iter().all(u8::is_ascii_alphabetic))
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
