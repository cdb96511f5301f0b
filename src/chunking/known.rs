//! Parts of texts that were cut before, found again at once. An agent sends its conversation again with each call; to compare the
//! name of a known part costs a quarter of cutting the text again.

use quick_cache::sync::Cache;

use crate::naming::{Name, Namer};

/// Parts, by their beginnings.
pub(crate) struct KnownParts<T> {
    namer: Namer,
    /// A part is looked up by so many first bytes.
    start_bytes: usize,
    parts: Cache<Name, Part<T>>,
}

/// A part of a text.
#[derive(Clone)]
pub(crate) struct Part<T> {
    pub(crate) bytes: usize,
    pub(crate) name: Name,
    /// The byte behind it, by which texts are cut as well. `None`: it ended with its text, and not where the content says.
    next: Option<u8>,
    /// What is known of it.
    pub(crate) of: T,
}

impl<T: Clone> KnownParts<T> {
    /// At most so many parts are remembered. No part but the last of a text is shorter than `start_bytes`.
    pub(crate) fn new(parts: usize, start_bytes: usize) -> Self {
        Self { namer: Namer::new(), start_bytes, parts: Cache::new(parts) }
    }

    pub(crate) fn clear(&self) {
        self.parts.clear();
    }

    /// From now on at most so many parts are remembered.
    pub(crate) fn set_capacity(&self, parts: usize) {
        self.parts.set_capacity(parts as u64);
    }

    /// What gives parts their names.
    pub(crate) fn namer(&self) -> &Namer {
        &self.namer
    }

    /// The known part with which a text begins. The text would be cut where it ends.
    pub(crate) fn find(&self, text: &str) -> Option<Part<T>> {
        let part = self.parts.get(&self.start(text)?)?;
        let same = text.get(..part.bytes).filter(|_| text.as_bytes().get(part.bytes).copied() == part.next)?;
        (self.namer.name(same.as_bytes())? == part.name).then_some(part)
    }

    /// The part with which a text begins, and its name, if it has one: a known part, or the one that `cut` gives, which is remembered.
    pub(crate) fn part(&self, text: &str, cut: impl FnOnce() -> (usize, T)) -> (usize, T, Option<Name>) {
        if let Some(Part { bytes, name, of, .. }) = self.find(text) {
            return (bytes, of, Some(name));
        }
        let (bytes, of) = cut();
        let name = self.remember(text, bytes, of.clone());
        (bytes, of, name)
    }

    /// Remembers the part with which a text begins, and gives it its name. `None`: nothing can be remembered.
    pub(crate) fn remember(&self, text: &str, bytes: usize, of: T) -> Option<Name> {
        let name = self.namer.name(text.as_bytes().get(..bytes)?)?;
        if let Some(start) = self.start(text.get(..bytes)?) {
            self.parts.insert(start, Part { bytes, name, next: text.as_bytes().get(bytes).copied(), of });
        }
        Some(name)
    }

    /// `None`: the text is too short.
    fn start(&self, text: &str) -> Option<Name> {
        self.namer.name(text.as_bytes().get(..self.start_bytes)?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const START_BYTES: usize = 2 << 10;

    fn known(text: &str, bytes: usize) -> KnownParts<u8> {
        let parts = KnownParts::new(8, START_BYTES);
        assert!(parts.remember(text, bytes, 7).is_some());
        parts
    }

    fn text() -> String {
        (0..4_000).map(|n| format!("{n} ")).collect()
    }

    #[test]
    fn a_part_is_found_by_its_whole_text_and_the_byte_behind_it() {
        let (text, bytes) = (text() + "and more", text().len());
        let known = known(&text, bytes);
        for found in [text.clone(), text.clone() + " and more", text[..=bytes].to_owned()] {
            let part = known.find(&found).unwrap();
            assert_eq!((part.bytes, part.of), (bytes, 7));
        }
        assert!(known.find(&text[..bytes]).is_none() && known.find(&text[1..]).is_none());
        assert!(
            known.find(&text.replace("3999", "3998")).is_none() && known.find(&text.replace("and", "or")).is_none()
        );
        assert!(known.find(&text[..START_BYTES - 1]).is_none() && known.find("").is_none());
    }

    #[test]
    fn what_ended_with_its_text_is_found_only_at_the_end_of_one() {
        let (text, known) = (text(), known(&text(), text().len()));
        assert!(known.find(&text).is_some());
        assert!(known.find(&(text + "and more")).is_none());
    }
}
