//! For tests: content in each coding.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::io::Write;

use flate2::Compression;
use flate2::write::{DeflateEncoder, GzEncoder, ZlibEncoder};

use super::Coding;

/// In `gzip`.
pub(crate) fn gzip(data: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::default());
    encoder.write_all(data).unwrap();
    encoder.finish().unwrap()
}

/// In each coding; `deflate` both with the zlib header and without it.
pub(crate) fn coded(data: &[u8]) -> Vec<(Coding, Vec<u8>)> {
    let mut zlib = ZlibEncoder::new(Vec::new(), Compression::default());
    zlib.write_all(data).unwrap();
    let mut raw = DeflateEncoder::new(Vec::new(), Compression::default());
    raw.write_all(data).unwrap();
    let mut brotli = Vec::new();
    brotli::CompressorWriter::new(&mut brotli, 4096, 5, 20).write_all(data).unwrap();
    vec![
        (Coding::Gzip, gzip(data)),
        (Coding::Deflate, zlib.finish().unwrap()),
        (Coding::Deflate, raw.finish().unwrap()),
        (Coding::Brotli, brotli),
        (Coding::Zstd, zstd::encode_all(data, 3).unwrap()),
    ]
}

fn first_of(coding: Coding, data: &[u8]) -> Vec<u8> {
    coded(data).into_iter().find(|(of, _)| *of == coding).unwrap().1
}

/// In `deflate`, with the zlib header.
pub(crate) fn zlib(data: &[u8]) -> Vec<u8> {
    first_of(Coding::Deflate, data)
}

/// In `br`.
pub(crate) fn br(data: &[u8]) -> Vec<u8> {
    first_of(Coding::Brotli, data)
}

/// In `zstd`.
pub(crate) fn zstd(data: &[u8]) -> Vec<u8> {
    first_of(Coding::Zstd, data)
}

/// In each coding, with its name in `Content-Encoding`. The first one is not coded and has no name.
pub(crate) fn named(data: &[u8]) -> Vec<(&'static str, Vec<u8>)> {
    let name = |coding| match coding {
        Coding::Gzip => "gzip",
        Coding::Deflate => "deflate",
        Coding::Brotli => "br",
        Coding::Zstd => "zstd",
    };
    let coded = coded(data).into_iter().map(|(coding, data)| (name(coding), data));
    std::iter::once(("", data.to_vec())).chain(coded).collect()
}
