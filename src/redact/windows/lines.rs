//! Whether a line of a stream may begin at a place of a text. Each part of the text is read once, however many places are asked.

use crate::redact::work::steps;

/// What a log puts in front of a line is searched for in so many bytes.
const STAMP_MAX_BYTES: usize = 160;
/// The quote of a line of JSON is searched for in so many bytes.
const LINE_REACH_BYTES: usize = 256;

/// The lines of a text. Places are asked in rising order.
pub(super) struct Lines<'t> {
    text: &'t [u8],
    stamps: Stamps,
    /// Quotes, entities and line ends.
    signs: Next,
    /// Escaped line ends.
    escaped_ends: Next,
}

impl<'t> Lines<'t> {
    pub(super) fn of(text: &'t str) -> Self {
        let (stamps, signs, escaped_ends) = (Stamps::default(), Next::default(), Next::default());
        Self { text: text.as_bytes(), stamps, signs, escaped_ends }
    }

    /// Whether the content of a line may begin at a place: behind a margin of white space, `>` and tags, or behind what a log puts
    /// in front of a line. Behind entities a line may begin anywhere.
    pub(super) fn begins(&mut self, at: usize) -> bool {
        let mut before = &self.text[..at];
        loop {
            before = match before {
                [rest @ .., b' ' | b'\t'] => rest,
                [rest @ .., b'\\', b't'] => without_slashes(rest),
                [] | [.., b'\n' | b'\r' | b'>' | b';'] | [.., b'\\', b'n' | b'r'] => return true,
                _ => return before.len() < at && self.stamps.before(self.text, before.len()),
            };
        }
    }

    /// Whether the line that begins at a place has a string.
    pub(super) fn has_string(&mut self, at: usize) -> bool {
        let sign = self.signs.from(self.text, at, |text| memchr::memchr3(b'"', b'&', b'\n', text));
        if sign >= self.text.len().min(at + LINE_REACH_BYTES) {
            return true;
        }
        let escaped_end = self.escaped_ends.from(self.text, at, |text| memchr::memmem::find(text, b"\\n"));
        self.text[sign] != b'\n' && sign < escaped_end
    }
}

/// Times of day, and the `|` behind the names of containers.
#[derive(Default)]
struct Stamps {
    /// The text was searched up to here.
    searched: usize,
    /// Where the last one stands.
    last: Option<usize>,
}

impl Stamps {
    /// Whether one stands not far in front of `at`.
    fn before(&mut self, text: &[u8], at: usize) -> bool {
        let far = at.saturating_sub(STAMP_MAX_BYTES);
        let from = self.searched.clamp(far, at);
        steps(at - from);
        let digit = |at: usize| text.get(at).is_some_and(u8::is_ascii_digit);
        let is_stamp = |at: &usize| text[*at] == b'|' || (*at > 0 && digit(at - 1) && digit(at + 1) && digit(at + 2));
        let found = memchr::memrchr2_iter(b':', b'|', &text[from..at]).map(|found| from + found).find(is_stamp);
        self.last = found.or(self.last);
        self.searched = at;
        self.last.is_some_and(|last| last >= far)
    }
}

/// The next place of something.
#[derive(Default)]
struct Next {
    searched: Option<usize>,
    found: usize,
}

impl Next {
    /// The first at `from` or behind it, as `find` finds it; the end of the text if there is none.
    fn from(&mut self, text: &[u8], from: usize, find: impl Fn(&[u8]) -> Option<usize>) -> usize {
        if self.searched.is_none_or(|searched| from < searched || self.found < from) {
            self.searched = Some(from);
            self.found = find(&text[from..]).map_or(text.len(), |length| from + length);
            steps(self.found - from);
        }
        self.found
    }
}

/// A text without the backslashes at its end.
pub(super) fn without_slashes(text: &[u8]) -> &[u8] {
    let slashes = text.iter().rev().take_while(|byte| **byte == b'\\').count();
    &text[..text.len() - slashes]
}
