//! The signature of texts.

/// The bytes of a signature.
pub(super) const SIGNATURE_BYTES: usize = 1_000;
/// The bits of a signature.
pub(super) const BITS: usize = SIGNATURE_BYTES * 8;
/// Bytes on each side of a place where a text is cut that are signed together. What is looked up is no longer, so it lies whole
/// in one signed text.
pub(crate) const SEAM_BYTES: usize = 64;
/// Bytes that make one bit. With three, words of common syllables seem to be everywhere.
const GRAM: usize = 4;
/// A signature with more bits says too little (0.45 of all).
const FULL: usize = BITS * 9 / 20;
/// Bytes that are added between two looks at how full it is.
const STEP: usize = 512;

/// A bit for each four bytes that stand in some texts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Signature {
    bits: Box<[u8; SIGNATURE_BYTES]>,
    count: usize,
}

impl Default for Signature {
    fn default() -> Self {
        Self { bits: Box::new([0; SIGNATURE_BYTES]), count: 0 }
    }
}

impl Signature {
    /// One that was stored. `None`: it has another length.
    pub(crate) fn from_bytes(bytes: &[u8]) -> Option<Self> {
        let bits = Box::new(<[u8; SIGNATURE_BYTES]>::try_from(bytes).ok()?);
        let count = bits.iter().map(|byte| byte.count_ones() as usize).sum();
        Some(Self { bits, count })
    }

    /// One that every search takes for a text that may have it.
    pub(crate) fn of_anything() -> Self {
        Self { bits: Box::new([u8::MAX; SIGNATURE_BYTES]), count: BITS }
    }

    /// Its bytes: bit `n` is bit `n % 8` of byte `n / 8`.
    pub(crate) fn as_bytes(&self) -> &[u8] {
        &self.bits[..]
    }

    /// Nothing more should be added.
    pub(crate) fn is_full(&self) -> bool {
        self.count >= FULL
    }

    /// Whether a text with these bits may be among its texts.
    pub(crate) fn has_all(&self, bits: &[usize]) -> bool {
        bits.iter().all(|bit| self.bits.get(bit / 8).is_some_and(|byte| byte & (1 << (bit % 8)) != 0))
    }

    /// Adds a folded text, until it is full. Returns what is left of the text: it goes into the next signature. What is left
    /// begins with the end of what was added, so that each piece of up to [`SEAM_BYTES`] is whole in one of them.
    pub(crate) fn add<'a>(&mut self, text: &'a [u8]) -> &'a [u8] {
        let mut from = 0;
        while from < text.len() {
            let to = (from + STEP).min(text.len());
            let begin = from.saturating_sub(GRAM - 1);
            for gram in text.get(begin..to).unwrap_or_default().windows(GRAM) {
                self.set(bit_of(gram));
            }
            from = to;
            if self.is_full() && to < text.len() {
                return text.get(to.saturating_sub(SEAM_BYTES)..).unwrap_or_default();
            }
        }
        &[]
    }

    fn set(&mut self, bit: usize) {
        if let Some(byte) = self.bits.get_mut(bit / 8) {
            let mask = 1 << (bit % 8);
            self.count += usize::from(*byte & mask == 0);
            *byte |= mask;
        }
    }
}

/// The bits of all pieces of a folded text.
pub(super) fn bits_of(text: &[u8]) -> Vec<usize> {
    text.windows(GRAM).map(bit_of).collect()
}

/// A multiplication spreads the bytes (Knuth's constant); the product's upper half is scaled to the number of bits.
fn bit_of(gram: &[u8]) -> usize {
    let number = gram.iter().fold(0_u32, |number, byte| (number << 8) | u32::from(*byte));
    let spread = number.wrapping_mul(0x9E37_79B1) ^ number.wrapping_mul(0x85EB_CA6B).rotate_left(15);
    let scaled = (u64::from(spread.wrapping_mul(0xC2B2_AE35)) * BITS as u64) >> 32;
    usize::try_from(scaled).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn whatever_is_added_each_piece_is_whole_in_a_signature(
            text in prop::collection::vec(any::<u8>(), 0..20_000), at in any::<prop::sample::Index>(), bytes in 1..=SEAM_BYTES,
        ) {
            let (mut signatures, mut rest) = (vec![Signature::default()], &text[..]);
            while !rest.is_empty() {
                rest = signatures.last_mut().unwrap().add(rest);
                if !rest.is_empty() {
                    signatures.push(Signature::default());
                }
            }
            let from = at.index(text.len().max(1)).min(text.len());
            let piece = bits_of(&text[from..(from + bytes).min(text.len())]);
            prop_assert!(signatures.iter().any(|signature| signature.has_all(&piece)));
            prop_assert!(signatures.iter().all(|signature| signature.count < FULL + STEP));
        }
    }

    #[test]
    fn a_stored_signature_is_the_same() {
        let mut signature = Signature::default();
        assert!(signature.add(b"some text").is_empty() && signature.has_all(&bits_of(b"e tex")));
        assert!(!signature.has_all(&bits_of(b"other")) && Signature::of_anything().has_all(&bits_of(b"other")));
        assert_eq!(Signature::from_bytes(signature.as_bytes()), Some(signature));
        assert_eq!(Signature::from_bytes(b"short"), None);
    }
}
