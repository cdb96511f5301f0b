//! Sets of numbers as sorted ranges.

use std::ops::RangeInclusive;

/// Sorted, with gaps between them.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Ranges(Vec<RangeInclusive<i64>>);

impl FromIterator<RangeInclusive<i64>> for Ranges {
    fn from_iter<T: IntoIterator<Item = RangeInclusive<i64>>>(ranges: T) -> Self {
        let mut sorted: Vec<_> = ranges.into_iter().filter(|range| !range.is_empty()).collect();
        sorted.sort_unstable_by_key(|range| *range.start());
        let mut merged: Vec<RangeInclusive<i64>> = Vec::with_capacity(sorted.len());
        for range in sorted {
            match merged.last_mut() {
                Some(last) if *range.start() <= last.end().saturating_add(1) => {
                    *last = *last.start()..=*last.end().max(range.end());
                }
                _ => merged.push(range),
            }
        }
        Self(merged)
    }
}

impl Ranges {
    /// The ranges in order.
    pub(super) fn iter(&self) -> impl Iterator<Item = &RangeInclusive<i64>> {
        self.0.iter()
    }

    /// How many numbers there are.
    pub(super) fn count(&self) -> i64 {
        self.0.iter().map(|range| (range.end() - range.start()).saturating_add(1)).fold(0, i64::saturating_add)
    }

    /// The parts of a range that are in the set, in order.
    pub(super) fn within(&self, of: &RangeInclusive<i64>) -> impl Iterator<Item = RangeInclusive<i64>> {
        let (start, end) = (*of.start(), *of.end());
        let from = self.0.partition_point(|range| *range.end() < start);
        let overlapping = self.0.iter().skip(from).take_while(move |range| *range.start() <= end);
        overlapping.map(move |range| *range.start().max(&start)..=*range.end().min(&end))
    }

    /// Whether both have a number.
    pub(super) fn meet(&self, others: &Self) -> bool {
        let (few, many) = if self.0.len() < others.0.len() { (self, others) } else { (others, self) };
        few.0.iter().any(|range| many.within(range).next().is_some())
    }

    /// With the smallest gaps closed, until there are at most so many ranges.
    pub(super) fn at_most(self, limit: usize) -> Self {
        let Some(excess) = self.0.len().checked_sub(limit.max(1)).filter(|excess| *excess > 0) else { return self };
        let mut gaps: Vec<i64> = self.0.windows(2).map(|pair| pair[1].start() - pair[0].end()).collect();
        gaps.sort_unstable();
        let (widest, mut left) = (gaps[excess - 1], excess);
        let mut closed: Vec<RangeInclusive<i64>> = Vec::with_capacity(limit);
        for range in self.0 {
            match closed.last_mut() {
                Some(last) if left > 0 && range.start() - last.end() <= widest => {
                    *last = *last.start()..=*range.end();
                    left -= 1;
                }
                _ => closed.push(range),
            }
        }
        Self(closed)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;

    fn numbers(ranges: &[(i64, i64)]) -> BTreeSet<i64> {
        ranges.iter().flat_map(|(start, more)| *start..=start + more).collect()
    }

    fn set(ranges: &[(i64, i64)]) -> Ranges {
        ranges.iter().map(|(start, more)| *start..=start + more).collect()
    }

    proptest! {
        #[test]
        fn ranges_are_the_set_of_their_numbers(
            one in prop::collection::vec((0..60_i64, 0..9_i64), 0..9), other in prop::collection::vec((0..60_i64, 0..9_i64), 0..9),
            limit in 1..9_usize,
        ) {
            let (ours, all) = (set(&one), numbers(&one));
            prop_assert_eq!(ours.iter().cloned().flatten().collect::<Vec<_>>(), all.iter().copied().collect::<Vec<_>>());
            prop_assert_eq!(ours.count(), all.len() as i64);
            let theirs = numbers(&other);
            prop_assert_eq!(ours.meet(&set(&other)), !all.is_disjoint(&theirs));
            for (start, more) in other {
                let part: Vec<i64> = ours.within(&(start..=start + more)).flatten().collect();
                prop_assert_eq!(part, all.range(start..=start + more).copied().collect::<Vec<_>>());
            }
            let closed = ours.clone().at_most(limit);
            prop_assert!(closed.iter().count() <= limit || ours.iter().count() <= limit);
            prop_assert!(all.iter().all(|number| closed.within(&(*number..=*number)).next().is_some()));
        }
    }
}
