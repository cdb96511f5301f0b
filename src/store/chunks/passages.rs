//! Passages: runs of chunks that were stored before, found again at once. An agent sends its conversation again with each call.
//! Comparing one hash of a long passage costs a fifth of cutting it and hashing each chunk.
//!
//! Like chunks, passages end where their content says, so they are found again behind an insertion.

use std::ops::RangeInclusive;

use quick_cache::unsync::Cache;

use super::cut::Hash;

/// A passage is looked up by its first bytes. The shortest chunk but the last of a text is as long.
const START_BYTES: usize = 2 << 10;
/// A passage ends after a chunk whose name begins with so many zero bits: after 4 on average. The last passage of a
/// conversation is cut anew with each call, so longer ones would cost more.
const END_MASK: u8 = 0b11;
/// It ends after so many in any case.
const MOST_CHUNKS: usize = 16;
/// So many are remembered: about 2 MiB, for some 300 MiB of text.
const REMEMBERED: usize = 8 << 10;

/// The passages that this process has stored.
pub(super) struct Passages {
    key: [u8; blake3::KEY_LEN],
    known: Cache<Hash, Passage>,
}

/// A passage.
pub(super) struct Passage {
    pub(super) bytes: usize,
    /// The keyed hash of its text.
    hash: [u8; blake3::OUT_LEN],
    /// Its chunks.
    pub(super) runs: Vec<RangeInclusive<i64>>,
    /// Its last chunk ends with the text, and not where the content says.
    is_last: bool,
}

impl Passages {
    /// The key is for this process alone, so nobody can make texts collide.
    pub(super) fn new() -> Self {
        let mut key = [0; blake3::KEY_LEN];
        // Without a random key, the hash is still one that nobody can make collide.
        let _ = aws_lc_rs::rand::fill(&mut key);
        Self { key, known: Cache::new(REMEMBERED) }
    }

    pub(super) fn clear(&mut self) {
        self.known.clear();
    }

    /// The known passage with which a text begins.
    pub(super) fn find(&self, text: &str) -> Option<&Passage> {
        let passage = self.known.get(&self.start(text)?)?;
        let same = text.get(..passage.bytes).filter(|same| !passage.is_last || same.len() == text.len())?;
        (self.hash(same) == passage.hash).then_some(passage)
    }

    /// Remembers a passage with its chunks.
    pub(super) fn remember(&mut self, text: &str, runs: Vec<RangeInclusive<i64>>, is_last: bool) {
        if let Some(start) = self.start(text) {
            let passage = Passage { bytes: text.len(), hash: self.hash(text), runs, is_last };
            self.known.insert(start, passage);
        }
    }

    /// `None`: the text is too short for a passage.
    fn start(&self, text: &str) -> Option<Hash> {
        let (hash, mut start) = (self.hash_bytes(text.as_bytes().get(..START_BYTES)?), Hash::default());
        start.copy_from_slice(&hash[..size_of::<Hash>()]);
        Some(start)
    }

    fn hash(&self, text: &str) -> [u8; blake3::OUT_LEN] {
        self.hash_bytes(text.as_bytes())
    }

    fn hash_bytes(&self, bytes: &[u8]) -> [u8; blake3::OUT_LEN] {
        *blake3::keyed_hash(&self.key, bytes).as_bytes()
    }
}

/// Whether a passage of so many chunks ends with the chunk of this name.
pub(super) fn ends(name: &Hash, chunks: usize) -> bool {
    name[0] & END_MASK == 0 || chunks >= MOST_CHUNKS
}

#[cfg(test)]
mod tests {
    use super::*;

    fn passages(text: &str, is_last: bool) -> Passages {
        let mut passages = Passages::new();
        passages.remember(text, vec![3..=7], is_last);
        passages
    }

    fn text() -> String {
        (0..4_000).map(|n| format!("{n} ")).collect()
    }

    #[test]
    fn a_passage_is_found_by_its_whole_text_and_nothing_else() {
        let (text, known) = (text(), passages(&text(), false));
        for found in [text.clone(), text.clone() + "and more"] {
            let passage = known.find(&found).unwrap();
            assert_eq!((passage.bytes, &passage.runs[..]), (text.len(), &[3..=7][..]));
        }
        assert!(known.find(&text[..text.len() - 1]).is_none() && known.find(&text[1..]).is_none());
        assert!(known.find(&text.replace("3999", "3998")).is_none());
        assert!(known.find(&text[..START_BYTES - 1]).is_none() && known.find("").is_none());
    }

    #[test]
    fn a_secret_that_ended_its_text_is_found_only_at_the_end_of_a_text() {
        let (text, known) = (text(), passages(&text(), true));
        assert!(known.find(&text).is_some());
        assert!(known.find(&(text + "and more")).is_none());
    }
}
