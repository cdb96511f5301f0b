//! The places of escapes that were undone in a copy of a text, so that what is found in the copy can be marked in the text.

use std::ops::Range;

/// The escapes, in order. Adjacent escapes of the same length are one entry, so that a text of nothing but escapes needs little
/// memory.
#[derive(Default)]
pub(crate) struct Undone(Vec<Escapes>);

/// Adjacent escapes of the same length.
struct Escapes {
    /// Where the character of the first begins in the copy.
    here: usize,
    /// Where the first begins in the text.
    stood: usize,
    /// The length of each in the text, in bytes.
    stood_bytes: usize,
    /// The length of each character in the copy, in bytes.
    here_bytes: u32,
    times: u32,
}

impl Escapes {
    fn here_end(&self) -> usize {
        self.here + self.here_bytes as usize * self.times as usize
    }

    fn stood_end(&self) -> usize {
        self.stood + self.stood_bytes * self.times as usize
    }
}

impl Undone {
    /// Adds the next escape: its character is at `here` in the copy, and the escape was at `stood` in the text.
    pub(crate) fn note(&mut self, here: Range<usize>, stood: Range<usize>) {
        let here_bytes = here.len() as u32;
        if let Some(last) = self.0.last_mut()
            && (last.here_end(), last.stood_end()) == (here.start, stood.start)
            && (last.here_bytes, last.stood_bytes) == (here_bytes, stood.len())
            && last.times < u32::MAX
        {
            last.times += 1;
            return;
        }
        let (stood, stood_bytes) = (stood.start, stood.len());
        self.0.push(Escapes { here: here.start, stood, stood_bytes, here_bytes, times: 1 });
    }

    /// Whether there are no escapes.
    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Whether the character of an escape is in this range of the copy.
    pub(crate) fn any_in(&self, range: &Range<usize>) -> bool {
        let next = self.0.partition_point(|escapes| escapes.here_end() <= range.start);
        self.0.get(next).is_some_and(|escapes| escapes.here < range.end)
    }

    /// The place in the text of a range of the copy.
    pub(crate) fn back(&self, range: Range<usize>) -> Range<usize> {
        let start = self.place(range.start).start;
        let end = range.end.checked_sub(1).map_or(start, |last| self.place(last).end);
        start..end.max(start)
    }

    /// The place in the text of the byte at `at` of the copy.
    pub(crate) fn place(&self, at: usize) -> Range<usize> {
        let before = self.0.partition_point(|escapes| escapes.here <= at);
        match before.checked_sub(1).map(|index| &self.0[index]) {
            Some(escapes) if at < escapes.here_end() => {
                let nth = (at - escapes.here) / escapes.here_bytes as usize;
                let start = escapes.stood + nth * escapes.stood_bytes;
                start..start + escapes.stood_bytes
            }
            Some(escapes) => {
                let place = escapes.stood_end() + at - escapes.here_end();
                place..place + 1
            }
            None => at..at + 1,
        }
    }
}

#[cfg(test)]
mod tests {
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
        (0..1000).for_each(|at| undone.note(5 + at..6 + at, 5 + 2 * at..7 + 2 * at));
        undone.note(1005..1006, 2005..2011);
        assert_eq!(undone.0.len(), 2);
        for (here, stood) in
            [(4..5, 4..5), (5..6, 5..7), (7..9, 9..13), (1004..1006, 2003..2011), (1006..1007, 2011..2012)]
        {
            assert_eq!(undone.back(here.clone()), stood, "{here:?}");
        }
        assert!(undone.any_in(&(900..901)) && !undone.any_in(&(0..5)) && !undone.any_in(&(1006..1010)));
    }
}
