//! Events, their chunks, and the counts of references. Chunks are compared window by window, so memory is bounded however many
//! there are.

use std::ops::RangeInclusive;

use rusqlite::{Connection, OptionalExtension, Row, params};
use serde::de::IgnoredAny;
use uuid::Uuid;

use super::fault::{Fault, Report};
use crate::store::chunks::{Damage, Loader, runs_of};
use crate::store::packed::unpack;

/// So many chunk numbers are compared at a time: 8 MiB. One window is enough for 8 GiB of distinct text.
const WINDOW: usize = 1 << 20;
/// Chunks that are read in one transaction.
const BATCH: i64 = 256;

/// What is known of a chunk number.
#[derive(Clone, Copy, Default)]
struct Slot {
    references: u32,
    is_there: bool,
    is_damaged: bool,
    is_counted: bool,
}

/// Consecutive chunk numbers.
struct Window {
    /// Numbers from here on have not been compared yet.
    from: i64,
    /// The number of the first slot. There are no chunks from `from` to here.
    first: i64,
    slots: Vec<Slot>,
}

/// Checks all events and chunks.
pub(super) fn check(connection: &Connection, report: &mut Report<'_>) -> rusqlite::Result<()> {
    let mut from = Some(i64::MIN);
    while let Some(start) = from {
        let mut window = Window {
            from: start,
            first: next(connection, start)?.unwrap_or(start),
            slots: vec![Slot::default(); WINDOW],
        };
        window.read_chunks(connection, report)?;
        from = window.compare(connection, start == i64::MIN, report)?;
    }
    Ok(())
}

/// The first number from `from` on that has a chunk or a count.
fn next(connection: &Connection, from: i64) -> rusqlite::Result<Option<i64>> {
    let first = |sql| -> rusqlite::Result<Option<i64>> {
        connection.prepare_cached(sql)?.query_row([from], |row| row.get(0)).optional()
    };
    let chunk = first("SELECT id FROM chunks WHERE id >= ?1 ORDER BY id LIMIT 1")?;
    let count = first("SELECT chunk FROM chunk_refs WHERE chunk >= ?1 ORDER BY chunk LIMIT 1")?;
    Ok(chunk.into_iter().chain(count).min())
}

impl Window {
    /// The last number that has a slot.
    fn last(&self) -> i64 {
        self.first.saturating_add_unsigned(WINDOW as u64 - 1)
    }

    fn slot(&mut self, chunk: i64) -> Option<&mut Slot> {
        let at = usize::try_from(chunk.checked_sub(self.first)?).ok()?;
        self.slots.get_mut(at)
    }

    /// Compares each chunk with its checksum and its hash.
    fn read_chunks(&mut self, connection: &Connection, report: &mut Report<'_>) -> rusqlite::Result<()> {
        let damage = Damage::default();
        let mut loader = Loader::new(connection, &damage);
        let mut batch = connection.prepare(
            "SELECT id, hash, bytes, crc, data FROM chunks WHERE id BETWEEN ?1 AND ?2 ORDER BY id LIMIT ?3",
        )?;
        let (mut at, last) = (self.first, self.last());
        loop {
            let mut rows = batch.query(params![at, last, BATCH])?;
            let mut is_end = true;
            while let Some(row) = rows.next()? {
                let chunk: i64 = row.get(0)?;
                (at, is_end) = (chunk.saturating_add(1), chunk == last);
                report.seen.chunks += 1;
                if !loader.is_whole(row)? {
                    report.add(&Fault::Damaged { chunk });
                    if let Some(slot) = self.slot(chunk) {
                        slot.is_damaged = true;
                    }
                }
            }
            if is_end {
                return Ok(());
            }
        }
    }

    /// Compares what events name with the chunks and the counts, as they are at one moment. Returns where the next window
    /// begins, if there is more. `is_first`: events are checked and counted, too.
    fn compare(
        &mut self,
        connection: &Connection,
        is_first: bool,
        report: &mut Report<'_>,
    ) -> rusqlite::Result<Option<i64>> {
        let transaction = connection.unchecked_transaction()?;
        let beyond = self.last().checked_add(1);
        let more = beyond.map(|beyond| next(&transaction, beyond)).transpose()?.flatten();
        let until = more.map_or(i64::MAX, |_| self.last());
        let mut chunks = transaction.prepare("SELECT id FROM chunks")?;
        let mut rows = chunks.query([])?;
        while let Some(row) = rows.next()? {
            if let Some(slot) = self.slot(row.get(0)?) {
                slot.is_there = true;
            }
        }
        let mut events = transaction.prepare("SELECT id, event_id, json, parts FROM events ORDER BY id")?;
        let mut rows = events.query([])?;
        while let Some(row) = rows.next()? {
            self.event(row, until, is_first, report)?;
        }
        self.counts(&transaction, until, report)?;
        Ok(more)
    }

    fn event(&mut self, row: &Row<'_>, until: i64, is_first: bool, report: &mut Report<'_>) -> rusqlite::Result<()> {
        let (event, event_id) = (row.get(0)?, Uuid::from_bytes(row.get(1)?));
        let parts = row.get_ref(3)?.as_blob_or_null()?.map(runs_of);
        if is_first {
            report.seen.events += 1;
            let is_json =
                || Ok::<_, rusqlite::Error>(unpack(row.get_ref(2)?.as_blob()?).is_some_and(|json| is_object(&json)));
            if parts == Some(None) || !is_json()? {
                report.add(&Fault::Event { event, event_id });
            }
        }
        let (mut damaged, mut missing) = (0, 0);
        for run in parts.flatten().unwrap_or_default() {
            self.refer(&run, until, &mut damaged, &mut missing);
        }
        if damaged + missing > 0 {
            report.add(&Fault::Bodies { event, event_id, damaged, missing });
        }
        Ok(())
    }

    /// Counts an event's references to consecutive chunks.
    fn refer(&mut self, run: &RangeInclusive<i64>, until: i64, damaged: &mut u64, missing: &mut u64) {
        let (start, end) = ((*run.start()).max(self.from), (*run.end()).min(until));
        if start > end {
            return;
        }
        let within = start.max(self.first)..=end.min(self.last());
        // A damaged row may name more numbers than there are slots.
        let mut slots = 0;
        for chunk in within {
            let Some(slot) = self.slot(chunk) else { break };
            slot.references = slot.references.saturating_add(1);
            slots += 1;
            *missing += u64::from(!slot.is_there);
            *damaged += u64::from(slot.is_there && slot.is_damaged);
        }
        *missing = missing.saturating_add(end.abs_diff(start).saturating_add(1) - slots);
    }

    /// Compares the stored counts with the references that were found.
    fn counts(&mut self, connection: &Connection, until: i64, report: &mut Report<'_>) -> rusqlite::Result<()> {
        let mut counts =
            connection.prepare("SELECT chunk, refs FROM chunk_refs WHERE chunk BETWEEN ?1 AND ?2 ORDER BY chunk")?;
        let mut rows = counts.query([self.from, until])?;
        while let Some(row) = rows.next()? {
            let (chunk, counted): (i64, i64) = (row.get(0)?, row.get(1)?);
            match self.slot(chunk).filter(|slot| slot.is_there) {
                None => report.add(&Fault::CountWithoutChunk { chunk }),
                Some(slot) => {
                    slot.is_counted = true;
                    let references = u64::from(slot.references);
                    if references > 0 && u64::try_from(counted) != Ok(references) {
                        report.add(&Fault::Count { chunk, references, counted });
                    }
                }
            }
        }
        for (chunk, slot) in (self.first..).zip(&self.slots).filter(|(_, slot)| slot.is_there) {
            match slot.references {
                0 => report.add(&Fault::Unreferenced { chunk }),
                references if !slot.is_counted => {
                    report.add(&Fault::Count { chunk, references: references.into(), counted: 0 });
                }
                _ => {}
            }
        }
        Ok(())
    }
}

/// Whether it is one JSON object.
fn is_object(json: &[u8]) -> bool {
    json.trim_ascii().starts_with(b"{") && serde_json::from_slice::<IgnoredAny>(json).is_ok()
}
