//! Cutting texts.

use crate::brief;

/// The first `max` bytes of a text at most, without splitting a character.
pub(super) fn cut(mut text: String, max: usize) -> String {
    text.truncate(brief::head(&text, max).len());
    text
}
