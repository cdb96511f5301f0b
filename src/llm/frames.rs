//! Amazon's event stream encoding (`application/vnd.amazon.eventstream`): binary frames with headers, a payload, and two
//! checksums.

use flate2::Crc;

/// The largest frame that is read. Larger ones are skipped; the encoding allows 16 MiB.
const FRAME_MAX_BYTES: usize = 1 << 20;
/// The largest frame that the encoding allows.
const ALLOWED_MAX_BYTES: usize = (16 << 20) + (128 << 10) + OVERHEAD_BYTES;
const PRELUDE_BYTES: usize = 12;
const CHECKSUM_BYTES: usize = 4;
const OVERHEAD_BYTES: usize = PRELUDE_BYTES + CHECKSUM_BYTES;

/// The headers of a frame that matter, and its payload.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Frame<'a> {
    /// `event`, `exception` or `error`.
    pub(super) kind: &'a str,
    /// The type of the event or the exception.
    pub(super) name: &'a str,
    /// The message of an `error`.
    pub(super) message: &'a str,
    pub(super) payload: &'a [u8],
}

/// Finds frames in a stream.
#[derive(Debug, Default)]
pub(super) struct Scanner {
    held: Vec<u8>,
    /// Bytes left of a frame that is skipped.
    passing: usize,
    skipped: u64,
    damaged: bool,
}

impl Scanner {
    /// Whether the stream is damaged. Nothing is read after that.
    pub(super) fn is_damaged(&self) -> bool {
        self.damaged
    }

    /// The number of frames that were skipped because of their size.
    pub(super) fn skipped(&self) -> u64 {
        self.skipped
    }

    /// Whether the stream is between two frames.
    pub(super) fn is_between(&self) -> bool {
        self.held.is_empty() && self.passing == 0
    }

    /// Reads the next bytes, and reports frames.
    pub(super) fn read(&mut self, mut bytes: &[u8], found: &mut impl FnMut(Frame<'_>)) {
        while !bytes.is_empty() && !self.damaged {
            if self.passing > 0 {
                let gone = self.passing.min(bytes.len());
                self.passing -= gone;
                bytes = &bytes[gone..];
                continue;
            }
            let wanted = if self.held.len() < PRELUDE_BYTES { PRELUDE_BYTES } else { length(&self.held) };
            let (now, rest) = bytes.split_at(bytes.len().min(wanted - self.held.len()));
            self.held.extend_from_slice(now);
            bytes = rest;
            if self.held.len() < wanted {
                return;
            }
            if wanted == PRELUDE_BYTES {
                self.prelude();
            } else {
                match Frame::of(&self.held) {
                    Some(frame) => found(frame),
                    None => self.damaged = true,
                }
                self.held.clear();
            }
        }
    }

    /// Checks a complete prelude: whether it is valid, and whether the frame is small enough.
    fn prelude(&mut self) {
        let (whole, headers) = (length(&self.held), number(&self.held, 4));
        let sound = number(&self.held, 8) == checksum(&self.held[..8]) as usize
            && (OVERHEAD_BYTES..=ALLOWED_MAX_BYTES).contains(&whole)
            && headers <= whole - OVERHEAD_BYTES;
        if !sound {
            self.damaged = true;
        } else if whole > FRAME_MAX_BYTES {
            self.passing = whole - PRELUDE_BYTES;
            self.skipped += 1;
            self.held.clear();
        }
    }
}

impl<'a> Frame<'a> {
    fn of(bytes: &'a [u8]) -> Option<Self> {
        let end = bytes.len().checked_sub(CHECKSUM_BYTES)?;
        if number(bytes, end) != checksum(&bytes[..end]) as usize {
            return None;
        }
        let (mut headers, payload) = bytes[PRELUDE_BYTES..end].split_at_checked(number(bytes, 4))?;
        let mut frame = Self { payload, ..Self::default() };
        let mut code = "";
        while !headers.is_empty() {
            let (name, value) = header(&mut headers)?;
            match name {
                ":message-type" => frame.kind = value,
                ":event-type" | ":exception-type" => frame.name = value,
                ":error-code" => code = value,
                ":error-message" => frame.message = value,
                _ => {}
            }
        }
        if frame.name.is_empty() {
            frame.name = code;
        }
        Some(frame)
    }
}

/// The next header's name, and its value if that is a string.
fn header<'a>(headers: &mut &'a [u8]) -> Option<(&'a str, &'a str)> {
    let name_bytes = usize::from(*take(headers, 1)?.first()?);
    let name = std::str::from_utf8(take(headers, name_bytes)?).ok()?;
    let value = match take(headers, 1)?.first()? {
        0 | 1 => &[],
        2 => take(headers, 1)?,
        3 => take(headers, 2)?,
        4 => take(headers, 4)?,
        5 | 8 => take(headers, 8)?,
        6 => {
            let length = number16(take(headers, 2)?);
            take(headers, length)?
        }
        7 => {
            let length = number16(take(headers, 2)?);
            return Some((name, std::str::from_utf8(take(headers, length)?).ok()?));
        }
        9 => take(headers, 16)?,
        _ => return None,
    };
    let _ = value;
    Some((name, ""))
}

fn take<'a>(from: &mut &'a [u8], bytes: usize) -> Option<&'a [u8]> {
    let (taken, rest) = from.split_at_checked(bytes)?;
    *from = rest;
    Some(taken)
}

fn length(frame: &[u8]) -> usize {
    number(frame, 0)
}

fn number(bytes: &[u8], at: usize) -> usize {
    bytes.get(at..at + 4).map_or(0, |four| four.iter().fold(0, |number, byte| number << 8 | usize::from(*byte)))
}

fn number16(bytes: &[u8]) -> usize {
    bytes.iter().fold(0, |number, byte| number << 8 | usize::from(*byte))
}

fn checksum(bytes: &[u8]) -> u32 {
    let mut crc = Crc::new();
    crc.update(bytes);
    crc.sum()
}

#[cfg(test)]
pub(super) mod testing {
    use super::checksum;

    /// Encodes a frame with these headers and this payload.
    pub(in crate::llm) fn frame(headers: &[(&str, &str)], payload: &[u8]) -> Vec<u8> {
        let mut fields = Vec::new();
        for (name, value) in headers {
            fields.push(name.len() as u8);
            fields.extend_from_slice(name.as_bytes());
            fields.push(7);
            fields.extend_from_slice(&(value.len() as u16).to_be_bytes());
            fields.extend_from_slice(value.as_bytes());
        }
        let whole = (fields.len() + payload.len() + super::OVERHEAD_BYTES) as u32;
        let mut frame = [whole.to_be_bytes(), (fields.len() as u32).to_be_bytes()].concat();
        frame.extend_from_slice(&checksum(&frame).to_be_bytes());
        frame.extend_from_slice(&fields);
        frame.extend_from_slice(payload);
        frame.extend_from_slice(&checksum(&frame).to_be_bytes());
        frame
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::testing::frame;
    use super::*;

    fn read(bytes: &[u8], piece: usize) -> (Vec<(String, String, Vec<u8>)>, Scanner) {
        let (mut scanner, mut frames) = (Scanner::default(), Vec::new());
        for piece in bytes.chunks(piece) {
            scanner.read(piece, &mut |frame| {
                frames.push((frame.kind.to_owned(), frame.name.to_owned(), frame.payload.to_vec()));
            });
        }
        (frames, scanner)
    }

    fn event(name: &str, payload: &str) -> Vec<u8> {
        frame(
            &[(":event-type", name), (":content-type", "application/json"), (":message-type", "event")],
            payload.as_bytes(),
        )
    }

    #[test]
    fn a_known_frame_is_read() {
        // An example from the specification: no headers, no payload.
        let empty = [0, 0, 0, 0x10, 0, 0, 0, 0, 0x05, 0xC2, 0x48, 0xEB, 0x7D, 0x98, 0xC8, 0xFF];
        let (frames, scanner) = read(&empty, 5);
        assert_eq!((frames.len(), scanner.is_damaged(), scanner.is_between()), (1, false, true));
        assert_eq!(frame(&[], b""), empty);
    }

    #[test]
    fn any_split_gives_the_same_and_headers_of_every_type_are_skipped() {
        let mut other = vec![1, b'a', 0, 1, b'b', 2, 9, 1, b'c', 4, 0, 0, 0, 1, 1, b'd', 6, 0, 2, 1, 2, 1, b'e', 9];
        other.extend_from_slice(&[0; 16]);
        other.extend_from_slice(&[1, b'f', 8, 0, 0, 0, 0, 0, 0, 0, 0]);
        let mut headers = &other[..];
        while !headers.is_empty() {
            assert_eq!(header(&mut headers).unwrap().1, "");
        }
        let stream = [event("messageStart", "{}"), event("metadata", "{\"a\":1}")].concat();
        for piece in 1..stream.len() {
            let (frames, scanner) = read(&stream, piece);
            assert_eq!(frames[1], ("event".into(), "metadata".into(), b"{\"a\":1}".to_vec()), "{piece}");
            assert!(scanner.is_between());
        }
        let error = frame(&[(":message-type", "error"), (":error-code", "Busy"), (":error-message", "later")], b"");
        assert_eq!(read(&error, 3).0[0].1, "Busy");
    }

    #[test]
    fn damage_ends_reading_and_large_frames_are_skipped() {
        let mut damaged = event("metadata", "{\"a\":1}");
        let last = damaged.len() - 6;
        damaged[last] ^= 1;
        assert!(read(&damaged, 9).1.is_damaged());
        assert!(read(b"HTTP/1.1 200 OK\r\n\r\n", 4).1.is_damaged());
        let large = event("chunk", &"x".repeat(FRAME_MAX_BYTES));
        let (frames, scanner) = read(&[large, event("metadata", "{}")].concat(), 4096);
        assert_eq!((frames.len(), scanner.skipped(), scanner.is_damaged()), (1, 1, false));
    }

    proptest! {
        #[test]
        fn noise_never_panics_and_nothing_is_found_in_it(noise in prop::collection::vec(any::<u8>(), 0..400)) {
            read(&noise, 7);
        }
    }
}
