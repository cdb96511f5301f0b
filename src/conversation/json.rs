//! JSON of a request that may be cut: what is there is closed and read.

use serde_json::Value;

use crate::event::MARK;

/// An escape is at most as long as two `\uXXXX`.
const ESCAPE_MAX_BYTES: usize = 12;

/// Reads JSON, and whether it is whole. Of a text that is cut or damaged, everything before that place is read.
pub(super) fn parse(text: &str) -> (Value, bool) {
    if let Ok(value) = serde_json::from_str(text) {
        return (value, true);
    }
    (closed(text.split(MARK).next().unwrap_or_default()), false)
}

/// The value that begins here, with what is missing at its end left out. Null: none begins.
pub(super) fn closed(text: &str) -> Value {
    // The rest may be another value.
    if let Some(Ok(value)) = serde_json::Deserializer::from_str(text).into_iter::<Value>().next() {
        return value;
    }
    let open = Open::of(text);
    open.candidates(text).find_map(|text| serde_json::from_str(&text).ok()).unwrap_or_default()
}

/// Where a text breaks off.
struct Open {
    /// The closing brackets that are missing, outermost first.
    brackets: Vec<u8>,
    /// The end of the last complete part. All brackets that were open there are still open.
    safe: usize,
    /// Whether it breaks off in a string that is a value.
    in_value: bool,
}

impl Open {
    fn of(text: &str) -> Self {
        let mut open = Self { brackets: Vec::new(), safe: 0, in_value: false };
        let (mut in_string, mut escaped, mut is_name) = (false, false, false);
        for (at, byte) in text.bytes().enumerate() {
            if in_string {
                match byte {
                    _ if escaped => escaped = false,
                    b'\\' => escaped = true,
                    b'"' => {
                        in_string = false;
                        if !is_name {
                            open.safe = at + 1;
                        }
                    }
                    _ => {}
                }
                continue;
            }
            match byte {
                b'"' => in_string = true,
                b'{' | b'[' => {
                    open.brackets.push(if byte == b'{' { b'}' } else { b']' });
                    (open.safe, is_name) = (at + 1, byte == b'{');
                }
                b'}' | b']' => {
                    open.brackets.pop();
                    (open.safe, is_name) = (at + 1, false);
                    if open.brackets.is_empty() {
                        break;
                    }
                }
                b',' => (open.safe, is_name) = (at, open.brackets.last() == Some(&b'}')),
                b':' => is_name = false,
                _ => {}
            }
        }
        open.in_value = in_string && !is_name;
        open
    }

    /// The text closed in several ways, the longest first.
    fn candidates<'t>(&'t self, text: &'t str) -> impl Iterator<Item = String> + 't {
        let end = |text: &str, quote: &str| {
            let brackets = self.brackets.iter().rev().map(|bracket| char::from(*bracket));
            text.chars().chain(quote.chars()).chain(brackets).collect::<String>()
        };
        // A string may break off within an escape.
        let last = text.len().saturating_sub(ESCAPE_MAX_BYTES);
        let escapes = text.bytes().enumerate().skip(last).filter(|(_, byte)| *byte == b'\\').map(|(at, _)| at);
        let mut ends: Vec<usize> = std::iter::once(text.len()).chain(escapes).collect();
        ends.sort_unstable_by(|one, other| other.cmp(one));
        let in_string = ends.into_iter().filter(|_| self.in_value).filter_map(|at| text.get(..at));
        let in_string = in_string.map(move |text| end(text, "\""));
        in_string.chain(text.get(..self.safe).map(move |text| end(text, "")))
    }
}

/// The value without Anthropic's marks for the cache, at any depth: Claude Code moves them with each call.
pub(super) fn without_cache_marks(mut value: Value) -> Value {
    remove_cache_marks(&mut value);
    value
}

fn remove_cache_marks(value: &mut Value) {
    match value {
        Value::Object(members) => {
            members.remove("cache_control");
            members.values_mut().for_each(remove_cache_marks);
        }
        Value::Array(elements) => elements.iter_mut().for_each(remove_cache_marks),
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    #[test]
    fn text_before_the_cut_is_read() {
        for (text, value) in [
            (r#"{"a":1,"b":[1,2"#, json!({ "a": 1, "b": [1] })),
            (r#"{"a":"hel"#, json!({ "a": "hel" })),
            (r#"{"a":"hel\"#, json!({ "a": "hel" })),
            (r#"{"a":"x\ud83d\ude0"#, json!({ "a": "x" })),
            (r#"{"a":"x\\\"y"#, json!({ "a": r#"x\"y"# })),
            (r#"{"a":1,"nam"#, json!({ "a": 1 })),
            (r#"{"a":1,"name":"#, json!({ "a": 1 })),
            (r#"{"a":[{"b":tr"#, json!({ "a": [{}] })),
            (r#"{"a":"x" …[otas-proxy: 5 of 8 bytes not kept]… ,"b":2}"#, json!({ "a": "x" })),
            ("{\"a\":\"x\n…[otas-proxy: 5 of 8 bytes not kept]…\ny\"}", Value::Null),
            ("", Value::Null),
            ("nonsense", Value::Null),
        ] {
            let (found, is_whole) = parse(text);
            assert!(!is_whole, "{text}");
            // A line feed of the mark is no part of the text, and JSON does not allow it.
            if value != Value::Null || !text.contains('\n') {
                assert_eq!(found, value, "{text}");
            }
        }
        assert_eq!(parse(" [1] "), (json!([1]), true));
    }

    proptest! {
        #[test]
        fn any_text_is_read_without_a_panic(text in "[{}\\[\\]\",:\\\\ua0-9dé \n]{0,80}") {
            parse(&text);
        }

        #[test]
        fn any_cut_gives_a_beginning(texts in prop::collection::vec("[a-z\"\\\\é\u{1F600}]{0,8}", 0..6), cut in any::<prop::sample::Index>()) {
            let whole = json!({ "messages": texts }).to_string();
            let mut at = cut.index(whole.len());
            while !whole.is_char_boundary(at) {
                at -= 1;
            }
            let (value, is_whole) = parse(&whole[..at]);
            prop_assert!(!is_whole);
            let found = value["messages"].as_array().cloned().unwrap_or_default();
            prop_assert!(found.len() <= texts.len());
            for (place, text) in found.iter().enumerate() {
                let text = text.as_str().unwrap();
                let is_last = place + 1 == found.len();
                prop_assert!(texts[place] == text || (is_last && texts[place].starts_with(text)), "{text}");
            }
        }
    }
}
