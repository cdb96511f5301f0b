//! Where a text is cut, and the names of its chunks.

use aws_lc_rs::hmac::{HMAC_SHA256, Key, sign};
use rusqlite::Connection;

use crate::chunking::{ChunkSizes, Cutter};

pub(super) const SIZES: ChunkSizes = ChunkSizes { least: 2 << 10, average: 8 << 10, most: 64 << 10 };

/// The name of a chunk: the first half of its HMAC-SHA-256. The key is random for each store, so the names tell nothing about
/// the texts and cannot be made to collide from outside.
pub(in crate::store) type Hash = [u8; 16];

/// Names chunks.
pub(in crate::store) struct Hasher(Key);

impl Hasher {
    /// With the key of this store.
    pub(in crate::store) fn of(connection: &Connection) -> rusqlite::Result<Self> {
        let key: Vec<u8> = connection.prepare_cached("SELECT key FROM chunk_key")?.query_row([], |row| row.get(0))?;
        Ok(Self(Key::new(HMAC_SHA256, &key)))
    }

    /// The name of a chunk.
    pub(super) fn hash(&self, chunk: &[u8]) -> Hash {
        let (tag, mut hash) = (sign(&self.0, chunk), Hash::default());
        hash.copy_from_slice(&tag.as_ref()[..size_of::<Hash>()]);
        hash
    }
}

/// Cuts a text into chunks.
pub(super) fn cutter(text: &str) -> Cutter<'_> {
    Cutter::new(text, SIZES)
}
