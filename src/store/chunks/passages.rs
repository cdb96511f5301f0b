//! Passages: runs of chunks that were stored before, found again at once. Comparing the name of a long passage costs a tenth of
//! cutting it and hashing each chunk.
//!
//! Like chunks, passages end where their content says, so they are found again behind an insertion.

use std::ops::RangeInclusive;

use super::cut::{Hash, SIZES};
use crate::chunking::KnownParts;

/// A passage ends after a chunk whose name begins with so many zero bits: after 4 on average. The last passage of a
/// conversation is cut anew with each call, so longer ones would cost more.
const END_MASK: u8 = 0b11;
/// It ends after so many in any case.
const MOST_CHUNKS: usize = 16;
/// So many are remembered: about 2 MiB, for some 300 MiB of text.
const REMEMBERED: usize = 8 << 10;

/// So many chunks are remembered, of the last passages of conversations: about half a MiB.
const CHUNKS_REMEMBERED: usize = 4 << 10;

/// The passages that this process has stored, with their chunks.
pub(super) type Passages = KnownParts<Vec<RangeInclusive<i64>>>;

/// Nothing is known yet. The shortest chunk but the last of a text is as long as what a passage is looked up by.
pub(super) fn none() -> Passages {
    KnownParts::new(REMEMBERED, SIZES.least)
}

/// No chunk is known yet.
pub(super) fn no_chunks() -> KnownParts<Hash> {
    KnownParts::new(CHUNKS_REMEMBERED, SIZES.least)
}

/// Whether a passage of so many chunks ends with the chunk of this name.
pub(super) fn ends(name: &Hash, chunks: usize) -> bool {
    name[0] & END_MASK == 0 || chunks >= MOST_CHUNKS
}
