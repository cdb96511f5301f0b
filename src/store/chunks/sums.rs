//! The sums over all chunks, which are kept beside them: reading every chunk to measure a store would take seconds.

use std::ops::AddAssign;

use rusqlite::{Connection, params};

/// What a change adds to the sums.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(in crate::store) struct Sums {
    /// Chunks.
    pub(in crate::store) chunks: i64,
    /// The bytes of chunks as they are stored.
    pub(in crate::store) stored_bytes: i64,
    /// The bytes of their texts.
    pub(in crate::store) distinct_bytes: i64,
    /// The bytes of the texts of all references.
    pub(in crate::store) logical_bytes: i64,
}

impl AddAssign for Sums {
    fn add_assign(&mut self, other: Self) {
        self.chunks += other.chunks;
        self.stored_bytes += other.stored_bytes;
        self.distinct_bytes += other.distinct_bytes;
        self.logical_bytes += other.logical_bytes;
    }
}

impl Sums {
    /// Adds this to the kept sums. `connection` is in the transaction of the change.
    pub(in crate::store) fn add(self, connection: &Connection) -> rusqlite::Result<()> {
        if self == Self::default() {
            return Ok(());
        }
        connection
            .prepare_cached(
                "UPDATE tally SET chunks = max(0, chunks + ?1), chunk_bytes = max(0, chunk_bytes + ?2),
                        distinct_bytes = max(0, distinct_bytes + ?3), logical_bytes = max(0, logical_bytes + ?4)",
            )?
            .execute(params![self.chunks, self.stored_bytes, self.distinct_bytes, self.logical_bytes])
            .map(drop)
    }

    /// The kept sums.
    pub(in crate::store) fn kept(connection: &Connection) -> rusqlite::Result<Self> {
        connection.prepare_cached("SELECT chunks, chunk_bytes, distinct_bytes, logical_bytes FROM tally")?.query_row(
            [],
            |row| {
                Ok(Self {
                    chunks: row.get(0)?,
                    stored_bytes: row.get(1)?,
                    distinct_bytes: row.get(2)?,
                    logical_bytes: row.get(3)?,
                })
            },
        )
    }
}

/// Sets the sums to those of the rows. It reads all of them.
pub(super) const COUNT_AGAIN: &str = "
UPDATE tally SET (chunks, chunk_bytes, distinct_bytes) =
        (SELECT count(*), coalesce(sum(length(data)), 0), coalesce(sum(bytes), 0) FROM chunks),
    logical_bytes = (SELECT coalesce(sum(bytes * refs), 0) FROM chunk_refs);
";
