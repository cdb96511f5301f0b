//! Texts with their escapes undone, so that `\u0041` in JSON is searched as a letter and `&quot;` as a quote.

use std::ops::Range;
use std::sync::LazyLock;

use memchr::memmem;

use super::finding::Finding;
use crate::secret::buffers;
use crate::secret::escapes::{entity, hex, next_sign};
use crate::secret::undone::{Backwards, ESCAPE_MAX_BYTES, Undone};

/// The `ñ` of `contraseña`, the only letter beyond ASCII in names that are searched for.
const N_TILDE: u8 = 0xF1;

/// At most so many bytes in front of an escape only escape it: backslashes, or `amp;`.
const PREFIX_MAX_BYTES: usize = ESCAPE_MAX_BYTES - 64;

/// Which escapes are undone.
#[derive(Clone, Copy)]
pub(super) enum Escapes {
    /// `\u00XX` of JSON.
    Json,
    /// The entities of XML and HTML, however often they were escaped (`&quot;`, `&amp;quot;`).
    Markup,
}

impl Escapes {
    /// The next escape whose sign stands in `signs`: its place, and its character. It may end behind `signs`.
    pub(super) fn next(self, text: &str, signs: Range<usize>) -> Option<(Range<usize>, char)> {
        match self {
            Self::Json => next_of_json(text, signs),
            Self::Markup => next_of_markup(text, signs),
        }
    }

    /// The text without them. `None` when it has none.
    pub(super) fn undo(self, text: &str) -> Option<Shadow> {
        let mut shadow = Shadow::default();
        let mut copied = 0;
        while let Some((stood, character)) = self.next(text, copied..text.len()) {
            // Once, for the whole text: growing step by step copies the text again and again.
            if copied == 0 {
                shadow.text = buffers::take_text(text.len());
            }
            shadow.put(&text[copied..stood.start], stood.clone(), character);
            copied = stood.end;
        }
        shadow.finished(text, copied)
    }
}

/// Backslashes before the escape only escape it, and are a part of it.
fn next_of_json(text: &str, signs: Range<usize>) -> Option<(Range<usize>, char)> {
    const SIGN: &[u8] = b"\\u00";
    static FINDER: LazyLock<memmem::Finder<'static>> = LazyLock::new(|| memmem::Finder::new(SIGN));
    let text = text.as_bytes();
    // A sign that begins in the reach may end behind it.
    let reach = text.len().min(signs.end + SIGN.len() - 1);
    let mut at = signs.start;
    loop {
        let rest = text.get(at..reach)?;
        let sign = if rest.starts_with(SIGN) { at } else { at + FINDER.find(rest)? };
        let digits = sign + SIGN.len();
        let code = text.get(digits..digits + 2).and_then(hex).and_then(|code| u8::try_from(code).ok());
        let undone =
            |code: &u8| ((0x20..0x7F).contains(code) && !matches!(code, b'"' | b'\\' | b'\'')) || *code == N_TILDE;
        if let Some(code) = code.filter(undone) {
            let before = text[signs.start..sign].iter().rev().take(PREFIX_MAX_BYTES);
            let slashes = before.take_while(|byte| **byte == b'\\').count();
            return Some((sign - slashes..digits + 2, char::from(code)));
        }
        at = digits;
    }
}

fn next_of_markup(text: &str, signs: Range<usize>) -> Option<(Range<usize>, char)> {
    let bytes = text.as_bytes();
    let mut at = signs.start;
    while let Some(start) = next_sign(&bytes[..signs.end], at, [b'&']) {
        if let Some((length, character)) = entities(&bytes[start + 1..]) {
            return Some((start..start + 1 + length, character));
        }
        at = start + 1;
    }
    None
}

/// The character of an entity of which the `&` stands before the text, and its length. `amp;` before another entity only escapes
/// that; alone it is `&`.
fn entities(text: &[u8]) -> Option<(usize, char)> {
    let mut escaped = 0;
    while escaped < PREFIX_MAX_BYTES && text[escaped..].starts_with(b"amp;") {
        escaped += b"amp;".len();
    }
    match entity(&text[escaped..]).filter(|(character, _)| character.is_ascii_graphic()) {
        Some((character, length)) => Some((escaped + length, character)),
        None => (escaped > 0).then_some((escaped, '&')),
    }
}

/// A text with escapes undone, and where each stood. `\u0022` and other escaped quotes and backslashes stay: they are not parts of
/// a name, and a string would end at a quote without its escape.
#[derive(Default)]
pub(super) struct Shadow {
    pub(super) text: String,
    undone: Undone,
    /// How many escapes and quotes became another character.
    signs: usize,
}

impl Shadow {
    /// The text without all escapes of JSON strings. Quotes become line ends, so that each string begins a line.
    /// `None` when it has neither escapes nor quotes.
    pub(super) fn of_strings(text: &str) -> Option<Self> {
        let mut shadow = Self::default();
        let (mut copied, mut at) = (0, 0);
        while let Some(sign) = next_sign(text.as_bytes(), at, [b'"', b'\\']) {
            let (char, bytes) = match text.as_bytes()[sign..] {
                [b'"', ..] => ('\n', 1),
                [_, b'n', ..] => ('\n', 2),
                [_, b'r', ..] => ('\r', 2),
                [_, b't', ..] => ('\t', 2),
                [_, byte @ (b'"' | b'\\' | b'/'), ..] => (char::from(byte), 2),
                _ => {
                    at = sign + 1;
                    continue;
                }
            };
            at = sign + bytes;
            if copied == 0 {
                shadow.text = buffers::take_text(text.len());
            }
            shadow.put(&text[copied..sign], sign..at, char);
            copied = at;
        }
        shadow.finished(text, copied)
    }

    /// Adds the text in front of an escape, and the character in place of the escape.
    pub(super) fn put(&mut self, before: &str, stood: Range<usize>, character: char) {
        self.signs += 1;
        self.text.push_str(before);
        let here = self.text.len();
        self.text.push(character);
        // A quote that became a line end did not move what follows.
        if stood.len() > 1 {
            self.undone.note(here..self.text.len(), stood);
        }
    }

    /// Copies the rest of the text. `None` when nothing was undone.
    fn finished(mut self, text: &str, copied: usize) -> Option<Self> {
        if copied == 0 {
            return None;
        }
        self.text.push_str(&text[copied..]);
        Some(self)
    }

    /// How many escapes and quotes became another character.
    pub(super) fn signs(&self) -> usize {
        self.signs
    }

    /// Whether no escape was undone.
    pub(super) fn is_empty(&self) -> bool {
        self.undone.is_empty()
    }

    /// Whether an escape stands at both sides of a place of the original text.
    pub(super) fn cuts(&self, stood: usize) -> bool {
        self.undone.place(self.undone.here(stood)).start != stood
    }

    /// All of it.
    pub(super) fn view(&self) -> View<'_> {
        View { text: &self.text, undone: &self.undone, here: 0, stood: 0 }
    }

    /// What stood in a part of the original text, which cuts no escape. `None` when nothing was undone there.
    pub(super) fn part(&self, stood: Range<usize>) -> Option<View<'_>> {
        let here = self.undone.here(stood.start)..self.undone.here(stood.end);
        let view =
            || View { text: &self.text[here.clone()], undone: &self.undone, here: here.start, stood: stood.start };
        self.undone.any_in(&here).then(view)
    }

    /// Findings in this text as findings in the original text.
    pub(super) fn cast_back(&self, found: &mut [Finding<'_>]) {
        self.view().cast_back(found);
    }
}

/// A part of a text whose escapes were undone.
#[derive(Clone, Copy)]
pub(super) struct View<'s> {
    pub(super) text: &'s str,
    undone: &'s Undone,
    /// Where the part begins in the whole copy.
    here: usize,
    /// Where it begins in the original text.
    stood: usize,
}

impl<'s> View<'s> {
    /// The first place in this text whose character stood at `stood` in the part of the original text, or behind it.
    pub(super) fn here(&self, stood: usize) -> usize {
        self.undone.here(self.stood + stood) - self.here
    }

    /// About how many bytes stand between two places with escapes.
    pub(super) fn gap_bytes(&self) -> usize {
        let escapes = self.undone.entries_in(&(self.here..self.here + self.text.len()));
        self.text.len() / escapes.max(1)
    }

    /// Its places in the part of the original text. They are mostly asked for in order.
    pub(super) fn places(&self) -> Places<'s> {
        Places { view: *self, undone: Backwards::of(self.undone) }
    }

    /// Findings in this text as findings in the part of the original text.
    pub(super) fn cast_back(&self, found: &mut [Finding<'_>]) {
        let mut places = self.places();
        for Finding { range, .. } in found {
            *range = places.back(range);
        }
    }
}

/// Where the parts of a copy stood in the text.
pub(super) struct Places<'s> {
    view: View<'s>,
    undone: Backwards<'s>,
}

impl Places<'_> {
    /// The place in the text of a range of the copy.
    pub(super) fn back(&mut self, range: &Range<usize>) -> Range<usize> {
        let View { here, stood, .. } = self.view;
        let back = self.undone.back(here + range.start..here + range.end);
        back.start - stood..back.end - stood
    }

    /// The part without escapes around a place of the copy. `None` where an escape stood.
    pub(super) fn gap(&mut self, here: usize) -> Option<Gap> {
        let View { here: first, stood, .. } = self.view;
        let gap = self.undone.gap(first + here)?;
        // A gap of the whole copy may begin in front of this part of it.
        let before = first.saturating_sub(gap.here);
        let begin = (gap.stood.start + before).saturating_sub(stood);
        Some(Gap { begin, end: gap.stood.end.saturating_sub(stood), here: gap.here + before - first })
    }

    /// The first place in the copy whose character stood at `stood` in the text, or behind it.
    pub(super) fn here(&self, stood: usize) -> usize {
        self.view.here(stood)
    }
}

/// A part of a text without escapes.
pub(super) struct Gap {
    /// Where it begins and ends in the text.
    pub(super) begin: usize,
    pub(super) end: usize,
    /// Where it begins in the copy.
    here: usize,
}

impl Gap {
    /// A place of the copy, as one of the text.
    pub(super) fn stood(&self, here: usize) -> usize {
        here - self.here + self.begin
    }

    /// A place of the text, as one of the copy.
    pub(super) fn here(&self, stood: usize) -> usize {
        stood - self.begin + self.here
    }
}

impl Drop for Shadow {
    fn drop(&mut self) {
        buffers::give_back(std::mem::take(&mut self.text).into_bytes());
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::redact::finding::Show;

    /// The place in the original text.
    fn back(shadow: &Shadow, range: Range<usize>) -> Range<usize> {
        let mut found = [Finding { range, rule: "", show: Show::Token }];
        shadow.cast_back(&mut found);
        found[0].range.clone()
    }

    #[test]
    fn markup_is_undone_however_often_it_was_escaped() {
        let text = "a &lt;k&gt;v &amp;amp;quot;x&quot; &amp; &copy; &";
        let shadow = Escapes::Markup.undo(text).unwrap();
        assert_eq!(shadow.text, "a <k>v \"x\" & &copy; &");
        assert_eq!(&text[back(&shadow, 7..10)], "&amp;amp;quot;x&quot;");
        assert!(Escapes::Markup.undo("a & b").is_none());
    }

    #[test]
    fn the_strings_of_json_begin_lines_without_escapes() {
        let text = r#"{"a":"data: {\"k\":\"v\\n\"}\n\ndata: \u00e9\/"}"#;
        let shadow = Shadow::of_strings(text).unwrap();
        assert_eq!(shadow.text, "{\na\n:\ndata: {\"k\":\"v\\n\"}\n\ndata: \\u00e9/\n}");
        let start = shadow.text.find("v\\n").unwrap();
        assert_eq!(&text[back(&shadow, start..start + 3)], r"v\\n");
    }

    #[test]
    fn escapes_are_undone_and_places_found_again() {
        let text = r#"é{"p\u0061ss":"\\u0041b\u0022","x":"\u00e9"}"#;
        let shadow = Escapes::Json.undo(text).unwrap();
        assert_eq!(shadow.text, r#"é{"pass":"Ab\u0022","x":"\u00e9"}"#);
        let back = |part: &str| {
            let start = shadow.text.find(part).unwrap();
            &text[back(&shadow, start..start + part.len())]
        };
        assert_eq!(back("pass"), r"p\u0061ss");
        assert_eq!(back("Ab"), r"\\u0041b");
        assert_eq!(back("a"), r"\u0061");
        assert_eq!(back("x"), "x");
        assert_eq!(back("é{"), "é{");
        assert!(Escapes::Json.undo(r#"{"a":"\u00e9\u0022"}"#).is_none());
        assert_eq!(Escapes::Json.undo(r"contrase\u00f1a").unwrap().text, "contraseña");
    }
}
