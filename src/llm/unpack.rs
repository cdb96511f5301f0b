//! Content codings undone piece by piece, on the copy: each piece of a stream gives what it holds at once, and nothing is held
//! but what the coding needs.

use std::io::{self, Write};

use flate2::write::{DeflateDecoder, MultiGzDecoder, ZlibDecoder};

/// All that one body may come to when decoded: a bomb is a thousand times its size.
const DECODED_MAX_BYTES: u64 = 256 << 20;
/// The largest window that a zstd stream may ask for, as a power of two: 8 MiB, as RFC 8878 recommends.
const ZSTD_WINDOW_LOG_MAX: u32 = 23;
/// What brotli writes at once.
const BROTLI_BUFFER_BYTES: usize = 4096;

/// Hands what is decoded to `W`.
pub(crate) struct Unpacker<W: Write> {
    decoder: Decoder<Bounded<W>>,
    failed: bool,
}

enum Decoder<W: Write> {
    Plain(W),
    Gzip(MultiGzDecoder<W>),
    Deflate(Deflate<W>),
    Brotli(Box<brotli::DecompressorWriter<W>>),
    Zstd(Box<zstd::stream::write::Decoder<'static, W>>),
}

/// `deflate` means zlib (RFC 9110 8.4.1.2), but enough servers send it raw: a zlib header has its own checksum.
enum Deflate<W: Write> {
    /// Its first byte, if it has come; both readers are made from what comes next.
    Undecided(Option<u8>, Option<W>),
    Zlib(ZlibDecoder<W>),
    Raw(DeflateDecoder<W>),
}

struct Bounded<W> {
    inner: W,
    left: u64,
}

impl<W: Write> Unpacker<W> {
    /// For content coded like this (`Content-Encoding`, in lower case). `None`: it cannot be undone.
    pub(crate) fn new(coding: &str, inner: W) -> Option<Self> {
        let inner = Bounded { inner, left: DECODED_MAX_BYTES };
        let decoder = match coding {
            "" | "identity" => Decoder::Plain(inner),
            "gzip" | "x-gzip" => Decoder::Gzip(MultiGzDecoder::new(inner)),
            "deflate" => Decoder::Deflate(Deflate::Undecided(None, Some(inner))),
            "br" => Decoder::Brotli(Box::new(brotli::DecompressorWriter::new(inner, BROTLI_BUFFER_BYTES))),
            "zstd" => {
                let mut decoder = zstd::stream::write::Decoder::new(inner).ok()?;
                decoder.window_log_max(ZSTD_WINDOW_LOG_MAX).ok()?;
                Decoder::Zstd(Box::new(decoder))
            }
            _ => return None,
        };
        Some(Self { decoder, failed: false })
    }

    /// Decodes on. False: it is damaged or too much, here or before, and nothing more comes out.
    pub(crate) fn write(&mut self, bytes: &[u8]) -> bool {
        if !self.failed {
            self.failed = self.decoder.write(bytes).is_err();
        }
        !self.failed
    }

    /// Where it goes.
    pub(crate) fn inner(&self) -> Option<&W> {
        self.decoder.inner().map(|bounded| &bounded.inner)
    }

    /// The same, to tell it something.
    pub(crate) fn inner_mut(&mut self) -> Option<&mut W> {
        self.decoder.inner_mut().map(|bounded| &mut bounded.inner)
    }
}

impl<W: Write> Decoder<W> {
    /// All that has come so far comes out, too.
    fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        fn through(decoder: &mut impl Write, bytes: &[u8]) -> io::Result<()> {
            decoder.write_all(bytes)?;
            decoder.flush()
        }
        match self {
            Self::Plain(inner) => inner.write_all(bytes),
            Self::Gzip(decoder) => through(decoder, bytes),
            Self::Deflate(deflate) => deflate.write(bytes),
            Self::Brotli(decoder) => through(decoder, bytes),
            Self::Zstd(decoder) => through(decoder, bytes),
        }
    }

    fn inner(&self) -> Option<&W> {
        match self {
            Self::Plain(inner) => Some(inner),
            Self::Gzip(decoder) => Some(decoder.get_ref()),
            Self::Deflate(Deflate::Undecided(_, inner)) => inner.as_ref(),
            Self::Deflate(Deflate::Zlib(decoder)) => Some(decoder.get_ref()),
            Self::Deflate(Deflate::Raw(decoder)) => Some(decoder.get_ref()),
            Self::Brotli(decoder) => Some(decoder.get_ref()),
            Self::Zstd(decoder) => Some(decoder.get_ref()),
        }
    }

    fn inner_mut(&mut self) -> Option<&mut W> {
        match self {
            Self::Plain(inner) => Some(inner),
            Self::Gzip(decoder) => Some(decoder.get_mut()),
            Self::Deflate(Deflate::Undecided(_, inner)) => inner.as_mut(),
            Self::Deflate(Deflate::Zlib(decoder)) => Some(decoder.get_mut()),
            Self::Deflate(Deflate::Raw(decoder)) => Some(decoder.get_mut()),
            Self::Brotli(decoder) => Some(decoder.get_mut()),
            Self::Zstd(decoder) => Some(decoder.get_mut()),
        }
    }
}

impl<W: Write> Deflate<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        let Self::Undecided(first, inner) = self else { return self.decoded(bytes) };
        let (Some(one), Some(two)) = (first.or(bytes.first().copied()), bytes.get(usize::from(first.is_none())))
        else {
            *first = first.or(bytes.first().copied());
            return Ok(());
        };
        let held = first.take();
        let zlib = one & 0x0F == 8 && u16::from_be_bytes([one, *two]).is_multiple_of(31);
        let Some(inner) = inner.take() else { return Ok(()) };
        *self = if zlib { Self::Zlib(ZlibDecoder::new(inner)) } else { Self::Raw(DeflateDecoder::new(inner)) };
        self.decoded(held.as_slice())?;
        self.decoded(bytes)
    }

    fn decoded(&mut self, bytes: &[u8]) -> io::Result<()> {
        match self {
            Self::Undecided(..) => Ok(()),
            Self::Zlib(decoder) => decoder.write_all(bytes).and_then(|()| decoder.flush()),
            Self::Raw(decoder) => decoder.write_all(bytes).and_then(|()| decoder.flush()),
        }
    }
}

impl<W: Write> Write for Bounded<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.left = self.left.checked_sub(bytes.len() as u64).ok_or(io::ErrorKind::FileTooLarge)?;
        self.inner.write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.inner.flush()
    }
}

#[cfg(test)]
pub(super) mod tests {
    use flate2::Compression;
    use flate2::write::{DeflateEncoder, GzEncoder, ZlibEncoder};
    use proptest::prelude::*;

    use super::*;

    /// In gzip, zlib, raw deflate, brotli and zstd, with the names that HTTP has for them.
    pub(in crate::llm) fn coded(data: &[u8]) -> Vec<(&'static str, Vec<u8>)> {
        fn finished<W: Write>(mut encoder: W, data: &[u8], finish: impl FnOnce(W) -> Vec<u8>) -> Vec<u8> {
            encoder.write_all(data).unwrap();
            finish(encoder)
        }
        let level = Compression::default();
        let mut brotli = Vec::new();
        brotli::CompressorWriter::new(&mut brotli, 4096, 5, 20).write_all(data).unwrap();
        vec![
            ("", data.to_vec()),
            ("gzip", finished(GzEncoder::new(Vec::new(), level), data, |encoder| encoder.finish().unwrap())),
            ("deflate", finished(ZlibEncoder::new(Vec::new(), level), data, |encoder| encoder.finish().unwrap())),
            ("deflate", finished(DeflateEncoder::new(Vec::new(), level), data, |encoder| encoder.finish().unwrap())),
            ("br", brotli),
            ("zstd", zstd::encode_all(data, 3).unwrap()),
        ]
    }

    fn decoded(coding: &str, coded: &[u8], piece: usize) -> (Vec<u8>, bool) {
        let mut unpacker = Unpacker::new(coding, Vec::new()).unwrap();
        let sound = coded.chunks(piece.max(1)).all(|piece| unpacker.write(piece));
        (unpacker.inner().unwrap().clone(), sound)
    }

    proptest! {
        #[test]
        fn any_cut_of_any_coding_gives_the_content(data in prop::collection::vec(0u8..8, 0..4000), piece in 1usize..300) {
            for (coding, coded) in coded(&data) {
                prop_assert_eq!(decoded(coding, &coded, piece), (data.clone(), true), "{}", coding);
            }
        }
    }

    #[test]
    fn what_has_come_of_a_stream_is_there_at_once() {
        for (text, more) in [("data: 1\n\n", "data: 2\n\n")] {
            let mut encoder = GzEncoder::new(Vec::new(), Compression::default());
            let mut unpacker = Unpacker::new("gzip", Vec::new()).unwrap();
            for (piece, all) in [(text, text.to_owned()), (more, text.to_owned() + more)] {
                encoder.write_all(piece.as_bytes()).unwrap();
                encoder.flush().unwrap();
                assert!(unpacker.write(&std::mem::take(encoder.get_mut())));
                assert_eq!(unpacker.inner().unwrap(), all.as_bytes());
            }
        }
    }

    #[test]
    fn damage_bombs_and_unknown_codings_are_told() {
        for coding in ["gzip", "br", "zstd"] {
            assert!(!decoded(coding, b"{\"plain\": \"json\"}", 5).1, "{coding}");
        }
        struct Nowhere(u64);
        impl Write for Nowhere {
            fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
                self.0 += bytes.len() as u64;
                Ok(bytes.len())
            }
            fn flush(&mut self) -> io::Result<()> {
                Ok(())
            }
        }
        let zeros = io::Read::take(io::repeat(0), DECODED_MAX_BYTES + 1);
        let bomb = zstd::encode_all(zeros, 1).unwrap();
        let mut unpacker = Unpacker::new("zstd", Nowhere(0)).unwrap();
        assert!(!unpacker.write(&bomb));
        assert!(unpacker.inner().unwrap().0 <= DECODED_MAX_BYTES);
        assert!(Unpacker::new("aws-chunked", Vec::new()).is_none());
        assert!(Unpacker::new("gzip, br", Vec::new()).is_none());
    }
}
