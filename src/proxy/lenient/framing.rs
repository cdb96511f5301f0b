//! Rewrites the fields that frame a response's content (RFC 9112 6), so that they have one reading.

use std::borrow::Cow;

use super::facts::HeadFacts;
use super::line::{Field, Status};
use crate::capture::OriginFault;

const TRANSFER_ENCODING: &str = "transfer-encoding";
const CONTENT_LENGTH: &str = "content-length";
/// hyper keeps the highest values for itself.
const LENGTH_MAX_BYTES: u64 = u64::MAX - 2;

/// How a response's content ends.
pub(super) struct Framing {
    /// Where the connection ends.
    pub(super) is_until_close: bool,
    /// The head must say that the connection ends with it.
    pub(super) closes: bool,
    /// Its transfer codings do not end in `chunked`.
    pub(super) lacks_chunked: bool,
}

/// Whether a name is that of a framing field.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Likeness {
    /// It is the name of a framing field.
    Same,
    /// It is not, but a careless reader may take it for one.
    Like,
    /// It is not.
    None,
}

/// Whether `name` is that of a framing field, or looks like one.
pub(super) fn likeness(name: &[u8]) -> Likeness {
    let framing = [TRANSFER_ENCODING, CONTENT_LENGTH];
    if framing.iter().any(|framing| name.eq_ignore_ascii_case(framing.as_bytes())) {
        return Likeness::Same;
    }
    let letters = || name.iter().filter(|byte| byte.is_ascii_alphabetic()).map(u8::to_ascii_lowercase);
    match framing.iter().any(|framing| letters().eq(framing.bytes().filter(|byte| *byte != b'-'))) {
        true => Likeness::Like,
        false => Likeness::None,
    }
}

/// Leaves at most one framing field, with one reading.
///
/// # Errors
/// Why the framing is ambiguous.
pub(super) fn settle(
    fields: &mut Vec<Field<'_>>,
    status: &Status<'_>,
    is_to_head: bool,
    facts: &mut HeadFacts,
) -> Result<Framing, Cow<'static, str>> {
    let is_without_content = status.is_without_content() || is_to_head;
    let has_coding = fields.iter().any(|field| field.is(TRANSFER_ENCODING));
    let is_chunked = has_coding && settle_codings(fields, facts);
    let is_coded = fields.iter().any(|field| field.is(TRANSFER_ENCODING));
    // `Transfer-Encoding` wins (RFC 9112 6.3). One that names no coding also wins if the origin announces the end of the connection.
    if is_coded || (has_coding && !is_without_content && ends_connection(fields, status)) {
        let before = fields.len();
        fields.retain(|field| !field.is(CONTENT_LENGTH));
        if fields.len() < before {
            facts.note(OriginFault::LengthBesideTransferEncoding);
        }
    }
    let closes = is_coded && status.is_http_10;
    if closes {
        // A faulty framing (RFC 9112 6.1), which all clients take at its word; the connection ends with it.
        facts.note(OriginFault::TransferEncodingInHttp10);
        fields.retain(|field| !field.is("connection"));
    }
    settle_lengths(fields, status, facts)?;
    let has_length = fields.iter().any(|field| field.is(CONTENT_LENGTH));
    Ok(Framing {
        is_until_close: !is_without_content && !is_chunked && !has_length,
        closes,
        lacks_chunked: is_coded && !is_chunked,
    })
}

/// Leaves at most one line of transfer codings. True: the content is chunked.
fn settle_codings(fields: &mut Vec<Field<'_>>, facts: &mut HeadFacts) -> bool {
    let lines = fields.iter().filter(|field| field.is(TRANSFER_ENCODING));
    let all: Vec<&[u8]> = lines.clone().flat_map(Field::members).collect();
    // `identity` is no coding, and no longer one of HTTP (RFC 9112 7).
    let mut codings = all.clone();
    codings.retain(|coding| !coding.is_empty() && !coding.eq_ignore_ascii_case(b"identity"));
    let is_chunked = codings.last().is_some_and(is_chunks);
    if is_chunked {
        // Chunks are not put into chunks (RFC 9112 7.1); all clients undo them once.
        codings.retain(|coding| !is_chunks(coding));
        codings.push(b"chunked");
    }
    if codings.len() == all.len() && lines.count() == 1 {
        return is_chunked;
    }
    facts.note(OriginFault::TransferEncoding);
    let value = codings.join(&b", "[..]);
    let at = fields.iter().position(|field| field.is(TRANSFER_ENCODING)).unwrap_or_default();
    fields.retain(|field| !field.is(TRANSFER_ENCODING));
    if !value.is_empty() {
        fields.insert(at, Field { name: b"Transfer-Encoding", value: Cow::Owned(value) });
    }
    is_chunked
}

fn is_chunks(coding: &&[u8]) -> bool {
    coding.eq_ignore_ascii_case(b"chunked")
}

/// Leaves at most one length.
fn settle_lengths(
    fields: &mut Vec<Field<'_>>,
    status: &Status<'_>,
    facts: &mut HeadFacts,
) -> Result<(), Cow<'static, str>> {
    let lines = fields.iter().filter(|field| field.is(CONTENT_LENGTH));
    let lengths: Vec<&[u8]> = lines.flat_map(Field::members).collect();
    let Some((first, others)) = lengths.split_first() else { return Ok(()) };
    let is_one = others.iter().all(|other| other == first) && is_length(first);
    if !is_one && !status.is_without_content() {
        let shown = String::from_utf8_lossy(&lengths.join(&b", "[..])).into_owned();
        return Err(format!("its Content-Length is not one decimal number: `{shown}` (RFC 9112 6.3)").into());
    }
    if is_one && others.is_empty() {
        return Ok(());
    }
    facts.note(OriginFault::ContentLength);
    let value = first.to_vec();
    let at = fields.iter().position(|field| field.is(CONTENT_LENGTH)).unwrap_or_default();
    let name = fields[at].name;
    fields.retain(|field| !field.is(CONTENT_LENGTH));
    if is_one {
        fields.insert(at, Field { name, value: Cow::Owned(value) });
    }
    Ok(())
}

fn is_length(value: &[u8]) -> bool {
    let digits = str::from_utf8(value).ok().filter(|text| text.bytes().all(|byte| byte.is_ascii_digit()));
    digits.and_then(|text| text.parse::<u64>().ok()).is_some_and(|length| length <= LENGTH_MAX_BYTES)
}

/// Whether the origin says that the connection ends with this response (RFC 9112 9.3).
fn ends_connection(fields: &[Field<'_>], status: &Status<'_>) -> bool {
    let says = |option: &[u8]| {
        let lines = fields.iter().filter(|field| field.is("connection"));
        lines.flat_map(Field::members).any(|member| member.eq_ignore_ascii_case(option))
    };
    says(b"close") || (status.is_http_10 && !says(b"keep-alive"))
}
