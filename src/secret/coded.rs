//! Finds secrets in base64 and in hexadecimal digits by their encoded form, without decoding.

use std::ops::Range;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD_NO_PAD;

use super::needles::Needles;

/// At most so many characters at the end of an encoded secret are searched for: no two secrets have the same end.
const END_MAX_BYTES: usize = 32;

/// Finds encoded secrets in a run of characters of base64.
pub(super) struct Coded {
    base64: Needles,
    /// The reach of each needle of `base64`.
    of_base64: Vec<Reach>,
    hex: Needles,
    /// The reach of each needle of `hex`.
    of_hex: Vec<Reach>,
}

/// How many characters around a needle hold more bits of the secret.
#[derive(Clone, Copy)]
struct Reach {
    before: usize,
    after: usize,
}

impl Coded {
    /// `None` when there are too many secrets to search for at once.
    pub(super) fn new<S: AsRef<[u8]>>(secrets: &[S]) -> Option<Self> {
        let secrets = || secrets.iter().map(AsRef::as_ref);
        let (base64, of_base64): (Vec<_>, Vec<_>) = secrets().flat_map(in_base64).unzip();
        let (hex, of_hex): (Vec<_>, Vec<_>) = secrets().flat_map(in_hex).unzip();
        Some(Self { base64: Needles::new(&base64)?, of_base64, hex: Needles::new(&hex)?, of_hex })
    }

    /// The ranges of characters of base64 that hold bits of a secret, in no order.
    pub(super) fn in_base64(&self, characters: &[u8], found: &mut dyn FnMut(Range<usize>)) {
        for (needle, range) in self.base64.find_iter(characters) {
            found(self.of_base64[needle].around(range, characters));
        }
    }

    /// The same for hexadecimal digits.
    pub(super) fn in_hex(&self, digits: &[u8], found: &mut dyn FnMut(Range<usize>)) {
        for (needle, range) in self.hex.find_iter(digits) {
            found(self.of_hex[needle].around(range, digits));
        }
    }
}

impl Reach {
    /// A needle with what belongs to it of these characters.
    fn around(self, needle: Range<usize>, characters: &[u8]) -> Range<usize> {
        needle.start.saturating_sub(self.before)..characters.len().min(needle.end + self.after)
    }
}

/// The end of a secret in base64, at each of the three alignments and in both alphabets (RFC 4648, sections 4 and 5): only the
/// characters whose bits all belong to the secret.
fn in_base64(secret: &[u8]) -> impl Iterator<Item = (Vec<u8>, Reach)> {
    (0..3).flat_map(move |before| {
        let encoded = STANDARD_NO_PAD.encode([&[0; 3][..before], secret].concat()).into_bytes();
        let bits = before * 8..(before + secret.len()) * 8;
        let end = bits.end / 6;
        let start = bits.start.div_ceil(6).max(end.saturating_sub(END_MAX_BYTES));
        let reach = Reach { before: start - bits.start / 6, after: bits.end.div_ceil(6) - end };
        let standard = encoded[start..end].to_vec();
        let for_urls = standard.iter().map(|byte| match byte {
            b'+' => b'-',
            b'/' => b'_',
            byte => *byte,
        });
        let for_urls = Some(for_urls.collect::<Vec<_>>()).filter(|other| *other != standard);
        [Some(standard), for_urls].into_iter().flatten().map(move |needle| (needle, reach))
    })
}

/// The end of a secret in hexadecimal digits, in lower case and in upper case.
fn in_hex(secret: &[u8]) -> [(Vec<u8>, Reach); 2] {
    let small: String = secret.iter().map(|byte| format!("{byte:02x}")).collect();
    let before = small.len().saturating_sub(END_MAX_BYTES);
    let reach = Reach { before, after: 0 };
    [small.to_ascii_uppercase(), small].map(|digits| (digits.as_bytes()[before..].to_vec(), reach))
}
