//! Undoing `Content-Encoding` on our copy of a body, bounded: a compression bomb costs what the bound costs.

use crate::capture::Fields;
use std::io::{self, Read};

use http::header::CONTENT_ENCODING;

/// Bytes of decoded content that are kept; the rest of the body is not decoded.
pub(super) const DECODED_MAX_BYTES: usize = 256 * 1024;

/// Bytes that a coding inside another may yield: nested bombs are cut there.
const BETWEEN_MAX_BYTES: u64 = 4 * DECODED_MAX_BYTES as u64;

/// Codings that are undone on one body. Real ones have one, seldom two.
const STACKED_MAX: usize = 3;

/// 8 MiB: what RFC 9659 allows a zstd window to be on the web. A larger one is a way to make us allocate.
const ZSTD_WINDOW_LOG_MAX: u32 = 23;

/// One content coding that can be undone.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Coding {
    /// `gzip`, `x-gzip`
    Gzip,
    /// `deflate`: zlib, or raw deflate as some servers send it
    Deflate,
    /// `br`
    Brotli,
    /// `zstd`
    Zstd,
}

/// What `Content-Encoding` says.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Codings {
    /// Nothing, or `identity`.
    None,
    /// In the order they were applied.
    Known(Vec<Coding>),
    /// At least one that we cannot undo, or too many.
    Unknown,
}

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
    /// The coded data stopped or broke.
    Broken,
}

/// The codings that the header fields name (RFC 9110 8.4: several fields are one list).
pub(super) fn codings(headers: &Fields) -> Codings {
    let mut known = Vec::new();
    for value in headers.get_all(CONTENT_ENCODING.as_str()) {
        for name in value.split(|byte| *byte == b',').map(<[u8]>::trim_ascii) {
            match name.to_ascii_lowercase().as_slice() {
                b"" | b"identity" => {}
                b"gzip" | b"x-gzip" => known.push(Coding::Gzip),
                b"deflate" => known.push(Coding::Deflate),
                b"br" => known.push(Coding::Brotli),
                b"zstd" => known.push(Coding::Zstd),
                _ => return Codings::Unknown,
            }
            if known.len() > STACKED_MAX {
                return Codings::Unknown;
            }
        }
    }
    if known.is_empty() { Codings::None } else { Codings::Known(known) }
}

/// Undoes `codings` (in the order they were applied) on `input`, up to [`DECODED_MAX_BYTES`]. Damage keeps what came
/// before it.
pub(super) fn decode(codings: &[Coding], input: &[u8]) -> Decoded {
    let mut bytes = Vec::new();
    let read =
        chain(codings, input).and_then(|reader| reader.take(DECODED_MAX_BYTES as u64 + 1).read_to_end(&mut bytes));
    let end = match read {
        _ if bytes.len() > DECODED_MAX_BYTES => DecodeEnd::Capped,
        Ok(_) => DecodeEnd::Whole,
        Err(_) => DecodeEnd::Broken,
    };
    bytes.truncate(DECODED_MAX_BYTES);
    Decoded { bytes, end }
}

fn chain<'a>(codings: &[Coding], input: &'a [u8]) -> io::Result<Box<dyn Read + 'a>> {
    let mut reader: Box<dyn Read + 'a> = Box::new(input);
    for (depth, coding) in codings.iter().rev().enumerate() {
        if depth > 0 {
            reader = Box::new(reader.take(BETWEEN_MAX_BYTES));
        }
        reader = match coding {
            Coding::Gzip => Box::new(flate2::read::MultiGzDecoder::new(reader)),
            Coding::Deflate => inflate(reader)?,
            Coding::Brotli => Box::new(brotli::Decompressor::new(reader, 4096)),
            Coding::Zstd => {
                let mut decoder = zstd::stream::read::Decoder::new(reader)?;
                decoder.window_log_max(ZSTD_WINDOW_LOG_MAX)?;
                Box::new(decoder)
            }
        };
    }
    Ok(reader)
}

/// `deflate` means zlib (RFC 9110 8.4.1.2), but enough servers send it raw: a zlib header has its own checksum.
fn inflate<'a>(mut reader: Box<dyn Read + 'a>) -> io::Result<Box<dyn Read + 'a>> {
    let mut start = Vec::with_capacity(2);
    reader.by_ref().take(2).read_to_end(&mut start)?;
    let zlib = matches!(start[..], [first, second]
        if first & 0x0F == 8 && u16::from_be_bytes([first, second]).is_multiple_of(31));
    let whole = io::Cursor::new(start).chain(reader);
    Ok(if zlib {
        Box::new(flate2::read::ZlibDecoder::new(whole))
    } else {
        Box::new(flate2::read::DeflateDecoder::new(whole))
    })
}

#[cfg(test)]
pub(super) mod tests {
    use http::HeaderMap;
    use std::io::Write;

    use flate2::Compression;
    use flate2::write::{DeflateEncoder, GzEncoder, ZlibEncoder};
    use http::HeaderValue;

    use super::*;

    pub(in crate::event) fn gzip(data: &[u8]) -> Vec<u8> {
        let mut encoder = GzEncoder::new(Vec::new(), Compression::default());
        encoder.write_all(data).unwrap();
        encoder.finish().unwrap()
    }

    fn zlib(data: &[u8]) -> Vec<u8> {
        let mut encoder = ZlibEncoder::new(Vec::new(), Compression::default());
        encoder.write_all(data).unwrap();
        encoder.finish().unwrap()
    }

    fn raw_deflate(data: &[u8]) -> Vec<u8> {
        let mut encoder = DeflateEncoder::new(Vec::new(), Compression::default());
        encoder.write_all(data).unwrap();
        encoder.finish().unwrap()
    }

    fn br(data: &[u8]) -> Vec<u8> {
        let mut out = Vec::new();
        brotli::CompressorWriter::new(&mut out, 4096, 5, 20).write_all(data).unwrap();
        out
    }

    fn zstd(data: &[u8]) -> Vec<u8> {
        zstd::encode_all(data, 3).unwrap()
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
