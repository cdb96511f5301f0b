//! Recent results, so that a repeated name or secret costs little more than a comparison.

use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::hash::{BuildHasher, RandomState};
use std::ops::Range;

use super::names::{Kind, Names};
use crate::secret::MASK;

/// At most so many names are remembered.
const PLACES: usize = 16;

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

    /// The result of [`Names::key`] for the name in this range.
    pub(super) fn key(&mut self, names: &'n Names, text: &[u8], name: Range<usize>) -> Rule<'n> {
        let bytes = &text[name.clone()];
        let (Some(first), Some(last)) = (bytes.first(), bytes.last()) else { return None };
        let place = (bytes.len() + usize::from(*first) * 7 + usize::from(*last) * 3) % PLACES;
        let (known, rule) = &self.known[place];
        if text[known.clone()] == *bytes {
            return *rule;
        }
        let rule = names.key(bytes);
        self.known[place] = (name, rule);
        rule
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
    masks: RefCell<HashMap<u64, String>>,
    /// The length of the call's texts in bytes.
    bytes: Cell<usize>,
    /// The kind, the text and the mask of the last short secret, so that a text that repeats it needs no hash.
    last: RefCell<Option<(u8, String, String)>>,
}

/// A longer secret is not kept as the last one, in bytes.
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
        if let Some((of, last, mask)) = &*self.last.borrow()
            && *of == kind
            && last == secret
        {
            return with(mask);
        }
        let Some(mask) = self.remembered(kind, secret, make) else { return with(MASK) };
        let shown = with(&mask);
        if secret.len() <= SHORT_BYTES {
            *self.last.borrow_mut() = Some((kind, secret.to_owned(), mask));
        }
        shown
    }

    /// `None` when there were too many secrets before.
    fn remembered(&self, kind: u8, secret: &str, make: impl FnOnce() -> String) -> Option<String> {
        let key = self.seed.hash_one((kind, secret));
        let mut masks = self.masks.borrow_mut();
        if let Some(mask) = masks.get(&key) {
            return Some(mask.clone());
        }
        if masks.len() >= MASKS_AT_LEAST + self.bytes.get() / BYTES_A_MASK {
            return None;
        }
        let mask = make();
        masks.insert(key, mask.clone());
        Some(mask)
    }
}
