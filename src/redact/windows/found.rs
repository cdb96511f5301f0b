//! What our rules find in a window, and what the search of the next one has to know.

use crate::redact::finding::Finding;
use crate::redact::part::{Carry, READINGS, Wants};

/// What was found in a window.
#[derive(Debug)]
pub(super) struct Read<'a> {
    /// In each reading, as places in the window.
    pub(super) found: [Vec<Finding<'a>>; READINGS],
    /// What the search of the next window has to know.
    pub(super) carries: [Carry; READINGS],
    /// Whether more text behind the window would change what was found.
    pub(super) wants: Wants,
    /// Where lines of streams begin in the core.
    pub(super) marks: Vec<usize>,
}
