//! Decides whether a stream's output token counts are running totals, or counts of single pieces, which cannot be added
//! up reliably.

/// Follows the output counts of a stream. A running total never falls behind.
#[derive(Default, Clone, Copy)]
pub(super) struct Counting {
    /// Pieces of content so far, and at the last count.
    pieces: u64,
    pieces_before: u64,
    highest: u64,
    /// A count was not higher than an earlier one, although content came in between.
    fell_behind: bool,
}

impl Counting {
    /// A piece of content arrived.
    pub(super) fn content(&mut self) {
        self.pieces += 1;
    }

    /// The stream reported this count.
    pub(super) fn count(&mut self, output: u64) {
        // A count before any content, or of zero, is a placeholder.
        if output == 0 || self.pieces == 0 {
            return;
        }
        self.fell_behind |= self.pieces > self.pieces_before && self.highest > 0 && output <= self.highest;
        self.fell_behind |= output < self.highest;
        self.highest = self.highest.max(output);
        self.pieces_before = self.pieces;
    }

    /// Whether this count may be the total.
    pub(super) fn may_be_all(&self, output: u64) -> bool {
        !self.fell_behind || output >= self.highest.max(self.pieces)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Whether the last of these counts, each reported after a piece of content, may be the total.
    fn holds(counts: &[u64]) -> bool {
        let mut counting = Counting::default();
        for count in counts {
            counting.content();
            counting.count(*count);
        }
        counting.may_be_all(counts.iter().copied().rfind(|count| *count > 0).unwrap_or(0))
    }

    #[test]
    fn counts_of_single_pieces_are_not_totals() {
        for counts in [&[1, 1, 1][..], &[3, 5, 2], &[4, 0, 3]] {
            assert!(!holds(counts), "{counts:?}");
        }
    }

    #[test]
    fn running_totals_and_a_total_at_the_end_are_totals() {
        for counts in [&[1, 3, 7][..], &[25, 25, 25], &[1, 1, 1, 25], &[5], &[0, 0, 5]] {
            assert!(holds(counts), "{counts:?}");
        }
        let mut counting = Counting::default();
        counting.count(8);
        counting.content();
        counting.count(5);
        assert!(counting.may_be_all(5), "a count before any content is a placeholder");
    }
}
