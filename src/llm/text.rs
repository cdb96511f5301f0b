//! Cutting texts.

/// The first `max` bytes of a text at most, without splitting a character.
pub(super) fn cut(mut text: String, max: usize) -> String {
    let mut end = text.len().min(max);
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    text.truncate(end);
    text
}
