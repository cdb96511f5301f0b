//! Which texts a column has the signature of.

use std::ops::RangeInclusive;

use crate::store::varint::{put, take};

/// The texts of a column.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Contents {
    /// Chunks that were stored one after the other, with the seams between them.
    pub(super) chunks: Option<RangeInclusive<i64>>,
    /// Seams between chunks that do not have consecutive numbers: a body has the second one behind the first.
    pub(super) seams: Vec<(i64, i64)>,
    /// Events whose bodies are short, so that they stand in the event itself.
    pub(super) events: Vec<i64>,
}

impl Contents {
    /// Adds the next chunk.
    pub(super) fn add_chunk(&mut self, chunk: i64) {
        let first = self.chunks.as_ref().map_or(chunk, |chunks| *chunks.start());
        self.chunks = Some(first..=chunk);
    }

    /// Adds an event, unless it is the last one already.
    pub(super) fn add_event(&mut self, event: i64) {
        if self.events.last() != Some(&event) {
            self.events.push(event);
        }
    }

    pub(super) fn is_empty(&self) -> bool {
        *self == Self::default()
    }

    fn put(&self, out: &mut Vec<u8>) {
        let (first, count) = match &self.chunks {
            Some(chunks) => (*chunks.start(), chunks.end() - chunks.start() + 1),
            None => (0, 0),
        };
        [count, first].iter().for_each(|number| put(out, number.cast_unsigned()));
        put(out, self.seams.len() as u64);
        for (before, after) in &self.seams {
            // The second chunk is usually the later one.
            put(out, before.cast_unsigned());
            put(out, zigzag(after - before));
        }
        put(out, self.events.len() as u64);
        let mut last = 0;
        for event in &self.events {
            put(out, zigzag(event - last));
            last = *event;
        }
    }

    fn take(bytes: &mut &[u8]) -> Option<Self> {
        let (count, first) = (take(bytes)?.cast_signed(), take(bytes)?.cast_signed());
        let chunks = (count > 0).then(|| first..=first.saturating_add(count - 1));
        let mut contents = Self { chunks, ..Self::default() };
        for _ in 0..take(bytes)? {
            let before = take(bytes)?.cast_signed();
            contents.seams.push((before, before.wrapping_add(unzigzag(take(bytes)?))));
        }
        let mut last = 0_i64;
        for _ in 0..take(bytes)? {
            last = last.wrapping_add(unzigzag(take(bytes)?));
            contents.events.push(last);
        }
        Some(contents)
    }
}

/// The contents of columns as one blob.
pub(super) fn encode(columns: &[Contents]) -> Vec<u8> {
    let mut out = Vec::new();
    columns.iter().for_each(|contents| contents.put(&mut out));
    out
}

/// What [`encode`] has made. `None`: it is damaged.
pub(super) fn decode(mut bytes: &[u8]) -> Option<Vec<Contents>> {
    let mut columns = Vec::new();
    while !bytes.is_empty() {
        columns.push(Contents::take(&mut bytes)?);
    }
    Some(columns)
}

/// Small negative numbers become small numbers.
fn zigzag(number: i64) -> u64 {
    ((number << 1) ^ (number >> 63)).cast_unsigned()
}

fn unzigzag(number: u64) -> i64 {
    (number >> 1).cast_signed() ^ -(number & 1).cast_signed()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const MOST: i64 = 1 << 53;

    proptest! {
        #[test]
        fn written_contents_are_read_back(
            columns in prop::collection::vec(
                (0..MOST, 0..99_i64, prop::collection::vec((0..MOST, 0..MOST), 0..4), prop::collection::vec(0..MOST, 0..4)), 0..4,
            ),
        ) {
            let column = |(first, more, seams, events): (i64, i64, Vec<(i64, i64)>, Vec<i64>)| Contents {
                chunks: (more > 0).then(|| first..=first + more),
                seams,
                events,
            };
            let columns: Vec<Contents> = columns.into_iter().map(column).collect();
            prop_assert_eq!(decode(&encode(&columns)), Some(columns));
        }

        #[test]
        fn any_bytes_are_read_without_a_panic(bytes in prop::collection::vec(any::<u8>(), 0..60)) {
            decode(&bytes);
        }
    }
}
