//! The escapes of JSON, HTML and URLs, and a text with one layer of them undone. Pure.

use std::ops::Range;

use super::undone::Undone;

/// A text with one layer of escapes undone. The bytes need not be UTF-8.
pub(super) struct Plain {
    pub(super) bytes: Vec<u8>,
    pub(super) undone: Undone,
}

impl Plain {
    /// `None` when there are no escapes.
    pub(super) fn of(text: &[u8]) -> Option<Self> {
        let mut plain = Self { bytes: Vec::new(), undone: Undone::default() };
        let (mut copied, mut at) = (0, 0);
        while let Some(start) = memchr::memchr3(b'\\', b'%', b'&', &text[at..]).map(|skip| at + skip) {
            let Some((character, length)) = escape(&text[start..]) else {
                at = start + 1;
                continue;
            };
            plain.bytes.extend_from_slice(&text[copied..start]);
            at = start + length;
            copied = at;
            let here = plain.bytes.len();
            match character {
                Escaped::Byte(byte) => plain.bytes.push(byte),
                Escaped::Character(character) => {
                    plain.bytes.extend_from_slice(character.encode_utf8(&mut [0; 4]).as_bytes());
                }
            }
            plain.undone.note(here..plain.bytes.len(), start..at);
        }
        if plain.undone.is_empty() {
            return None;
        }
        plain.bytes.extend_from_slice(&text[copied..]);
        Some(plain)
    }

    /// The place of a range of these bytes in the text.
    pub(super) fn back(&self, range: Range<usize>) -> Range<usize> {
        self.undone.back(range)
    }
}

/// The meaning of an escape.
#[derive(Clone, Copy)]
enum Escaped {
    Byte(u8),
    Character(char),
}

/// The escape at the beginning of a text, and its length in bytes.
fn escape(text: &[u8]) -> Option<(Escaped, usize)> {
    match *text.first()? {
        b'\\' => backslash(text),
        b'%' => Some((Escaped::Byte(hex(text.get(1..3)?)? as u8), 3)),
        b'&' => entity(&text[1..]).map(|(character, length)| (Escaped::Character(character), length + 1)),
        _ => None,
    }
}

/// The escapes of JSON (RFC 8259, section 7), and `\x2f` of program code.
fn backslash(text: &[u8]) -> Option<(Escaped, usize)> {
    let byte = |byte| Some((Escaped::Byte(byte), 2));
    match *text.get(1)? {
        byte_itself @ (b'\\' | b'/' | b'"' | b'\'') => byte(byte_itself),
        b'n' => byte(b'\n'),
        b'r' => byte(b'\r'),
        b't' => byte(b'\t'),
        b'x' => Some((Escaped::Byte(hex(text.get(2..4)?)? as u8), 4)),
        b'u' => {
            let code = hex(text.get(2..6)?)?;
            if let Some(character) = char::from_u32(code) {
                return Some((Escaped::Character(character), 6));
            }
            let low = text.get(6..12).filter(|next| next.starts_with(b"\\u")).and_then(|next| hex(&next[2..]))?;
            let both = 0x1_0000 + ((code & 0x3FF) << 10) + (low & 0x3FF);
            Some((Escaped::Character(char::from_u32(both)?), 12))
        }
        _ => None,
    }
}

/// The character of an HTML entity, and the length of the entity in bytes, both without its `&`. The entity is a number, or a name
/// of ASCII punctuation (HTML standard, section 13.5).
pub(crate) fn entity(text: &[u8]) -> Option<(char, usize)> {
    const LONGEST: usize = 20;
    let end = text.iter().take(LONGEST).position(|byte| *byte == b';')?;
    let name = std::str::from_utf8(&text[..end]).ok()?;
    let character = match name.strip_prefix('#') {
        Some(number) => {
            let code = match number.strip_prefix(['x', 'X']) {
                Some(digits) => u32::from_str_radix(digits, 16).ok()?,
                None => number.parse().ok()?,
            };
            char::from_u32(code)?
        }
        None => ENTITIES.iter().find(|(_, names)| names.contains(&name))?.0,
    };
    Some((character, end + 1))
}

/// ASCII punctuation with its names in HTML, the frequent ones first.
pub(super) const ENTITIES: &[(char, &[&str])] = &[
    ('&', &["amp", "AMP"]),
    ('"', &["quot", "QUOT"]),
    ('<', &["lt", "LT"]),
    ('>', &["gt", "GT"]),
    ('\'', &["apos"]),
    ('\t', &["Tab"]),
    ('\n', &["NewLine"]),
    ('!', &["excl"]),
    ('#', &["num"]),
    ('$', &["dollar"]),
    ('%', &["percnt"]),
    ('(', &["lpar"]),
    (')', &["rpar"]),
    ('*', &["ast", "midast"]),
    ('+', &["plus"]),
    (',', &["comma"]),
    ('.', &["period"]),
    ('/', &["sol"]),
    (':', &["colon"]),
    (';', &["semi"]),
    ('=', &["equals"]),
    ('?', &["quest"]),
    ('@', &["commat"]),
    ('[', &["lsqb", "lbrack"]),
    ('\\', &["bsol"]),
    (']', &["rsqb", "rbrack"]),
    ('^', &["Hat"]),
    ('_', &["lowbar", "UnderBar"]),
    ('`', &["grave", "DiacriticalGrave"]),
    ('{', &["lcub", "lbrace"]),
    ('|', &["verbar", "vert", "VerticalLine"]),
    ('}', &["rcub", "rbrace"]),
];

/// The value of some hexadecimal digits.
pub(super) fn hex(digits: &[u8]) -> Option<u32> {
    digits.iter().try_fold(0, |number, digit| Some(number * 16 + char::from(*digit).to_digit(16)?))
}
