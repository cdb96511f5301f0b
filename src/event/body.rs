//! A captured body as people read it: decoded, as text if it is text and otherwise as base64, with secrets masked, and
//! with a mark in the text wherever something is missing (OTAS's page shows no metadata).

use std::borrow::Cow;
use std::panic::{AssertUnwindSafe, catch_unwind};

use bytes::Bytes;
use bytestring::ByteString;
use encoding_rs::Encoding;
use http::header::{CONTENT_ENCODING, CONTENT_TYPE};

use super::content_type::{ContentType, Family};
use super::{fit, form, headers, text};
use crate::capture::{BodyEnd, Captured, Fields};
use crate::codings::{Codings, DecodeEnd, decode};
use crate::redact::{Ends, Masking, OutOfTime};

/// Bytes of decoded content that are always kept. More only of text, see [`Context::text_max_bytes`](super::Context).
pub(super) const DECODED_MAX_BYTES: usize = 256 * 1024;

/// A body ready to be written.
pub(super) struct Body {
    head: ByteString,
    mark: String,
    tail: ByteString,
    /// How it is shown. `None` for an empty body.
    pub(super) shown: Option<Shown>,
    /// The fields of a form as a JSON object.
    pub(super) form_fields: Option<Vec<u8>>,
}

/// Both bodies of an exchange.
pub(super) struct Bodies {
    pub(super) request: Body,
    pub(super) response: Body,
}

/// How a body is shown, for `metadata.capture`.
pub(super) struct Shown {
    /// The charset of the text, or `base64`.
    pub(super) encoding: &'static str,
    /// NULs in the text, which become U+FFFD in the event.
    pub(super) nuls: usize,
    /// `Content-Encoding` as received, and the result of decoding.
    pub(super) coding: Option<(String, CodingResult)>,
}

/// The result of decoding a body.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum CodingResult {
    /// Decoded.
    Decoded {
        /// Bytes of decoded content.
        bytes: usize,
        /// Where decoding ended.
        end: DecodeEnd,
    },
    /// The coding is unknown, so the body is shown as it came.
    Unsupported,
    /// The body is not in this coding, so it is shown as it came.
    Failed,
}

/// Renders a captured body by the header fields of its message. A body that cannot be searched for secrets, in time or
/// at all, is withheld. `text_max_bytes`: how much of a text is decoded.
pub(super) fn render(
    captured: &Captured,
    headers: &Fields,
    text_max_bytes: usize,
    masking: &mut Masking<'_>,
) -> Body {
    // A bug in the search must cost only this body, not its event or later ones.
    let rendered = catch_unwind(AssertUnwindSafe(|| searched(captured, headers, text_max_bytes, masking)));
    match rendered {
        Ok(Ok(body)) => body,
        Ok(Err(OutOfTime)) | Err(_) => {
            masking.withhold();
            Body::withheld(captured.total_bytes)
        }
    }
}

fn searched(
    captured: &Captured,
    headers: &Fields,
    text_max_bytes: usize,
    masking: &mut Masking<'_>,
) -> Result<Body, OutOfTime> {
    let content_type = headers.get(CONTENT_TYPE.as_str()).map(|value| ContentType::parse(&headers::text(value)));
    let content_type = content_type.unwrap_or_default();
    let omitted = captured.omitted_bytes();
    // Mostly it is joined already.
    let mut captured = captured.clone();
    captured.join();
    let raw = captured.head.first().cloned().unwrap_or_default();
    if raw.is_empty() && captured.tail.is_empty() {
        return Ok(Body::of_mark(missing(omitted, captured.total_bytes, "")));
    }
    let decoded_max_bytes = decoded_max_bytes(&content_type, text_max_bytes);
    let (content, coding) = undo_codings(raw, headers, decoded_max_bytes);
    let broken_off = matches!(coding, Some((_, CodingResult::Decoded { end, .. })) if end != DecodeEnd::Whole);
    let cut = omitted > 0 || captured.end != BodyEnd::Complete || broken_off;
    let (content, form_fields) = mask_form(content, &content_type, cut, masking)?;
    let ends = Ends { cut_start: false, cut_end: cut };
    let tail_bytes = captured.tail.iter().map(|piece| piece.len() as u64).sum::<u64>();
    let mark = |coding: Option<&_>, has_tail: bool| {
        let unseen = if omitted > 0 && !has_tail { omitted + tail_bytes } else { omitted };
        mark(unseen, captured.total_bytes, coding, decoded_max_bytes)
    };
    let Some(text) = text::read(&content, &content_type, cut) else {
        let searched = masking.bytes(&content, cut);
        // The content type does not describe a body that is still coded.
        let is_decoded = matches!(coding, None | Some((_, CodingResult::Decoded { .. })));
        let shown_as = if is_decoded { &content_type } else { &ContentType::default() };
        let url = data_url(shown_as, searched.as_deref().unwrap_or(&content), &mark(coding.as_ref(), false));
        let shown = Some(Shown { encoding: "base64", nuls: 0, coding });
        return Ok(Body { head: url, mark: String::new(), tail: ByteString::new(), shown, form_fields });
    };
    let charset = text.charset;
    let head = masked(shared(&content, text.text), ends, masking)?;

    // The end of a form may begin inside a secret whose name is not kept, and coded bytes cannot be decoded from the
    // middle.
    let tail = match omitted > 0 && coding.is_none() && !content_type.is_form() {
        true => captured.tail.first().and_then(|tail| self::tail(tail, charset, captured.end)),
        false => None,
    };
    let tail = match tail {
        Some(tail) => {
            Some(masked(tail, Ends { cut_start: true, cut_end: captured.end != BodyEnd::Complete }, masking)?)
        }
        None => None,
    };
    let mark = mark(coding.as_ref(), tail.is_some());
    let tail = tail.unwrap_or_default();
    let nuls = memchr::memchr_iter(0, head.as_bytes()).count() + memchr::memchr_iter(0, tail.as_bytes()).count();
    Ok(Body { head, mark, tail, shown: Some(Shown { encoding: charset.name(), nuls, coding }), form_fields })
}

/// How much of coded content is decoded.
fn decoded_max_bytes(content_type: &ContentType, text_max_bytes: usize) -> usize {
    if content_type.is_kept_whole() { text_max_bytes.max(DECODED_MAX_BYTES) } else { DECODED_MAX_BYTES }
}

/// Bytes as base64 with their content type (RFC 2397), and a mark behind them.
fn data_url(content_type: &ContentType, bytes: &[u8], mark: &str) -> ByteString {
    let mut url = format!("data:{};base64,", content_type.in_data_url());
    url.reserve(base64_simd::STANDARD.encoded_length(bytes.len()) + mark.len());
    base64_simd::STANDARD.encode_append(bytes, &mut url);
    url.push_str(mark);
    url.into()
}

fn masked(text: ByteString, ends: Ends, masking: &mut Masking<'_>) -> Result<ByteString, OutOfTime> {
    Ok(masking.text(&text, ends)?.map_or(text, ByteString::from))
}

impl Body {
    /// The bytes of a tunnel, which only its ends can read.
    pub(super) fn sealed(total_bytes: u64) -> Self {
        let mark = if total_bytes == 0 {
            String::new()
        } else {
            format!("…[otas-proxy: {} bytes of a tunnel that was relayed unread]…", fit::grouped(total_bytes))
        };
        Self::of_mark(mark)
    }

    /// A body that could not be searched for secrets.
    pub(super) fn withheld(total_bytes: u64) -> Self {
        let bytes = fit::grouped(total_bytes);
        Self::of_mark(format!("…[otas-proxy: {bytes} bytes withheld, since they could not be searched for secrets]…"))
    }

    /// No body, because there was no message.
    pub(super) fn none() -> Self {
        Self::of_mark(String::new())
    }

    /// The whole text.
    pub(super) fn text(self) -> ByteString {
        if self.mark.is_empty() && self.tail.is_empty() {
            return self.head;
        }
        [&*self.head, &self.mark, &self.tail].concat().into()
    }

    fn of_mark(mark: String) -> Self {
        Self { head: ByteString::new(), mark, tail: ByteString::new(), shown: None, form_fields: None }
    }
}

/// The codings that the header fields name.
fn codings(headers: &Fields) -> Codings {
    Codings::named(headers.get_all(CONTENT_ENCODING.as_str()))
}

fn undo_codings(raw: Bytes, headers: &Fields, max_bytes: usize) -> (Bytes, Option<(String, CodingResult)>) {
    let name = || {
        let mut names = headers.get_all(CONTENT_ENCODING.as_str()).map(headers::text);
        let first = names.next().unwrap_or_default().into_owned();
        names.fold(first, |list, name| format!("{list}, {name}"))
    };
    let known = match codings(headers) {
        Codings::None => return (raw, None),
        Codings::Unknown => return (raw, Some((name(), CodingResult::Unsupported))),
        Codings::Known(known) => known,
    };
    if raw.is_empty() {
        return (raw, Some((name(), CodingResult::Failed)));
    }
    let decoded = decode(&known, &raw, max_bytes);
    // The header is false: decoding gave nothing, or noise (raw deflate accepts almost anything) while the input itself
    // is text.
    let lie = || decoded.bytes.is_empty() || text::read(&raw, &ContentType::default(), true).is_some();
    if decoded.end == DecodeEnd::Broken && lie() {
        return (raw, Some((name(), CodingResult::Failed)));
    }
    let result = CodingResult::Decoded { bytes: decoded.bytes.len(), end: decoded.end };
    (decoded.bytes.into(), Some((name(), result)))
}

/// Content whose secrets are masked if it is a form, and the fields of the form.
type Masked = (Bytes, Option<Vec<u8>>);

fn mask_form(
    content: Bytes,
    content_type: &ContentType,
    cut: bool,
    masking: &mut Masking<'_>,
) -> Result<Masked, OutOfTime> {
    match &content_type.family {
        Family::Form => {
            let content = match masking.form(&String::from_utf8_lossy(&content), cut)? {
                Some(text) => text.into(),
                None => content,
            };
            let fields = form::urlencoded_fields(&content, cut);
            Ok((content, Some(fields)))
        }
        Family::Multipart(boundary) => {
            let content = form::mask_multipart(&content, boundary, cut, masking)?.map_or(content, Bytes::from);
            let fields = form::multipart_fields(&content, boundary, cut);
            Ok((content, Some(fields)))
        }
        Family::Text | Family::Textual | Family::Other => match content_type.unlabelled_form(&content) {
            Some(family) => {
                let (content, _) =
                    mask_form(content, &ContentType { family, ..ContentType::default() }, cut, masking)?;
                Ok((content, None))
            }
            None => Ok((content, None)),
        },
    }
}

/// The text, which stands in `bytes` unless it had to be decoded.
fn shared(bytes: &Bytes, text: Cow<'_, str>) -> ByteString {
    match text {
        Cow::Borrowed(text) => ByteString::try_from(bytes.slice_ref(text.as_bytes())).unwrap_or_else(|_| text.into()),
        Cow::Owned(text) => text.into(),
    }
}

fn tail(bytes: &Bytes, charset: &'static Encoding, end: BodyEnd) -> Option<ByteString> {
    let cut = end != BodyEnd::Complete;
    text::read_tail(bytes, charset, cut).map(|text| shared(bytes, text))
}

fn mark(unseen: u64, total: u64, coding: Option<&(String, CodingResult)>, decoded_max_bytes: usize) -> String {
    match coding {
        Some((_, CodingResult::Decoded { end: DecodeEnd::Capped, .. })) => {
            let kept = fit::grouped(decoded_max_bytes as u64);
            format!("\n…[otas-proxy: only the first {kept} bytes of the decoded content are shown]…\n")
        }
        Some((_, CodingResult::Decoded { end: DecodeEnd::Broken, .. })) if unseen == 0 => {
            "\n…[otas-proxy: the compressed data is truncated or damaged here]…\n".to_owned()
        }
        Some(_) => missing(unseen, total, "compressed "),
        None => missing(unseen, total, ""),
    }
}

fn missing(unseen: u64, total: u64, what: &str) -> String {
    if unseen == 0 {
        return String::new();
    }
    format!("\n…[otas-proxy: {} of {} {what}bytes not kept]…\n", fit::grouped(unseen), fit::grouped(total))
}

#[cfg(test)]
mod tests {
    use http::{HeaderMap, HeaderValue};

    use super::*;
    use crate::codings::Coding;
    use crate::codings::testing::gzip;
    use crate::redact::testing::{redactor, untagged};

    fn whole(bytes: &[u8]) -> Captured {
        let head = vec![Bytes::copy_from_slice(bytes)];
        Captured { head, total_bytes: bytes.len() as u64, ..Captured::default() }
    }

    fn cut(head: &[u8], tail: &[u8], total_bytes: u64) -> Captured {
        let pieces = |bytes: &[u8]| bytes.chunks(7).map(Bytes::copy_from_slice).collect();
        Captured { head: pieces(head), tail: pieces(tail), total_bytes, end: BodyEnd::Complete }
    }

    fn shown(captured: &Captured, content_type: &'static str, coding: &'static str) -> (String, &'static str) {
        let mut headers = Fields::default();
        headers.push(CONTENT_TYPE.as_str(), content_type.as_bytes());
        if !coding.is_empty() {
            headers.push(CONTENT_ENCODING.as_str(), coding.as_bytes());
        }
        let body = render(captured, &headers, 1 << 20, &mut redactor().masking("x.test", 443, "/"));
        let text = format!("{}{}{}", body.head, body.mark, body.tail);
        (untagged(&text), body.shown.map_or("", |shown| shown.encoding))
    }

    #[test]
    fn text_is_shown_as_text_and_the_rest_as_base64() {
        assert_eq!(shown(&whole(b"{}"), "application/json", ""), ("{}".into(), "UTF-8"));
        assert_eq!(
            shown(&whole(b"\xFF\xD8\xFF\0"), "image/jpeg", ""),
            ("data:image/jpeg;base64,/9j/AA==".into(), "base64")
        );
        for odd in ["", "image", "image/a b", "a/b/c", "é/x", ";base64,", "x/\"'\u{1b}"] {
            let (text, _) = shown(&whole(b"\xFF\xD8\xFF\0"), odd, "");
            assert_eq!(text, "data:application/octet-stream;base64,/9j/AA==", "{odd}");
        }
        let (still_coded, _) = shown(&whole(b"\xFF\xD8\xFF\0"), "text/html", "some-coding");
        assert!(still_coded.starts_with("data:application/octet-stream;base64,"), "{still_coded}");
        assert_eq!(shown(&Captured::default(), "image/jpeg", "gzip"), (String::new(), ""));
    }

    #[test]
    fn pieces_without_a_gap_are_one_body() {
        let body = "no gap: é€🦀 and so on";
        let captured = cut(&body.as_bytes()[..9], &body.as_bytes()[9..], body.len() as u64);
        assert_eq!(shown(&captured, "text/plain", ""), (body.into(), "UTF-8"));
    }

    #[test]
    fn a_truncated_body_shows_both_ends_and_what_is_missing_wherever_it_is_split() {
        let captured = cut(&"head €".as_bytes()[..7], &"€ tail".as_bytes()[2..], 5_242_880);
        let (text, encoding) = shown(&captured, "text/plain", "");
        assert_eq!(text, "head \n…[otas-proxy: 5,242,867 of 5,242,880 bytes not kept]…\n tail");
        assert_eq!(encoding, "UTF-8");
    }

    #[test]
    fn a_body_of_which_nothing_was_kept_shows_its_size() {
        let captured = Captured { total_bytes: 1_234, ..Captured::default() };
        assert_eq!(shown(&captured, "text/plain", "").0, "\n…[otas-proxy: 1,234 of 1,234 bytes not kept]…\n");
        let only_tail = cut(b"", b"the end", 1_234);
        assert!(shown(&only_tail, "text/plain", "").0.ends_with("1,227 of 1,234 bytes not kept]…\nthe end"));
        assert!(Body::sealed(5).mark.contains("5 bytes of a tunnel"));
    }

    #[test]
    fn a_truncated_compressed_body_shows_its_beginning() {
        let text: String = (0..5_000).map(|n| format!("{} ", n * 7919 % 10_007)).collect();
        let coded = gzip(text.as_bytes());
        let (head, tail) = (&coded[..coded.len() / 2], &coded[coded.len() - 100..]);
        let (shown, encoding) = shown(&cut(head, tail, coded.len() as u64), "text/plain", "gzip");
        let (kept, mark) = shown.split_once("\n…").unwrap();
        assert!(text.starts_with(kept) && kept.len() > 1_000 && encoding == "UTF-8");
        assert!(mark.contains("compressed bytes not kept"), "{mark}");
    }

    #[test]
    fn damage_and_bombs_are_marked_and_falsely_coded_bodies_shown_as_they_came() {
        let text = "word ".repeat(1_000);
        let mut coded = gzip(text.as_bytes());
        coded.truncate(coded.len() - 4);
        assert_eq!(
            shown(&whole(&coded), "text/plain", "gzip").0,
            text + "\n…[otas-proxy: the compressed data is truncated or damaged here]…\n"
        );
        let bomb = shown(&whole(&gzip(&vec![b'0'; 10 << 20])), "text/plain", "gzip").0;
        assert!(
            bomb.ends_with("first 1,048,576 bytes of the decoded content are shown]…\n") && bomb.len() < 1_049_000
        );
        let bomb = shown(&whole(&gzip(&vec![b'0'; 10 << 20])), "image/svg", "gzip").0;
        assert!(bomb.ends_with("first 262,144 bytes of the decoded content are shown]…\n") && bomb.len() < 270_000);
        for coding in ["gzip", "br", "zstd", "deflate", "br, deflate"] {
            let lie = "{\"plain\": \"json\"}";
            assert_eq!(shown(&whole(lie.as_bytes()), "application/json", coding), (lie.into(), "UTF-8"));
        }
        assert_eq!(shown(&whole(b"chunk"), "text/plain", "aws-chunked"), ("chunk".into(), "UTF-8"));
    }

    #[test]
    fn secrets_in_forms_are_masked_and_a_form_shows_no_tail() {
        let form = "application/x-www-form-urlencoded";
        let captured = cut(b"grant_type=x&client_secret=hu", b"sh&token=1", 1_000);
        let (text, _) = shown(&captured, form, "");
        assert_eq!(text, "grant_type=x&client_secret=****\n…[otas-proxy: 971 of 1,000 bytes not kept]…\n");
        let coded = gzip(b"password=hush&max_tokens=5");
        assert_eq!(shown(&whole(&coded), form, "gzip").0, "password=****&max_tokens=5");
    }

    #[test]
    fn the_header_is_one_list_over_several_fields() {
        let mut headers = HeaderMap::new();
        assert_eq!(codings(&Fields::from(&headers)), Codings::None);
        headers.append(CONTENT_ENCODING, HeaderValue::from_static("identity, GZip"));
        headers.append(CONTENT_ENCODING, HeaderValue::from_static("br"));
        assert_eq!(codings(&Fields::from(&headers)), Codings::Known(vec![Coding::Gzip, Coding::Brotli]));
        headers.append(CONTENT_ENCODING, HeaderValue::from_static("aws-chunked"));
        assert_eq!(codings(&Fields::from(&headers)), Codings::Unknown);
        headers.insert(CONTENT_ENCODING, HeaderValue::from_static("gzip,gzip,gzip,gzip"));
        assert_eq!(codings(&Fields::from(&headers)), Codings::Unknown);
    }
}
