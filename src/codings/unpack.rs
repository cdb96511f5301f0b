//! Decoding a body while it arrives: each piece is decoded as soon as it is there. The decoded size is bounded. The work is cut
//! into short steps, so that other tasks can run in between.

use std::io::Write;

use super::{Codings, Decoder, Step};

/// The most that is decoded of one body. A compression bomb grows a thousandfold.
const DECODED_MAX_BYTES: u64 = 64 << 20;
/// The most that one step passes on of a body without a coding.
const PLAIN_STEP_BYTES: usize = 32 << 10;

/// Decodes a body and writes its content to `W`.
pub(crate) struct Unpacker<W: Write> {
    inner: W,
    source: Source,
    /// Bytes that may still be decoded.
    left: u64,
    failed: Option<Failed>,
}

enum Source {
    /// Not coded, or with an unknown coding: passed on as it came.
    Plain {
        waiting: Vec<u8>,
        at: usize,
    },
    Coded(Box<Decoder>),
}

/// Why decoding ended early.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Failed {
    /// The coded data is damaged.
    Damaged,
    /// The content is larger than the bound.
    TooLarge,
}

impl<W: Write> Unpacker<W> {
    /// A body with these values of `Content-Encoding`.
    pub(crate) fn new<'a>(codings: impl IntoIterator<Item = &'a [u8]>, inner: W) -> Self {
        let source = match Codings::named(codings) {
            Codings::None | Codings::Unknown => Source::Plain { waiting: Vec::new(), at: 0 },
            Codings::Known(known) => Source::Coded(Box::new(Decoder::new(&known, DECODED_MAX_BYTES))),
        };
        Self { inner, source, left: DECODED_MAX_BYTES, failed: None }
    }

    /// Takes a piece of the body, which [`Unpacker::step`] decodes.
    pub(crate) fn feed(&mut self, bytes: &[u8]) {
        match &mut self.source {
            _ if self.failed.is_some() => {}
            Source::Plain { waiting, at } => {
                if *at == waiting.len() {
                    waiting.clear();
                    *at = 0;
                }
                waiting.extend_from_slice(bytes);
            }
            Source::Coded(decoder) => decoder.feed(bytes),
        }
    }

    /// The body has ended.
    pub(crate) fn end_input(&mut self) {
        if let Source::Coded(decoder) = &mut self.source {
            decoder.end_input();
        }
    }

    /// Decodes a little. False: nothing is left to decode.
    pub(crate) fn step(&mut self) -> bool {
        if self.failed.is_some() {
            return false;
        }
        let content = match &mut self.source {
            Source::Plain { waiting, at } => {
                let content = &waiting[*at..];
                let content = &content[..content.len().min(PLAIN_STEP_BYTES)];
                *at += content.len();
                content
            }
            Source::Coded(decoder) => match decoder.step() {
                Step::Content(content) => {
                    let Some(left) = self.left.checked_sub(content.len() as u64) else {
                        self.failed = Some(Failed::TooLarge);
                        return false;
                    };
                    self.left = left;
                    // A step without output does not mean that the next has none.
                    if content.is_empty() {
                        return true;
                    }
                    content
                }
                Step::NeedsInput => return false,
                Step::Damaged => {
                    self.failed = Some(Failed::Damaged);
                    return false;
                }
            },
        };
        // The writers of this program do not fail.
        !content.is_empty() && self.inner.write_all(content).is_ok()
    }

    /// Decodes a whole piece. False: decoding ended early, see [`Unpacker::failed`].
    pub(crate) fn write(&mut self, bytes: &[u8]) -> bool {
        self.feed(bytes);
        while self.step() {}
        self.failed.is_none()
    }

    /// Why decoding ended early, if it did.
    pub(crate) fn failed(&self) -> Option<Failed> {
        self.failed
    }

    /// The writer.
    pub(crate) fn inner(&self) -> &W {
        &self.inner
    }

    /// The writer, mutable.
    pub(crate) fn inner_mut(&mut self) -> &mut W {
        &mut self.inner
    }
}

#[cfg(test)]
mod tests {
    use std::io;

    use flate2::Compression;
    use flate2::write::GzEncoder;

    use super::*;

    fn unpacker<W: Write>(coding: &str, inner: W) -> Unpacker<W> {
        Unpacker::new([coding.as_bytes()], inner)
    }

    #[test]
    fn each_piece_of_a_stream_is_decoded_at_once() {
        let (text, more) = ("data: 1\n\n", "data: 2\n\n");
        let mut encoder = GzEncoder::new(Vec::new(), Compression::default());
        let mut unpacker = unpacker("gzip", Vec::new());
        for (piece, all) in [(text, text.to_owned()), (more, text.to_owned() + more)] {
            encoder.write_all(piece.as_bytes()).unwrap();
            encoder.flush().unwrap();
            assert!(unpacker.write(&std::mem::take(encoder.get_mut())));
            assert_eq!(unpacker.inner(), all.as_bytes());
        }
    }

    #[test]
    fn a_body_without_a_known_coding_is_read_as_it_came() {
        for coding in ["", "identity", "none", "utf-8", "aws-chunked", "gzip"] {
            let mut unpacker = unpacker(coding, Vec::new());
            assert!(unpacker.write(b"{\"plain\": \"json\"}"), "{coding}");
            assert_eq!(unpacker.inner(), b"{\"plain\": \"json\"}", "{coding}");
        }
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

    #[test]
    fn a_bomb_is_decoded_in_short_steps_and_ends_at_the_bound() {
        let zeros = || io::Read::take(io::repeat(0), DECODED_MAX_BYTES + (1 << 20));
        let mut gzip = GzEncoder::new(Vec::new(), Compression::fast());
        io::copy(&mut zeros(), &mut gzip).unwrap();
        let mut brotli = brotli::CompressorWriter::new(Vec::new(), 4096, 1, 22);
        io::copy(&mut zeros(), &mut brotli).unwrap();
        let bombs = [
            ("zstd", zstd::encode_all(zeros(), 1).unwrap()),
            ("gzip", gzip.finish().unwrap()),
            ("br", brotli.into_inner()),
        ];
        for (coding, bomb) in bombs {
            let mut unpacker = unpacker(coding, Nowhere(0));
            unpacker.feed(&bomb);
            let mut before = 0;
            while unpacker.step() {
                let now = unpacker.inner().0;
                assert!(now - before <= super::super::STEP_BYTES as u64, "{coding}");
                before = now;
            }
            assert_eq!(unpacker.failed(), Some(Failed::TooLarge), "{coding}");
            assert!(before <= DECODED_MAX_BYTES);
        }
    }
}
