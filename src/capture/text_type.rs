//! Which media types are text.

use http::header::CONTENT_TYPE;

use super::Fields;

/// Subtypes that mean text, whatever their type.
const SUBTYPES: [&str; 17] = [
    "json",
    "xml",
    "javascript",
    "x-javascript",
    "ecmascript",
    "ndjson",
    "x-ndjson",
    "jsonl",
    "json-seq",
    "graphql",
    "yaml",
    "x-yaml",
    "toml",
    "sql",
    "x-sh",
    "jwt",
    "xml-dtd",
];
/// Suffixes of subtypes (RFC 6838, section 4.2.8) that mean text.
const SUFFIXES: [&str; 4] = ["json", "xml", "yaml", "json-seq"];

/// Whether a media type without parameters means text: `text/*`, JSON, XML and the like. Forms are not among them, because files are
/// sent in forms.
pub fn is_text_type(media_type: &str) -> bool {
    let Some((kind, subtype)) = media_type.split_once('/') else { return false };
    let suffix = subtype.rsplit_once('+').map_or("", |(_, suffix)| suffix);
    let is_in = |known: &[&str], word: &str| known.iter().any(|known| known.eq_ignore_ascii_case(word));
    kind.eq_ignore_ascii_case("text") || is_in(&SUFFIXES, suffix) || is_in(&SUBTYPES, subtype)
}

/// Whether header fields say that the body is text.
pub(super) fn is_of_text(headers: &Fields) -> bool {
    headers.get(CONTENT_TYPE.as_str()).is_some_and(is_text)
}

fn is_text(content_type: &[u8]) -> bool {
    let media_type = content_type.split(|byte| *byte == b';').next().unwrap_or_default();
    str::from_utf8(media_type).is_ok_and(|media_type| is_text_type(media_type.trim()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_are_recognised_whatever_their_case_and_parameters() {
        for text in ["text/plain", "Application/JSON; charset=utf-8", "application/problem+json", "text/event-stream"]
        {
            assert!(is_text(text.as_bytes()), "{text}");
        }
        let others = ["", "json", "image/png", "application/octet-stream", "application/x-www-form-urlencoded"];
        for other in others.map(str::as_bytes).into_iter().chain([&b"text\xFF/plain"[..]]) {
            assert!(!is_text(other), "{}", other.escape_ascii());
        }
    }
}
