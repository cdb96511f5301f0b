//! Texts with their escapes undone, so that `\u0041` in JSON is searched as a letter and `&quot;` as a quote.

use std::ops::Range;

use super::finding::Finding;
use crate::secret::escapes::entity;
use crate::secret::undone::Undone;

/// The `ñ` of `contraseña`, the only letter beyond ASCII in names that are searched for.
const N_TILDE: u8 = 0xF1;

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
        const SIGN: &str = "\\u00";
        let mut shadow = Self::default();
        let mut copied = 0;
        for (sign, _) in text.match_indices(SIGN) {
            let digits = sign + SIGN.len();
            let Some(code) = text.get(digits..digits + 2).and_then(|digits| u8::from_str_radix(digits, 16).ok())
            else {
                continue;
            };
            let plain = (0x20..0x7F).contains(&code) && !matches!(code, b'"' | b'\\' | b'\'');
            if !plain && code != N_TILDE {
                continue;
            }
            let slashes = text.as_bytes()[copied..sign].iter().rev().take_while(|byte| **byte == b'\\').count();
            let start = sign - slashes;
            let before = &text[copied..start];
            copied = digits + 2;
            shadow.put(before, start..copied, char::from(code));
        }
        if shadow.undone.is_empty() {
            return None;
        }
        shadow.text.push_str(&text[copied..]);
        Some(shadow)
    }

    /// The text without the entities of XML and HTML, however often they were escaped (`&quot;`, `&amp;quot;`). `None` when it has
    /// none.
    pub(super) fn of_markup(text: &str) -> Option<Self> {
        let mut shadow = Self::default();
        let mut copied = 0;
        for (start, _) in text.match_indices('&') {
            if start < copied {
                continue;
            }
            let mut rest = &text[start + 1..];
            while let Some(next) = rest.strip_prefix("amp;") {
                rest = next;
            }
            // `&amp;` alone is `&`; before another entity it only escapes that.
            let entity = entity(rest.as_bytes()).filter(|(char, _)| char.is_ascii_graphic());
            let entity = entity.map(|(char, bytes)| (&rest[bytes..], char));
            let (rest, char) = match entity {
                Some(found) => found,
                None if rest.len() < text.len() - start - 1 => (rest, '&'),
                None => continue,
            };
            let before = &text[copied..start];
            copied = text.len() - rest.len();
            shadow.put(before, start..copied, char);
        }
        if shadow.undone.is_empty() {
            return None;
        }
        shadow.text.push_str(&text[copied..]);
        Some(shadow)
    }

    /// The text without all escapes of JSON strings. Quotes become line ends, so that each string begins a line.
    pub(super) fn of_strings(text: &str) -> Self {
        let mut shadow = Self { text: String::with_capacity(text.len()), undone: Undone::default() };
        let mut copied = 0;
        for at in memchr::memchr2_iter(b'\\', b'"', text.as_bytes()) {
            if at < copied {
                continue;
            }
            let (char, bytes) = match text.as_bytes()[at..] {
                [b'"', ..] => ('\n', 1),
                [_, b'n', ..] => ('\n', 2),
                [_, b'r', ..] => ('\r', 2),
                [_, b't', ..] => ('\t', 2),
                [_, byte @ (b'"' | b'\\' | b'/'), ..] => (char::from(byte), 2),
                _ => continue,
            };
            let before = &text[copied..at];
            copied = at + bytes;
            shadow.put(before, at..copied, char);
        }
        shadow.text.push_str(&text[copied..]);
        shadow
    }

    /// Copies the text before an escape, and puts the character in place of the escape.
    fn put(&mut self, before: &str, stood: Range<usize>, character: char) {
        self.text.push_str(before);
        let here = self.text.len();
        self.text.push(character);
        self.undone.note(here..self.text.len(), stood);
    }

    /// A finding in this text as one in the original text.
    pub(super) fn cast_back<'a>(&self, finding: Finding<'a>) -> Finding<'a> {
        Finding { range: self.undone.back(finding.range), ..finding }
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
        let shadow = Shadow::of_strings(text);
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
