//! Decoding a captured body in one call, bounded: a compression bomb costs no more than the bound.

use super::{Coding, Decoder, End, Step};

/// With several codings, each but the last may give this many times the bound: a nested bomb is cut there.
const BETWEEN_FACTOR: u64 = 4;

/// A decoded body, or as much of it as could be decoded.
pub(crate) struct Decoded {
    /// The content, or the beginning of it.
    pub(crate) bytes: Vec<u8>,
    /// Where decoding ended.
    pub(crate) end: DecodeEnd,
}

/// Where decoding ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum DecodeEnd {
    /// At the end of the coded data.
    Whole,
    /// At the bound.
    Capped,
    /// The coded data is truncated or damaged, or other bytes follow it.
    Broken,
}

/// Decodes `input`, to which `codings` were applied in this order, up to `max_bytes`. Content before damage is kept. Plain
/// text in spite of its `Content-Encoding` gives nothing, so that the caller shows it as it came.
pub(crate) fn decode(codings: &[Coding], input: &[u8], max_bytes: usize) -> Decoded {
    let mut decoder = Decoder::new(codings, BETWEEN_FACTOR * max_bytes as u64);
    decoder.feed(input);
    decoder.end_input();
    let mut bytes = Vec::new();
    while bytes.len() <= max_bytes {
        match decoder.step() {
            Step::Content(content) => bytes.extend_from_slice(content),
            Step::NeedsInput | Step::Damaged => break,
        }
    }
    let end = match decoder.end() {
        _ if bytes.len() > max_bytes => DecodeEnd::Capped,
        End::Whole => DecodeEnd::Whole,
        End::Trailing | End::Short => DecodeEnd::Broken,
        End::Plain => return Decoded { bytes: Vec::new(), end: DecodeEnd::Broken },
    };
    bytes.truncate(max_bytes);
    Decoded { bytes, end }
}

#[cfg(test)]
mod tests {
    use super::super::testing::{br, coded, gzip, zstd};
    use super::*;

    const MAX_BYTES: usize = 256 * 1024;

    fn decode(codings: &[Coding], input: &[u8]) -> Decoded {
        super::decode(codings, input, MAX_BYTES)
    }

    /// 100 kB that compress, but not to almost nothing.
    fn sample() -> Vec<u8> {
        (0..12_500_u32).flat_map(|n| format!("{:08x}", n.wrapping_mul(2_654_435_761)).into_bytes()).collect()
    }

    #[test]
    fn every_coding_decodes() {
        let data = sample();
        for (coding, coded) in coded(&data) {
            let decoded = decode(&[coding], &coded);
            assert_eq!(decoded.end, DecodeEnd::Whole, "{coding:?}");
            assert!(decoded.bytes == data, "{coding:?}");
        }
        let decoded = decode(&[Coding::Gzip, Coding::Zstd, Coding::Brotli], &br(&zstd(&gzip(&data))));
        assert!(decoded.bytes == data && decoded.end == DecodeEnd::Whole);
    }

    #[test]
    fn a_truncated_stream_gives_its_beginning() {
        let data = sample();
        // The sample is one block of zstd, which decodes whole or not at all.
        for (coding, coded) in coded(&data).into_iter().filter(|(coding, _)| *coding != Coding::Zstd) {
            let decoded = decode(&[coding], &coded[..coded.len() / 2]);
            assert_eq!(decoded.end, DecodeEnd::Broken, "{coding:?}");
            assert!(decoded.bytes.len() > 20_000 && data.starts_with(&decoded.bytes), "{coding:?}");
        }
    }

    #[test]
    fn concatenated_gzip_members_are_one_body_and_bytes_after_them_are_dropped() {
        let mut coded = [gzip(b"one "), gzip(b"two")].concat();
        assert_eq!(decode(&[Coding::Gzip], &coded).bytes, b"one two");
        coded.extend_from_slice(b"rubbish");
        let decoded = decode(&[Coding::Gzip], &coded);
        assert_eq!((decoded.bytes.as_slice(), decoded.end), (b"one two".as_slice(), DecodeEnd::Broken));
    }

    #[test]
    fn a_bomb_stops_at_the_bound_however_it_is_nested() {
        let zeros = vec![0; 10 * 1024 * 1024];
        for (codings, coded) in [
            (vec![Coding::Gzip], gzip(&zeros)),
            (vec![Coding::Zstd], zstd(&zeros)),
            (vec![Coding::Gzip, Coding::Gzip], gzip(&gzip(&zeros))),
            (vec![Coding::Brotli, Coding::Gzip], gzip(&br(&zeros))),
        ] {
            let decoded = decode(&codings, &coded);
            assert_eq!((decoded.bytes.len(), decoded.end), (MAX_BYTES, DecodeEnd::Capped));
        }
    }

    #[test]
    fn plain_text_with_a_false_content_encoding_decodes_to_nothing() {
        for coding in [Coding::Gzip, Coding::Brotli, Coding::Zstd] {
            let decoded = decode(&[coding], b"{\"plain\": \"json\"}");
            assert_eq!((decoded.bytes.len(), decoded.end), (0, DecodeEnd::Broken), "{coding:?}");
        }
    }
}
