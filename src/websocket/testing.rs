//! For tests: frames, and bytes split into pieces.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use flate2::{Compress, Compression, FlushCompress};

/// A frame with this first byte.
pub(crate) fn frame(first: u8, payload: &[u8], mask: Option<[u8; 4]>) -> Vec<u8> {
    let masked = if mask.is_some() { 0x80 } else { 0 };
    let mut out = vec![first];
    match payload.len() {
        short @ 0..126 => out.push(masked | short as u8),
        middle @ 126..65_536 => {
            out.push(masked | 126);
            out.extend_from_slice(&(middle as u16).to_be_bytes());
        }
        long => {
            out.push(masked | 127);
            out.extend_from_slice(&(long as u64).to_be_bytes());
        }
    }
    let mask = mask.inspect(|mask| out.extend_from_slice(mask)).unwrap_or_default();
    out.extend(payload.iter().zip(mask.iter().cycle()).map(|(byte, mask)| byte ^ mask));
    out
}

/// `bytes` in pieces of these sizes; the rest in one.
pub(crate) fn cut<'a>(mut bytes: &'a [u8], cuts: &[usize]) -> Vec<&'a [u8]> {
    let mut pieces = Vec::new();
    for size in cuts {
        let (piece, rest) = bytes.split_at((*size).min(bytes.len()));
        pieces.push(piece);
        bytes = rest;
    }
    pieces.push(bytes);
    pieces
}

/// Compresses messages as permessage-deflate has it (RFC 7692 section 7.2.1).
pub(crate) struct Deflater(Compress);

impl Deflater {
    pub(crate) fn new() -> Self {
        Self(Compress::new(Compression::default(), false))
    }

    /// The payload of one message. `alone`: without the context of those before.
    pub(crate) fn message(&mut self, text: &[u8], alone: bool) -> Vec<u8> {
        if alone {
            self.0.reset();
        }
        let mut out = Vec::with_capacity(text.len() * 2 + 64);
        self.0.compress_vec(text, &mut out, FlushCompress::Sync).unwrap();
        assert!(out.ends_with(&[0, 0, 0xFF, 0xFF]));
        out.truncate(out.len() - 4);
        out
    }
}
