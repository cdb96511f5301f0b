//! Where needles may begin in a text. Their first bytes rule out most places, and many places are tested at once, while an automaton
//! waits for its table at each byte.

/// The places that are tested at once.
const PLACES: usize = 8;
/// The bytes that are read for them.
const BLOCK_BYTES: usize = PLACES + 3;
/// The hash of three bytes has so many bits. The table fits into the fastest cache.
const HASH_BITS: u32 = 14;

/// The beginnings of needles, in either case.
pub(super) struct Starts {
    /// For each hash of three bytes, a bit for each kind of fourth byte.
    table: Box<[u8; 1 << HASH_BITS]>,
}

impl Starts {
    pub(super) fn of<'n>(needles: impl Iterator<Item = &'n str>) -> Self {
        let mut starts = Self { table: Box::new([0; _]) };
        for needle in needles {
            match *needle.as_bytes() {
                [one, two, three, four, ..] => starts.put([one, two, three], 1 << kind(four)),
                [one, two, three] => starts.put([one, two, three], u8::MAX),
                [one, two] => (0..=u8::MAX).for_each(|any| starts.put([one, two, any], u8::MAX)),
                [_] | [] => starts.table.fill(u8::MAX),
            }
        }
        starts
    }

    fn put(&mut self, [one, two, three]: [u8; 3], kinds: u8) {
        self.table[hash(folded([one, two, three, 0, 0, 0, 0, 0]) as u32)] |= kinds;
    }

    /// The first place at `from` or behind it where a needle may begin.
    #[inline]
    pub(super) fn next(&self, text: &[u8], from: usize) -> Option<usize> {
        let mut at = from;
        while let Some(block) = text.get(at..).and_then(<[u8]>::first_chunk) {
            if let Some(place) = self.first(block) {
                return Some(at + place);
            }
            at += PLACES;
        }
        while let Some(rest) = text.get(at..).filter(|rest| !rest.is_empty()) {
            let mut block = [0; BLOCK_BYTES];
            block[..rest.len()].copy_from_slice(rest);
            if let Some(place) = self.first(&block) {
                return Some(at + place).filter(|place| *place < text.len());
            }
            at += PLACES;
        }
        None
    }

    /// The first place of a block where a needle may begin.
    #[inline]
    fn first(&self, block: &[u8; BLOCK_BYTES]) -> Option<usize> {
        let words = [block.first_chunk(), block.last_chunk()].map(|word| word.copied().map_or(0, folded));
        let kinds = |at: usize| {
            // Three bytes from place 6 on are not in the first word.
            let (word, skipped) = if at < 6 { (words[0], at) } else { (words[1], at - 3) };
            self.table[hash((word >> (8 * skipped)) as u32)]
        };
        let any = (0..PLACES).fold(0, |any, at| any | kinds(at));
        if any == 0 {
            return None;
        }
        (0..PLACES).find(|at| kinds(*at) & 1 << kind(block[at + 3]) != 0)
    }
}

/// Bytes without the bit that tells small letters from capital ones.
#[inline]
fn folded(bytes: [u8; 8]) -> u64 {
    u64::from_le_bytes(bytes) & 0xDFDF_DFDF_DFDF_DFDF
}

/// The hash of the first three bytes of a word.
#[inline]
fn hash(word: u32) -> usize {
    // 2^32 divided by the golden ratio. Without the fourth byte.
    const SPREAD: u32 = 0x9E37_79B1 << 8;
    (word.wrapping_mul(SPREAD) >> (u32::BITS - HASH_BITS)) as usize
}

/// One of eight kinds of bytes. Small letters are of the kind of capital ones.
#[inline]
fn kind(byte: u8) -> u8 {
    byte & 7
}
