//! permessage-deflate (RFC 7692): its negotiation, and decompression piece by piece.

use flate2::{Decompress, FlushDecompress, Status};

/// The largest piece of decompressed content.
const PIECE_BYTES: usize = 32 << 10;

/// Input is inflated in blocks of this size, counted from the start of the message. How much an inflater gives before
/// it finds damage depends on how its input is split, so each message is split in the same way. The output of one block
/// (at most 1,032 bytes for each byte, some eight of which may come from before) always fits the output buffer: an
/// inflater that finds damage forgets output that did not fit.
const BLOCK_BYTES: usize = 16;

/// The most that is inflated of one message: a compression bomb costs no more.
const MESSAGE_MAX_BYTES: u64 = 64 << 20;

/// The extensions that a server's handshake response accepts (RFC 6455 section 9.1).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Extensions {
    /// None: payloads are plain messages.
    #[default]
    None,
    /// permessage-deflate.
    Deflate {
        /// The agent compresses each message without the context of earlier ones.
        agent_alone: bool,
        /// The origin does so.
        origin_alone: bool,
    },
    /// Another extension: frames can be separated, but not read.
    Unknown,
}

impl Extensions {
    /// From the values of `Sec-WebSocket-Extensions` in the handshake response.
    pub fn agreed<'a>(values: impl Iterator<Item = &'a [u8]>) -> Self {
        let mut agreed = Self::None;
        for value in values {
            for extension in value.split(|byte| *byte == b',') {
                let mut words = extension.split(|byte| *byte == b';').map(<[u8]>::trim_ascii);
                let name = words.next().unwrap_or_default();
                if name.is_empty() {
                    continue;
                }
                if agreed != Self::None || !name.eq_ignore_ascii_case(b"permessage-deflate") {
                    return Self::Unknown;
                }
                let (mut agent_alone, mut origin_alone) = (false, false);
                for parameter in words {
                    agent_alone |= parameter.eq_ignore_ascii_case(b"client_no_context_takeover");
                    origin_alone |= parameter.eq_ignore_ascii_case(b"server_no_context_takeover");
                }
                agreed = Self::Deflate { agent_alone, origin_alone };
            }
        }
        agreed
    }
}

/// Why the data cannot be inflated further.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Stuck {
    /// It is not valid deflate data.
    Damaged,
    /// One message is larger than the limit.
    TooLarge,
}

/// Inflates the messages of one side. It uses about 60 KiB, of which 32 are the window.
pub(super) struct Inflater {
    inner: Decompress,
    /// Each message is compressed without the context of earlier ones.
    alone: bool,
    out: Box<[u8]>,
    /// The current block, while it is incomplete.
    block: Vec<u8>,
    message_bytes: u64,
}

impl Inflater {
    pub(super) fn new(alone: bool) -> Self {
        let out = vec![0; PIECE_BYTES].into_boxed_slice();
        Self { inner: Decompress::new(false), alone, out, block: Vec::with_capacity(BLOCK_BYTES), message_bytes: 0 }
    }

    /// Inflates a piece of a message's payload, as far as its blocks are complete.
    pub(super) fn read(&mut self, mut payload: &[u8], found: &mut impl FnMut(&[u8])) -> Result<(), Stuck> {
        while !payload.is_empty() {
            let (now, rest) = payload.split_at(payload.len().min(BLOCK_BYTES - self.block.len()));
            self.block.extend_from_slice(now);
            payload = rest;
            if self.block.len() == BLOCK_BYTES {
                self.inflate_block(found)?;
            }
        }
        Ok(())
    }

    fn inflate_block(&mut self, found: &mut impl FnMut(&[u8])) -> Result<(), Stuck> {
        let mut used = 0;
        loop {
            let block = &self.block[used..];
            let (read, written) = (self.inner.total_in(), self.inner.total_out());
            let done = self.inner.decompress(block, &mut self.out, FlushDecompress::None);
            let read = usize::try_from(self.inner.total_in() - read).unwrap_or(block.len()).min(block.len());
            let written = usize::try_from(self.inner.total_out() - written).unwrap_or_default().min(self.out.len());
            used += read;
            self.message_bytes += written as u64;
            if written > 0 {
                found(&self.out[..written]);
            }
            // Content before the damage is reported.
            let status = done.map_err(|_| Stuck::Damaged)?;
            if self.message_bytes > MESSAGE_MAX_BYTES {
                return Err(Stuck::TooLarge);
            }
            let all_read = used == self.block.len();
            match status {
                // A sender may end its deflate stream with each message (RFC 7692 section 7.2.3.4).
                Status::StreamEnd => {
                    self.inner.reset(false);
                    if all_read {
                        break;
                    }
                }
                // All input is consumed, and all output fitted.
                _ if all_read && written < self.out.len() => break,
                _ if read == 0 && written == 0 => return Err(Stuck::Damaged),
                _ => {}
            }
        }
        self.block.clear();
        Ok(())
    }

    /// Ends a message: restores the four bytes that its sender removed (RFC 7692 section 7.2.2).
    pub(super) fn end(&mut self, found: &mut impl FnMut(&[u8])) -> Result<(), Stuck> {
        let read = self.read(&[0, 0, 0xFF, 0xFF], found).and_then(|()| self.inflate_block(found));
        self.message_bytes = 0;
        if self.alone {
            self.inner.reset(false);
        }
        read
    }
}

#[cfg(test)]
mod tests {
    use flate2::{Compress, Compression, FlushCompress};
    use proptest::prelude::*;

    use super::super::testing::{Deflater, cut};
    use super::*;

    fn agreed(values: &[&str]) -> Extensions {
        Extensions::agreed(values.iter().map(|value| value.as_bytes()))
    }

    fn inflate(inflater: &mut Inflater, payload: &[u8], cuts: &[usize]) -> Result<Vec<u8>, Stuck> {
        let mut out = Vec::new();
        let mut found = |piece: &[u8]| out.extend_from_slice(piece);
        for piece in cut(payload, cuts) {
            inflater.read(piece, &mut found)?;
        }
        inflater.end(&mut found)?;
        Ok(out)
    }

    #[test]
    fn the_negotiated_extension_is_read_from_the_response() {
        let deflate = |agent_alone, origin_alone| Extensions::Deflate { agent_alone, origin_alone };
        assert_eq!(agreed(&[]), Extensions::None);
        assert_eq!(agreed(&["", " , "]), Extensions::None);
        assert_eq!(agreed(&["permessage-deflate"]), deflate(false, false));
        assert_eq!(
            agreed(&["Permessage-Deflate; client_no_context_takeover; server_max_window_bits=\"10\""]),
            deflate(true, false)
        );
        assert_eq!(agreed(&["permessage-deflate;server_no_context_takeover"]), deflate(false, true));
        assert_eq!(agreed(&["permessage-deflate", "x-other"]), Extensions::Unknown);
        assert_eq!(agreed(&["x-webkit-deflate-frame"]), Extensions::Unknown);
    }

    #[test]
    fn the_example_of_the_standard() {
        // RFC 7692 section 7.2.3.2: "Hello" twice with one context.
        let mut inflater = Inflater::new(false);
        let first = inflate(&mut inflater, &[0xf2, 0x48, 0xcd, 0xc9, 0xc9, 0x07, 0x00], &[]);
        let second = inflate(&mut inflater, &[0xf2, 0x00, 0x11, 0x00, 0x00], &[]);
        assert_eq!((first, second), (Ok(b"Hello".to_vec()), Ok(b"Hello".to_vec())));
        // Section 7.2.3.4: a block with BFINAL.
        let final_block = [0xf3, 0x48, 0xcd, 0xc9, 0xc9, 0x07, 0x00, 0x00];
        assert_eq!(inflate(&mut inflater, &final_block, &[1, 1, 1, 1, 1, 1]), Ok(b"Hello".to_vec()));
        assert_eq!(inflate(&mut inflater, &final_block, &[]), Ok(b"Hello".to_vec()));
    }

    #[test]
    fn a_bomb_ends_at_the_bound() {
        let mut compress = Compress::new(Compression::default(), false);
        let mut payload = Vec::with_capacity(1 << 20);
        compress.compress_vec(&vec![0; 80 << 20], &mut payload, FlushCompress::Sync).unwrap();
        let (mut inflater, mut largest, mut total) = (Inflater::new(false), 0, 0);
        let read = inflater.read(&payload, &mut |piece| {
            largest = largest.max(piece.len());
            total += piece.len() as u64;
        });
        assert_eq!(read, Err(Stuck::TooLarge));
        assert!(largest <= PIECE_BYTES && total <= MESSAGE_MAX_BYTES + PIECE_BYTES as u64);
    }

    proptest! {
        #[test]
        fn messages_survive_compression_with_and_without_context(
            texts in prop::collection::vec("[a-e]{0,3000}", 0..5),
            alone in any::<bool>(),
            cuts in prop::collection::vec(1usize..50, 0..20),
        ) {
            let (mut deflater, mut inflater) = (Deflater::new(), Inflater::new(alone));
            for text in &texts {
                let payload = deflater.message(text.as_bytes(), alone);
                prop_assert_eq!(inflate(&mut inflater, &payload, &cuts), Ok(text.clone().into_bytes()));
            }
        }

        #[test]
        fn content_before_damage_is_the_same_for_any_split(
            text in "[a-z ]{0,2000}",
            at in any::<prop::sample::Index>(),
            flip in 1u8..=255,
            cuts in prop::collection::vec(1usize..50, 0..20),
        ) {
            let mut payload = Deflater::new().message(text.as_bytes(), false);
            let at = at.index(payload.len());
            payload[at] ^= flip;
            let read = |cuts: &[usize]| {
                let (mut inflater, mut out) = (Inflater::new(false), Vec::new());
                let mut pieces = cut(&payload, cuts).into_iter();
                let read = pieces.try_for_each(|piece| inflater.read(piece, &mut |more| out.extend_from_slice(more)));
                (read, out)
            };
            prop_assert_eq!(read(&cuts), read(&[]));
        }

        #[test]
        fn noise_never_panics(noise in prop::collection::vec(any::<u8>(), 0..2000), cuts in prop::collection::vec(1usize..50, 0..20)) {
            let _ = inflate(&mut Inflater::new(false), &noise, &cuts);
        }
    }
}
