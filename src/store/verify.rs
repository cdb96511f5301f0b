//! Reads a whole store and compares all that must agree: each chunk with its checksum and its keyed hash, the counts of
//! references with what events name, the tallies with the rows. It changes nothing and needs little memory, so it may run
//! beside a proxy.
//!
//! Chunks are read in short transactions. What must agree is compared within one, because a proxy may write meanwhile.

mod bodies;
mod fault;
mod totals;

use rusqlite::Connection;

use self::fault::Report;
pub use self::fault::{Fault, Verified};
use super::sql::is_corruption;
use super::{Inspector, StoreError};

impl Inspector {
    /// Reads every event and every chunk, and calls `found` with each fault.
    ///
    /// # Errors
    /// When the store cannot be read. Damage is a fault, not an error.
    pub fn verify(&self, found: &mut dyn FnMut(&Fault)) -> Result<Verified, StoreError> {
        let mut report = Report { seen: Verified::default(), found };
        match verify(&self.link.connection, &mut report) {
            Err(error) if is_corruption(&error) => {
                report.add(&Fault::File(error.to_string()));
                report.seen.is_cut_short = true;
            }
            done => done.map_err(StoreError::query("be verified"))?,
        }
        if self.is_replaced() {
            report.add(&Fault::Replaced);
        }
        Ok(report.seen)
    }
}

fn verify(connection: &Connection, report: &mut Report<'_>) -> rusqlite::Result<()> {
    pages(connection, report)?;
    bodies::check(connection, report)?;
    totals::check(connection, report)
}

/// The structure of the file, by SQLite's own check. It stops after a hundred faults.
fn pages(connection: &Connection, report: &mut Report<'_>) -> rusqlite::Result<()> {
    let mut check = connection.prepare("PRAGMA quick_check(100)")?;
    let mut lines = check.query([])?;
    while let Some(line) = lines.next()? {
        let line: String = line.get(0)?;
        if line != "ok" {
            report.add(&Fault::File(line));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests;
