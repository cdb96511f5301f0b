//! Finds the `:path` in a header block (RFC 7541). The dynamic tables are not tracked, so a path that enters a table or comes from one
//! is not found.

use std::ops::Range;
use std::sync::LazyLock;

/// The code length of each byte, and of EOS (RFC 7541, appendix B). The code is canonical, so the lengths define it.
const CODE_LENGTHS: [u8; 257] = [
    13, 23, 28, 28, 28, 28, 28, 28, 28, 24, 30, 28, 28, 30, 28, 28, 28, 28, 28, 28, 28, 28, 30, 28, 28, 28, 28, 28,
    28, 28, 28, 28, 6, 10, 10, 12, 13, 6, 8, 11, 10, 10, 8, 11, 8, 6, 6, 6, 5, 5, 5, 6, 6, 6, 6, 6, 6, 6, 7, 8, 15,
    6, 12, 10, 13, 6, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 8, 7, 8, 13, 19, 13, 14, 6,
    15, 5, 6, 5, 6, 5, 6, 6, 6, 5, 7, 7, 6, 6, 6, 5, 6, 7, 6, 5, 5, 6, 7, 7, 7, 7, 7, 15, 11, 14, 13, 28, 20, 22, 20,
    20, 22, 22, 22, 23, 22, 23, 23, 23, 23, 23, 24, 23, 24, 24, 22, 23, 24, 23, 23, 23, 23, 21, 22, 23, 22, 23, 23,
    24, 22, 21, 20, 22, 22, 23, 23, 21, 23, 22, 22, 24, 21, 22, 23, 23, 21, 21, 22, 21, 23, 22, 23, 23, 20, 22, 22,
    22, 23, 22, 22, 23, 26, 26, 20, 19, 22, 23, 22, 25, 26, 26, 26, 27, 27, 26, 24, 25, 19, 21, 26, 27, 27, 26, 27,
    24, 21, 21, 26, 26, 28, 27, 27, 27, 20, 24, 20, 21, 22, 21, 21, 23, 22, 22, 25, 25, 24, 24, 26, 23, 26, 27, 26,
    26, 27, 27, 27, 27, 27, 28, 27, 27, 27, 27, 27, 26, 30,
];
const LONGEST_CODE: usize = 30;
/// The entries of the static table with the name `:path`.
const PATH_ENTRIES: [usize; 2] = [4, 5];

/// A `:path` in a header block.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Path {
    /// The range of its value, including the length before it.
    pub(super) field: Range<usize>,
    /// Its value.
    pub(super) value: Vec<u8>,
}

/// The `:path` of a block. `None`: it is not a literal, or it enters a table.
pub(super) fn path(block: &[u8]) -> Option<Path> {
    let mut cursor = Cursor { block, at: 0 };
    while let Some(first) = block.get(cursor.at) {
        match first {
            0x80.. => drop(cursor.integer(7)?),
            0x20..0x40 => drop(cursor.integer(5)?),
            _ => {
                let enters_a_table = *first >= 0x40;
                let entry = cursor.integer(if enters_a_table { 6 } else { 4 })?;
                let is_path = match entry {
                    0 => cursor.string()?.text()? == b":path",
                    entry => PATH_ENTRIES.contains(&entry),
                };
                let start = cursor.at;
                let value = cursor.string()?;
                if is_path {
                    let field = start..cursor.at;
                    return if enters_a_table { None } else { Some(Path { field, value: value.text()? }) };
                }
            }
        }
    }
    None
}

/// Encodes a string literal without Huffman coding.
pub(super) fn string(bytes: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(bytes.len() + 4);
    if bytes.len() < 0x7f {
        out.push(bytes.len() as u8);
    } else {
        out.push(0x7f);
        let mut left = bytes.len() - 0x7f;
        while left >= 0x80 {
            out.push((left & 0x7f) as u8 | 0x80);
            left >>= 7;
        }
        out.push(left as u8);
    }
    out.extend_from_slice(bytes);
    out
}

struct Cursor<'a> {
    block: &'a [u8],
    at: usize,
}

/// An encoded string literal.
struct Literal<'a> {
    huffman: bool,
    bytes: &'a [u8],
}

impl<'a> Cursor<'a> {
    fn byte(&mut self) -> Option<u8> {
        let byte = self.block.get(self.at).copied();
        self.at += 1;
        byte
    }

    /// An integer with a prefix of `bits` bits (RFC 7541 5.1). `None`: it is incomplete, or longer than four more bytes.
    fn integer(&mut self, bits: u32) -> Option<usize> {
        let most = (1 << bits) - 1;
        let mut number = usize::from(self.byte()?) & most;
        if number < most {
            return Some(number);
        }
        for place in 0..4 {
            let byte = self.byte()?;
            number += usize::from(byte & 0x7f) << (7 * place);
            if byte < 0x80 {
                return Some(number);
            }
        }
        None
    }

    /// RFC 7541 5.2.
    fn string(&mut self) -> Option<Literal<'a>> {
        let huffman = self.block.get(self.at)? & 0x80 != 0;
        let length = self.integer(7)?;
        let bytes = self.block.get(self.at..self.at.checked_add(length)?)?;
        self.at += length;
        Some(Literal { huffman, bytes })
    }
}

impl Literal<'_> {
    fn text(&self) -> Option<Vec<u8>> {
        if self.huffman { CODE.decode(self.bytes) } else { Some(self.bytes.to_vec()) }
    }
}

static CODE: LazyLock<Code> = LazyLock::new(Code::new);

/// The code, prepared for decoding.
struct Code {
    /// For each code length: its first code, the number of codes, and the index of their first symbol.
    lengths: [(u32, u32, usize); LONGEST_CODE + 1],
    /// The symbols in the order of their codes.
    symbols: Vec<u16>,
}

impl Code {
    fn new() -> Self {
        let mut symbols: Vec<u16> = (0..=256).collect();
        symbols.sort_by_key(|symbol| CODE_LENGTHS[usize::from(*symbol)]);
        let (mut lengths, mut code, mut begin) = ([(0, 0, 0); LONGEST_CODE + 1], 0_u32, 0);
        for (length, slot) in lengths.iter_mut().enumerate() {
            let count = CODE_LENGTHS.iter().filter(|other| usize::from(**other) == length).count();
            code <<= 1;
            *slot = (code, count as u32, begin);
            code += count as u32;
            begin += count;
        }
        Self { lengths, symbols }
    }

    /// `None`: the coding is malformed. Up to 7 bits at the end are padding.
    fn decode(&self, bytes: &[u8]) -> Option<Vec<u8>> {
        let (mut out, mut code, mut length) = (Vec::with_capacity(bytes.len() * 2), 0_u32, 0);
        for bit in bytes.iter().flat_map(|byte| (0..8).rev().map(move |place| u32::from(byte >> place & 1))) {
            code = code << 1 | bit;
            length += 1;
            let (first, count, begin) = *self.lengths.get(length)?;
            let Some(at) = code.checked_sub(first).filter(|at| *at < count) else { continue };
            out.push(u8::try_from(*self.symbols.get(begin + at as usize)?).ok()?);
            (code, length) = (0, 0);
        }
        (length < 8).then_some(out)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn the_code_is_that_of_the_rfc() {
        // RFC 7541 C.4.1, C.4.3, C.6.1
        for (coded, text) in [
            (&[0xf1, 0xe3, 0xc2, 0xe5, 0xf2, 0x3a, 0x6b, 0xa0, 0xab, 0x90, 0xf4, 0xff][..], &b"www.example.com"[..]),
            (&[0x25, 0xa8, 0x49, 0xe9, 0x5b, 0xb8, 0xe8, 0xb4, 0xbf], b"custom-value"),
            (&[0x64, 0x02], b"302"),
        ] {
            assert_eq!(CODE.decode(coded).as_deref(), Some(text));
        }
        assert_eq!(CODE.decode(&[0xff; 4]), None, "the end is no text");
    }

    #[test]
    fn a_path_is_found_where_it_enters_no_table() {
        let literal = |first: &[u8], value: &[u8]| [first, &string(value)].concat();
        let authority = literal(&[0x41], b"www.example.com");
        for first in [&[0x04][..], &[0x14], &[0x05], b"\x00\x05:path"] {
            let block = [&[0x20, 0x82, 0x87][..], &authority, &literal(first, b"/<a>"), &[0x84]].concat();
            let Path { field, value } = path(&block).unwrap();
            assert_eq!((&*value, &block[field]), (&b"/<a>"[..], &b"\x04/<a>"[..]));
        }
        assert_eq!(path(&[&authority[..], &literal(&[0x44], b"/<a>")].concat()), None);
        assert_eq!(path(&[0x82, 0x84, 0x87]), None);
        let long = vec![b'x'; 70_000];
        assert_eq!(path(&literal(&[0x04], &long)).unwrap().value, long);
    }

    proptest! {
        #[test]
        fn any_input_is_read_or_refused(block in prop::collection::vec(any::<u8>(), 0..200)) {
            if let Some(Path { field, .. }) = path(&block) {
                prop_assert!(field.end <= block.len());
            }
        }
    }
}
