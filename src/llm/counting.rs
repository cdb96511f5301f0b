//! Whether a stream's counts of its output are counts of all so far, or of single pieces, which nobody can add up.

/// How a stream counted its output while it came: an honest count of all so far does not fall behind.
#[derive(Default, Clone, Copy)]
pub(super) struct Counting {
    /// Pieces of content that have come, and how many there were at the last count.
    pieces: u64,
    pieces_before: u64,
    highest: u64,
    /// A count was no higher than one before, though content came in between.
    fell_behind: bool,
}

impl Counting {
    /// A piece of content has come.
    pub(super) fn content(&mut self) {
        self.pieces += 1;
    }

    /// So many tokens were told.
    pub(super) fn told(&mut self, output: u64) {
        // What is told before any content, or as nought, is a guess.
        if output == 0 || self.pieces == 0 {
            return;
        }
        self.fell_behind |= self.pieces > self.pieces_before && self.highest > 0 && output <= self.highest;
        self.fell_behind |= output < self.highest;
        self.highest = self.highest.max(output);
        self.pieces_before = self.pieces;
    }

    /// Whether this count may be one of all, not of a piece alone.
    pub(super) fn may_be_all(&self, output: u64) -> bool {
        !self.fell_behind || output >= self.highest.max(self.pieces)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Whether the last of these counts, each told after a piece of content, may be one of all.
    fn holds(counts: &[u64]) -> bool {
        let mut counting = Counting::default();
        for count in counts {
            counting.content();
            counting.told(*count);
        }
        counting.may_be_all(counts.iter().copied().rfind(|count| *count > 0).unwrap_or(0))
    }

    #[test]
    fn counts_of_single_pieces_are_no_count_of_all() {
        for counts in [&[1, 1, 1][..], &[3, 5, 2], &[4, 0, 3]] {
            assert!(!holds(counts), "{counts:?}");
        }
    }

    #[test]
    fn counts_of_all_so_far_and_one_of_all_at_the_end_hold() {
        for counts in [&[1, 3, 7][..], &[25, 25, 25], &[1, 1, 1, 25], &[5], &[0, 0, 5]] {
            assert!(holds(counts), "{counts:?}");
        }
        let mut counting = Counting::default();
        counting.told(8);
        counting.content();
        counting.told(5);
        assert!(counting.may_be_all(5), "what is told before any content is a guess");
    }
}
