//! A body without its content codings, piece by piece: each piece of a stream gives what it holds at once. What is read is
//! bounded, and it is read in short steps, so that whoever reads can let others work in between.

use std::io::Write;

use crate::codings::{Codings, Decoder, Step};

/// All that a coded body may come to: a bomb is a thousand times its size.
const DECODED_MAX_BYTES: u64 = 64 << 20;
/// What is handed on at once of a body that is not coded.
const PLAIN_STEP_BYTES: usize = 32 << 10;

/// Hands what is decoded to `W`.
pub(crate) struct Unpacker<W: Write> {
    inner: W,
    source: Source,
    /// Bytes that may still come out of a coded body.
    left: u64,
    failed: Option<Failed>,
}

enum Source {
    /// What is not coded, or in a way that nobody knows: it is read as it came.
    Plain {
        waiting: Vec<u8>,
        at: usize,
    },
    Coded(Box<Decoder>),
}

/// Why nothing more comes out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Failed {
    /// The coded data is damaged.
    Damaged,
    /// It comes to more than is read.
    TooLarge,
}

impl<W: Write> Unpacker<W> {
    /// For content with these values of `Content-Encoding`.
    pub(crate) fn new<'a>(codings: impl IntoIterator<Item = &'a [u8]>, inner: W) -> Self {
        let source = match Codings::named(codings) {
            Codings::None | Codings::Unknown => Source::Plain { waiting: Vec::new(), at: 0 },
            Codings::Known(known) => Source::Coded(Box::new(Decoder::new(&known, DECODED_MAX_BYTES))),
        };
        Self { inner, source, left: DECODED_MAX_BYTES, failed: None }
    }

    /// Takes a piece. It is decoded by [`Unpacker::step`].
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

    /// All has come.
    pub(crate) fn all_has_come(&mut self) {
        if let Source::Coded(decoder) = &mut self.source {
            decoder.all_has_come();
        }
    }

    /// Decodes a little. False: there is nothing more to do.
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
                    // Nothing of this step is no sign that nothing comes of the next.
                    if content.is_empty() {
                        return true;
                    }
                    content
                }
                Step::Hungry => return false,
                Step::Damaged => {
                    self.failed = Some(Failed::Damaged);
                    return false;
                }
            },
        };
        // Those that read in this program do not fail.
        !content.is_empty() && self.inner.write_all(content).is_ok()
    }

    /// Decodes a piece to its end. False: it is damaged or too much, here or before, and nothing more comes out.
    pub(crate) fn write(&mut self, bytes: &[u8]) -> bool {
        self.feed(bytes);
        while self.step() {}
        self.failed.is_none()
    }

    /// Why nothing more comes out, if so.
    pub(crate) fn failed(&self) -> Option<Failed> {
        self.failed
    }

    /// Where it goes.
    pub(crate) fn inner(&self) -> &W {
        &self.inner
    }

    /// The same, to tell it something.
    pub(crate) fn inner_mut(&mut self) -> &mut W {
        &mut self.inner
    }
}

#[cfg(test)]
pub(super) mod tests {
    use std::io;

    use flate2::Compression;
    use flate2::write::GzEncoder;

    use super::*;
    use crate::codings::Coding;

    /// In each coding, with the names that HTTP has for them; first as it is.
    pub(in crate::llm) fn coded(data: &[u8]) -> Vec<(&'static str, Vec<u8>)> {
        let name = |coding| match coding {
            Coding::Gzip => "gzip",
            Coding::Deflate => "deflate",
            Coding::Brotli => "br",
            Coding::Zstd => "zstd",
        };
        let coded = crate::codings::testing::coded(data);
        std::iter::once(("", data.to_vec()))
            .chain(coded.into_iter().map(|(coding, data)| (name(coding), data)))
            .collect()
    }

    fn unpacker<W: Write>(coding: &str, inner: W) -> Unpacker<W> {
        Unpacker::new([coding.as_bytes()], inner)
    }

    #[test]
    fn what_has_come_of_a_stream_is_there_at_once() {
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
    fn what_names_no_known_coding_is_read_as_it_came() {
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
    fn a_bomb_is_read_in_short_steps_and_ends_at_the_bound() {
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
                assert!(now - before <= crate::codings::STEP_BYTES as u64, "{coding}");
                before = now;
            }
            assert_eq!(unpacker.failed(), Some(Failed::TooLarge), "{coding}");
            assert!(before <= DECODED_MAX_BYTES);
        }
    }
}
