//! The search of a part of a text: where it begins, and what the search of the next part has to know.

use super::finding::Finding;

/// What was found in a part of a text.
#[derive(Debug)]
pub(super) struct Searched<'a> {
    /// The secrets whose name or prefix stands in the part.
    pub(super) found: Vec<Finding<'a>>,
    /// What the search of the next part has to know.
    pub(super) carry: Carry,
    /// Whether more text behind this one would change what was found.
    pub(super) wants: Wants,
}

/// Whether more text behind a text would change what was found in it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Wants {
    /// It would not.
    Nothing,
    /// A run of characters reaches the end of the text. It may be a secret if it goes on.
    More,
    /// A secret reaches the end of the text, and may go on.
    Rest,
}

/// How far a search has come beyond the end of a part: each in bytes behind that end.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Carry {
    /// Where the search continues.
    pub(super) at: usize,
    /// The values in objects and arrays were collected up to here.
    pub(super) container: usize,
    /// Where the last value without quotes ended.
    pub(super) bare: usize,
    /// Up to here, values without quotes were judged not to be secrets.
    pub(super) dull: usize,
    /// Names were examined up to here.
    pub(super) name: usize,
    /// Commands were read up to here.
    pub(super) command: usize,
    /// Names of services were examined up to here.
    pub(super) service: usize,
}

impl Carry {
    /// All its numbers.
    pub(super) fn numbers(&self) -> [usize; 7] {
        let Self { at, container, bare, dull, name, command, service } = *self;
        [at, container, bare, dull, name, command, service]
    }

    /// The same behind the end of a later part, which is so many bytes further on.
    pub(super) fn further(&self, bytes: usize) -> Self {
        let [at, container, bare, dull, name, command, service] =
            self.numbers().map(|number| number.saturating_sub(bytes));
        Self { at, container, bare, dull, name, command, service }
    }
}
