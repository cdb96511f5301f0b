//! Lenient reading of a response's head over HTTP/1.x. A head that common clients understand is rewritten so that hyper accepts it.
//! An ambiguous head is refused (RFC 9112 2.2, 4, 5, 6). [`super::strict`] is the counterpart for requests.
//!
//! Pure: bytes in, a head or a reason out.

mod facts;
mod framing;
mod line;

use std::borrow::Cow;

use crate::capture::OriginFault;
pub(in crate::proxy) use facts::HeadFacts;
use line::{Field, Line, Status};

/// The most header fields of an HTTP/1.1 message. Some origins send more than hyper's default of 100.
pub(in crate::proxy) const HTTP1_FIELDS: usize = 512;
/// The initial capacity for fields.
const FIELDS_EXPECTED: usize = 32;

/// A head, prepared for hyper.
#[derive(Debug, Default)]
pub(in crate::proxy) struct Head {
    /// The rewritten head. `None`: it stays as it came.
    pub(in crate::proxy) rewritten: Option<Vec<u8>>,
    /// Another head follows for the same request (1xx).
    pub(in crate::proxy) is_interim: bool,
    /// What hyper does not report.
    pub(in crate::proxy) facts: HeadFacts,
}

/// Whether `bytes` can be the beginning of an HTTP/1.x response.
pub(in crate::proxy) fn may_begin(bytes: &[u8]) -> bool {
    const BEGINNING: &[u8] = b"HTTP/1.";
    let compared = bytes.len().min(BEGINNING.len());
    bytes[..compared] == BEGINNING[..compared]
}

/// The end of the head at the beginning of `bytes`. `scanned`: how many of them were searched before. It is updated.
pub(in crate::proxy) fn end(bytes: &[u8], scanned: &mut usize) -> Option<usize> {
    while let Some(at) = memchr::memchr(b'\n', &bytes[*scanned..]) {
        let line_end = *scanned + at;
        *scanned = line_end + 1;
        let before = bytes[..line_end].strip_suffix(b"\r").unwrap_or(&bytes[..line_end]);
        if before.ends_with(b"\n") {
            return Some(line_end + 1);
        }
    }
    *scanned = bytes.len();
    None
}

/// Reads a whole head. `is_to_head`: it answers a HEAD request.
///
/// # Errors
/// Why it is ambiguous, in words that follow "sent a response that is not valid HTTP".
pub(in crate::proxy) fn read(head: &[u8], is_to_head: bool) -> Result<Head, Cow<'static, str>> {
    if memchr::memchr(0, head).is_some() {
        return Err("its head contains a NUL byte (RFC 9110 5.5)".into());
    }
    match line::without_bare_cr(head) {
        Some(clean) => read_lines(&clean, is_to_head, Some(OriginFault::BareCr)),
        None => read_lines(head, is_to_head, None),
    }
}

fn read_lines(head: &[u8], is_to_head: bool, fault: Option<OriginFault>) -> Result<Head, Cow<'static, str>> {
    let mut lines = line::lines(head);
    // hyper reports any other faulty status line.
    let Some(status) = lines.next().and_then(Status::read) else { return Ok(Head::default()) };
    let mut reading = Reading::of(&status, fault);
    for line in lines {
        reading.take(Line::read(line))?;
    }
    let Reading { mut fields, raw, mut facts, .. } = reading;
    if fields.len() > HTTP1_FIELDS {
        return Err(format!("its head has {} fields, more than the limit of {HTTP1_FIELDS}", fields.len()).into());
    }
    let framing = framing::settle(&mut fields, &status, is_to_head, &mut facts)?;
    let rewritten = (!facts.faults.is_empty()).then(|| written(&status, framing.closes, &fields));
    // hyper reads such a head as it is.
    if framing.lacks_chunked {
        facts.note(OriginFault::TransferEncoding);
    }
    facts.lines = raw.into();
    facts.is_until_close = framing.is_until_close;
    Ok(Head { rewritten, is_interim: status.is_interim(), facts })
}

/// The fields read so far.
struct Reading<'a> {
    fields: Vec<Field<'a>>,
    /// Lines that hyper does not get, with their line ends.
    raw: Vec<u8>,
    /// The last line is in `raw`, so its continuation goes there, too.
    is_last_raw: bool,
    facts: HeadFacts,
}

impl<'a> Reading<'a> {
    fn of(status: &Status<'_>, fault: Option<OriginFault>) -> Self {
        let faults = fault.into_iter().collect();
        let mut facts = HeadFacts { reason: status.reason_beyond_ascii(), faults, ..HeadFacts::default() };
        if status.is_odd {
            facts.note(OriginFault::StatusLine);
        }
        Self { fields: Vec::with_capacity(FIELDS_EXPECTED), raw: Vec::new(), is_last_raw: true, facts }
    }

    /// Adds a line to the fields, or to the raw lines.
    fn take(&mut self, line: Line<'a>) -> Result<(), Cow<'static, str>> {
        match line {
            Line::Field { field, spaced } => {
                if spaced {
                    self.facts.note(OriginFault::SpaceBeforeColon);
                }
                self.fields.push(field);
                self.is_last_raw = false;
            }
            Line::Fold(more) => match self.fields.last_mut().filter(|_| !self.is_last_raw) {
                Some(field) => {
                    self.facts.note(OriginFault::FoldedField);
                    field.unfold(more);
                }
                None => self.pass(more),
            },
            Line::Invalid { name, text } => match framing::likeness(name) {
                framing::Likeness::Same => {
                    return Err("a field that frames its content contains a control character (RFC 9110 5.5)".into());
                }
                framing::Likeness::Like => {
                    // A careless reader could take it for a framing field, so it is dropped.
                    self.facts.note(OriginFault::InvalidFieldDropped);
                }
                framing::Likeness::None => self.pass(text),
            },
        }
        Ok(())
    }

    fn pass(&mut self, line: &[u8]) {
        self.facts.note(OriginFault::InvalidField);
        self.raw.extend_from_slice(line);
        self.raw.extend_from_slice(b"\r\n");
        self.is_last_raw = true;
    }
}

fn written(status: &Status<'_>, closes: bool, fields: &[Field<'_>]) -> Vec<u8> {
    let size: usize = fields.iter().map(|field| field.name.len() + field.value.len() + 4).sum();
    let mut bytes = Vec::with_capacity(size + status.reason.len() + 64);
    status.write(&mut bytes, closes);
    for field in fields {
        bytes.extend_from_slice(field.name);
        bytes.extend_from_slice(b": ");
        bytes.extend_from_slice(&field.value);
        bytes.extend_from_slice(b"\r\n");
    }
    bytes.extend_from_slice(b"\r\n");
    bytes
}

#[cfg(test)]
mod tests;
