//! A word of a query.

use crate::store::Relation;

/// A condition, or text to look for.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Word {
    /// As it was written.
    pub(super) text: String,
    /// It began with `-`.
    pub(super) negated: bool,
    /// In lower case; empty for free text.
    pub(super) key: String,
    /// How a figure is compared. `None`: `key:value`, or free text.
    pub(super) relation: Option<Relation>,
    /// Without its quotes.
    pub(super) value: String,
}
