//! Spans of events: which chunks their bodies have. A search looks only at the events of spans with a chunk that it has found.

use std::ops::RangeInclusive;

use rusqlite::{Connection, OptionalExtension, Row, params};

use super::ranges::Ranges;
use crate::store::varint::{put, take};

/// The events of a span.
pub(super) const SPAN_EVENTS: i64 = 128;
/// More ranges are merged, so that a span takes some bytes for each of its events at the most.
const RANGES: usize = 512;

/// Consecutive events.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Span {
    pub(super) first: i64,
    pub(super) last: i64,
    /// How many events it had when it was written.
    pub(super) count: i64,
    /// The id of the last event: its row number may be used again.
    pub(super) last_id: [u8; 16],
    /// The chunks of all its events; some more, if there are many ranges.
    pub(super) chunks: Ranges,
}

impl Span {
    /// Of one event.
    pub(super) fn of(event: i64, id: [u8; 16], chunks: Ranges) -> Self {
        Self { first: event, last: event, count: 1, last_id: id, chunks }
    }

    pub(super) fn is_full(&self) -> bool {
        self.count >= SPAN_EVENTS
    }

    /// Adds the next event.
    pub(super) fn add(&mut self, event: i64, id: [u8; 16], chunks: &Ranges) {
        (self.last, self.last_id, self.count) = (event, id, self.count + 1);
        self.chunks = self.chunks.iter().chain(chunks.iter()).cloned().collect::<Ranges>().at_most(RANGES);
    }

    /// Whether the number of its last event means the same event in the store.
    pub(super) fn is_of(&self, store: &Connection) -> rusqlite::Result<bool> {
        let id: Option<[u8; 16]> = store
            .prepare_cached("SELECT event_id FROM events WHERE id = ?1")?
            .query_row([self.last], |row| row.get(0))
            .optional()?;
        Ok(id == Some(self.last_id))
    }

    pub(super) fn write(&self, connection: &Connection) -> rusqlite::Result<()> {
        connection
            .prepare_cached(
                "INSERT OR REPLACE INTO spans (first, last, count, last_id, chunks) VALUES (?1, ?2, ?3, ?4, ?5)",
            )?
            .execute(params![self.first, self.last, self.count, self.last_id, encode(&self.chunks)])
            .map(drop)
    }

    /// The last span that begins at or before an event.
    pub(super) fn of_event(connection: &Connection, event: i64) -> rusqlite::Result<Option<Self>> {
        connection
            .prepare_cached(
                "SELECT first, last, count, last_id, chunks FROM spans WHERE first <= ?1 ORDER BY first DESC LIMIT 1",
            )?
            .query_row([event], span)
            .optional()
    }
}

fn span(row: &Row<'_>) -> rusqlite::Result<Span> {
    let (first, last) = (row.get(0)?, row.get(1)?);
    // Damaged ones are taken for all chunks.
    let chunks = decode(row.get_ref(4)?.as_blob()?).unwrap_or_else(|| std::iter::once(0..=i64::MAX).collect());
    Ok(Span { first, last, count: row.get(2)?, last_id: row.get(3)?, chunks })
}

fn encode(chunks: &Ranges) -> Vec<u8> {
    let (mut out, mut last) = (Vec::new(), 0);
    for range in chunks.iter() {
        put(&mut out, (range.start() - last).cast_unsigned());
        put(&mut out, (range.end() - range.start()).cast_unsigned());
        last = *range.end();
    }
    out
}

fn decode(mut bytes: &[u8]) -> Option<Ranges> {
    let (mut ranges, mut last) = (Vec::<RangeInclusive<i64>>::new(), 0_i64);
    while !bytes.is_empty() {
        let start = last.checked_add_unsigned(take(&mut bytes)?)?;
        last = start.checked_add_unsigned(take(&mut bytes)?)?;
        ranges.push(start..=last);
    }
    Some(ranges.into_iter().collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn chunks_are_written_and_read() {
        for ranges in [vec![], vec![0..=0], vec![3..=9, 12..=12, 40..=1 << 40]] {
            let ranges: Ranges = ranges.into_iter().collect();
            assert_eq!(decode(&encode(&ranges)), Some(ranges));
        }
        assert_eq!(decode(&[0x80]), None);
    }
}
