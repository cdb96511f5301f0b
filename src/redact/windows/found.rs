//! What our rules find in a window, and what the search of the next one has to know.

use crate::redact::finding::Finding;
use crate::redact::part::{Carry, READINGS, Searched, Wants};

/// What was found in a window.
#[derive(Debug)]
pub(super) struct Read<'a> {
    /// In each reading, as places in the window.
    pub(super) found: [Vec<Finding<'a>>; READINGS],
    /// What the search of the next window has to know.
    pub(super) carries: [Carry; READINGS],
    /// Whether more text behind the window would change what was found.
    pub(super) wants: Wants,
    /// The work of the search.
    pub(super) work: usize,
    /// Where lines of streams begin in the core.
    pub(super) marks: Vec<usize>,
}

impl<'a> Read<'a> {
    /// What was found in each reading of a window.
    pub(super) fn of([plain, json, markup]: [Searched<'a>; READINGS], marks: Vec<usize>) -> Self {
        Self {
            carries: [plain.carry, json.carry, markup.carry],
            work: plain.work + json.work + markup.work,
            wants: plain.wants.max(json.wants).max(markup.wants),
            found: [plain.found, json.found, markup.found],
            marks,
        }
    }
}
