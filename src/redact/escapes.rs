//! Escapes undone, so that a text is searched as it is read: `\u0041` in JSON is a letter like any other, and `&quot;` a quote.

use std::ops::Range;

use super::scan::Finding;
use crate::secret::escapes::entity;
use crate::secret::undone::Undone;

/// The `ñ` of `contraseña`: of the names that are searched for, the only letter beyond ASCII.
const N_TILDE: u8 = 0xF1;

/// A text with such escapes undone, and where each stood. Escaped quotes and backslashes stay: they are no part of a name, and
/// without their escapes strings would end elsewhere.
#[derive(Default)]
pub(super) struct Shadow {
    pub(super) text: String,
    undone: Undone,
}

impl Shadow {
    /// `None` when there is no such escape.
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

    /// The same for the characters that XML and HTML escape in texts, however often (`&quot;`, `&amp;quot;`).
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
            // `&amp;` itself, unless another entity follows it.
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

    /// The same for all escapes of the JSON strings in a text, so that each is the text that it is. Its quotes are line ends
    /// here: what a string begins with begins a line.
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

    /// Copies what stands before an escape, and the character in place of the escape.
    fn put(&mut self, before: &str, stood: Range<usize>, character: char) {
        self.text.push_str(before);
        let here = self.text.len();
        self.text.push(character);
        self.undone.note(here..self.text.len(), stood);
    }

    /// What was found here, where it stood in the text itself.
    pub(super) fn cast_back<'a>(&self, finding: Finding<'a>) -> Finding<'a> {
        Finding { range: self.undone.back(finding.range), ..finding }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::redact::scan::Show;

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
    fn strings_are_the_texts_that_they_are() {
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
