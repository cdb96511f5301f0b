//! The parts of a `Content-Type` that matter for showing a body.

use std::borrow::Cow;

use encoding_rs::Encoding;

use crate::capture::is_text_type;

/// The header by which the first part of a form is recognised (RFC 7578, section 4.2).
const DISPOSITION: &[u8] = b"content-disposition: form-data";
/// The maximum number of pieces of a parameter.
const PIECES_MAX: usize = 16;
/// The number of first bytes that are checked to recognise content.
const SNIFFED_BYTES: usize = 512;

/// A parsed `Content-Type` (RFC 9110 8.3); the default stands for a missing one.
#[derive(Default)]
pub(super) struct ContentType {
    /// The kind of content.
    pub(super) family: Family,
    /// The declared charset, if it exists.
    pub(super) charset: Option<&'static Encoding>,
    /// Type and subtype, if valid.
    pub(super) media_type: Option<String>,
}

/// No real media type is longer.
const MEDIA_TYPE_MAX_BYTES: usize = 127;

/// Whether the text is a media type with names as in RFC 6838, section 4.2.
fn is_media_type(text: &str) -> bool {
    let is_name = |name: &str| {
        name.starts_with(|c: char| c.is_ascii_alphanumeric())
            && name.chars().all(|c| c.is_ascii_alphanumeric() || "!#$&-^_.+".contains(c))
    };
    text.len() <= MEDIA_TYPE_MAX_BYTES && text.split_once('/').is_some_and(|(of, kind)| is_name(of) && is_name(kind))
}

/// The kinds of content that are shown differently.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) enum Family {
    /// `application/x-www-form-urlencoded`.
    Form,
    /// `multipart/form-data`, with its boundary.
    Multipart(String),
    /// `text/*`.
    Text,
    /// Textual types other than `text/*`: JSON, XML, JavaScript and the like.
    Textual,
    /// Any other type, or none: shown as text only if its bytes are text.
    #[default]
    Other,
}

impl ContentType {
    /// Parses a header value. Never fails: an invalid one is [`Family::Other`].
    pub(super) fn parse(value: &str) -> Self {
        let essence = value.split(';').next().unwrap_or_default().trim();
        let charset = if value.len() == essence.len() { None } else { parameter(value, "charset") }
            .and_then(|label| Encoding::for_label(label.as_bytes()));
        Self {
            family: family(essence, value),
            charset,
            media_type: is_media_type(essence).then(|| essence.to_owned()),
        }
    }

    /// The media type for a `data:` URL (RFC 2397).
    pub(super) fn in_data_url(&self) -> &str {
        self.media_type.as_deref().unwrap_or("application/octet-stream")
    }

    /// Recognises a form without the type of a form: origins and agents send forms without a type, or with that of a
    /// text.
    pub(super) fn unlabelled_form(&self, content: &[u8]) -> Option<Family> {
        if !matches!(self.family, Family::Other | Family::Text) {
            return None;
        }
        if let Some(rest) = content.strip_prefix(b"--") {
            let boundary = rest.split(|byte| *byte == b'\n').next()?.trim_ascii_end();
            let head = &rest[..rest.len().min(SNIFFED_BYTES)];
            let named = head.windows(DISPOSITION.len()).any(|window| window.eq_ignore_ascii_case(DISPOSITION));
            let boundary =
                std::str::from_utf8(boundary).ok().filter(|boundary| (1..=70).contains(&boundary.len()))?;
            return named.then(|| Family::Multipart(boundary.to_owned()));
        }
        let name = memchr::memchr(b'=', &content[..content.len().min(SNIFFED_BYTES)])?;
        let of_name = |byte: &u8| {
            byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-' | b'.' | b'[' | b']' | b'%' | b'+')
        };
        let form = name > 0 && content[..name].iter().all(of_name) && content.iter().all(u8::is_ascii_graphic);
        form.then_some(Family::Form)
    }

    /// Whether the type means text.
    pub(super) fn is_textual(&self) -> bool {
        matches!(self.family, Family::Form | Family::Text | Family::Textual)
    }

    /// Whether a body of this type is kept whole: see [`is_text_type`].
    pub(super) fn is_kept_whole(&self) -> bool {
        matches!(self.family, Family::Text | Family::Textual)
    }

    /// Whether the body is a form.
    pub(super) fn is_form(&self) -> bool {
        matches!(self.family, Family::Form | Family::Multipart(_))
    }
}

/// The value of `; name=value` or `; name="value"` in a header value such as `Content-Type` or `Content-Disposition`.
pub(super) fn parameter<'a>(value: &'a str, name: &str) -> Option<Cow<'a, str>> {
    let mut rest = value.split_once(';').map_or("", |(_, parameters)| parameters);
    while let Some(at) = rest.find(['=', ';']) {
        let (key, after) = (&rest[..at], &rest[at + 1..]);
        // A `;` before any `=`: a parameter without a value.
        if rest.as_bytes()[at] == b';' {
            rest = after;
            continue;
        }
        let after = after.trim_start();
        let (found, next) = match after.strip_prefix('"') {
            Some(quoted) => unquote(quoted),
            None => {
                let end = after.find(';').unwrap_or(after.len());
                (Cow::Borrowed(after[..end].trim()), &after[end..])
            }
        };
        if key.trim().eq_ignore_ascii_case(name) {
            return Some(found);
        }
        rest = next.split_once(';').map_or("", |(_, parameters)| parameters);
    }
    None
}

/// The same for a parameter that may stand in other forms, too: encoded (`name*=UTF-8''a%5Fb`, RFC 8187), in pieces
/// (`name*0="a_"; name*1="b"`, RFC 2231 section 3), or with quotes and line ends as browsers escape them (`%22`; HTML standard,
/// section 4.10.21.8).
pub(super) fn extended_parameter(value: &str, name: &str) -> Option<String> {
    let decoded = |text: &str| percent_encoding::percent_decode_str(text).decode_utf8_lossy().into_owned();
    let plain = |text: &str| text.rsplit_once('\'').map_or_else(|| decoded(text), |(_, text)| decoded(text));
    if let Some(encoded) = parameter(value, &format!("{name}*")) {
        return Some(plain(&encoded));
    }
    if let Some(whole) = parameter(value, name) {
        return Some(decoded(&whole));
    }
    let mut pieces = (0..PIECES_MAX).map_while(|at| {
        let piece = parameter(value, &format!("{name}*{at}"));
        piece.map(Cow::into_owned).or_else(|| Some(plain(&parameter(value, &format!("{name}*{at}*"))?)))
    });
    let first = pieces.next()?;
    Some(pieces.fold(first, |whole, piece| whole + &piece))
}

/// The text up to the closing quote, and what follows it.
fn unquote(quoted: &str) -> (Cow<'_, str>, &str) {
    let mut escaped = false;
    for (at, char) in quoted.char_indices() {
        match char {
            '"' if !escaped => {
                let inner = &quoted[..at];
                // Browsers send `filename="C:\x"` unescaped, so only `\"` counts as an escape.
                let text = if inner.contains("\\\"") { inner.replace("\\\"", "\"").into() } else { inner.into() };
                return (text, &quoted[at + 1..]);
            }
            _ => escaped = char == '\\' && !escaped,
        }
    }
    (quoted.into(), "")
}

fn family(essence: &str, value: &str) -> Family {
    let lower = essence.to_ascii_lowercase();
    if lower == "application/x-www-form-urlencoded" {
        return Family::Form;
    }
    if lower == "multipart/form-data" {
        return parameter(value, "boundary")
            .filter(|boundary| !boundary.is_empty())
            .map_or(Family::Other, |boundary| Family::Multipart(boundary.into_owned()));
    }
    match is_text_type(&lower) {
        true if lower.starts_with("text/") => Family::Text,
        true => Family::Textual,
        false => Family::Other,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn types_are_recognised_whatever_their_case_and_parameters() {
        let family = |value| ContentType::parse(value).family;
        assert_eq!(family("Application/JSON"), Family::Textual);
        assert_eq!(family("application/problem+json; charset=utf-8"), Family::Textual);
        assert_eq!(family("text/event-stream"), Family::Text);
        assert_eq!(family("application/x-www-form-urlencoded;charset=UTF-8"), Family::Form);
        assert_eq!(family("multipart/form-data; a=b; boundary=\"x y\""), Family::Multipart("x y".into()));
        assert_eq!(family("multipart/form-data"), Family::Other);
        assert_eq!(family("image/png"), Family::Other);
        assert_eq!(family(""), Family::Other);
    }

    #[test]
    fn forms_without_a_type_are_recognised_by_their_content() {
        let looks =
            |content_type, content: &str| ContentType::parse(content_type).unlabelled_form(content.as_bytes());
        let part = "--x\r\nContent-Disposition: form-data; name=\"a\"\r\n\r\n1\r\n--x--\r\n";
        assert_eq!(looks("", part), Some(Family::Multipart("x".into())));
        assert_eq!(looks("text/plain", "a[b]=1&c=%20"), Some(Family::Form));
        for (content_type, content) in [
            ("application/json", "a=1"),
            ("", "--x\r\nprose"),
            ("", "a = 1"),
            ("", "{\"a\":\"=\"}"),
            ("", "a=1\nb=2"),
            ("", ""),
        ] {
            assert_eq!(looks(content_type, content), None, "{content}");
        }
    }

    #[test]
    fn charsets_are_found_by_any_of_their_labels() {
        let charset = |value| ContentType::parse(value).charset.map(Encoding::name);
        assert_eq!(charset("text/html; charset=latin1"), Some("windows-1252"));
        assert_eq!(charset("text/html; q=\";charset=x\"; Charset=\"UTF-16LE\""), Some("UTF-16LE"));
        assert_eq!(charset("text/html; charset=nonsense"), None);
        assert_eq!(charset("text/html;;;"), None);
        assert_eq!(charset("text/html;;flag; charset=utf-8"), Some("UTF-8"));
        assert_eq!(charset("text/html; charset"), None);
        assert_eq!(charset(&";".repeat(1 << 20)), None);
    }
}
