//! The chunks that were found damaged or missing since the process started.

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicU64, Ordering};

use parking_lot::Mutex;

/// So many are remembered. A disk that damages more is replaced.
const REMEMBERED: usize = 10_000;

/// Damaged chunks, by their numbers.
#[derive(Debug, Default)]
pub(in crate::store) struct Damage {
    chunks: Mutex<BTreeSet<i64>>,
    /// How often one was added.
    noted: AtomicU64,
}

impl Damage {
    /// Notes a chunk.
    pub(in crate::store) fn note(&self, chunk: i64) {
        let mut chunks = self.chunks.lock();
        if chunks.len() < REMEMBERED && chunks.insert(chunk) {
            self.noted.fetch_add(1, Ordering::Relaxed);
            drop(chunks);
            tracing::error!(
                chunk,
                "a part of bodies is damaged in the event store: `otas-proxy store verify` names the events; check the disk"
            );
        }
    }

    /// The chunk has its text again.
    pub(in crate::store) fn mended(&self, chunk: i64) {
        self.chunks.lock().remove(&chunk);
    }

    /// Forgets the chunks that are not used any more.
    pub(in crate::store) fn retain(
        &self,
        mut is_used: impl FnMut(i64) -> rusqlite::Result<bool>,
    ) -> rusqlite::Result<()> {
        let noted: Vec<i64> = self.chunks.lock().iter().copied().collect();
        for chunk in noted {
            if !is_used(chunk)? {
                self.mended(chunk);
            }
        }
        Ok(())
    }

    /// The file was replaced by another one.
    pub(in crate::store) fn clear(&self) {
        self.chunks.lock().clear();
    }

    /// Whether the chunk was noted.
    pub(in crate::store) fn has(&self, chunk: i64) -> bool {
        self.chunks.lock().contains(&chunk)
    }

    /// How many chunks are damaged.
    pub(in crate::store) fn count(&self) -> u64 {
        self.chunks.lock().len() as u64
    }

    /// A number that grows with each chunk that is noted.
    pub(in crate::store) fn noted(&self) -> u64 {
        self.noted.load(Ordering::Relaxed)
    }
}
