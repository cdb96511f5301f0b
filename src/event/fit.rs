//! OTAS's limits, and the room of each field. Each bound is in escaped bytes, so their sum bounds the whole event;
//! bodies get the rest. Nothing is rejected: what does not fit is truncated and marked.

use std::borrow::Cow;

use super::json::boundary_before;

/// The largest POST (contract, "Measured limits": whole body). A larger one is answered with an HTML 400.
pub const EVENT_MAX_BYTES: usize = 2_621_440;

/// Reserved for [`with_project_id`](super::with_project_id): the member with a UUID of 36 characters takes 52.
pub(super) const PROJECT_ID_RESERVE_BYTES: usize = 256;

/// The most of `metadata`. Its parts are bounded one by one, see `metadata.rs`.
#[cfg(test)]
pub(super) const METADATA_RESERVE_BYTES: usize = 96 * 1024;

/// The most that a model call adds to it: the answer, the provider's usage object, its rate limits.
#[cfg(test)]
pub(super) const LLM_RESERVE_BYTES: usize = 128 * 1024;

/// Bytes of the answer text of a model call.
pub(super) const ANSWER_MAX_BYTES: usize = 96 * 1024;

/// The largest value of the integer columns (contract: `status_code`, `*_size_bytes`).
pub(super) const INTEGER_MAX: u64 = 2_147_483_647;

/// The longest `path` that can always be indexed (contract: 2,601 random bytes were saved, 2,801 were not).
pub(super) const PATH_MAX_BYTES: usize = 2_600;

/// The longest `method`, in characters (contract).
pub(super) const METHOD_MAX_CHARS: usize = 20;

/// The longest content type, in characters (contract).
pub(super) const CONTENT_TYPE_MAX_CHARS: usize = 255;

/// Bytes of one side's header fields, as a JSON string that holds JSON.
pub(super) const HEADERS_MAX_BYTES: usize = 64 * 1024;

/// Bytes of one side's trailer fields.
pub(super) const TRAILERS_MAX_BYTES: usize = 16 * 1024;

/// Bytes of the query: the longest that servers take is about 100 KB.
pub(super) const QUERY_MAX_BYTES: usize = 128 * 1024;

/// Bytes of `error`.
pub(super) const ERROR_MAX_BYTES: usize = 8 * 1024;

/// Bytes of the path's copy in `metadata`.
pub(super) const WHOLE_PATH_MAX_BYTES: usize = 16 * 1024;

/// Bytes of a single value in `metadata` and `custom_properties` that comes from outside.
pub(super) const VALUE_MAX_BYTES: usize = 4 * 1024;

/// Bytes of a name from outside in `custom_properties`.
pub(super) const NAME_MAX_BYTES: usize = 256;

/// When the properties reach this size, no more of the operator's are added.
pub(super) const PROPERTIES_FILL_BYTES: usize = 64 * 1024;

/// When `post_data` reaches this size, no more fields are added.
pub(super) const POST_DATA_FILL_BYTES: usize = 32 * 1024;

/// Bytes of a field's name in `post_data`.
pub(super) const FIELD_NAME_MAX_BYTES: usize = 256;

/// Bytes of a field's value in `post_data`.
pub(super) const FIELD_VALUE_MAX_BYTES: usize = 4 * 1024;

/// The largest `post_data` by the three limits above.
#[cfg(test)]
pub(super) const POST_DATA_MAX_BYTES: usize =
    POST_DATA_FILL_BYTES + FIELD_NAME_MAX_BYTES + FIELD_VALUE_MAX_BYTES + 128;

/// The mark at the end of a truncated value.
pub(super) const CUT: &str = "…[cut]";

/// A path that OTAS can index. It ends in the mark if it was truncated.
pub(super) struct Path<'a> {
    /// The path to send.
    pub(super) text: Cow<'a, str>,
    /// Whether it was truncated.
    pub(super) cut: bool,
}

/// Truncates a path at a character boundary. The mark counts towards the limit.
pub(super) fn path(path: &str) -> Path<'_> {
    let text = if path.is_empty() { Cow::Borrowed("/") } else { without_nul(path) };
    if text.len() <= PATH_MAX_BYTES {
        return Path { text, cut: false };
    }
    let end = boundary_before(text.as_bytes(), PATH_MAX_BYTES - CUT.len());
    Path { text: Cow::Owned(format!("{}{CUT}", &text[..end])), cut: true }
}

/// At most `max` characters, including the mark.
pub(super) fn chars(text: &str, max: usize) -> Cow<'_, str> {
    if text.len() <= max || text.char_indices().nth(max).is_none() {
        return Cow::Borrowed(text);
    }
    let kept = text.char_indices().nth(max - CUT.chars().count()).map_or(0, |(at, _)| at);
    Cow::Owned(format!("{}{CUT}", &text[..kept]))
}

/// The text with each NUL replaced by U+FFFD, as in the event.
pub(super) fn without_nul(text: &str) -> Cow<'_, str> {
    if text.as_bytes().contains(&0) { text.replace('\0', "\u{FFFD}").into() } else { text.into() }
}

/// How many bytes of `room` each of two bodies gets, if they need `first` and `second`. A small body leaves the rest to
/// the other.
pub(super) fn shares(room: usize, first: usize, second: usize) -> (usize, usize) {
    let half = room / 2;
    if first.saturating_add(second) <= room {
        (first, second)
    } else if first <= half {
        (first, room - first)
    } else if second <= half {
        (room - second, second)
    } else {
        (half, half)
    }
}

/// `1234567` -> `1,234,567`
pub(super) fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let mut out = String::with_capacity(digits.len() + digits.len() / 3);
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            out.push(',');
        }
        out.push(digit);
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_is_cut_on_a_character_and_within_the_limit() {
        assert_eq!(path("/a").text, "/a");
        assert_eq!(path("").text, "/");
        assert_eq!(path("/a\0").text, "/a\u{FFFD}");
        assert!(!path(&"x".repeat(2_600)).cut && path(&"x".repeat(2_601)).cut);
        let cut = path(&"€".repeat(1_000)).text.into_owned();
        assert!(cut.len() <= 2_600 && cut.len() > 2_590 && cut.ends_with(CUT));
    }

    #[test]
    fn characters_are_counted_not_bytes() {
        assert_eq!(chars(&"é".repeat(20), 20), "é".repeat(20));
        assert_eq!(chars(&"é".repeat(21), 20), format!("{}{CUT}", "é".repeat(14)));
    }

    #[test]
    fn a_small_body_leaves_its_share_to_a_large_one() {
        assert_eq!(shares(100, 30, 40), (30, 40));
        assert_eq!(shares(100, 30, 400), (30, 70));
        assert_eq!(shares(100, 300, 40), (60, 40));
        assert_eq!(shares(100, 300, usize::MAX), (50, 50));
    }

    #[test]
    fn numbers_for_people_have_groups() {
        assert_eq!([0, 999, 1_000, 5_242_880].map(grouped), ["0", "999", "1,000", "5,242,880"]);
    }
}
