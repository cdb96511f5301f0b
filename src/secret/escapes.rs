//! The escapes of JSON, HTML and URLs, and a text with one layer of them undone. Pure.

use std::ops::Range;

use super::buffers;
use super::undone::Undone;

/// A text with one layer of escapes undone. The bytes need not be UTF-8.
pub(super) struct Unescaped {
    pub(super) bytes: Vec<u8>,
    pub(super) undone: Undone,
}

impl Unescaped {
    /// `None` when there are no escapes.
    pub(super) fn of(text: &[u8]) -> Option<Self> {
        let mut plain = Self { bytes: Vec::new(), undone: Undone::default() };
        let (mut copied, mut at) = (0, 0);
        while let Some(start) = next_sign(text, at, [b'\\', b'%', b'&']) {
            let (character, length) = match simple(&text[start..]) {
                Some(byte) => (Escaped::Byte(byte), 2),
                None => match escape(&text[start..]) {
                    Some(escape) => escape,
                    None => {
                        at = start + 1;
                        continue;
                    }
                },
            };
            // Once, for the whole text: growing step by step copies the bytes again and again.
            if copied == 0 {
                plain.bytes = buffers::take(text.len());
            }
            plain.bytes.extend_from_slice(&text[copied..start]);
            let here = plain.bytes.len();
            // Strings in strings have long rows of these.
            if text[start + 1] == b'\\'
                && let slashes = text[start..].iter().take_while(|byte| **byte == b'\\').count()
                && slashes >= SLASHES_AT_ONCE
            {
                let pairs = slashes / 2;
                plain.bytes.resize(here + pairs, b'\\');
                plain.undone.note_all(here..here + 1, start..start + 2, pairs);
                at = start + 2 * pairs;
                copied = at;
                continue;
            }
            at = start + length;
            copied = at;
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

impl Drop for Unescaped {
    fn drop(&mut self) {
        buffers::give_back(std::mem::take(&mut self.bytes));
    }
}

/// So many backslashes side by side are undone at once.
const SLASHES_AT_ONCE: usize = 4;

/// Where the next of these signs stands, at `from` or later: one to three of them. Signs often stand close together, so the next few
/// bytes are searched here, eight at once. A call of SIMD code takes longer for them.
#[inline]
pub(crate) fn next_sign<const SIGNS: usize>(text: &[u8], from: usize, signs: [u8; SIGNS]) -> Option<usize> {
    const WORDS: usize = 4;
    let mut at = from;
    for _ in 0..WORDS {
        let Some(word) = text.get(at..).and_then(<[u8]>::first_chunk) else { break };
        let word = u64::from_le_bytes(*word);
        let here = signs.iter().fold(0, |here, sign| here | zero_bytes(word ^ (ONES * u64::from(*sign))));
        if here != 0 {
            return Some(at + here.trailing_zeros() as usize / 8);
        }
        at += size_of::<u64>();
    }
    let rest = text.get(at..)?;
    let further = match signs[..] {
        [one] => memchr::memchr(one, rest),
        [one, two] => memchr::memchr2(one, two, rest),
        [one, two, three] => memchr::memchr3(one, two, three, rest),
        _ => rest.iter().position(|byte| signs.contains(byte)),
    };
    further.map(|skip| at + skip)
}

/// A one in each byte.
const ONES: u64 = u64::MAX / 0xFF;

/// The highest bit of each byte that is zero. Bytes above such a byte may have it too, so only the first one counts.
fn zero_bytes(word: u64) -> u64 {
    word.wrapping_sub(ONES) & !word & (ONES << 7)
}

/// The meaning of an escape.
#[derive(Clone, Copy)]
enum Escaped {
    Byte(u8),
    Character(char),
}

/// The byte of an escape of two bytes at the beginning of a text: most escapes are quotes and line ends in JSON.
#[inline]
fn simple(text: &[u8]) -> Option<u8> {
    match text {
        [b'\\', byte @ (b'"' | b'\\' | b'/'), ..] => Some(*byte),
        [b'\\', b'n', ..] => Some(b'\n'),
        _ => None,
    }
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
            let end = text.iter().take(ENTITY_MAX_BYTES).position(|byte| !byte.is_ascii_alphabetic())?;
            let name = text.get(end).filter(|byte| **byte == b';').map(|_| &text[..end])?;
            Some((entity_by_name(name)?, end + 1))
        }
        _ => None,
    }
}

/// The character with this name.
fn entity_by_name(name: &[u8]) -> Option<char> {
    /// The rows of [`ENTITIES`] with a name that begins with each letter, as bits.
    static ROWS: [u64; 128] = {
        let mut rows = [0; 128];
        let mut row = 0;
        while row < ENTITIES.len() {
            let names = ENTITIES[row].1;
            let mut name = 0;
            while name < names.len() {
                rows[names[name].as_bytes()[0] as usize] |= 1 << row;
                name += 1;
            }
            row += 1;
        }
        rows
    };
    let mut rows = *ROWS.get(usize::from(*name.first()?))?;
    while rows != 0 {
        let (character, names) = ENTITIES[rows.trailing_zeros() as usize];
        if names.iter().any(|known| known.as_bytes() == name) {
            return Some(character);
        }
        rows &= rows - 1;
    }
    None
}

/// The same for what is behind `&#`.
fn entity_by_number(text: &[u8]) -> Option<(char, usize)> {
    let (radix, digits, sign) = match text {
        [b'x' | b'X', digits @ ..] => (16, digits, 1),
        digits => (10, digits, 0),
    };
    let mut code = 0_u32;
    for (length, byte) in digits.iter().take(ENTITY_MAX_BYTES).enumerate() {
        match digit(*byte) {
            // No character has a higher code.
            Some(value) if value < radix => code = (code * radix + value).min(NO_CHARACTER),
            _ if *byte == b';' && length > 0 => return Some((char::from_u32(code)?, sign + length + 1)),
            _ => return None,
        }
    }
    None
}

/// No character has this code.
const NO_CHARACTER: u32 = char::MAX as u32 + 1;

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
pub(crate) fn hex(digits: &[u8]) -> Option<u32> {
    digits.iter().try_fold(0_u32, |number, byte| Some(number << 4 | digit(*byte)?))
}

/// The value of a hexadecimal digit.
#[inline]
fn digit(byte: u8) -> Option<u32> {
    /// 16 for any other byte.
    static VALUES: [u8; 256] = {
        let mut values = [16; 256];
        let digits = b"0123456789abcdef";
        let mut value = 0;
        while value < 16 {
            values[digits[value] as usize] = value as u8;
            values[digits[value].to_ascii_uppercase() as usize] = value as u8;
            value += 1;
        }
        values
    };
    let value = VALUES[usize::from(byte)];
    (value < 16).then_some(u32::from(value))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn the_next_sign_is_the_first_one(
            text in prop::collection::vec(prop_oneof![any::<u8>(), prop::sample::select(b"\\%&!\x00\x01\x80\xff".to_vec())], 0..70),
            sparse in prop::collection::vec(prop_oneof![200 => Just(b'a'), 1 => Just(b'&')], 0..300),
            from in 0_usize..80,
        ) {
            for text in [text, sparse] {
                let first = |signs: &[u8]| Some(from + text.get(from..)?.iter().position(|byte| signs.contains(byte))?);
                prop_assert_eq!(next_sign(&text, from, [b'&']), first(b"&"));
                prop_assert_eq!(next_sign(&text, from, [b'&', b'\\']), first(b"&\\"));
                prop_assert_eq!(next_sign(&text, from, [b'&', b'\\', b'%']), first(b"&\\%"));
            }
        }
    }
}
