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
            // Once, for the whole text: growing step by step copies the bytes again and again.
            if copied == 0 {
                plain.bytes.reserve(text.len());
            }
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

/// Longer entities are not read, in bytes.
const ENTITY_MAX_BYTES: usize = 20;

/// The character of an HTML entity, and the length of the entity in bytes, both without its `&`. The entity is a number, or a name
/// of ASCII punctuation (HTML standard, section 13.5).
pub(crate) fn entity(text: &[u8]) -> Option<(char, usize)> {
    // Numbers and the five entities of XML are read at once.
    match text {
        [b'#', number @ ..] => entity_by_number(number).map(|(character, length)| (character, length + 1)),
        [b'q', b'u', b'o', b't', b';', ..] => Some(('"', 5)),
        [b'a', b'm', b'p', b';', ..] => Some(('&', 4)),
        [b'l', b't', b';', ..] => Some(('<', 3)),
        [b'g', b't', b';', ..] => Some(('>', 3)),
        [b'a', b'p', b'o', b's', b';', ..] => Some(('\'', 5)),
        [first, ..] if first.is_ascii_alphabetic() => {
            let end = text.iter().take(ENTITY_MAX_BYTES).position(|byte| *byte == b';')?;
            let name = std::str::from_utf8(&text[..end]).ok()?;
            let (character, _) = ENTITIES.iter().find(|(_, names)| names.contains(&name))?;
            Some((*character, end + 1))
        }
        _ => None,
    }
}

/// The same for what is behind `&#`.
fn entity_by_number(text: &[u8]) -> Option<(char, usize)> {
    let (radix, digits, sign) = match text {
        [b'x' | b'X', digits @ ..] => (16, digits, 1),
        digits => (10, digits, 0),
    };
    let length = digits.iter().take(ENTITY_MAX_BYTES).position(|byte| *byte == b';').filter(|length| *length > 0)?;
    let code = digits[..length]
        .iter()
        .try_fold(0_u32, |code, digit| code.checked_mul(radix)?.checked_add(char::from(*digit).to_digit(radix)?))?;
    Some((char::from_u32(code)?, sign + length + 1))
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
