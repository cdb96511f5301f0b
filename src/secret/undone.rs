//! The places of escapes that were undone in a copy of a text, so that what is found in the copy can be marked in the text.

use std::ops::Range;

/// The escapes, in order. A text of nothing but escapes has one for every few bytes, so they are kept small: distances in place of
/// positions, and adjacent escapes of the same length as one entry.
#[derive(Default)]
pub(crate) struct Undone {
    escapes: Vec<Escapes>,
    /// Where each [`BLOCK`] of entries begins.
    blocks: Vec<Place>,
    /// Behind the last escape.
    end: Place,
}

/// A longer escape cannot be noted, in bytes.
pub(crate) const ESCAPE_MAX_BYTES: usize = u16::MAX as usize;
/// So many entries lie between two positions that are kept. At most so many are read to find a place.
const BLOCK: usize = 16;

/// Adjacent escapes of the same length.
#[derive(Clone, Copy)]
struct Escapes {
    /// The bytes without an escape in front of the first.
    gap: u32,
    /// The length of each in the text, in bytes.
    stood_bytes: u16,
    /// The length of each character in the copy, in bytes.
    here_bytes: u8,
    times: u8,
}

/// A position in the copy, and the same in the text.
#[derive(Clone, Copy, Default)]
struct Place {
    here: usize,
    stood: usize,
}

impl Place {
    fn on(self, here: usize, stood: usize) -> Self {
        Self { here: self.here + here, stood: self.stood + stood }
    }

    /// The position of the first of these escapes, if the gap before it begins here.
    fn behind_gap(self, escapes: Escapes) -> Self {
        self.on(escapes.gap as usize, escapes.gap as usize)
    }

    /// The position behind these escapes, of which the first begins here.
    fn behind(self, escapes: Escapes) -> Self {
        let times = usize::from(escapes.times);
        self.on(usize::from(escapes.here_bytes) * times, usize::from(escapes.stood_bytes) * times)
    }
}

impl Undone {
    /// Adds the next escape: its character is at `here` in the copy, and the escape was at `stood` in the text. It has at most
    /// [`ESCAPE_MAX_BYTES`].
    #[inline]
    pub(crate) fn note(&mut self, here: Range<usize>, stood: Range<usize>) {
        let mut gap = here.start - self.end.here;
        let (here_bytes, stood_bytes) = (here.len() as u8, stood.len() as u16);
        self.end = Place { here: here.end, stood: stood.end };
        if gap == 0
            && let Some(last) = self.escapes.last_mut()
            && (last.here_bytes, last.stood_bytes) == (here_bytes, stood_bytes)
            && last.times < u8::MAX
        {
            last.times += 1;
            return;
        }
        let begin = Place { here: here.start - gap, stood: stood.start - gap };
        let mut noted = begin;
        while gap > u32::MAX as usize {
            self.push(noted, Escapes { gap: u32::MAX, stood_bytes: 0, here_bytes: 0, times: 0 });
            noted = noted.on(u32::MAX as usize, u32::MAX as usize);
            gap -= u32::MAX as usize;
        }
        self.push(noted, Escapes { gap: gap as u32, stood_bytes, here_bytes, times: 1 });
    }

    /// Adds so many escapes side by side, each like the first, whose character is at `here` and which was at `stood`.
    pub(crate) fn note_all(&mut self, here: Range<usize>, stood: Range<usize>, times: usize) {
        let mut noted = 0;
        while noted < times {
            let (in_copy, in_text) = (here.len() * noted, stood.len() * noted);
            self.note(here.start + in_copy..here.end + in_copy, stood.start + in_text..stood.end + in_text);
            noted += 1;
            if let Some(last) = self.escapes.last_mut() {
                let more = usize::from(u8::MAX - last.times).min(times - noted);
                last.times += more as u8;
                self.end = self.end.on(more * here.len(), more * stood.len());
                noted += more;
            }
        }
    }

    /// Adds an entry whose gap begins at `begin`.
    fn push(&mut self, begin: Place, escapes: Escapes) {
        if self.escapes.len().is_multiple_of(BLOCK) {
            self.blocks.push(begin);
        }
        self.escapes.push(escapes);
    }

    /// How many entries there are: escapes, or rows of them.
    pub(crate) fn entries(&self) -> usize {
        self.escapes.len()
    }

    /// Whether there are no escapes.
    pub(crate) fn is_empty(&self) -> bool {
        self.escapes.is_empty()
    }

    /// The first escapes that end behind `at` of the copy, and where they begin; otherwise the end of all.
    fn next(&self, at: usize) -> (Place, Option<Escapes>) {
        let block = self.blocks.partition_point(|begin| begin.here <= at).saturating_sub(1);
        let mut place = self.blocks.get(block).copied().unwrap_or_default();
        for escapes in self.escapes.iter().skip(block * BLOCK) {
            let first = place.behind_gap(*escapes);
            place = first.behind(*escapes);
            if at < place.here {
                return (first, Some(*escapes));
            }
        }
        (place, None)
    }

    /// Whether the character of an escape is in this range of the copy. An empty range, also one between two escapes, has none.
    pub(crate) fn any_in(&self, range: &Range<usize>) -> bool {
        !range.is_empty() && matches!(self.next(range.start), (first, Some(_)) if first.here < range.end)
    }

    /// The characters of the escapes, as ranges of the copy: adjacent ones of the same length are one range.
    pub(crate) fn characters(&self) -> impl Iterator<Item = Range<usize>> {
        let mut place = Place::default();
        self.escapes.iter().map(move |escapes| {
            let first = place.behind_gap(*escapes);
            place = first.behind(*escapes);
            first.here..place.here
        })
    }

    /// About how many entries this range of the copy has.
    pub(crate) fn entries_in(&self, range: &Range<usize>) -> usize {
        let before = |at: usize| self.blocks.partition_point(|begin| begin.here < at);
        (before(range.end) - before(range.start)) * BLOCK
    }

    /// The first place in the copy whose character stood at `stood` in the text, or behind it.
    pub(crate) fn here(&self, stood: usize) -> usize {
        let block = self.blocks.partition_point(|begin| begin.stood <= stood).saturating_sub(1);
        let mut place = self.blocks.get(block).copied().unwrap_or_default();
        for escapes in self.escapes.iter().skip(block * BLOCK) {
            let first = place.behind_gap(*escapes);
            let behind = first.behind(*escapes);
            if stood <= first.stood {
                break;
            }
            if stood < behind.stood {
                let before = (stood - first.stood).div_ceil(usize::from(escapes.stood_bytes));
                return first.here + before * usize::from(escapes.here_bytes);
            }
            place = behind;
        }
        place.here + (stood - place.stood)
    }

    /// The place in the text of a range of the copy.
    pub(crate) fn back(&self, range: Range<usize>) -> Range<usize> {
        let start = self.place(range.start).start;
        let end = range.end.checked_sub(1).map_or(start, |last| self.place(last).end);
        start..end.max(start)
    }

    /// The place in the text of the byte at `at` of the copy.
    pub(crate) fn place(&self, at: usize) -> Range<usize> {
        let (first, escapes) = self.next(at);
        Self::place_by(at, first, escapes)
    }

    /// The same; `first` and `escapes` are those at `at`.
    fn place_by(at: usize, first: Place, escapes: Option<Escapes>) -> Range<usize> {
        match (escapes, at.checked_sub(first.here)) {
            (Some(escapes), Some(inside)) => {
                let stood_bytes = usize::from(escapes.stood_bytes);
                let start = first.stood + inside / usize::from(escapes.here_bytes) * stood_bytes;
                start..start + stood_bytes
            }
            (None, Some(behind)) => first.stood + behind..first.stood + behind + 1,
            (_, None) => {
                let start = first.stood - (first.here - at);
                start..start + 1
            }
        }
    }
}

/// Finds the places of many ranges of the copy. Mostly the next one is not far behind the last one.
pub(crate) struct Backwards<'u> {
    undone: &'u Undone,
    /// An entry of the escapes, and where the gap before it begins.
    entry: usize,
    begin: Place,
}

impl<'u> Backwards<'u> {
    pub(crate) fn of(undone: &'u Undone) -> Self {
        Self { undone, entry: 0, begin: Place::default() }
    }

    /// The place in the text of a range of the copy.
    pub(crate) fn back(&mut self, range: Range<usize>) -> Range<usize> {
        let start = self.place(range.start).start;
        let end = range.end.checked_sub(1).map_or(start, |last| self.place(last).end);
        start..end.max(start)
    }

    fn place(&mut self, at: usize) -> Range<usize> {
        let (first, escapes) = self.seek(at);
        Undone::place_by(at, first, escapes)
    }

    /// The part of the text without escapes that holds the byte at `at` of the copy. `None` where an escape stood.
    pub(crate) fn gap(&mut self, at: usize) -> Option<UndoneGap> {
        let (first, escapes) = self.seek(at);
        let end = match escapes {
            Some(_) if at < first.here => first.stood,
            Some(_) => return None,
            None => usize::MAX,
        };
        Some(UndoneGap { here: self.begin.here, stood: self.begin.stood..end })
    }

    /// The first escapes that end behind `at`, and where they begin; otherwise the end of all. The gap in front of them is now known.
    fn seek(&mut self, at: usize) -> (Place, Option<Escapes>) {
        let Undone { escapes, blocks, .. } = self.undone;
        let next_block = blocks.get(self.entry / BLOCK + 2);
        if at < self.begin.here || next_block.is_some_and(|block| block.here <= at) {
            let block = blocks.partition_point(|begin| begin.here <= at).saturating_sub(1);
            (self.entry, self.begin) = (block * BLOCK, blocks.get(block).copied().unwrap_or_default());
        }
        while let Some(here) = escapes.get(self.entry) {
            let first = self.begin.behind_gap(*here);
            let behind = first.behind(*here);
            if at < behind.here {
                return (first, Some(*here));
            }
            (self.entry, self.begin) = (self.entry + 1, behind);
        }
        (self.begin, None)
    }
}

/// A part of a text without escapes.
pub(crate) struct UndoneGap {
    /// Where it begins in the copy.
    pub(crate) here: usize,
    /// Its place in the text. The last one has no end.
    pub(crate) stood: Range<usize>,
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// `a\n"&eacute;"b` as `a⏎"é"b`.
    #[test]
    fn a_range_of_the_copy_has_its_place_in_the_text() {
        let mut undone = Undone::default();
        undone.note(1..2, 1..3);
        undone.note(3..5, 4..12);
        for (here, stood) in [(0..1, 0..1), (1..2, 1..3), (0..2, 0..3), (2..3, 3..4), (3..4, 4..12), (2..6, 3..13)] {
            assert_eq!(undone.back(here.clone()), stood, "{here:?}");
        }
        assert_eq!(undone.back(6..6), 13..13);
        assert!(undone.any_in(&(2..4)) && !undone.any_in(&(5..9)));
    }

    #[test]
    fn adjacent_escapes_are_one_entry_and_each_is_found() {
        let mut undone = Undone::default();
        (0..300).for_each(|at| undone.note(5 + at..6 + at, 5 + 2 * at..7 + 2 * at));
        undone.note_all(305..306, 605..607, 700);
        undone.note(1005..1006, 2005..2011);
        // One entry holds 255 escapes.
        assert_eq!(undone.escapes.len(), 5);
        for (here, stood) in
            [(4..5, 4..5), (5..6, 5..7), (7..9, 9..13), (1004..1006, 2003..2011), (1006..1007, 2011..2012)]
        {
            assert_eq!(undone.back(here.clone()), stood, "{here:?}");
        }
        assert!(undone.any_in(&(900..901)) && !undone.any_in(&(0..5)) && !undone.any_in(&(1006..1010)));
    }

    proptest! {
        #[test]
        fn each_byte_has_the_place_that_it_had(
            escapes in prop::collection::vec((prop_oneof![0_usize..3, 0_usize..90], 1_usize..5, 5_usize..9), 0..200),
        ) {
            let mut undone = Undone::default();
            let (mut places, mut stood) = (Vec::new(), 0);
            for (gap, here_bytes, stood_bytes) in escapes {
                places.extend((stood..stood + gap).map(|at| at..at + 1));
                let escape = stood + gap..stood + gap + stood_bytes;
                stood = escape.end;
                undone.note(places.len()..places.len() + here_bytes, escape.clone());
                places.extend(std::iter::repeat_n(escape, here_bytes));
            }
            places.extend((stood..stood + 3).map(|at| at..at + 1));
            for (at, place) in places.iter().enumerate() {
                prop_assert_eq!(&undone.place(at), place);
                prop_assert_eq!(undone.any_in(&(at..at + 1)), place.len() > 1);
                prop_assert!(!undone.any_in(&(at..at)));
            }
            let characters: Vec<_> = undone.characters().flatten().collect();
            let of_escapes = |at: &usize| places[*at].len() > 1;
            prop_assert_eq!(characters, (0..places.len()).filter(of_escapes).collect::<Vec<_>>());
            let mut backwards = Backwards::of(&undone);
            for at in (0..places.len()).chain((0..places.len()).rev().step_by(7)).chain((0..places.len()).step_by(90)) {
                for end in at..places.len().min(at + 3) {
                    prop_assert_eq!(backwards.back(at..end), undone.back(at..end));
                }
            }
            for stood in 0..stood + 4 {
                let first = places.iter().position(|place| place.start >= stood).unwrap_or(places.len());
                prop_assert_eq!(undone.here(stood), first, "{}", stood);
            }
        }
    }
}
