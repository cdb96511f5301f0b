//! Where the messages of a request stand in its text.

use std::ops::Range;

use super::sieve::{Sieve, Wanted};

/// The members of a request that hold messages: of OpenAI's chat and Anthropic's interface, of OpenAI's responses, of Gemini's, and
/// those with a wrapper around them.
pub(super) const MEMBERS: &[&str] = &["messages", "input", "contents", "request.contents", "response.input"];
const WANTED: &[Wanted] =
    &[("messages", 0), ("input", 0), ("contents", 0), ("request.contents", 0), ("response.input", 0)];

/// Where each message stands in the text of a request, in bytes. Empty if the text is not one whole JSON object with a list of
/// messages. Values that are skipped are not checked: a message may be invalid JSON.
pub fn message_places(request: &str) -> Vec<Range<usize>> {
    let mut members = Sieve::listing(WANTED, MEMBERS);
    let read = members.read(request.as_bytes());
    let alone = request.as_bytes()[read..].iter().all(u8::is_ascii_whitespace);
    if members.is_whole() && alone { members.elements().to_vec() } else { Vec::new() }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::value::RawValue;
    use serde_json::{Value, json};

    use super::*;
    use crate::llm::sieve::tests::any_value;

    /// The elements of the member, as a parser finds them.
    fn parsed<'t>(text: &'t str, member: &str) -> Vec<&'t str> {
        let members: std::collections::HashMap<String, &RawValue> = serde_json::from_str(text).unwrap();
        let elements: Vec<&RawValue> = serde_json::from_str(members[member].get()).unwrap();
        elements.into_iter().map(RawValue::get).collect()
    }

    fn listed(text: &str) -> Vec<&str> {
        message_places(text).into_iter().map(|place| &text[place]).collect()
    }

    proptest! {
        #[test]
        fn messages_stand_where_a_parser_finds_them(
            messages in prop::collection::vec(any_value(), 0..6),
            others in prop::collection::vec(("[a-z\"\\\\]{0,4}", any_value()), 0..4),
            pretty in any::<bool>(),
        ) {
            let is_plain = |value: &Value| value.is_object() || value.is_array() || value.is_string();
            let mut members: serde_json::Map<String, Value> = others.into_iter().collect();
            members.insert("messages".to_owned(), messages.clone().into());
            let request = Value::Object(members);
            let text = if pretty { serde_json::to_string_pretty(&request).unwrap() } else { request.to_string() };
            let expected = if messages.iter().all(is_plain) { parsed(&text, "messages") } else { Vec::new() };
            prop_assert_eq!(listed(&text), expected);
        }
    }

    #[test]
    fn messages_are_found_in_each_interface_and_the_last_of_two_members_counts() {
        for request in [
            json!({ "model": "m", "input": [{ "a": 1 }, "b"], "tools": [[1], {}] }),
            json!({ "request": { "contents": [{ "a": 1 }, "b"], "generationConfig": { "x": [{}] } }, "input": "no list" }),
            json!({ "type": "response.create", "response": { "input": [{ "a": 1 }, "b"] } }),
            json!({ "messages": [], "contents": [{ "a": 1 }, "b"] }),
        ] {
            assert_eq!(listed(&request.to_string()), [r#"{"a":1}"#, r#""b""#], "{request}");
        }
        assert_eq!(listed(r#"{"messages":[{"old":1},{}],"messages":[ {"new":"]"} ]} "#), [r#"{"new":"]"}"#]);
        for none in [
            "",
            "[{}]",
            r#"{"messages":[{}]"#,
            r#"{"messages":[{}]} x"#,
            r#"{"messages":{"a":[{}]}}"#,
            r#"{"input":"x"}"#,
        ] {
            assert!(message_places(none).is_empty(), "{none}");
        }
    }

    #[test]
    fn a_list_of_very_many_elements_is_not_kept() {
        let text = |count: usize| format!("{{\"input\":[{}]}}", vec!["{}"; count].join(","));
        assert_eq!(message_places(&text(16 << 10)).len(), 16 << 10);
        assert!(message_places(&text((16 << 10) + 1)).is_empty());
    }
}
