//! Where the escapes of a text stood that are undone in a copy of it: what is found in the copy can be marked in the text.

use std::ops::Range;

/// The escapes, in their order.
#[derive(Default)]
pub(crate) struct Undone(Vec<Escape>);

/// Its character is at `here` in the copy, and it stood at `stood` in the text.
struct Escape {
    here: Range<usize>,
    stood: Range<usize>,
}

impl Undone {
    /// Notes the next escape.
    pub(crate) fn note(&mut self, here: Range<usize>, stood: Range<usize>) {
        self.0.push(Escape { here, stood });
    }

    /// Whether there are none.
    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Whether the character of one begins in this range of the copy.
    pub(crate) fn any_in(&self, range: &Range<usize>) -> bool {
        let next = self.0.partition_point(|escape| escape.here.start < range.start);
        self.0.get(next).is_some_and(|escape| escape.here.start < range.end)
    }

    /// Where a range of the copy stood in the text.
    pub(crate) fn back(&self, range: Range<usize>) -> Range<usize> {
        let start = self.place(range.start).start;
        let end = range.end.checked_sub(1).map_or(start, |last| self.place(last).end);
        start..end.max(start)
    }

    /// Where the byte at `at` stood.
    pub(crate) fn place(&self, at: usize) -> Range<usize> {
        let before = self.0.partition_point(|escape| escape.here.start <= at);
        match before.checked_sub(1).map(|index| &self.0[index]) {
            Some(escape) if at < escape.here.end => escape.stood.clone(),
            Some(escape) => {
                let place = escape.stood.end + at - escape.here.end;
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
    fn a_range_of_the_copy_stood_where_its_escapes_stood() {
        let mut undone = Undone::default();
        undone.note(1..2, 1..3);
        undone.note(3..5, 4..12);
        for (here, stood) in [(0..1, 0..1), (1..2, 1..3), (0..2, 0..3), (2..3, 3..4), (3..4, 4..12), (2..6, 3..13)] {
            assert_eq!(undone.back(here.clone()), stood, "{here:?}");
        }
        assert_eq!(undone.back(6..6), 13..13);
        assert!(undone.any_in(&(2..4)) && !undone.any_in(&(4..9)));
    }
}
