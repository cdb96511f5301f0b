//! Cuts a long text into cores, and names windows by keyed hashes.

use std::ops::Range;

use super::found::READINGS;
use crate::chunking::{ChunkSizes, Cutter};
use crate::redact::finding::Ends;
use crate::redact::part::Carry;

/// So much text stands around a core, in bytes, if the text has it. What ties a value to its name is shorter: at most two runs of
/// space, a value without quotes and a scheme before it (`SPACE_MAX_BYTES`, `BARE_MAX_BYTES`, `VALUE_MAX_BYTES`).
pub(super) const AROUND_BYTES: usize = 12 << 10;
/// The key of all names: random for each process, so that nobody can choose two texts with the same name.
pub(super) type Key = [u8; blake3::KEY_LEN];
/// The name of a core or of a window: the first half of its keyed hash (BLAKE3).
pub(super) type Name = [u8; 16];

/// A text, cut into cores.
pub(super) struct Cores<'t> {
    pub(super) text: &'t str,
    key: &'t Key,
    /// Where each core begins, and where the last one ends.
    bounds: Vec<usize>,
    /// The name of each core.
    names: Vec<Name>,
}

/// A core with the cores around it.
pub(super) struct Window {
    /// The number of its core.
    nth: usize,
    cores: Range<usize>,
    /// Its place in the text.
    pub(super) text: Range<usize>,
}

impl<'t> Cores<'t> {
    pub(super) fn of(text: &'t str, sizes: ChunkSizes, key: &'t Key) -> Self {
        let (mut bounds, mut names) = (vec![0], Vec::new());
        let mut end = 0;
        for core in Cutter::new(text, sizes).chunks() {
            end += core.len();
            bounds.push(end);
            names.push(first_half(blake3::keyed_hash(key, core.as_bytes())));
        }
        Self { text, key, bounds, names }
    }

    pub(super) fn len(&self) -> usize {
        self.names.len()
    }

    /// The place of a core in the text.
    pub(super) fn core(&self, nth: usize) -> Range<usize> {
        self.bounds[nth]..self.bounds[nth + 1]
    }

    /// A core with as many cores around it as have these bytes, if the text has them.
    pub(super) fn window(&self, nth: usize, before_bytes: usize, behind_bytes: usize) -> Window {
        let core = self.core(nth);
        let from = core.start.saturating_sub(before_bytes);
        let first = self.bounds.partition_point(|bound| *bound <= from) - 1;
        let last = self.bounds.partition_point(|bound| *bound < core.end.saturating_add(behind_bytes));
        let last = last.min(self.len());
        Window { nth, cores: first..last, text: self.bounds[first]..self.bounds[last] }
    }

    /// The name of a window that is searched with our rules.
    pub(super) fn name_of_rules(&self, window: &Window, carries: &[Carry; READINGS], ends: Ends) -> Name {
        let mut hasher = self.hasher(b"rules", window);
        hasher.update(&[u8::from(ends.cut_end)]);
        for number in carries.iter().flat_map(Carry::numbers) {
            hasher.update(&number.to_le_bytes());
        }
        first_half(hasher.finalize())
    }

    /// The name of a window that is searched for our own secrets, of this version.
    pub(super) fn name_of_own(&self, window: &Window, version: u64) -> Name {
        let mut hasher = self.hasher(b"own", window);
        hasher.update(&version.to_le_bytes());
        first_half(hasher.finalize())
    }

    fn hasher(&self, what: &[u8], window: &Window) -> blake3::Hasher {
        let mut hasher = blake3::Hasher::new_keyed(self.key);
        hasher.update(what);
        for number in [window.nth - window.cores.start, window.cores.len()] {
            hasher.update(&number.to_le_bytes());
        }
        hasher.update(self.names[window.cores.clone()].as_flattened());
        hasher
    }
}

/// The name of a region that is searched for streams, with our own secrets of this version.
pub(super) fn name_of_region(region: &str, version: u64, key: &Key) -> Name {
    let mut hasher = blake3::Hasher::new_keyed(key);
    hasher.update(b"streams").update(&version.to_le_bytes()).update(region.as_bytes());
    first_half(hasher.finalize())
}

fn first_half(hash: blake3::Hash) -> Name {
    let mut name = Name::default();
    name.copy_from_slice(&hash.as_bytes()[..size_of::<Name>()]);
    name
}

/// The last place between two characters that is not behind `at`.
pub(super) fn boundary_before(text: &str, at: usize) -> usize {
    let at = at.min(text.len());
    at - (0..4.min(at + 1)).find(|back| text.is_char_boundary(at - back)).unwrap_or_default()
}
