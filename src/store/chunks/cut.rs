//! Where a text is cut, and the names of its chunks.

use aws_lc_rs::hmac::{HMAC_SHA256, Key, sign};
use fastcdc::v2020::FastCDC;
use rusqlite::Connection;

/// The sizes of chunks in bytes: at least, on average, at most. FastCDC (Xia et al., USENIX ATC 2016).
const LEAST_BYTES: usize = 2 << 10;
const AVERAGE_BYTES: usize = 8 << 10;
const MOST_BYTES: usize = 64 << 10;

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

/// Cuts a text into chunks, between two characters.
pub(super) struct Cutter<'a> {
    text: &'a str,
    cuts: FastCDC<'a>,
}

impl<'a> Cutter<'a> {
    pub(super) fn new(text: &'a str) -> Self {
        Self { text, cuts: FastCDC::new(text.as_bytes(), LEAST_BYTES, AVERAGE_BYTES, MOST_BYTES) }
    }

    /// The chunk that begins at `from`. It depends on nothing before it. `None`: the text ends there.
    pub(super) fn chunk(&self, from: usize) -> Option<&'a str> {
        let left = self.text.len().checked_sub(from)?;
        let (_, end) = self.cuts.cut(from, left);
        let end = (end..self.text.len()).find(|at| self.text.is_char_boundary(*at)).unwrap_or(self.text.len());
        self.text.get(from..end).filter(|chunk| !chunk.is_empty())
    }
}
