//! Counting how many events have each chunk.

use std::collections::HashMap;
use std::ops::RangeInclusive;

use rusqlite::{Connection, params};

/// The references that a transaction adds. Many events of a transaction may have the same chunks, and a change of several rows costs
/// SQLite a copy of their pages, so each run of chunks is counted at its first event, and once for all others.
#[derive(Default)]
pub(super) struct References {
    /// Runs of which all chunks are there, with the references that are not in the file yet.
    uncounted: HashMap<RangeInclusive<i64>, i64>,
}

impl References {
    /// Forgets all: another transaction begins.
    pub(super) fn clear(&mut self) {
        self.uncounted.clear();
    }

    /// Adds a reference to each chunk of a run. False: a chunk is gone, and those that are there were counted.
    pub(super) fn add(&mut self, connection: &Connection, run: &RangeInclusive<i64>) -> rusqlite::Result<bool> {
        if let Some(uncounted) = self.uncounted.get_mut(run) {
            *uncounted += 1;
            return Ok(true);
        }
        let counted = count(connection, run, 1)?;
        let all = i64::try_from(counted).unwrap_or(i64::MAX) > run.end() - run.start();
        if all {
            // Nobody else can remove a chunk until the transaction ends.
            self.uncounted.insert(run.clone(), 0);
        }
        Ok(all)
    }

    /// Writes what is not in the file yet. The transaction ends with it.
    pub(super) fn finish(&mut self, connection: &Connection) -> rusqlite::Result<()> {
        for (run, uncounted) in self.uncounted.drain().filter(|(_, uncounted)| *uncounted > 0) {
            count(connection, &run, uncounted)?;
        }
        Ok(())
    }
}

/// Counts so many references more or less to each chunk of a run. Gives how many of the chunks are there.
pub(super) fn count(connection: &Connection, run: &RangeInclusive<i64>, by: i64) -> rusqlite::Result<usize> {
    if run.start() == run.end() {
        // A change of one row needs no copy of its page.
        let one = "UPDATE chunk_refs SET refs = refs + ?2 WHERE chunk = ?1";
        return connection.prepare_cached(one)?.execute([*run.start(), by]);
    }
    connection
        .prepare_cached("UPDATE chunk_refs SET refs = refs + ?3 WHERE chunk BETWEEN ?1 AND ?2")?
        .execute(params![run.start(), run.end(), by])
}
