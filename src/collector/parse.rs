//! Parses JSON as OTAS does. Python accepts a lone surrogate escape (`\ud800`), and only PostgreSQL refuses it, so it must not
//! count as invalid JSON.

use std::borrow::Cow;

use serde_json::Value;

/// A body that is JSON.
pub(super) struct Parsed {
    /// Its value. Each lone surrogate is replaced by U+FFFD.
    pub(super) value: Value,
    /// Whether some string had a lone surrogate.
    pub(super) lone_surrogate: bool,
}

/// Parses a body. An empty one is `{}`. `None`: not JSON.
pub(super) fn parse(body: &[u8]) -> Option<Parsed> {
    if body.is_empty() {
        return Some(Parsed { value: Value::Object(serde_json::Map::new()), lone_surrogate: false });
    }
    let text = mend_surrogates(std::str::from_utf8(body).ok()?);
    let value = serde_json::from_str(&text).ok()?;
    Some(Parsed { value, lone_surrogate: matches!(text, Cow::Owned(_)) })
}

/// The text with each lone surrogate escape replaced by `\ufffd`; borrowed if there was none. A backslash is legal only in
/// strings, so strings need no tracking: elsewhere the parser refuses the text anyway.
fn mend_surrogates(text: &str) -> Cow<'_, str> {
    let bytes = text.as_bytes();
    let mut mended = String::new();
    let (mut copied, mut at) = (0, 0);
    while at < bytes.len() {
        let (step, lone) = match (bytes[at], escaped_unit(bytes, at)) {
            (b'\\', Some(0xd800..=0xdbff)) => match escaped_unit(bytes, at + 6) {
                Some(0xdc00..=0xdfff) => (12, false),
                _ => (6, true),
            },
            (b'\\', Some(0xdc00..=0xdfff)) => (6, true),
            (b'\\', _) => (2, false),
            _ => (1, false),
        };
        if lone {
            mended.push_str(&text[copied..at]);
            mended.push_str("\\ufffd");
            copied = at + step;
        }
        at += step;
    }
    if copied == 0 {
        return Cow::Borrowed(text);
    }
    mended.push_str(&text[copied..]);
    Cow::Owned(mended)
}

/// The UTF-16 code unit of the escape `\uXXXX` at `at`.
fn escaped_unit(bytes: &[u8], at: usize) -> Option<u16> {
    let digits = bytes.get(at..at + 6)?.strip_prefix(b"\\u")?;
    digits.iter().try_fold(0, |unit: u16, digit| {
        let digit = char::from(*digit).to_digit(16)?;
        Some(unit << 4 | u16::try_from(digit).ok()?)
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[track_caller]
    fn expect(text: &str, value: Value, lone_surrogate: bool) {
        let parsed = parse(text.as_bytes()).unwrap();
        assert_eq!((parsed.value, parsed.lone_surrogate), (value, lone_surrogate));
    }

    #[test]
    fn lone_surrogates_are_replaced_and_pairs_are_not() {
        expect(r#""\ud83d\ude00""#, json!("😀"), false);
        expect(r#""\ud83d""#, json!("\u{fffd}"), true);
        expect(r#""\ude00\ud83d""#, json!("\u{fffd}\u{fffd}"), true);
        expect(r#""\ud83d\ud83d\ude00""#, json!("\u{fffd}😀"), true);
        expect(r#""\uD83Dé""#, json!("\u{fffd}é"), true);
        expect(r#"{"a":[{"\udfff":1}]}"#, json!({"a": [{"\u{fffd}": 1}]}), true);
    }

    #[test]
    fn an_escaped_backslash_before_a_u_is_not_an_escape() {
        expect(r#""\\ud83d""#, json!("\\ud83d"), false);
        expect(r#""\\\ud83d""#, json!("\\\u{fffd}"), true);
    }

    #[test]
    fn invalid_json_with_a_surrogate_is_still_invalid() {
        for text in ["{", "\\ud83d", r#"{"a":"\ud83d""#, r#""\ud83"#, "\"\\", "NaN", "\"\u{1}\""] {
            assert!(parse(text.as_bytes()).is_none(), "{text}");
        }
        assert!(parse(b"\"\xff\"").is_none());
    }

    #[test]
    fn an_empty_body_is_an_empty_object() {
        expect("", json!({}), false);
    }
}
