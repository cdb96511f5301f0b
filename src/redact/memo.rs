//! Recent results, so that a repeated name or secret costs little more than a comparison.

use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::hash::{BuildHasher, RandomState};
use std::ops::Range;

use super::names::{Kind, Names};
use crate::secret::MASK;

/// At most so many names are remembered.
const PLACES: usize = 16;

/// Where a text is remembered.
fn place(text: &[u8]) -> usize {
    let byte = |byte: Option<&u8>| byte.copied().map_or(0, usize::from);
    (text.len() + byte(text.first()) * 7 + byte(text.last()) * 3) % PLACES
}

/// The rule on a name, and its kind.
type Rule<'n> = Option<(&'n str, Kind)>;

/// The names of one text that were looked up last, each with its result.
pub(super) struct NameMemo<'n> {
    known: [(Range<usize>, Rule<'n>); PLACES],
}

impl<'n> NameMemo<'n> {
    pub(super) fn new() -> Self {
        Self { known: [const { (0..0, None) }; PLACES] }
    }

    /// The result of [`Names::key`] for the name in this range, and whether it was looked up.
    pub(super) fn key(&mut self, names: &'n Names, text: &[u8], name: Range<usize>) -> (Rule<'n>, bool) {
        let bytes = &text[name.clone()];
        if bytes.is_empty() {
            return (None, false);
        }
        let place = place(bytes);
        let (known, rule) = &self.known[place];
        if text[known.clone()] == *bytes {
            return (*rule, false);
        }
        let rule = names.key(bytes);
        self.known[place] = (name, rule);
        (rule, true)
    }
}

/// So many different secrets of one call get a mask with a tag, even if its texts are short.
const MASKS_AT_LEAST: usize = 256;
/// One more secret for so many bytes of its texts. The tag is a keyed hash, which costs as much as the search of these bytes.
/// Further secrets get a mask without a tag.
const BYTES_A_MASK: usize = 256;

/// The masks of the secrets of one call.
#[derive(Default)]
pub(super) struct MaskMemo {
    /// Random for each call, so that nobody can choose two secrets with the same hash.
    seed: RandomState,
    /// By the hash of the secret and its kind.
    masks: RefCell<HashMap<u64, String, foldhash::fast::RandomState>>,
    /// The length of the call's texts in bytes.
    bytes: Cell<usize>,
    /// Short secrets that were masked last, so that a text that repeats them needs no hash.
    recent: RefCell<[Recent; PLACES]>,
}

/// A secret with its mask.
#[derive(Default)]
struct Recent {
    kind: u8,
    secret: String,
    mask: String,
}

/// A longer secret is not kept as a recent one, in bytes.
const SHORT_BYTES: usize = 256;

impl MaskMemo {
    /// Notes the length of a text in which secrets were found.
    pub(super) fn searched(&self, bytes: usize) {
        self.bytes.set(self.bytes.get().saturating_add(bytes));
    }

    /// Gives the mask of a secret of this kind, made with `make` the first time.
    pub(super) fn mask<T>(
        &self,
        kind: u8,
        secret: &str,
        make: impl FnOnce() -> String,
        with: impl FnOnce(&str) -> T,
    ) -> T {
        let recent = &mut self.recent.borrow_mut()[place(secret.as_bytes())];
        if recent.kind == kind && recent.secret == secret && !recent.mask.is_empty() {
            return with(&recent.mask);
        }
        let key = self.seed.hash_one((kind, secret));
        let mut masks = self.masks.borrow_mut();
        let most = MASKS_AT_LEAST + self.bytes.get() / BYTES_A_MASK;
        let count = masks.len();
        let mask = match masks.entry(key) {
            Entry::Occupied(known) => known.into_mut(),
            // There were too many secrets before.
            Entry::Vacant(_) if count >= most => return with(MASK),
            Entry::Vacant(new) => new.insert(make()),
        };
        if secret.len() <= SHORT_BYTES {
            recent.kind = kind;
            secret.clone_into(&mut recent.secret);
            mask.as_str().clone_into(&mut recent.mask);
        }
        with(mask)
    }
}
