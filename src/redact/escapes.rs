//! Texts with their escapes undone, so that `\u0041` in JSON is searched as a letter and `&quot;` as a quote.

use std::ops::Range;

use memchr::memmem;

use super::finding::Finding;
use crate::secret::buffers;
use crate::secret::escapes::{entity, hex, next_sign};
use crate::secret::undone::{ESCAPE_MAX_BYTES, Undone};

/// The `ñ` of `contraseña`, the only letter beyond ASCII in names that are searched for.
const N_TILDE: u8 = 0xF1;

/// At most so many bytes in front of an escape only escape it: backslashes, or `amp;`.
const PREFIX_MAX_BYTES: usize = ESCAPE_MAX_BYTES - 64;

/// A text with escapes undone, and where each stood. `\u0022` and other escaped quotes and backslashes stay: they are not parts of
/// a name, and a string would end at a quote without its escape.
#[derive(Default)]
pub(super) struct Shadow {
    pub(super) text: String,
    undone: Undone,
}

impl Shadow {
    /// The text without the escapes `\u00XX` of JSON. `None` when it has none.
    pub(super) fn of(text: &str) -> Option<Self> {
        const SIGN: &[u8] = b"\\u00";
        let mut shadow = Self::default();
        let mut copied = 0;
        for sign in memmem::find_iter(text.as_bytes(), SIGN) {
            let digits = sign + SIGN.len();
            let code = text.as_bytes().get(digits..digits + 2).and_then(hex);
            let Some(code) = code.and_then(|code| u8::try_from(code).ok()) else { continue };
            let plain = (0x20..0x7F).contains(&code) && !matches!(code, b'"' | b'\\' | b'\'');
            if !plain && code != N_TILDE {
                continue;
            }
            let before = text.as_bytes()[copied..sign].iter().rev().take(PREFIX_MAX_BYTES);
            let slashes = before.take_while(|byte| **byte == b'\\').count();
            let start = sign - slashes;
            shadow.put(text, copied, start..digits + 2, char::from(code));
            copied = digits + 2;
        }
        shadow.finished(text, copied)
    }

    /// The text without the entities of XML and HTML, however often they were escaped (`&quot;`, `&amp;quot;`). `None` when it has
    /// none.
    pub(super) fn of_markup(text: &str) -> Option<Self> {
        let mut shadow = Self::default();
        let mut copied = 0;
        for start in memchr::memchr_iter(b'&', text.as_bytes()) {
            if start < copied {
                continue;
            }
            let whole = &text[start + 1..];
            let mut rest = whole;
            while let Some(next) =
                rest.strip_prefix("amp;").filter(|next| whole.len() - next.len() < PREFIX_MAX_BYTES)
            {
                rest = next;
            }
            // `&amp;` alone is `&`; before another entity it only escapes that.
            let entity = entity(rest.as_bytes()).filter(|(char, _)| char.is_ascii_graphic());
            let entity = entity.map(|(char, bytes)| (&rest[bytes..], char));
            let (rest, char) = match entity {
                Some(found) => found,
                None if rest.len() < whole.len() => (rest, '&'),
                None => continue,
            };
            let end = text.len() - rest.len();
            shadow.put(text, copied, start..end, char);
            copied = end;
        }
        shadow.finished(text, copied)
    }

    /// The text without all escapes of JSON strings. Quotes become line ends, so that each string begins a line.
    /// `None` when it has neither escapes nor quotes.
    pub(super) fn of_strings(text: &str) -> Option<Self> {
        let mut shadow = Self::default();
        let (mut copied, mut at) = (0, 0);
        let next = |at| {
            let is_sign = |byte| matches!(byte, b'"' | b'\\');
            next_sign(text.as_bytes(), at, is_sign, |text| memchr::memchr2(b'"', b'\\', text))
        };
        while let Some(sign) = next(at) {
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
            shadow.put(text, copied, sign..at, char);
            copied = at;
        }
        shadow.finished(text, copied)
    }

    /// Copies the text from `copied` up to an escape, and puts the character in place of the escape.
    fn put(&mut self, text: &str, copied: usize, stood: Range<usize>, character: char) {
        // Once, for the whole text: growing step by step copies the text again and again.
        if copied == 0 {
            self.text = buffers::take_text(text.len());
        }
        self.text.push_str(&text[copied..stood.start]);
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

    /// The first place in this text whose character stood at `stood` in the original text, or behind it.
    pub(super) fn here(&self, stood: usize) -> usize {
        let (mut low, mut high) = (0, self.text.len());
        while low < high {
            let middle = low + (high - low) / 2;
            if self.undone.place(middle).start < stood { low = middle + 1 } else { high = middle }
        }
        low
    }

    /// A finding in this text as one in the original text.
    pub(super) fn cast_back<'a>(&self, finding: Finding<'a>) -> Finding<'a> {
        Finding { range: self.undone.back(finding.range), ..finding }
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

    #[test]
    fn markup_is_undone_however_often_it_was_escaped() {
        let text = "a &lt;k&gt;v &amp;amp;quot;x&quot; &amp; &copy; &";
        let shadow = Shadow::of_markup(text).unwrap();
        assert_eq!(shadow.text, "a <k>v \"x\" & &copy; &");
        let finding = Finding { range: 7..10, rule: "", show: Show::Token };
        assert_eq!(&text[shadow.cast_back(finding).range], "&amp;amp;quot;x&quot;");
        assert!(Shadow::of_markup("a & b").is_none());
    }

    #[test]
    fn the_strings_of_json_begin_lines_without_escapes() {
        let text = r#"{"a":"data: {\"k\":\"v\\n\"}\n\ndata: \u00e9\/"}"#;
        let shadow = Shadow::of_strings(text).unwrap();
        assert_eq!(shadow.text, "{\na\n:\ndata: {\"k\":\"v\\n\"}\n\ndata: \\u00e9/\n}");
        let start = shadow.text.find("v\\n").unwrap();
        let finding = Finding { range: start..start + 3, rule: "", show: Show::Token };
        assert_eq!(&text[shadow.cast_back(finding).range], r"v\\n");
    }

    #[test]
    fn escapes_are_undone_and_places_found_again() {
        let text = r#"é{"p\u0061ss":"\\u0041b\u0022","x":"\u00e9"}"#;
        let shadow = Shadow::of(text).unwrap();
        assert_eq!(shadow.text, r#"é{"pass":"Ab\u0022","x":"\u00e9"}"#);
        let back = |part: &str| {
            let start = shadow.text.find(part).unwrap();
            let finding = Finding { range: start..start + part.len(), rule: "", show: Show::Token };
            &text[shadow.cast_back(finding).range]
        };
        assert_eq!(back("pass"), r"p\u0061ss");
        assert_eq!(back("Ab"), r"\\u0041b");
        assert_eq!(back("a"), r"\u0061");
        assert_eq!(back("x"), "x");
        assert_eq!(back("é{"), "é{");
        assert!(Shadow::of(r#"{"a":"\u00e9\u0022"}"#).is_none());
        assert_eq!(Shadow::of(r"contrase\u00f1a").unwrap().text, "contraseña");
    }
}
