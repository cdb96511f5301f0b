//! Undoing `Content-Encoding` on our copy of a body, bounded: a compression bomb costs what the bound costs.

use http::header::CONTENT_ENCODING;

use crate::capture::Fields;
pub(super) use crate::codings::{Coding, Codings};
use crate::codings::{Decoder, End, Step};

/// Bytes of decoded content that are kept; the rest of the body is not decoded.
pub(super) const DECODED_MAX_BYTES: usize = 256 * 1024;

/// Bytes that a coding inside another may yield: nested bombs are cut there.
const BETWEEN_MAX_BYTES: u64 = 4 * DECODED_MAX_BYTES as u64;

/// Content with its codings undone, as far as that went.
pub(super) struct Decoded {
    /// The content, or its beginning.
    pub(super) bytes: Vec<u8>,
    /// Where decoding ended.
    pub(super) end: DecodeEnd,
}

/// Where decoding ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum DecodeEnd {
    /// At the end of the coded stream.
    Whole,
    /// At our bound.
    Capped,
    /// The coded data stopped or broke, or other bytes follow it.
    Broken,
}

/// The codings that the header fields name.
pub(super) fn codings(headers: &Fields) -> Codings {
    Codings::named(headers.get_all(CONTENT_ENCODING.as_str()))
}

/// Undoes `codings` (in the order they were applied) on `input`, up to [`DECODED_MAX_BYTES`]. Damage keeps what came
/// before it. Plain text whose header names a coding gives nothing: it is shown as it came.
pub(super) fn decode(codings: &[Coding], input: &[u8]) -> Decoded {
    let mut decoder = Decoder::new(codings, BETWEEN_MAX_BYTES);
    decoder.feed(input);
    decoder.all_has_come();
    let mut bytes = Vec::new();
    while bytes.len() <= DECODED_MAX_BYTES {
        match decoder.step() {
            Step::Content(content) => bytes.extend_from_slice(content),
            Step::Hungry | Step::Damaged => break,
        }
    }
    let end = match decoder.end() {
        _ if bytes.len() > DECODED_MAX_BYTES => DecodeEnd::Capped,
        End::Whole => DecodeEnd::Whole,
        End::Trailing | End::Short => DecodeEnd::Broken,
        End::Plain => return Decoded { bytes: Vec::new(), end: DecodeEnd::Broken },
    };
    bytes.truncate(DECODED_MAX_BYTES);
    Decoded { bytes, end }
}

#[cfg(test)]
pub(super) mod tests {
    use http::{HeaderMap, HeaderValue};

    use super::*;
    pub(in crate::event) use crate::codings::testing::gzip;

    fn in_coding(coding: Coding, data: &[u8]) -> Vec<u8> {
        crate::codings::testing::coded(data).into_iter().find(|(of, _)| *of == coding).unwrap().1
    }

    fn zlib(data: &[u8]) -> Vec<u8> {
        in_coding(Coding::Deflate, data)
    }

    fn raw_deflate(data: &[u8]) -> Vec<u8> {
        crate::codings::testing::coded(data).into_iter().rfind(|(of, _)| *of == Coding::Deflate).unwrap().1
    }

    fn br(data: &[u8]) -> Vec<u8> {
        in_coding(Coding::Brotli, data)
    }

    fn zstd(data: &[u8]) -> Vec<u8> {
        in_coding(Coding::Zstd, data)
    }

    /// In zlib, brotli and zstd.
    pub(in crate::event) fn coded(data: &[u8]) -> (Vec<u8>, Vec<u8>, Vec<u8>) {
        (zlib(data), br(data), zstd(data))
    }

    /// 100 kB that do not compress to nothing.
    fn sample() -> Vec<u8> {
        (0..12_500_u32).flat_map(|n| format!("{:08x}", n.wrapping_mul(2_654_435_761)).into_bytes()).collect()
    }

    #[test]
    fn every_coding_decodes() {
        let data = sample();
        for (coding, coded) in [
            (Coding::Gzip, gzip(&data)),
            (Coding::Deflate, zlib(&data)),
            (Coding::Deflate, raw_deflate(&data)),
            (Coding::Brotli, br(&data)),
            (Coding::Zstd, zstd(&data)),
        ] {
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
        for (coding, coded) in [
            (Coding::Gzip, gzip(&data)),
            (Coding::Deflate, zlib(&data)),
            (Coding::Deflate, raw_deflate(&data)),
            (Coding::Brotli, br(&data)),
        ] {
            let decoded = decode(&[coding], &coded[..coded.len() / 2]);
            assert_eq!(decoded.end, DecodeEnd::Broken, "{coding:?}");
            assert!(decoded.bytes.len() > 20_000 && data.starts_with(&decoded.bytes), "{coding:?}");
        }
    }

    #[test]
    fn concatenated_gzip_members_are_one_body_and_rubbish_after_them_costs_nothing() {
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
            assert_eq!((decoded.bytes.len(), decoded.end), (DECODED_MAX_BYTES, DecodeEnd::Capped));
        }
    }

    #[test]
    fn a_lie_decodes_to_nothing() {
        for coding in [Coding::Gzip, Coding::Brotli, Coding::Zstd] {
            let decoded = decode(&[coding], b"{\"plain\": \"json\"}");
            assert_eq!((decoded.bytes.len(), decoded.end), (0, DecodeEnd::Broken), "{coding:?}");
        }
    }

    #[test]
    fn the_header_is_one_list_over_several_fields() {
        let mut headers = HeaderMap::new();
        assert_eq!(codings(&Fields::from(&headers)), Codings::None);
        headers.append(CONTENT_ENCODING, HeaderValue::from_static("identity, GZip"));
        headers.append(CONTENT_ENCODING, HeaderValue::from_static("br"));
        assert_eq!(codings(&Fields::from(&headers)), Codings::Known(vec![Coding::Gzip, Coding::Brotli]));
        headers.append(CONTENT_ENCODING, HeaderValue::from_static("aws-chunked"));
        assert_eq!(codings(&Fields::from(&headers)), Codings::Unknown);
        headers.insert(CONTENT_ENCODING, HeaderValue::from_static("gzip,gzip,gzip,gzip"));
        assert_eq!(codings(&Fields::from(&headers)), Codings::Unknown);
    }
}
