//! Frames (RFC 6455 section 5.2), from bytes in pieces of any size.

/// The longest header: two bytes, eight for the length, four for the mask.
const HEADER_MAX_BYTES: usize = 14;

/// Payload is unmasked in pieces of this size.
const UNMASKED_BYTES: usize = 4096;

/// The type of a frame.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Opcode {
    Continuation,
    Text,
    Binary,
    Close,
    Ping,
    Pong,
    /// A reserved opcode.
    Reserved,
}

/// The header of a frame.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Head {
    /// Whether it is the last frame of its message (FIN).
    pub(super) last: bool,
    /// RSV1: the first frame of a compressed message (RFC 7692 section 6).
    pub(super) rsv1: bool,
    /// RSV2 or RSV3: no negotiated extension uses them.
    pub(super) rsv23: bool,
    pub(super) opcode: Opcode,
    /// The masking key. Agents must mask, origins must not.
    pub(super) mask: Option<[u8; 4]>,
    pub(super) length: u64,
    /// Whether the length uses more bytes than it needs.
    pub(super) padded: bool,
}

/// A part of a frame, in the order of the bytes.
pub(super) enum Piece<'a> {
    Head(Head),
    /// Payload, unmasked.
    Payload(&'a [u8]),
    /// The end of a frame.
    End,
}

/// Reads the frames of one side.
pub(super) struct Frames {
    header: [u8; HEADER_MAX_BYTES],
    /// Bytes of `header` received so far; 0 between two frames and inside a payload.
    filled: usize,
    payload: Option<Payload>,
    /// A frame had an impossible length, so nothing after it can be read.
    lost: bool,
}

struct Payload {
    left: u64,
    mask: Option<[u8; 4]>,
    /// The position of the next byte in the masking key.
    phase: usize,
}

impl Frames {
    pub(super) fn new() -> Self {
        Self { header: [0; HEADER_MAX_BYTES], filled: 0, payload: None, lost: false }
    }

    /// Whether frame boundaries are lost: a length had its highest bit set.
    pub(super) fn is_lost(&self) -> bool {
        self.lost
    }

    /// Whether the side is between two frames.
    pub(super) fn is_between(&self) -> bool {
        self.filled == 0 && self.payload.is_none()
    }

    /// Reads the next bytes, and reports what they hold.
    pub(super) fn read(&mut self, mut bytes: &[u8], found: &mut impl FnMut(Piece<'_>)) {
        while !self.lost {
            bytes = match &mut self.payload {
                Some(payload) => {
                    let rest = payload.read(bytes, found);
                    if payload.left > 0 {
                        return;
                    }
                    self.payload = None;
                    found(Piece::End);
                    rest
                }
                None => match self.read_header(bytes) {
                    Some((head, rest)) => {
                        found(Piece::Head(head));
                        self.payload = Some(Payload { left: head.length, mask: head.mask, phase: 0 });
                        rest
                    }
                    None => return,
                },
            };
        }
    }

    fn read_header<'a>(&mut self, mut bytes: &'a [u8]) -> Option<(Head, &'a [u8])> {
        loop {
            let needed = match self.filled {
                0 | 1 => 2,
                _ => header_bytes(self.header[1]),
            };
            if self.filled == needed {
                break;
            }
            let now = bytes.len().min(needed - self.filled);
            if now == 0 {
                return None;
            }
            self.header[self.filled..self.filled + now].copy_from_slice(&bytes[..now]);
            self.filled += now;
            bytes = &bytes[now..];
        }
        self.filled = 0;
        let head = parsed(&self.header);
        if head.length > u64::MAX / 2 {
            self.lost = true;
            return None;
        }
        Some((head, bytes))
    }
}

impl Payload {
    fn read<'a>(&mut self, bytes: &'a [u8], found: &mut impl FnMut(Piece<'_>)) -> &'a [u8] {
        let here = usize::try_from(self.left).unwrap_or(usize::MAX).min(bytes.len());
        let (mine, rest) = bytes.split_at(here);
        self.left -= here as u64;
        let Some(mask) = self.mask else {
            if !mine.is_empty() {
                found(Piece::Payload(mine));
            }
            return rest;
        };
        let mut unmasked = [0; UNMASKED_BYTES];
        for piece in mine.chunks(UNMASKED_BYTES) {
            let key = [
                mask[self.phase],
                mask[(self.phase + 1) % 4],
                mask[(self.phase + 2) % 4],
                mask[(self.phase + 3) % 4],
            ];
            for (four, masked) in unmasked.chunks_mut(4).zip(piece.chunks(4)) {
                four.iter_mut().zip(masked).zip(key).for_each(|((to, from), key)| *to = from ^ key);
            }
            self.phase = (self.phase + piece.len()) % 4;
            found(Piece::Payload(&unmasked[..piece.len()]));
        }
        rest
    }
}

/// The length of a header with this second byte.
fn header_bytes(second: u8) -> usize {
    let length = match second & 0x7F {
        126 => 2,
        127 => 8,
        _ => 0,
    };
    2 + length + if second & 0x80 == 0 { 0 } else { 4 }
}

fn parsed(header: &[u8; HEADER_MAX_BYTES]) -> Head {
    let [first, second, rest @ ..] = header;
    let (length, least, after) = match second & 0x7F {
        126 => (u64::from(u16::from_be_bytes([rest[0], rest[1]])), 126, 2),
        127 => {
            let [a, b, c, d, e, f, g, h, ..] = *rest;
            (u64::from_be_bytes([a, b, c, d, e, f, g, h]), 1 << 16, 8)
        }
        short => (u64::from(short), 0, 0),
    };
    let masked = second & 0x80 != 0;
    Head {
        last: first & 0x80 != 0,
        rsv1: first & 0x40 != 0,
        rsv23: first & 0x30 != 0,
        opcode: match first & 0x0F {
            0 => Opcode::Continuation,
            1 => Opcode::Text,
            2 => Opcode::Binary,
            8 => Opcode::Close,
            9 => Opcode::Ping,
            10 => Opcode::Pong,
            _ => Opcode::Reserved,
        },
        mask: masked.then(|| [rest[after], rest[after + 1], rest[after + 2], rest[after + 3]]),
        length,
        padded: length < least,
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::testing::{cut, frame};
    use super::*;

    /// The frames in `bytes`, split into these pieces: header and payload of each, and whether the last one is
    /// complete.
    fn read(bytes: &[u8], cuts: &[usize]) -> (Vec<(Head, Vec<u8>)>, bool) {
        let (mut frames, mut found, mut ends) = (Frames::new(), Vec::new(), 0);
        for piece in cut(bytes, cuts) {
            frames.read(piece, &mut |piece| match piece {
                Piece::Head(head) => found.push((head, Vec::new())),
                Piece::Payload(payload) => found.last_mut().unwrap().1.extend_from_slice(payload),
                Piece::End => ends += 1,
            });
        }
        let whole = found.len() == ends;
        (found, whole)
    }

    #[test]
    fn lengths_of_7_16_and_64_bits_masked_and_not() {
        for length in [0, 1, 125, 126, 127, 65_535, 65_536, 70_000] {
            let payload: Vec<u8> = (0..length).map(|n| (n % 251) as u8).collect();
            for mask in [None, Some([1, 2, 3, 250])] {
                let (found, whole) = read(&frame(0x82, &payload, mask), &[3, 2, 5]);
                let (head, read) = &found[0];
                assert!(whole && *read == payload, "{length} {mask:?}");
                assert_eq!((head.opcode, head.last, head.mask), (Opcode::Binary, true, mask));
                assert!(!head.padded && !head.rsv1 && !head.rsv23);
            }
        }
    }

    #[test]
    fn a_padded_length_is_reported_and_one_beyond_63_bits_ends_reading() {
        assert!(read(&[0x82, 126, 0, 1, 7], &[]).0[0].0.padded);
        assert!(read(&[0x82, 127, 0, 0, 0, 0, 0, 0, 0, 0], &[]).0[0].0.padded);
        let mut frames = Frames::new();
        let mut found = 0;
        frames.read(&[0x82, 127, 0x80, 0, 0, 0, 0, 0, 0, 0, 0x81, 0], &mut |_| found += 1);
        assert!(frames.is_lost() && found == 0);
    }

    proptest! {
        #[test]
        fn any_split_of_the_bytes_gives_the_same_frames(
            frames in prop::collection::vec((any::<u8>(), prop::collection::vec(any::<u8>(), 0..300), any::<Option<[u8; 4]>>()), 0..6),
            noise in prop::collection::vec(any::<u8>(), 0..40),
            cuts in prop::collection::vec(1usize..60, 0..30),
        ) {
            let mut bytes: Vec<u8> = frames.iter().flat_map(|(first, payload, mask)| frame(*first, payload, *mask)).collect();
            bytes.extend_from_slice(&noise);
            let whole = read(&bytes, &[]);
            prop_assert_eq!(&read(&bytes, &cuts), &whole);
            for ((_, payload, _), (_, found)) in frames.iter().zip(&whole.0) {
                prop_assert_eq!(payload, found);
            }
        }
    }
}
