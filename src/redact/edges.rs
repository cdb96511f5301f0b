//! The rest of a secret whose beginning was cut off.

use std::ops::Range;

use super::runs::PEM_MAX_BYTES;
use super::value::{self, Sign, Value};

/// A longer rest of a string is not a secret, in bytes: prompts are longer.
const STRING_MAX_BYTES: usize = 512;
/// A longer run without a space is data, not a secret, in bytes.
const RUN_MAX_BYTES: usize = 16 * 1024;
/// Fewer bytes reveal nothing.
const RUN_MIN_BYTES: usize = 4;
/// A longer run of small letters is not a word.
const WORD_MAX_BYTES: usize = 20;

/// The bytes at the start of a cut text that may be the rest of a secret, or a secret whose name was cut off.
pub(super) fn rest_of_a_secret(text: &str) -> Vec<Range<usize>> {
    let end = [rest_of_a_private_key(text), rest_of_a_string(text), run(text)].into_iter().flatten().max();
    let rest = end.map(|end| 0..end);
    let nameless = nameless_value(text).filter(|value| end.is_none_or(|end| end <= value.start));
    rest.into_iter().chain(nameless).collect()
}

/// The string behind a name that was cut off, in part or as a whole.
fn nameless_value(text: &str) -> Option<Range<usize>> {
    let bytes = text.as_bytes();
    let reach = &bytes[..bytes.len().min(STRING_MAX_BYTES)];
    let begins =
        |at: usize| reach.get(at..)?.iter().position(|byte| !byte.is_ascii_whitespace()).map(|space| at + space);
    let quote = reach.iter().take_while(|byte| **byte != b'\n').position(|byte| *byte == b'"');
    let colon = match quote.and_then(|quote| Some((quote, begins(quote + 1)?))) {
        // The end of a name.
        Some((_, next)) if bytes[next] == b':' => Some(next),
        _ => begins(0).filter(|first| bytes[*first] == b':'),
    };
    let at = match (colon, quote) {
        (Some(colon), _) => begins(colon + 1)?,
        // The quote at the start opens a string rather than ending one.
        (None, Some(quote)) if bytes[..quote].iter().all(|byte| matches!(byte, b' ' | b'\\')) => {
            let ends = begins(quote + 1).is_none_or(|next| matches!(bytes[next], b',' | b'}' | b']' | b'\\'));
            (!ends).then_some(0)?
        }
        _ => return None,
    };
    let sign = Sign { at, assigns: false, tight: false, level: Some(0) };
    match value::value_at(bytes, &sign) {
        Value::Quoted { range, .. } if range.len() <= STRING_MAX_BYTES => Some(range),
        _ => None,
    }
}

fn rest_of_a_private_key(text: &str) -> Option<usize> {
    let reach = &text.as_bytes()[..text.len().min(PEM_MAX_BYTES)];
    let at = |what: &[u8]| reach.windows(what.len()).position(|window| window == what);
    let end = at(b"-----END ")?;
    let label = &reach[end..reach.len().min(end + 48)];
    let private = label.windows(11).any(|window| window == b"PRIVATE KEY");
    let begun_here = at(b"-----BEGIN ").is_some_and(|begin| begin < end);
    (private && !begun_here).then_some(end)
}

/// Up to the end of the string in which the text was cut, if it was cut in a string.
fn rest_of_a_string(text: &str) -> Option<usize> {
    let bytes = text.as_bytes();
    let quote =
        bytes.iter().take(STRING_MAX_BYTES).take_while(|byte| **byte != b'\n').position(|byte| *byte == b'"')?;
    let slashes = bytes[..quote].iter().rev().take_while(|byte| **byte == b'\\').count();
    let end = quote - slashes;
    let before = text[..end].trim_end();
    let outside = before.is_empty() || before.ends_with([',', ':', '{', '[', '}', ']', '(', '=']);
    (!outside).then_some(end)
}

/// The characters up to the first that cannot stand in a secret, unless they are a word.
fn run(text: &str) -> Option<usize> {
    let ends = |char: char| {
        char.is_whitespace()
            || matches!(
                char,
                '"' | '\'' | '`' | ',' | ';' | '<' | '>' | '(' | ')' | '{' | '}' | '[' | ']' | '\\' | '&'
            )
    };
    let run = &text[..text.find(ends).unwrap_or(text.len())];
    let word = run.len() < WORD_MAX_BYTES
        && run.chars().skip(1).all(|char| char.is_lowercase() || matches!(char, '.' | ':' | '!' | '?'));
    ((RUN_MIN_BYTES..=RUN_MAX_BYTES).contains(&run.len()) && !word).then_some(run.len())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_rest_of_a_secret_goes_and_the_rest_of_a_sentence_stays() {
        for (text, rest) in [
            ("cdef0123 and so on", &["cdef0123"] as &[_]),
            ("correct horse\",\"b\":1}", &["correct horse"]),
            ("lower\\\",\\\"b\\\":1}", &["lower"]),
            ("MHcCAQ==\n-----END EC PRIVATE KEY-----\nx", &["MHcCAQ==\n"]),
            ("sword\": \"hush\",\"b\":1}", &["sword", "hush"]),
            ("\":\"hush\",\"b\":1}", &["hush"]),
            (":\"hush\",\"b\":1}", &["hush"]),
            ("\"hush\",\"b\":1}", &["hush"]),
            ("sword\\\":\\\"hush\\\"}\"", &["sword", "hush"]),
            ("of the story, which goes on", &[]),
            ("tence.\n\"Quoted\"", &[]),
            (",\"b\": \"x\"}", &[]),
            ("\",\"b\": \"x\"}", &[]),
            ("1, \"b\": \"x\"}", &[]),
            ("abc", &[]),
            ("", &[]),
        ] {
            let found: Vec<_> = rest_of_a_secret(text).into_iter().map(|range| &text[range]).collect();
            assert_eq!(found, rest, "{text}");
        }
        assert!(rest_of_a_secret(&"iVBORw0KGgo".repeat(5_000)).is_empty());
    }
}
