//! Decodes one coding: bytes in, a bounded number of bytes out.

use brotli::{BrotliDecompressStream, BrotliResult, BrotliState, HeapAlloc, HuffmanCode};
use flate2::{Crc, Decompress, FlushDecompress, Status};
use zstd::stream::raw::{DParameter, Operation};

use super::Coding;

/// 8 MiB, the largest zstd window that RFC 9659 allows on the web. A larger one would make us allocate too much.
const ZSTD_WINDOW_LOG_MAX: u32 = 23;
/// Magic number of a zstd frame, little-endian (RFC 8878 section 3.1.1).
const ZSTD_MAGIC: [u8; 4] = [0x28, 0xB5, 0x2F, 0xFD];
/// Magic number of a skippable zstd frame, except for the lower half of its first byte (RFC 8878 section 3.1.2).
const ZSTD_SKIPPABLE: [u8; 4] = [0x50, 0x2A, 0x4D, 0x18];
/// Magic number of a gzip member (RFC 1952 section 2.3.1).
const GZIP_MAGIC: [u8; 2] = [0x1F, 0x8B];
/// No server sends a longer gzip header.
const GZIP_HEADER_MAX_BYTES: usize = 64 << 10;
/// Enough bytes to distinguish zlib from raw deflate.
const ZLIB_HEADER_BYTES: usize = 2;
/// The checksum and the length after a gzip member.
const GZIP_TRAILER_BYTES: usize = 8;

/// The result of one run.
pub(super) struct Ran {
    /// Bytes of input that were consumed.
    pub(super) read: usize,
    /// Bytes of output that were written.
    pub(super) written: usize,
    /// The data after that is damaged.
    pub(super) damaged: bool,
    /// More input is needed.
    pub(super) waits: bool,
}

impl Ran {
    const fn of(read: usize, written: usize) -> Self {
        Self { read, written, damaged: false, waits: false }
    }

    const DAMAGED: Self = Self { damaged: true, ..Self::of(0, 0) };
    const WAITS: Self = Self { waits: true, ..Self::of(0, 0) };
}

/// Decodes one coding.
pub(super) struct Engine {
    kind: Kind,
    at: At,
    trailing: bool,
}

enum Kind {
    Gzip(Gzip),
    /// `None` until the first two bytes show whether it is zlib or raw deflate.
    Deflate(Option<Decompress>),
    Brotli(Box<Brotli>),
    /// `None`: no memory for a decoder.
    Zstd(Option<zstd::stream::raw::Decoder<'static>>),
}

struct Gzip {
    inflate: Decompress,
    crc: Crc,
}

type Brotli = BrotliState<HeapAlloc<u8>, HeapAlloc<u32>, HeapAlloc<HuffmanCode>>;

/// The position in the coded data.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum At {
    /// Before the first byte, or the header of another member or frame.
    Header,
    Data,
    /// Before the checksum of a gzip member.
    Trailer,
    /// After the end of a stream, a member or a frame.
    End,
}

impl Engine {
    pub(super) fn new(coding: Coding) -> Self {
        let kind = match coding {
            Coding::Gzip => Kind::Gzip(Gzip { inflate: Decompress::new(false), crc: Crc::new() }),
            Coding::Deflate => Kind::Deflate(None),
            Coding::Brotli => Kind::Brotli(Box::new(BrotliState::new_strict(
                HeapAlloc::new(0),
                HeapAlloc::new(0),
                HeapAlloc::new(HuffmanCode::default()),
            ))),
            Coding::Zstd => Kind::Zstd(zstd_decoder()),
        };
        Self { kind, at: At::Header, trailing: false }
    }

    /// Whether content that begins like this is plain text instead of data in this coding.
    pub(super) fn is_plain_text(&self, start: &[u8]) -> bool {
        let text = |byte: &u8| matches!(byte, b'\t' | b'\n' | b'\r' | b' '..=b'~');
        match self.kind {
            Kind::Gzip(_) => !start.starts_with(&GZIP_MAGIC) && start.iter().all(|byte| text(byte) || *byte >= 0x80),
            Kind::Zstd(_) => start.iter().all(text),
            // These have no magic number. Only text that begins like JSON, markup or an event stream counts as plain.
            Kind::Deflate(_) | Kind::Brotli(_) => {
                let first = start.iter().find(|byte| !byte.is_ascii_whitespace());
                matches!(first, Some(b'{' | b'[' | b'<' | b':' | b'd' | b'e' | b'i' | b'r')) && start.iter().all(text)
            }
        }
    }

    /// Whether the data has ended, so far.
    pub(super) fn is_whole(&self) -> bool {
        self.at == At::End
    }

    /// Whether other bytes follow the end.
    pub(super) fn has_trailing(&self) -> bool {
        self.trailing
    }

    /// Decodes some input.
    pub(super) fn run(&mut self, input: &[u8], out: &mut [u8]) -> Ran {
        if self.at == At::End {
            return self.after_the_end(input);
        }
        let (ran, at) = match &mut self.kind {
            Kind::Gzip(gzip) => gzip.run(self.at, input, out),
            Kind::Deflate(inflate) => match inflate {
                Some(inflate) => inflated(inflate, input, out),
                None if input.len() < ZLIB_HEADER_BYTES => (Ran::WAITS, At::Header),
                None => {
                    *inflate = Some(Decompress::new(is_zlib(input)));
                    (Ran::of(0, 0), At::Data)
                }
            },
            Kind::Brotli(state) => brotli(state, input, out),
            Kind::Zstd(None) => (Ran::DAMAGED, At::Data),
            Kind::Zstd(Some(decoder)) => match decoder.run_on_buffers(input, out) {
                Ok(did) => {
                    let at = if did.remaining == 0 { At::End } else { At::Data };
                    (Ran::of(did.bytes_read, did.bytes_written), at)
                }
                Err(_) => (Ran::DAMAGED, At::Data),
            },
        };
        self.at = at;
        ran
    }

    /// Another member or frame may begin here. Anything else is dropped.
    fn after_the_end(&mut self, input: &[u8]) -> Ran {
        let magic: &[u8] = match &self.kind {
            _ if self.trailing => &[],
            Kind::Gzip(_) => &GZIP_MAGIC,
            Kind::Zstd(_) if input.first().is_some_and(|first| first & 0xF0 == 0x50) => &ZSTD_SKIPPABLE,
            Kind::Zstd(_) => &ZSTD_MAGIC,
            Kind::Deflate(_) | Kind::Brotli(_) => &[],
        };
        // The lower half of a skippable frame's first byte may be anything.
        let same = |(one, other): (&u8, &u8)| one == other || (*other == 0x50 && one & 0xF0 == 0x50);
        let begins = !magic.is_empty() && input.iter().zip(magic).all(same);
        if begins && input.len() < magic.len() {
            return Ran::WAITS;
        }
        match &mut self.kind {
            Kind::Gzip(gzip) if begins => {
                gzip.inflate.reset(false);
                gzip.crc.reset();
                self.at = At::Header;
                Ran::of(0, 0)
            }
            Kind::Zstd(Some(decoder)) if begins => {
                self.at = At::Data;
                if decoder.reinit().is_err() { Ran::DAMAGED } else { Ran::of(0, 0) }
            }
            _ => {
                self.trailing = true;
                Ran::of(input.len(), 0)
            }
        }
    }
}

impl Gzip {
    fn run(&mut self, at: At, input: &[u8], out: &mut [u8]) -> (Ran, At) {
        match at {
            At::Header => match header_bytes(input) {
                Ok(Some(bytes)) => (Ran::of(bytes, 0), At::Data),
                Ok(None) if input.len() < GZIP_HEADER_MAX_BYTES => (Ran::WAITS, At::Header),
                _ => (Ran::DAMAGED, At::Header),
            },
            At::Data | At::End => {
                let (ran, at) = inflated(&mut self.inflate, input, out);
                self.crc.update(&out[..ran.written]);
                (ran, if at == At::End { At::Trailer } else { at })
            }
            At::Trailer => match input.first_chunk::<GZIP_TRAILER_BYTES>() {
                Some([a, b, c, d, e, f, g, h]) => {
                    let sums = [u32::from_le_bytes([*a, *b, *c, *d]), u32::from_le_bytes([*e, *f, *g, *h])];
                    let sound = sums == [self.crc.sum(), self.crc.amount()];
                    (Ran { damaged: !sound, ..Ran::of(GZIP_TRAILER_BYTES, 0) }, At::End)
                }
                None => (Ran::WAITS, At::Trailer),
            },
        }
    }
}

/// `deflate` means zlib (RFC 9110 section 8.4.1.2), but enough servers send it raw: a zlib header has its own checksum.
fn is_zlib(start: &[u8]) -> bool {
    matches!(start, [first, second, ..]
        if first & 0x0F == 8 && u16::from_be_bytes([*first, *second]).is_multiple_of(31))
}

fn inflated(inflate: &mut Decompress, input: &[u8], out: &mut [u8]) -> (Ran, At) {
    let (read, written) = (inflate.total_in(), inflate.total_out());
    let done = inflate.decompress(input, out, FlushDecompress::None);
    let read = usize::try_from(inflate.total_in() - read).unwrap_or(input.len()).min(input.len());
    let written = usize::try_from(inflate.total_out() - written).unwrap_or(out.len()).min(out.len());
    match done {
        Ok(Status::StreamEnd) => (Ran::of(read, written), At::End),
        // With input and output room, a sound stream always makes progress.
        Ok(_) if read == 0 && written == 0 && !input.is_empty() => (Ran::DAMAGED, At::Data),
        Ok(_) => (Ran::of(read, written), At::Data),
        Err(_) => (Ran { damaged: true, ..Ran::of(read, written) }, At::Data),
    }
}

fn brotli(state: &mut Brotli, input: &[u8], out: &mut [u8]) -> (Ran, At) {
    let (mut left, mut read, mut room, mut written, mut total) = (input.len(), 0, out.len(), 0, 0);
    let result = BrotliDecompressStream(&mut left, &mut read, input, &mut room, &mut written, out, &mut total, state);
    let at = if matches!(result, BrotliResult::ResultSuccess) { At::End } else { At::Data };
    (Ran { damaged: matches!(result, BrotliResult::ResultFailure), ..Ran::of(read, written) }, at)
}

fn zstd_decoder() -> Option<zstd::stream::raw::Decoder<'static>> {
    let mut decoder = zstd::stream::raw::Decoder::new().ok()?;
    decoder.set_parameter(DParameter::WindowLogMax(ZSTD_WINDOW_LOG_MAX)).ok()?;
    Some(decoder)
}

/// Length of a gzip member's header (RFC 1952 section 2.3). `None`: it is not complete yet.
fn header_bytes(input: &[u8]) -> Result<Option<usize>, ()> {
    const FIXED_BYTES: usize = 10;
    if input.iter().zip(GZIP_MAGIC).any(|(one, other)| *one != other) {
        return Err(());
    }
    let Some(fixed) = input.first_chunk::<FIXED_BYTES>() else { return Ok(None) };
    let (method, flags) = (fixed[2], fixed[3]);
    if method != 8 || flags & 0xE0 != 0 {
        return Err(());
    }
    let mut end = FIXED_BYTES;
    if flags & 4 != 0 {
        let Some([low, high]) = input.get(end..end + 2) else { return Ok(None) };
        end += 2 + usize::from(u16::from_le_bytes([*low, *high]));
    }
    // A name, then a comment; each ends with a NUL.
    for flag in [8, 16] {
        if flags & flag != 0 {
            let Some(length) = input.get(end..).and_then(|rest| memchr::memchr(0, rest)) else { return Ok(None) };
            end += length + 1;
        }
    }
    if flags & 2 != 0 {
        end += 2;
    }
    Ok((end <= input.len()).then_some(end))
}
