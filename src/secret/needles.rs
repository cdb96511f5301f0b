//! One search for many exact texts.

use std::ops::Range;

use aho_corasick::{AhoCorasick, Input, MatchKind, Span, packed};

/// Finds the texts of a list. Of several that begin at one place, the longest is found.
pub(super) enum Needles {
    /// SIMD search, without which this search took a fifth of the time of an event. Not available on every processor, nor for
    /// more than a few dozen texts.
    Packed(packed::Searcher),
    /// The search for any number of texts.
    Any(AhoCorasick),
}

impl Needles {
    /// `None` when there are too many.
    pub(super) fn new<N: AsRef<[u8]>>(all: &[N]) -> Option<Self> {
        let packed = packed::Config::new()
            .match_kind(packed::MatchKind::LeftmostLongest)
            .only_teddy(true)
            .builder()
            .extend(all)
            .build();
        let any = || AhoCorasick::builder().match_kind(MatchKind::LeftmostLongest).build(all).ok();
        packed.map(Self::Packed).or_else(|| any().map(Self::Any))
    }

    /// The first of the listed texts at `from` or later: its index in the list and its range.
    pub(super) fn next(&self, text: &[u8], from: usize) -> Option<(usize, Range<usize>)> {
        let found = match self {
            Self::Packed(packed) => packed.find_in(text, Span { start: from, end: text.len() }),
            Self::Any(any) => any.find(Input::new(text).range(from..)),
        }?;
        Some((found.pattern().as_usize(), found.range()))
    }

    /// The listed texts in `text`, in order and not overlapping.
    pub(super) fn find_iter<'a>(&'a self, text: &'a [u8]) -> impl Iterator<Item = (usize, Range<usize>)> + 'a {
        let mut at = 0;
        std::iter::from_fn(move || {
            let found = self.next(text, at)?;
            at = found.1.end;
            Some(found)
        })
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn both_searches_find_the_same(
            all in prop::collection::vec("[ab]{2,9}", 1..100),
            text in "[abc]{0,400}",
        ) {
            let needles = Needles::new(&all).unwrap();
            let any = Needles::Any(AhoCorasick::builder().match_kind(MatchKind::LeftmostLongest).build(&all).unwrap());
            let ranges = |needles: &Needles| needles.find_iter(text.as_bytes()).map(|(_, range)| range).collect::<Vec<_>>();
            prop_assert_eq!(ranges(&needles), ranges(&any));
        }
    }
}
