//! Rebuilds the bytes of a request's body from the stored text: charset, byte order mark, content coding.

use std::io::{self, Write as _};

use encoding_rs::{Encoding, UTF_8, UTF_16BE, UTF_16LE};
use flate2::Compression;
use flate2::write::{GzEncoder, ZlibEncoder};

use crate::event::{Content, Side, Stored};

/// Replaces NUL in stored text.
const IN_PLACE_OF_NUL: char = '\u{fffd}';
/// zstd's default level.
const ZSTD_LEVEL: i32 = 3;
/// A window size that every decoder accepts, and a medium quality.
const BROTLI: (u32, u32) = (5, 22);
const BROTLI_BUFFER_BYTES: usize = 4096;

/// A body to send.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Body {
    /// The bytes; empty if there are none.
    pub(super) bytes: Vec<u8>,
    /// Notes for the reader, one per line.
    pub(super) notes: Vec<String>,
    /// Whether `Content-Encoding` must be dropped, because the bytes are not in that coding.
    pub(super) without_coding: bool,
}

/// The body of `event`'s request.
pub(super) fn of(event: &Stored) -> Body {
    let mut body = Body::default();
    let capture = event.capture(Side::Request);
    let cut = event.body_is_cut(Side::Request);
    if cut {
        body.notes.push("the request's body was cut".to_owned());
    }
    let content = match event.body(Side::Request) {
        Content::Empty => return body,
        Content::Bytes(bytes) => bytes,
        Content::Text(text) => {
            let nuls = capture["nuls"].as_u64().unwrap_or_default();
            let text = with_nuls(text, nuls, &mut body.notes);
            let charset = capture["encoding"].as_str().and_then(|name| Encoding::for_label(name.as_bytes()));
            in_charset(&text, charset.unwrap_or(UTF_8))
        }
    };
    let coded = capture["content_encoding"].as_str().filter(|_| capture["decoded"].is_string());
    let masked = event.redactions() > 0;
    match coded.map(|coding| (coding, capture["decoded"].as_str())) {
        Some((coding, Some("whole"))) if !cut => match in_coding(&content, coding) {
            Ok(bytes) => {
                body.notes.push(format!("the body is compressed again ({coding}): same content, different bytes"));
                body.bytes = bytes;
            }
            Err(_) => body.leave_plain(coding, content),
        },
        Some((coding, Some("whole" | "capped" | "broken_off"))) => body.leave_plain(coding, content),
        _ => {
            let sent = capture["bytes"].as_u64().filter(|_| !cut && !masked);
            body.bytes = with_mark(content, capture["encoding"].as_str(), sent);
            if let Some(sent) = sent.filter(|sent| *sent != body.bytes.len() as u64) {
                body.notes.push(format!("the body has {} bytes here and had {sent}", body.bytes.len()));
            }
        }
    }
    body
}

impl Body {
    fn leave_plain(&mut self, coding: &str, content: Vec<u8>) {
        self.notes.push(format!("the body is sent without its coding ({coding}), so `content-encoding` is left out"));
        (self.bytes, self.without_coding) = (content, true);
    }
}

/// The text with its NULs, if their positions are known.
fn with_nuls(text: &str, nuls: u64, notes: &mut Vec<String>) -> String {
    if nuls == 0 {
        return text.to_owned();
    }
    if text.matches(IN_PLACE_OF_NUL).count() as u64 == nuls {
        return text.replace(IN_PLACE_OF_NUL, "\0");
    }
    notes.push(format!("the body had {nuls} NUL bytes, which are U+FFFD here"));
    text.to_owned()
}

fn in_charset(text: &str, charset: &'static Encoding) -> Vec<u8> {
    let units = |bytes: fn(u16) -> [u8; 2]| text.encode_utf16().flat_map(bytes).collect();
    match charset {
        // The library decodes these charsets but does not encode them.
        charset if charset == UTF_16LE => units(u16::to_le_bytes),
        charset if charset == UTF_16BE => units(u16::to_be_bytes),
        charset => charset.encode(text).0.into_owned(),
    }
}

/// The byte order mark is not part of the text. If the body is shorter than sent by exactly its length, it was there.
fn with_mark(content: Vec<u8>, charset: Option<&str>, sent: Option<u64>) -> Vec<u8> {
    let mark: &[u8] = match charset.and_then(|name| Encoding::for_label(name.as_bytes())) {
        Some(charset) if charset == UTF_8 => b"\xef\xbb\xbf",
        Some(charset) if charset == UTF_16LE => b"\xff\xfe",
        Some(charset) if charset == UTF_16BE => b"\xfe\xff",
        _ => return content,
    };
    if sent == Some((content.len() + mark.len()) as u64) { [mark, &content].concat() } else { content }
}

/// In each of the codings, in the order in which they were applied (RFC 9110, section 8.4).
fn in_coding(content: &[u8], codings: &str) -> io::Result<Vec<u8>> {
    let mut bytes = content.to_vec();
    for coding in codings.split(',').map(str::trim) {
        bytes = match &*coding.to_ascii_lowercase() {
            "" | "identity" => bytes,
            "gzip" | "x-gzip" => {
                let mut out = GzEncoder::new(Vec::new(), Compression::default());
                out.write_all(&bytes)?;
                out.finish()?
            }
            "deflate" => {
                let mut out = ZlibEncoder::new(Vec::new(), Compression::default());
                out.write_all(&bytes)?;
                out.finish()?
            }
            "br" => {
                let mut out = Vec::new();
                let (quality, window) = BROTLI;
                brotli::CompressorWriter::new(&mut out, BROTLI_BUFFER_BYTES, quality, window).write_all(&bytes)?;
                out
            }
            "zstd" => zstd::encode_all(&*bytes, ZSTD_LEVEL)?,
            _ => return Err(io::Error::from(io::ErrorKind::Unsupported)),
        };
    }
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn body(text: &str, capture: Value) -> Body {
        let event = json!({ "request_body": text, "metadata": { "capture": { "request": capture } } });
        of(&Stored::parse(event.to_string().as_bytes()))
    }

    #[test]
    fn charsets_marks_and_nuls_are_restored() {
        for (text, capture, bytes) in [
            ("é", json!({ "encoding": "UTF-8", "bytes": 2 }), &b"\xc3\xa9"[..]),
            ("é", json!({ "encoding": "UTF-8", "bytes": 5 }), b"\xef\xbb\xbf\xc3\xa9"),
            ("é", json!({ "encoding": "windows-1252", "bytes": 1 }), b"\xe9"),
            ("é", json!({ "encoding": "UTF-16LE", "bytes": 4 }), b"\xff\xfe\xe9\x00"),
            ("a\u{fffd}b", json!({ "encoding": "UTF-8", "bytes": 3, "nuls": 1 }), b"a\0b"),
        ] {
            let made = body(text, capture.clone());
            assert_eq!((&*made.bytes, made.notes.len()), (bytes, 0), "{capture}: {:?}", made.notes);
        }
        let unclear = body("\u{fffd}\u{fffd}", json!({ "encoding": "UTF-8", "bytes": 4, "nuls": 1 }));
        assert_eq!(unclear.notes.len(), 2, "{:?}", unclear.notes);
    }

    #[test]
    fn a_coded_body_is_coded_again_or_sent_plain_with_a_note() {
        for coding in ["gzip", "deflate", "br", "zstd", "gzip, br"] {
            let made = body("a text", json!({ "encoding": "UTF-8", "content_encoding": coding, "decoded": "whole" }));
            assert!(!made.without_coding && made.bytes != b"a text" && made.notes.len() == 1, "{coding}");
        }
        let cut = body("a text", json!({ "encoding": "UTF-8", "content_encoding": "gzip", "decoded": "broken_off" }));
        assert!(cut.without_coding && cut.bytes == b"a text" && cut.notes[0].contains("content-encoding"));
        let as_it_came =
            body("a text", json!({ "encoding": "UTF-8", "content_encoding": "gzip", "decoded": "failed" }));
        assert_eq!((as_it_came.bytes.as_slice(), as_it_came.without_coding), (&b"a text"[..], false));
    }
}
