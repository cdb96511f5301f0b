//! The lines of a response's head, one by one.

use std::borrow::Cow;

use hyper::ext::ReasonPhrase;

/// A status line (RFC 9112 4).
pub(super) struct Status<'a> {
    pub(super) is_http_10: bool,
    pub(super) code: u16,
    /// Without control characters.
    pub(super) reason: Cow<'a, [u8]>,
    /// hyper does not accept how it is written.
    pub(super) is_odd: bool,
}

impl<'a> Status<'a> {
    /// Reads `HTTP/1.x code [reason]`. `None`: it is something else.
    pub(super) fn read(line: &'a [u8]) -> Option<Self> {
        let (minor, rest) = line.strip_prefix(b"HTTP/1.")?.split_first()?;
        let after_spaces = rest.trim_ascii_start();
        let (code, reason) = after_spaces.split_at_checked(3)?;
        let spaces = rest.len() - after_spaces.len();
        let is_status = matches!(minor, b'0' | b'1')
            && spaces > 0
            && code.iter().all(u8::is_ascii_digit)
            && matches!(reason.first(), None | Some(b' '));
        let code = is_status.then(|| code.iter().fold(0, |number, digit| number * 10 + u16::from(digit - b'0')))?;
        let reason = reason.strip_prefix(b" ").unwrap_or(reason);
        let is_sound = reason.iter().all(|byte| is_of_a_value(*byte));
        let cleaned = || reason.iter().map(|byte| if is_of_a_value(*byte) { *byte } else { b' ' }).collect();
        Some(Self {
            is_http_10: *minor == b'0',
            code,
            reason: if is_sound { Cow::Borrowed(reason) } else { Cow::Owned(cleaned()) },
            is_odd: spaces != 1 || !rest.starts_with(b" ") || !is_sound,
        })
    }

    /// Whether another head follows for the same request.
    pub(super) fn is_interim(&self) -> bool {
        (100..200).contains(&self.code) && self.code != 101
    }

    /// Whether no content follows, whatever the fields say (RFC 9112 6.3).
    pub(super) fn is_without_content(&self) -> bool {
        matches!(self.code, 100..=199 | 204 | 304)
    }

    /// The reason phrase, if it is not ASCII.
    pub(super) fn reason_beyond_ascii(&self) -> Option<ReasonPhrase> {
        if self.reason.is_ascii() { None } else { ReasonPhrase::try_from(&self.reason[..]).ok() }
    }

    /// Writes the line in the form of HTTP/1.1. `closes`: adds `Connection: close`.
    pub(super) fn write(&self, to: &mut Vec<u8>, closes: bool) {
        let version = if self.is_http_10 && !closes { b'0' } else { b'1' };
        to.extend_from_slice(b"HTTP/1.");
        to.push(version);
        to.extend_from_slice(format!(" {:03} ", self.code).as_bytes());
        to.extend_from_slice(&self.reason);
        to.extend_from_slice(b"\r\n");
        if closes {
            to.extend_from_slice(b"Connection: close\r\n");
        }
    }
}

/// A field with a valid name and value.
pub(super) struct Field<'a> {
    pub(super) name: &'a [u8],
    pub(super) value: Cow<'a, [u8]>,
}

impl Field<'_> {
    pub(super) fn is(&self, name: &str) -> bool {
        self.name.eq_ignore_ascii_case(name.as_bytes())
    }

    /// The members of its comma-separated value.
    pub(super) fn members(&self) -> impl Iterator<Item = &[u8]> {
        self.value.split(|byte| *byte == b',').map(<[u8]>::trim_ascii)
    }

    /// Appends a continuation line (RFC 9112 5.2).
    pub(super) fn unfold(&mut self, more: &[u8]) {
        let more = more.trim_ascii();
        if !more.is_empty() {
            let value = self.value.to_mut();
            value.push(b' ');
            value.extend(more.iter().map(|byte| if is_of_a_value(*byte) { *byte } else { b' ' }));
        }
    }
}

/// A line after the status line.
pub(super) enum Line<'a> {
    /// A field. `spaced`: there are blanks before the colon.
    Field { field: Field<'a>, spaced: bool },
    /// A continuation of the line before (RFC 9112 5.2).
    Fold(&'a [u8]),
    /// A line that no header map can hold. `name`: the part before the colon.
    Invalid { name: &'a [u8], text: &'a [u8] },
}

impl<'a> Line<'a> {
    /// Reads a line without its line end. It contains no NUL and no CR.
    pub(super) fn read(line: &'a [u8]) -> Self {
        if matches!(line.first(), Some(b' ' | b'\t')) {
            return Self::Fold(line);
        }
        let colon = memchr::memchr(b':', line).unwrap_or(line.len());
        let written = &line[..colon];
        let name = written.trim_ascii_end();
        match line.get(colon + 1..).map(<[u8]>::trim_ascii) {
            Some(value) if is_token(name) && value.iter().all(|byte| is_of_a_value(*byte)) => {
                let spaced = name.len() != written.len();
                Self::Field { field: Field { name, value: Cow::Borrowed(value) }, spaced }
            }
            _ => Self::Invalid { name, text: line },
        }
    }
}

/// The lines of a head up to its empty line, without line ends.
pub(super) fn lines(head: &[u8]) -> impl Iterator<Item = &[u8]> {
    let lines = head.split(|byte| *byte == b'\n').map(|line| line.strip_suffix(b"\r").unwrap_or(line));
    lines.take_while(|line| !line.is_empty())
}

/// The head with each bare CR replaced by a space (RFC 9112 2.2). `None`: there is no bare CR.
pub(super) fn without_bare_cr(head: &[u8]) -> Option<Vec<u8>> {
    let is_bare = |at: &usize| head.get(at + 1) != Some(&b'\n');
    memchr::memchr_iter(b'\r', head).find(is_bare)?;
    let mut clean = head.to_vec();
    memchr::memchr_iter(b'\r', head).filter(is_bare).for_each(|at| clean[at] = b' ');
    Some(clean)
}

/// RFC 9110 5.6.2.
fn is_token(name: &[u8]) -> bool {
    !name.is_empty() && name.iter().all(|byte| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(byte))
}

/// RFC 9110 5.5.
fn is_of_a_value(byte: u8) -> bool {
    byte == b'\t' || (byte >= b' ' && byte != 0x7f)
}
