//! Where an agent's messages begin and end. A state machine that gets the bytes as they come, and says which of them may be passed
//! on.

use super::bypass::Bypass;
use super::head::{self, Follows, Head};
use super::violation::Violation;

/// The longest line of chunked framing: a size and extensions.
const CHUNK_LINE_LIMIT_BYTES: usize = 4 << 10;
/// The largest trailer section.
const TRAILERS_LIMIT_BYTES: usize = 32 << 10;
/// Empty lines before a request line that are skipped (RFC 9112 2.2).
const EMPTY_LINES: u8 = 4;

/// The state of an agent's stream.
#[derive(Debug)]
pub(in crate::proxy) struct Framing {
    state: State,
    /// `proxy.max_header_bytes`
    head_limit_bytes: usize,
    /// Bytes of the incomplete line or head that contain no line end.
    scanned: usize,
    empty_lines: u8,
    /// Heads that were passed on.
    heads: u64,
    /// The parts of the last head that bypass the library.
    bypass: Option<Bypass>,
}

/// Which of the held bytes may be passed on.
#[derive(Debug, Default, PartialEq, Eq)]
pub(in crate::proxy) struct Checked {
    /// This many of the first bytes.
    pub(in crate::proxy) bytes: usize,
    /// The parts of them that bypass the library.
    pub(in crate::proxy) bypass: Option<Bypass>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    Head,
    Content(u64),
    ChunkSize,
    ChunkData(u64),
    ChunkEnd,
    Trailers(usize),
    Tunnel,
}

/// The position in the agent's stream.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::proxy) enum Position {
    /// At the beginning of a head.
    Between,
    /// In a head.
    Head,
    /// In content.
    Content,
    /// After a switch to another protocol.
    Tunnel,
}

impl Framing {
    /// At the beginning of the first head.
    pub(in crate::proxy) fn new(head_limit_bytes: usize) -> Self {
        Self { state: State::Head, head_limit_bytes, scanned: 0, empty_lines: 0, heads: 0, bypass: None }
    }

    /// The rest of the stream is not HTTP.
    pub(in crate::proxy) fn tunnel(&mut self) {
        self.state = State::Tunnel;
    }

    /// How many heads were passed on.
    pub(in crate::proxy) fn heads(&self) -> u64 {
        self.heads
    }

    /// The position. `held`: how many received bytes were not passed on.
    pub(in crate::proxy) fn position(&self, held: usize) -> Position {
        match self.state {
            State::Head if held == 0 => Position::Between,
            State::Head => Position::Head,
            State::Tunnel => Position::Tunnel,
            _ => Position::Content,
        }
    }

    /// How many of the first bytes of `held` may be passed on: whole heads, whole lines of chunked framing, and content. `held`: the
    /// bytes that were not passed on before, and new ones. A head with parts that bypass the library is the last of them.
    ///
    /// # Errors
    /// What is wrong with the next bytes. Calling it again returns the same error.
    pub(in crate::proxy) fn check(&mut self, held: &[u8]) -> Result<Checked, Violation> {
        let mut gone = 0;
        loop {
            let rest = &held[gone..];
            match self.step(rest) {
                Ok(Some(bytes)) => {
                    let bypass = self.bypass.take().map(|bypass| bypass.after(gone));
                    gone += bytes;
                    if bypass.is_some() {
                        return Ok(Checked { bytes: gone, bypass });
                    }
                }
                Ok(None) => return Ok(Checked { bytes: gone, bypass: None }),
                Err(violation) => {
                    // The valid bytes before it are passed on first. Then this part is read again.
                    self.scanned = 0;
                    return if gone > 0 { Ok(Checked { bytes: gone, bypass: None }) } else { Err(violation) };
                }
            }
        }
    }

    /// How many of the next bytes are content. They need no check.
    pub(in crate::proxy) fn unread_bytes(&self) -> u64 {
        match self.state {
            State::Content(left) | State::ChunkData(left) => left,
            State::Tunnel => u64::MAX,
            _ => 0,
        }
    }

    /// Notes that this many bytes of [`Self::unread_bytes`] were passed on without [`Self::check`].
    pub(in crate::proxy) fn passed(&mut self, bytes: u64) {
        self.state = match self.state {
            State::Content(left) if left > bytes => State::Content(left - bytes),
            State::Content(_) => State::Head,
            State::ChunkData(left) if left > bytes => State::ChunkData(left - bytes),
            State::ChunkData(_) => State::ChunkEnd,
            other => other,
        };
    }

    /// Takes one step. `None`: more bytes are needed.
    fn step(&mut self, rest: &[u8]) -> Result<Option<usize>, Violation> {
        if rest.is_empty() {
            return Ok(None);
        }
        match self.state {
            State::Head => self.head(rest),
            State::Content(left) | State::ChunkData(left) => {
                let bytes = usize::try_from(left).map_or(rest.len(), |left| left.min(rest.len()));
                self.passed(bytes as u64);
                Ok(Some(bytes))
            }
            State::ChunkSize => {
                let Some(line) = self.line(rest, CHUNK_LINE_LIMIT_BYTES)? else { return Ok(None) };
                let size = chunk_size(&rest[..line])?;
                self.state = if size == 0 { State::Trailers(0) } else { State::ChunkData(size) };
                Ok(Some(line + 2))
            }
            State::ChunkEnd => match rest {
                [b'\r', b'\n', ..] => {
                    self.state = State::ChunkSize;
                    Ok(Some(2))
                }
                [b'\r'] => Ok(None),
                _ => Err(Violation::malformed("a chunk is longer than its size (RFC 9112 7.1)")),
            },
            State::Trailers(before) => {
                let Some(line) = self.line(rest, TRAILERS_LIMIT_BYTES.saturating_sub(before))? else {
                    return Ok(None);
                };
                trailer(&rest[..line])?;
                self.state = if line == 0 { State::Head } else { State::Trailers(before + line + 2) };
                Ok(Some(line + 2))
            }
            State::Tunnel => Ok(Some(rest.len())),
        }
    }

    fn head(&mut self, rest: &[u8]) -> Result<Option<usize>, Violation> {
        if rest.starts_with(b"\r\n") {
            // The CR may have come alone before, and been scanned.
            self.scanned = 0;
            self.empty_lines += 1;
            return match self.empty_lines {
                ..=EMPTY_LINES => Ok(Some(2)),
                _ => Err(Violation::malformed("there are too many empty lines before the request (RFC 9112 2.2)")),
            };
        }
        while let Some(at) = memchr::memchr(b'\n', &rest[self.scanned..]) {
            let end = self.scanned + at + 1;
            if !rest[..end].ends_with(b"\r\n") {
                return Err(Violation::malformed("a line ends in a bare LF (RFC 9112 2.2)"));
            }
            self.scanned = end;
            if rest[..end].ends_with(b"\r\n\r\n") {
                self.within_limit(end)?;
                let Head { follows, bypass } = head::read(&rest[..end])?;
                self.bypass = bypass;
                self.state = match follows {
                    Follows::Length(0) => State::Head,
                    Follows::Length(length) => State::Content(length),
                    Follows::Chunked => State::ChunkSize,
                    Follows::Tunnel => State::Tunnel,
                };
                (self.scanned, self.empty_lines) = (0, 0);
                self.heads += 1;
                return Ok(Some(end));
            }
        }
        self.scanned = rest.len();
        self.within_limit(rest.len())?;
        Ok(None)
    }

    fn within_limit(&self, bytes: usize) -> Result<(), Violation> {
        let limit = self.head_limit_bytes;
        if bytes <= limit {
            return Ok(());
        }
        let reason = format!("the request's head is longer than {limit} bytes (`proxy.max_header_bytes`)");
        Err(Violation::TooLarge(reason.into()))
    }

    /// The length of the first line of `rest`, without its CR LF. `None`: the line is incomplete.
    fn line(&mut self, rest: &[u8], limit: usize) -> Result<Option<usize>, Violation> {
        let Some(at) = memchr::memchr(b'\n', &rest[self.scanned..]) else {
            self.scanned = rest.len();
            return if rest.len() <= limit {
                Ok(None)
            } else {
                Err(Violation::malformed("a line of the chunked framing is too long (RFC 9112 7.1.1)"))
            };
        };
        let end = self.scanned + at;
        self.scanned = 0;
        match end.checked_sub(1).filter(|before| rest[*before] == b'\r') {
            Some(line) if line <= limit => Ok(Some(line)),
            Some(_) => Err(Violation::malformed("a line of the chunked framing is too long (RFC 9112 7.1.1)")),
            None => Err(Violation::malformed("a line of the chunked framing ends in a bare LF (RFC 9112 7.1)")),
        }
    }
}

/// `chunk-size [ chunk-ext ]`
fn chunk_size(line: &[u8]) -> Result<u64, Violation> {
    let bad = || Violation::malformed("a chunk's size is not a hexadecimal number (RFC 9112 7.1)");
    let digits = line.iter().take_while(|byte| byte.is_ascii_hexdigit()).count();
    let extension = &line[digits..];
    let known = |byte: &u8| matches!(byte, b'\t' | b' '..=b'~' | 0x80..);
    if !(extension.is_empty() || extension[0] == b';') || !extension.iter().all(known) {
        return Err(bad());
    }
    // 15 digits are more than any message needs, and cannot overflow.
    let number = str::from_utf8(&line[..digits]).ok().filter(|text| (1..=15).contains(&text.len()));
    number.and_then(|text| u64::from_str_radix(text, 16).ok()).ok_or_else(bad)
}

/// A line of the trailer section, or its empty end.
fn trailer(line: &[u8]) -> Result<(), Violation> {
    if line.is_empty() {
        return Ok(());
    }
    let field = [line, b"\r\n\r\n"].concat();
    let mut parsed = [httparse::EMPTY_HEADER; 2];
    match httparse::parse_headers(&field, &mut parsed) {
        Ok(httparse::Status::Complete((length, [_]))) if length == field.len() => Ok(()),
        _ => Err(Violation::malformed("a trailer field is malformed (RFC 9112 7.1.2)")),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// The bytes that are passed on when a stream comes in these pieces, and the violation, if there is one.
    fn pass<'a>(pieces: impl IntoIterator<Item = &'a [u8]>) -> (Vec<u8>, Option<Violation>) {
        let (mut framing, mut held, mut passed) = (Framing::new(1000), Vec::new(), Vec::new());
        for piece in pieces {
            held.extend_from_slice(piece);
            loop {
                match framing.check(&held) {
                    Ok(Checked { bytes: 0, .. }) => break,
                    Ok(Checked { bytes, .. }) => passed.extend(held.drain(..bytes)),
                    Err(violation) => return (passed, Some(violation)),
                }
            }
        }
        (passed, None)
    }

    const GOOD: &[u8] = b"\r\nPOST /a HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n\
        5;x=\"y\"\r\nhello\r\n00a\r\n0123456789\r\n0\r\nT: 1\r\n\r\n\
        PUT /b HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\n\r\n\r\n\rGET / HTTP/1.1\r\nHost: a\r\n\r\n\
        CONNECT a:1 HTTP/1.1\r\nHost: a:1\r\n\r\n\x16\x03\n\n anything";

    #[test]
    fn checked_messages_go_on_whole() {
        assert_eq!(pass([GOOD]), (GOOD.to_vec(), None));
        assert_eq!(pass(GOOD.chunks(1)), (GOOD.to_vec(), None));
    }

    #[test]
    fn nothing_of_an_unchecked_head_goes_on_and_what_was_before_it_does() {
        let first = b"GET /1 HTTP/1.1\r\nHost: a\r\n\r\n".to_vec();
        for bad in [
            &b"GET / HTTP/1.1\nHost: a\n\n"[..],
            b"GET / HTTP/1.1\r\nHost: a\n\r\n",
            b"GET / HTTP/1.1\r\nHost: a\r\nX: y\r\n\tz\r\n\r\n",
            b"\r\n\r\n\r\n\r\n\r\n",
            b"PRI * HTTP/2.0\r\n\r\n",
            &[b'a'; 1001],
        ] {
            let (passed, violation) = pass([&first[..], bad]);
            assert!(violation.is_some(), "{:?}", String::from_utf8_lossy(bad));
            let mut framing = Framing::new(1000);
            let rest = &bad[framing.check(bad).unwrap_or_default().bytes..];
            assert_eq!([framing.check(rest).is_err(), framing.check(rest).is_err()], [true; 2], "as often as asked");
            assert!(passed.starts_with(&first) && passed.len() <= first.len() + 8, "{bad:?}");
        }
        let long = format!("GET / HTTP/1.1\r\nHost: a\r\nX: {}\r\n\r\n", "x".repeat(1000));
        assert!(matches!(pass([long.as_bytes()]).1, Some(Violation::TooLarge(_))));
    }

    #[test]
    fn chunk_framing_has_one_reading() {
        for bad in [
            "5\nhello\r\n",
            "0x5\r\nhello\r\n",
            "+5\r\nhello\r\n",
            " 5\r\nhello\r\n",
            "5 \r\nhello\r\n",
            "_5\r\n",
            "\r\n",
            "5\r\nhellooo",
            "5\r\nhello\n",
            "ffffffffffffffffffff\r\n",
            "5;a\rb\r\nhello\r\n",
            "0\r\nT : 1\r\n\r\n",
            "0\r\n T: 1\r\n\r\n",
            "0\r\nT: 1\n\r\n",
            "0\r\nnothing\r\n\r\n",
        ] {
            let head = b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n";
            let (passed, violation) = pass([&head[..], bad.as_bytes()]);
            assert!(violation.is_some(), "{bad:?}: {}", String::from_utf8_lossy(&passed));
        }
    }

    #[test]
    fn a_head_with_a_bypass_goes_on_alone() {
        let first = b"GET /1 HTTP/1.1\r\nHost: a\r\n\r\n";
        let odd = b"GET http://a/<\xe9> HTTP/1.1\r\nHost: a\r\n\r\n";
        let held = [&first[..], odd, first].concat();
        let mut framing = Framing::new(1000);
        let checked = framing.check(&held).unwrap();
        assert_eq!((checked.bytes, framing.heads()), (first.len() + odd.len(), 2));
        assert_eq!(checked.bypass.map(|bypass| &held[bypass.target]), Some(&b"/<\xe9>"[..]));
        assert_eq!(framing.check(first), Ok(Checked { bytes: first.len(), bypass: None }));
    }

    proptest! {
        #[test]
        fn the_pieces_that_bytes_come_in_change_nothing(
            cuts in prop::collection::vec(0..GOOD.len(), 0..20),
            junk in prop::collection::vec(any::<u8>(), 0..40),
            at in 0..GOOD.len(),
        ) {
            let mut bytes = GOOD.to_vec();
            bytes.splice(at..at, junk);
            let mut cuts = cuts;
            cuts.sort_unstable();
            let mut pieces = Vec::new();
            let mut from = 0;
            for cut in cuts {
                pieces.push(&bytes[from..cut.max(from)]);
                from = cut.max(from);
            }
            pieces.push(&bytes[from..]);
            let (whole, in_pieces) = (pass([&bytes[..]]), pass(pieces));
            prop_assert_eq!(&whole.1.is_some(), &in_pieces.1.is_some());
            if whole.1.is_none() {
                prop_assert_eq!(whole.0, in_pieces.0);
            }
        }
    }
}
