//! Cuts a long text into cores, and names windows.

use std::ops::Range;

use crate::chunking::{ChunkSizes, Cutter, KnownParts};
use crate::naming::{Name, Namer};
use crate::redact::finding::Ends;
use crate::redact::part::{Carry, READINGS, Wants};

/// So much text stands around a core, in bytes, if the text has it. What ties a value to its name is shorter: at most two runs of
/// space, a value without quotes and a scheme before it (`SPACE_MAX_BYTES`, `BARE_MAX_BYTES`, `VALUE_MAX_BYTES`).
pub(super) const AROUND_BYTES: usize = 12 << 10;
/// A text, cut into cores.
pub(super) struct Cores<'t> {
    pub(super) text: &'t str,
    namer: &'t Namer,
    /// Where each core begins, and where the last one ends.
    bounds: Vec<usize>,
    /// The name of each core. Without them nothing can be remembered.
    names: Option<Vec<Name>>,
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
    pub(super) fn of(text: &'t str, sizes: ChunkSizes, known: &'t KnownParts<()>) -> Self {
        let (mut bounds, mut names, cutter) = (vec![0], Some(Vec::new()), Cutter::new(text, sizes));
        let mut from = 0;
        while let Some(rest) = text.get(from..).filter(|rest| !rest.is_empty()) {
            let (bytes, (), name) = known.part(rest, || {
                let chunk = cutter.chunk(from).unwrap_or(rest);
                let bytes = if chunk.len() < rest.len() { without_half_an_escape(chunk).len() } else { rest.len() };
                (bytes, ())
            });
            from += bytes;
            bounds.push(from);
            match (name, &mut names) {
                (Some(name), Some(names)) => names.push(name),
                _ => names = None,
            }
        }
        Self { text, namer: known.namer(), bounds, names }
    }

    pub(super) fn len(&self) -> usize {
        self.bounds.len() - 1
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

    /// The name of a window that is searched with our rules, to its end or until `enough` is wanted.
    pub(super) fn name_of_rules(
        &self,
        window: &Window,
        carries: &[Carry; READINGS],
        ends: Ends,
        enough: Option<Wants>,
    ) -> Option<Name> {
        let carried = carries.iter().flat_map(Carry::numbers).map(|number| number as u64);
        let enough = enough.map_or(0, |enough| 1 + enough as u64);
        self.name(b"rules", window, [u64::from(ends.cut_end), enough].into_iter().chain(carried))
    }

    /// The name of a window that is searched for our own secrets, of this version.
    pub(super) fn name_of_own(&self, window: &Window, version: u64) -> Option<Name> {
        self.name(b"own", window, [version].into_iter())
    }

    fn name(&self, what: &[u8], window: &Window, more: impl Iterator<Item = u64>) -> Option<Name> {
        let cores = self.names.as_ref()?.get(window.cores.clone())?.as_flattened();
        let places = [window.nth - window.cores.start, window.cores.len()].map(|number| number as u64);
        let numbers = places.into_iter().chain(more).flat_map(u64::to_le_bytes);
        let all: Vec<u8> = what.iter().copied().chain(numbers).chain(cores.iter().copied()).collect();
        self.namer.name(&all)
    }
}

/// A chunk without the escape at its end that may go on behind it. A window is read fastest where its bounds cut no escape.
fn without_half_an_escape(chunk: &str) -> &str {
    /// Longer ones are cut.
    const ESCAPE_MAX_BYTES: usize = 64;
    let bytes = chunk.as_bytes();
    let reach = &bytes[bytes.len().saturating_sub(ESCAPE_MAX_BYTES)..];
    let inside = |byte: &u8| byte.is_ascii_alphanumeric() || matches!(byte, b'#' | b';' | b'\\' | b'&');
    let tail = &reach[reach.iter().rposition(|byte| !inside(byte)).map_or(0, |other| other + 1)..];
    let of_markup = memchr::memrchr(b'&', tail).filter(|start| {
        let mut rest = &tail[start + 1..];
        while let Some(escaped) = rest.strip_prefix(b"amp;") {
            rest = escaped;
        }
        !rest.contains(&b';')
    });
    let of_json = memchr::memrchr(b'\\', tail)
        .filter(|sign| tail.len() - sign < 6)
        .map(|sign| sign - tail[..sign].iter().rev().take_while(|byte| **byte == b'\\').count());
    let half = [of_markup, of_json].into_iter().flatten().min().map(|start| bytes.len() - tail.len() + start);
    half.filter(|half| *half > 0).map_or(chunk, |half| &chunk[..half])
}

/// The name of a region that is searched for streams, with our own secrets of this version.
pub(super) fn name_of_region(region: &str, version: u64, namer: &Namer) -> Option<Name> {
    // The region may be long, so it is not copied.
    let text = namer.name(region.as_bytes())?;
    namer.name(&[&b"streams"[..], &version.to_le_bytes(), &text].concat())
}

/// The last place between two characters that is not behind `at`.
pub(super) fn boundary_before(text: &str, at: usize) -> usize {
    let at = at.min(text.len());
    at - (0..4.min(at + 1)).find(|back| text.is_char_boundary(at - back)).unwrap_or_default()
}
