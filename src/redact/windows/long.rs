//! Which texts are long, and what is remembered of them.

use super::kept::Kept;
use crate::chunking::{ChunkSizes, KnownParts};
use crate::naming::Namer;

/// How long texts are searched.
#[derive(Debug, Clone, Copy)]
pub(in crate::redact) struct Sizes {
    /// A text of at least this many bytes is searched in windows.
    pub(in crate::redact) from: usize,
    /// The sizes of cores.
    pub(in crate::redact) cores: ChunkSizes,
    /// What was found is remembered in at most so many bytes.
    pub(in crate::redact) kept: usize,
}

impl Default for Sizes {
    fn default() -> Self {
        let cores = ChunkSizes { least: 8 << 10, average: 16 << 10, most: 64 << 10 };
        Self { from: 32 << 10, cores, kept: 4 << 20 }
    }
}

/// Cores are found again by so many first bytes.
const START_BYTES: usize = 2 << 10;
/// For each so many bytes that are kept, one core is known. It takes some hundred bytes.
const CORE_OF_KEPT_BYTES: usize = 1 << 10;

/// The search of long texts: its sizes, and what was found.
pub(in crate::redact) struct LongTexts {
    pub(super) sizes: Sizes,
    pub(super) kept: Kept,
    pub(super) known: KnownParts<()>,
}

impl LongTexts {
    /// With the ids of all rules on texts.
    pub(in crate::redact) fn new<'r>(sizes: Sizes, rules: impl Iterator<Item = &'r str>) -> Self {
        let known = KnownParts::new(sizes.kept / CORE_OF_KEPT_BYTES, START_BYTES.min(sizes.cores.least));
        Self { sizes, kept: Kept::new(sizes.kept, rules), known }
    }

    /// Remembers at most so many bytes from now on.
    pub(in crate::redact) fn remember_at_most(&self, bytes: usize) {
        self.kept.set_capacity(bytes);
        self.known.set_capacity(bytes / CORE_OF_KEPT_BYTES);
    }

    /// Names texts.
    pub(in crate::redact) fn namer(&self) -> &Namer {
        self.known.namer()
    }

    /// Whether a text is searched in windows.
    pub(in crate::redact) fn covers(&self, text: &str) -> bool {
        text.len() >= self.sizes.from
    }
}
