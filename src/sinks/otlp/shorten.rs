//! Texts and JSON of limited length. Pure.

use serde_json::Value;

use crate::event::MARK;

/// Shorter texts are not cut further.
const TEXT_MIN_BYTES: usize = 32;

/// A mark that says what is missing.
pub(super) fn mark(what: &str) -> String {
    format!("{MARK}{what}]…")
}

/// A text of at most `max` bytes, and whether it is cut. Of a long one, the beginning and the end are kept.
pub(super) fn text(text: &str, max: usize) -> (String, bool) {
    if text.len() <= max {
        return (text.to_owned(), false);
    }
    let mark_of = |bytes: usize| mark(&format!("{bytes} bytes left out"));
    let room = max.saturating_sub(mark_of(text.len()).len());
    let is_boundary = |at: &usize| text.is_char_boundary(*at);
    let head = (0..=room / 4 * 3).rev().find(is_boundary).unwrap_or(0);
    let tail = (text.len() - room / 4..text.len()).find(is_boundary).unwrap_or(text.len());
    let mark = mark_of(tail - head);
    (format!("{}{mark}{}", text.get(..head).unwrap_or_default(), text.get(tail..).unwrap_or_default()), true)
}

/// JSON whose text has at most `max` bytes, and whether it is cut: its long texts are. `None`: it has too many parts to fit.
pub(super) fn one(value: Value, max: usize) -> Option<(Value, bool)> {
    if value.to_string().len() <= max {
        return Some((value, false));
    }
    let limits = std::iter::successors(Some(max), |limit| (*limit > TEXT_MIN_BYTES).then_some(limit / 2));
    let mut shorter = limits.map(|limit| with_texts(&value, limit));
    shorter.find(|value| value.to_string().len() <= max).map(|value| (value, true))
}

/// All of these, of at most `max` bytes in total, and whether one is cut. Empty: they have too many parts to fit.
pub(super) fn all(values: Vec<Value>, max: usize) -> (Vec<Value>, bool) {
    match one(Value::Array(values), max) {
        Some((Value::Array(values), cut)) => (values, cut),
        _ => (Vec::new(), true),
    }
}

/// The same JSON with texts of at most `limit` bytes.
fn with_texts(value: &Value, limit: usize) -> Value {
    match value {
        Value::String(long) => text(long, limit).0.into(),
        Value::Array(values) => values.iter().map(|value| with_texts(value, limit)).collect(),
        Value::Object(members) => {
            members.iter().map(|(name, value)| (name.clone(), with_texts(value, limit))).collect()
        }
        other => other.clone(),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_long_text_keeps_its_beginning_and_its_end() {
        assert_eq!(text("short", 5), ("short".to_owned(), false));
        let long = format!("begin {} end", "é".repeat(1_000));
        for max in 60..120 {
            let (cut, is_cut) = text(&long, max);
            assert!(is_cut && cut.len() <= max && cut.starts_with("be") && cut.ends_with('d'), "{max}: {cut}");
            assert!(cut.contains(" bytes left out]…"));
        }
    }

    #[test]
    fn json_keeps_its_form() {
        let value =
            json!({ "role": "user", "parts": [{ "type": "text", "content": "\u{1}".repeat(5_000) }, 1, null] });
        let (cut, is_cut) = one(value.clone(), 1_000).unwrap();
        assert!(is_cut && cut.to_string().len() <= 1_000);
        assert_eq!(
            (&cut["role"], &cut["parts"][0]["type"], &cut["parts"][1]),
            (&json!("user"), &json!("text"), &json!(1))
        );
        assert_eq!(one(value.clone(), 100_000), Some((value, false)));
        assert_eq!(one(Value::Array(vec![json!(0); 1_000]), 100), None);
    }
}
