//! The column `json`. Long JSON is stored as a zstd frame with a checksum; its first bytes tell the two forms apart. The JSON of a
//! call to a model takes some 10 KB, of which a fifth is left.

use std::borrow::Cow;

use zstd::bulk::{Compressor, decompress};
use zstd::zstd_safe::{CParameter, get_frame_content_size};

use crate::event::with_damage;

/// Shorter JSON stays as it is: compressing costs as much as it saves.
const PACKED_FROM_BYTES: usize = 4 << 10;
/// zstd's level: 1 is the fastest.
const LEVEL: i32 = 1;
/// What a frame begins with (RFC 8878, section 3.1.1).
const MAGIC: [u8; 4] = [0x28, 0xB5, 0x2F, 0xFD];
/// A longer content is damage: no event has so much beside its bodies.
const CONTENT_MAX_BYTES: u64 = 64 << 20;

/// Compresses JSON.
#[derive(Default)]
pub(super) struct Packer(Option<Compressor<'static>>);

impl Packer {
    /// What the column gets.
    pub(super) fn pack<'a>(&mut self, json: Cow<'a, [u8]>) -> Cow<'a, [u8]> {
        if json.len() < PACKED_FROM_BYTES {
            return json;
        }
        if self.0.is_none() {
            self.0 = compressor();
        }
        let packed = self.0.as_mut().and_then(|compressor| compressor.compress(&json).ok());
        // Only a lack of memory leaves it as it is.
        packed.map_or(json, Cow::Owned)
    }
}

fn compressor() -> Option<Compressor<'static>> {
    let mut compressor = Compressor::new(LEVEL).ok()?;
    compressor.set_parameter(CParameter::ChecksumFlag(true)).ok()?;
    Some(compressor)
}

/// The JSON of the column. `None`: it is damaged.
pub(super) fn unpack(stored: &[u8]) -> Option<Cow<'_, [u8]>> {
    if !stored.starts_with(&MAGIC) {
        return Some(Cow::Borrowed(stored));
    }
    let bytes = get_frame_content_size(stored).ok()?.filter(|bytes| *bytes <= CONTENT_MAX_BYTES)?;
    decompress(stored, usize::try_from(bytes).ok()?).ok().map(Cow::Owned)
}

/// What stands for an event whose JSON is damaged. The other columns of its row still say what call it was.
pub(super) fn damaged() -> Vec<u8> {
    with_damage(b"{}", None).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn json(bytes: usize) -> Vec<u8> {
        format!(r#"{{"path":"{}"}}"#, "/v1".repeat(bytes / 3)).into_bytes()
    }

    #[test]
    fn packed_json_is_unpacked_and_short_json_is_not_packed() {
        let mut packer = Packer::default();
        for json in [b"{}".to_vec(), json(1_000), json(10_000), json(3 << 20)] {
            let packed = packer.pack(Cow::Borrowed(&json));
            assert_eq!(matches!(packed, Cow::Borrowed(_)), json.len() < PACKED_FROM_BYTES);
            assert!(packed.len() <= json.len());
            assert_eq!(unpack(&packed).unwrap(), json);
        }
    }

    #[test]
    fn each_flipped_bit_of_a_frame_is_noticed() {
        let json = json(5_000);
        let packed = Packer::default().pack(Cow::Owned(json.clone())).into_owned();
        for at in 0..packed.len() * 8 {
            let mut damaged = packed.clone();
            damaged[at / 8] ^= 1 << (at % 8);
            // Without its first bytes it is no frame, and no JSON either.
            let read = unpack(&damaged).filter(|read| read.starts_with(b"{"));
            assert!(read.is_none_or(|read| *read == json), "bit {at}");
        }
        assert_eq!(unpack(&packed[..packed.len() - 1]), None);
    }

    #[test]
    fn a_damaged_event_says_so() {
        assert_eq!(damaged(), br#"{"metadata":{"cut":{"bodies_damaged":true}}}"#);
    }
}
