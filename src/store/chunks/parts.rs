//! The column `parts`: which chunks make up the bodies of an event, and where the bodies go.

use std::ops::RangeInclusive;

use crate::event::BodyText;
use crate::store::varint::{put, take};

/// The bodies of an event.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(super) struct Parts(pub(super) Vec<Part>);

/// A body.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Part {
    /// See [`BodyText`].
    pub(super) at: usize,
    /// The numbers of its chunks in order. Chunks that were stored together have consecutive ones.
    pub(super) runs: Vec<RangeInclusive<i64>>,
}

impl Part {
    /// Adds consecutive chunks.
    pub(super) fn push(&mut self, chunks: RangeInclusive<i64>) {
        add_run(&mut self.runs, chunks);
    }
}

/// Adds consecutive chunks to the runs before them.
pub(super) fn add_run(runs: &mut Vec<RangeInclusive<i64>>, chunks: RangeInclusive<i64>) {
    match runs.last_mut() {
        Some(run) if run.end().checked_add(1) == Some(*chunks.start()) => *run = *run.start()..=*chunks.end(),
        _ => runs.push(chunks),
    }
}

impl Parts {
    /// All runs of chunks.
    pub(super) fn runs(&self) -> impl Iterator<Item = &RangeInclusive<i64>> {
        self.0.iter().flat_map(|part| &part.runs)
    }

    /// The column's value: the CRC-32 of what follows, and for each body its place, the number of its runs, and for each run its
    /// first chunk and how many follow. Each number is a LEB128.
    pub(super) fn encode(&self) -> Vec<u8> {
        let numbers = self.numbers();
        [&crc32fast::hash(&numbers).to_le_bytes()[..], &numbers].concat()
    }

    fn numbers(&self) -> Vec<u8> {
        let mut out = Vec::new();
        for Part { at, runs } in &self.0 {
            put(&mut out, *at as u64);
            put(&mut out, runs.len() as u64);
            for run in runs {
                put(&mut out, run.start().cast_unsigned());
                put(&mut out, run.end().saturating_sub(*run.start()).cast_unsigned());
            }
        }
        out
    }

    /// Reads a column. `None`: it is damaged, so the numbers in it may be those of other events' chunks.
    pub(super) fn decode(column: &[u8]) -> Option<Self> {
        let (sum, numbers) = column.split_first_chunk()?;
        if crc32fast::hash(numbers).to_le_bytes() != *sum {
            return None;
        }
        let (mut parts, mut rest) = (Self::default(), numbers);
        while let Some(part) = take_part(&mut rest) {
            parts.0.push(part);
        }
        (parts.numbers() == numbers).then_some(parts)
    }
}

/// The chunks that a column names. `None`: it is damaged.
pub(in crate::store) fn runs_of(column: &[u8]) -> Option<Vec<RangeInclusive<i64>>> {
    Parts::decode(column).map(|parts| parts.runs().cloned().collect())
}

/// The chunks of each body that a column names, in order. `None`: it is damaged.
pub(in crate::store) fn bodies_of(column: &[u8]) -> Option<Vec<Vec<RangeInclusive<i64>>>> {
    Parts::decode(column).map(|parts| parts.0.into_iter().map(|part| part.runs).collect())
}

/// How many references to chunks a column holds.
pub(in crate::store) fn references_of(column: &[u8]) -> i64 {
    let length = |run: &RangeInclusive<i64>| run.end().saturating_sub(*run.start()).saturating_add(1);
    Parts::decode(column).unwrap_or_default().runs().map(length).fold(0, i64::saturating_add)
}

/// The bodies that a column names, each with this text in place of its chunks.
pub(in crate::store) fn with_text(column: &[u8], text: &str) -> Vec<BodyText> {
    let body = |part: Part| BodyText { at: part.at, text: text.into() };
    Parts::decode(column).unwrap_or_default().0.into_iter().map(body).collect()
}

fn take_part(bytes: &mut &[u8]) -> Option<Part> {
    let at = usize::try_from(take(bytes)?).ok()?;
    let runs = (0..take(bytes)?).map_while(|_| {
        let first = i64::try_from(take(bytes)?).ok()?;
        Some(first..=first.saturating_add_unsigned(take(bytes)?))
    });
    Some(Part { at, runs: runs.collect() })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn written_parts_are_read_back(
            parts in prop::collection::vec(
                (any::<u32>(), prop::collection::vec((0..i64::MAX / 2, 0..1_000_000_i64), 0..9)), 0..4,
            ),
        ) {
            let part = |(at, runs): (u32, Vec<(i64, i64)>)| Part {
                at: at as usize,
                runs: runs.into_iter().map(|(first, more)| first..=first + more).collect(),
            };
            let parts = Parts(parts.into_iter().map(part).collect());
            prop_assert_eq!(Parts::decode(&parts.encode()), Some(parts));
        }

        #[test]
        fn any_bytes_are_read_without_a_panic(bytes in prop::collection::vec(any::<u8>(), 0..60)) {
            Parts::decode(&bytes);
        }

        #[test]
        fn a_flipped_bit_is_noticed(runs in prop::collection::vec((0..1_i64 << 40, 0..99_i64), 0..9), at in any::<prop::sample::Index>(), bit in 0..8) {
            let runs = runs.into_iter().map(|(first, more)| first..=first + more).collect();
            let mut column = Parts(vec![Part { at: 28, runs }]).encode();
            let at = at.index(column.len());
            column[at] ^= 1_u8 << bit;
            prop_assert_eq!(Parts::decode(&column), None);
        }
    }

    #[test]
    fn consecutive_chunks_are_one_run() {
        let mut part = Part { at: 0, runs: Vec::new() };
        [4..=4, 5..=7, 2..=2, 3..=3, 9..=9].into_iter().for_each(|chunks| part.push(chunks));
        assert_eq!(part.runs, [4..=7, 2..=3, 9..=9]);
    }
}
