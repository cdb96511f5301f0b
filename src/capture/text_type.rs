//! Which media types are text.

use http::header::CONTENT_TYPE;

use super::Fields;

/// Whether a media type without parameters means text: `text/*`, JSON, XML and the like. Forms are not among them, because files are
/// sent in forms.
pub fn is_text_type(media_type: &str) -> bool {
    let lower = media_type.to_ascii_lowercase();
    let Some((kind, subtype)) = lower.split_once('/') else { return false };
    let suffix = subtype.rsplit_once('+').map_or("", |(_, suffix)| suffix);
    kind == "text"
        || matches!(suffix, "json" | "xml" | "yaml" | "json-seq")
        || matches!(
            subtype,
            "json"
                | "xml"
                | "javascript"
                | "x-javascript"
                | "ecmascript"
                | "ndjson"
                | "x-ndjson"
                | "jsonl"
                | "json-seq"
                | "graphql"
                | "yaml"
                | "x-yaml"
                | "toml"
                | "sql"
                | "x-sh"
                | "jwt"
                | "xml-dtd"
        )
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
