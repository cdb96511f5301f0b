//! Makes captured text safe to show. Characters that control a terminal, are invisible, or change the reading direction
//! are escaped, such as `\u{1b}`. Text that is stored, delivered or sent is never changed by this. The page, the commands and
//! the log all use this one list.

use std::borrow::Cow;
use std::fmt::Write as _;

/// Characters that are escaped, besides Unicode's control characters (C0, DEL, C1): format characters (`Cf`),
/// separators (`Zl`, `Zp`), and letters and marks that show nothing.
const HIDDEN: [(u32, u32); 33] = [
    (0x00AD, 0x00AD),   // soft hyphen
    (0x034F, 0x034F),   // grapheme joiner
    (0x0600, 0x0605),   // Arabic number signs
    (0x061C, 0x061C),   // Arabic letter mark
    (0x06DD, 0x06DD),   // Arabic end of ayah
    (0x070F, 0x070F),   // Syriac abbreviation mark
    (0x0890, 0x0891),   // Arabic pound and piastre marks
    (0x08E2, 0x08E2),   // Arabic disputed end of ayah
    (0x115F, 0x1160),   // Hangul fillers
    (0x17B4, 0x17B5),   // Khmer inherent vowels
    (0x180B, 0x180F),   // Mongolian selectors and separator
    (0x200B, 0x200F),   // zero width, left-to-right and right-to-left marks
    (0x2028, 0x202E),   // line and paragraph separators, bidirectional embeddings and overrides
    (0x2060, 0x206F),   // word joiner, invisible operators, bidirectional isolates, deprecated formats
    (0x2800, 0x2800),   // blank Braille pattern
    (0x3164, 0x3164),   // Hangul filler
    (0xD800, 0xF8FF),   // surrogates (never in a string), private use
    (0xFDD0, 0xFDEF),   // noncharacters
    (0xFE00, 0xFE0E),   // variation selectors but that of emoji
    (0xFEFF, 0xFEFF),   // byte order mark
    (0xFFA0, 0xFFA0),   // half-width Hangul filler
    (0xFFF0, 0xFFFB),   // unassigned, interlinear annotation
    (0xFFFE, 0xFFFF),   // noncharacters
    (0x110BD, 0x110BD), // Kaithi number sign
    (0x110CD, 0x110CD), // Kaithi number sign above
    (0x13430, 0x1343F), // Egyptian hieroglyph formats
    (0x16FE4, 0x16FE4), // Khitan filler
    (0x1BCA0, 0x1BCA3), // shorthand formats
    (0x1D159, 0x1D159), // null notehead
    (0x1D173, 0x1D17A), // musical formats
    (0xE0000, 0xE0FFF), // tags, variation selectors
    (0xF0000, 0xFFFFF), // private use
    (0x100000, 0x10FFFF),
];

/// Whether a character must be escaped.
pub(crate) fn is_hidden(c: char) -> bool {
    let code = u32::from(c);
    code < 0x20 || (0x7f..0xa0).contains(&code) || (code > 0xa0 && in_list(code))
}

fn in_list(code: u32) -> bool {
    let after = HIDDEN.partition_point(|(first, _)| *first <= code);
    after.checked_sub(1).and_then(|at| HIDDEN.get(at)).is_some_and(|(_, last)| code <= *last)
}

/// One line of text: escapes hidden characters, including line ends and tabs.
pub(crate) fn line(text: &str) -> Cow<'_, str> {
    replaced(text, is_hidden, write_out)
}

/// Text of several lines: like [`line`], but line ends and tabs stay.
pub(crate) fn lines(text: &str) -> Cow<'_, str> {
    replaced(text, is_hidden_in_lines, write_out)
}

/// Whether a character must be escaped in text of several lines.
pub(crate) fn is_hidden_in_lines(c: char) -> bool {
    is_hidden(c) && c != '\n' && c != '\t'
}

/// Serialized JSON: hidden characters become `\u…` escapes (RFC 8259, section 7), so its content stays the same.
pub(crate) fn json(text: &str) -> Cow<'_, str> {
    // In valid JSON such characters occur only inside strings, and line ends only between values.
    replaced(text, is_hidden_in_lines, |out, c| {
        for unit in c.encode_utf16(&mut [0; 2]) {
            let _ = write!(out, "\\u{unit:04x}");
        }
    })
}

/// Appends a character in escaped form.
pub(crate) fn write_out(out: &mut String, c: char) {
    match c {
        '\n' => out.push_str("\\n"),
        '\r' => out.push_str("\\r"),
        '\t' => out.push_str("\\t"),
        // Writing to a string does not fail.
        c => drop(write!(out, "\\u{{{:x}}}", u32::from(c))),
    }
}

fn replaced(text: &str, which: impl Fn(char) -> bool, write: impl Fn(&mut String, char)) -> Cow<'_, str> {
    let Some(first) = text.find(&which) else { return Cow::Borrowed(text) };
    let mut out = String::with_capacity(text.len() + 16);
    out.push_str(&text[..first]);
    for c in text[first..].chars() {
        if which(c) { write(&mut out, c) } else { out.push(c) }
    }
    Cow::Owned(out)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn control_and_invisible_characters_are_escaped() {
        for (text, shown) in [
            ("a\u{1b}[2Jb\n", "a\\u{1b}[2Jb\\n"),
            ("\u{9b}31m\u{7f}\u{85}", "\\u{9b}31m\\u{7f}\\u{85}"),
            ("x\u{202e}gpj.exe\u{2066}\u{200f}", "x\\u{202e}gpj.exe\\u{2066}\\u{200f}"),
            ("\u{61c}\u{feff}\u{2028}\u{e0041}", "\\u{61c}\\u{feff}\\u{2028}\\u{e0041}"),
            ("é שלום 你好 🙂\u{fe0f} \u{a0}\u{fffd} C:\\n", "é שלום 你好 🙂\u{fe0f} \u{a0}\u{fffd} C:\\n"),
        ] {
            assert_eq!(line(text), shown);
        }
        assert_eq!(lines("a\tb\nc\r\u{0}"), "a\tb\nc\\r\\u{0}");
    }

    /// All characters of the general category `Cf` (Unicode 17).
    const FORMAT: [(u32, u32); 21] = [
        (0xAD, 0xAD),
        (0x600, 0x605),
        (0x61C, 0x61C),
        (0x6DD, 0x6DD),
        (0x70F, 0x70F),
        (0x890, 0x891),
        (0x8E2, 0x8E2),
        (0x180E, 0x180E),
        (0x200B, 0x200F),
        (0x202A, 0x202E),
        (0x2060, 0x2064),
        (0x2066, 0x206F),
        (0xFEFF, 0xFEFF),
        (0xFFF9, 0xFFFB),
        (0x110BD, 0x110BD),
        (0x110CD, 0x110CD),
        (0x13430, 0x1343F),
        (0x1BCA0, 0x1BCA3),
        (0x1D173, 0x1D17A),
        (0xE0001, 0xE0001),
        (0xE0020, 0xE007F),
    ];

    #[test]
    fn every_control_format_and_separator_character_is_escaped_and_letters_are_not() {
        let format = FORMAT.into_iter().flat_map(|(first, last)| first..=last);
        let separators = [0x2028, 0x2029];
        for code in format.chain(separators).filter_map(char::from_u32) {
            assert!(is_hidden(code), "{:x}", u32::from(code));
        }
        for code in (0..=0x10_FFFF).filter_map(char::from_u32) {
            assert!(is_hidden(code) || !code.is_control(), "{:x}", u32::from(code));
            assert!(!is_hidden(code) || !code.is_ascii() || code.is_control(), "{code}");
        }
        assert!(!"é ש ع ا ३ 你 한 ㄅ ñ".contains(is_hidden));
    }

    #[test]
    fn surrogates_without_a_partner_stay_as_they_are_written() {
        // A string cannot hold one. In JSON it is written with ASCII letters, which stay.
        let written = r#"{"a":"\ud800 \udfff","b":"\ud83d"}"#;
        assert_eq!((json(written), lines(written)), (Cow::Borrowed(written), Cow::Borrowed(written)));
        let raw = String::from_utf8_lossy(b"x\xed\xa0\x80y");
        assert_eq!(line(&raw), "x\u{fffd}\u{fffd}\u{fffd}y");
    }

    #[test]
    fn the_list_is_in_order() {
        assert!(HIDDEN.is_sorted_by(|a, b| a.1 < b.0) && HIDDEN.iter().all(|(first, last)| first <= last));
    }

    proptest! {
        #[test]
        fn json_keeps_its_content_and_hides_nothing(text in any::<String>()) {
            let value = serde_json::json!({ text.clone(): [text] });
            for written in [value.to_string(), format!("{value:#}")] {
                let shown = json(&written);
                prop_assert_eq!(&serde_json::from_str::<serde_json::Value>(&shown).unwrap(), &value);
                prop_assert!(!shown.contains(is_hidden_in_lines));
            }
        }
    }
}
