//! Decodes bytes as text: by byte order mark, by the declared charset, as UTF-8, or not at all.

use std::borrow::Cow;

use encoding_rs::{DecoderResult, Encoding, UTF_8, WINDOWS_1252};

use super::content_type::{ContentType, Family};

/// Bytes that are text.
pub(super) struct Text<'a> {
    /// The text, without a byte order mark. May contain NULs, which the JSON writer replaces.
    pub(super) text: Cow<'a, str>,
    /// The charset of the bytes.
    pub(super) charset: &'static Encoding,
}

/// Decodes `bytes` as text. `None`: they are not text and are shown as base64. `cut`: the last character may be
/// incomplete.
///
/// A charset counts only if it decodes without error. NULs are allowed only if the type means text.
pub(super) fn read<'a>(bytes: &'a [u8], content_type: &ContentType, cut: bool) -> Option<Text<'a>> {
    let textual = content_type.is_textual();
    let marked = if textual { Encoding::for_bom(bytes) } else { None };
    let (declared, body) = match marked {
        Some((charset, length)) => (Some(charset), &bytes[length..]),
        None => (content_type.charset, bytes.strip_prefix(b"\xEF\xBB\xBF").unwrap_or(bytes)),
    };
    let declared = declared.filter(|charset| *charset != UTF_8);
    let text = declared
        .and_then(|charset| decode(body, charset, cut))
        .or_else(|| utf_8(body, cut))
        .or_else(|| if content_type.family == Family::Text { unlabelled(body, cut) } else { None })?;
    if !textual && memchr::memchr(0, text.text.as_bytes()).is_some() { None } else { Some(text) }
}

/// Decodes the end of a body whose beginning was text in `charset`, from the first whole character. `None` if character
/// boundaries cannot be found from the middle of a body.
pub(super) fn read_tail<'a>(bytes: &'a [u8], charset: &'static Encoding, cut: bool) -> Option<Cow<'a, str>> {
    if charset == UTF_8 {
        let inside = bytes.iter().take(3).take_while(|byte| **byte & 0xC0 == 0x80).count();
        return utf_8(&bytes[inside..], cut).map(|text| text.text);
    }
    if charset.is_single_byte() { decode(bytes, charset, cut).map(|text| text.text) } else { None }
}

fn utf_8(bytes: &[u8], cut: bool) -> Option<Text<'_>> {
    let text = match std::str::from_utf8(bytes) {
        Ok(text) => text,
        Err(error) if cut && error.error_len().is_none() => {
            std::str::from_utf8(&bytes[..error.valid_up_to()]).ok()?
        }
        Err(_) => return None,
    };
    Some(Text { text: Cow::Borrowed(text), charset: UTF_8 })
}

fn decode<'a>(bytes: &[u8], charset: &'static Encoding, cut: bool) -> Option<Text<'a>> {
    let mut decoder = charset.new_decoder_without_bom_handling();
    let mut text = String::with_capacity(decoder.max_utf8_buffer_length_without_replacement(bytes.len())?);
    match decoder.decode_to_string_without_replacement(bytes, &mut text, !cut) {
        (DecoderResult::InputEmpty, _) => Some(Text { text: Cow::Owned(text), charset }),
        _ => None,
    }
}

/// Old pages with `text/html` and no charset mean windows-1252 (the default of WHATWG's Encoding standard). It decodes
/// any bytes, so control characters rule it out.
fn unlabelled<'a>(bytes: &[u8], cut: bool) -> Option<Text<'a>> {
    let binary = |byte: &u8| *byte < 0x20 && !matches!(byte, b'\t' | b'\n' | b'\r' | 0x0C | 0x1B);
    if bytes.iter().any(binary) { None } else { decode(bytes, WINDOWS_1252, cut) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read_as(bytes: &[u8], content_type: &str, cut: bool) -> Option<(String, &'static str)> {
        read(bytes, &ContentType::parse(content_type), cut).map(|text| (text.text.into_owned(), text.charset.name()))
    }

    fn some(text: &str, charset: &'static str) -> Option<(String, &'static str)> {
        Some((text.to_owned(), charset))
    }

    #[test]
    fn charsets_and_byte_order_marks_are_followed() {
        assert_eq!(read_as(b"caf\xe9", "text/plain; charset=iso-8859-1", false), some("café", "windows-1252"));
        let utf_16: Vec<u8> = "né€".encode_utf16().flat_map(u16::to_le_bytes).collect();
        assert_eq!(read_as(&utf_16, "text/plain; charset=utf-16", false), some("né€", "UTF-16LE"));
        let marked = [b"\xFF\xFE", utf_16.as_slice()].concat();
        assert_eq!(read_as(&marked, "application/json", false), some("né€", "UTF-16LE"));
        assert_eq!(read_as(b"\xEF\xBB\xBF{}", "application/json", false), some("{}", "UTF-8"));
        assert_eq!(read_as(b"\xEF\xBB\xBF{}", "", false), some("{}", "UTF-8"));
    }

    #[test]
    fn a_wrong_charset_falls_back_to_utf_8() {
        assert_eq!(read_as("é€".as_bytes(), "text/plain; charset=us-ascii-nonsense", false), some("é€", "UTF-8"));
        assert_eq!(read_as("né".as_bytes(), "text/plain; charset=utf-16", false), some("né", "UTF-8"));
        assert_eq!(read_as(b"caf\xe9", "text/html", false), some("café", "windows-1252"));
    }

    #[test]
    fn other_bytes_are_not_text() {
        assert_eq!(read_as(b"\xFF\xD8\xFF\xE0", "image/jpeg", false), None);
        assert_eq!(read_as(b"\xFF\x01", "text/plain", false), None);
        assert_eq!(read_as(b"caf\xe9", "application/json", false), None);
        assert_eq!(read_as(b"a\0b", "application/octet-stream", false), None);
        assert_eq!(read_as(b"a\0b", "", false), None);
        assert_eq!(read_as(b"a\0b", "text/plain", false), some("a\0b", "UTF-8"));
    }

    #[test]
    fn incomplete_characters_at_a_gap_are_left_out() {
        assert_eq!(read_as(&"a€".as_bytes()[..3], "", true), some("a", "UTF-8"));
        assert_eq!(read_as(&"a€".as_bytes()[..3], "", false), None);
        assert_eq!(read_as(b"a\0b", "text/plain; charset=utf-16le", true), some("a", "UTF-16LE"));
        assert_eq!(read_tail(&"€b".as_bytes()[1..], UTF_8, false).as_deref(), Some("b"));
        assert_eq!(read_tail(b"\xe9b", WINDOWS_1252, false).as_deref(), Some("éb"));
        assert_eq!(read_tail(b"b\0", encoding_rs::UTF_16LE, false), None);
    }
}
