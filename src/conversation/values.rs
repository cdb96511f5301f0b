//! The JSON values of a response: one object, an event stream, an object on each line, or an array of them.

use serde_json::Value;

use super::json;
use crate::event::MARK;
use crate::llm::{Part, Scanner};

/// The values of a body, and whether all of it could be read.
pub(super) fn of(body: &str) -> (Vec<Value>, bool) {
    let start = body.trim_start_matches(['\u{FEFF}', ' ', '\r', '\n', '\t']);
    if start.starts_with(['{', '[']) { of_json(start) } else { of_events(body) }
}

fn of_json(text: &str) -> (Vec<Value>, bool) {
    let mut values = Vec::new();
    let mut stream = serde_json::Deserializer::from_str(text).into_iter::<Value>();
    let is_whole = loop {
        match stream.next() {
            Some(Ok(Value::Array(elements))) => values.extend(elements),
            Some(Ok(value)) => values.push(value),
            Some(Err(_)) => break false,
            None => break true,
        }
    };
    if !is_whole {
        let rest = text.get(stream.byte_offset()..).unwrap_or_default();
        match json::parse(rest).0 {
            Value::Array(elements) => values.extend(elements),
            Value::Null => {}
            value => values.push(value),
        }
    }
    (values, is_whole)
}

fn of_events(body: &str) -> (Vec<Value>, bool) {
    // Between two events, a mark harms no JSON. Texts that quote one stand behind `data:`.
    let is_marked = body.lines().any(|line| line.starts_with(MARK));
    let (mut values, mut data, mut is_whole) = (Vec::new(), Vec::new(), !is_marked);
    let mut end = |data: &mut Vec<u8>| {
        let text = String::from_utf8_lossy(data);
        let text = text.trim();
        match serde_json::from_str(text) {
            Ok(value) => values.push(value),
            // `[DONE]`, and comments that some servers send as data.
            Err(_) => is_whole &= !text.starts_with(['{', '[']) || text == "[DONE]",
        }
        data.clear();
    };
    Scanner::default().read(body.as_bytes(), &mut |part| match part {
        Part::Data(piece) => data.extend_from_slice(piece),
        Part::Ends { .. } => end(&mut data),
    });
    // The last event may lack its blank line.
    if !data.is_empty() {
        end(&mut data);
    }
    (values, is_whole)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn each_framing_has_its_values() {
        let both = vec![json!({ "a": 1 }), json!({ "b": 2 })];
        for body in [
            "{\"a\":1}\n{\"b\":2}\n",
            "[{\"a\":1},\n{\"b\":2}]",
            "data: {\"a\":1}\n\ndata: {\"b\":2}\n\ndata: [DONE]\n\n",
            "\u{FEFF}event: x\r\ndata: {\"a\":\r\ndata: 1}\r\n\r\n: comment\r\n\r\ndata:{\"b\":2}",
        ] {
            assert_eq!(of(body), (both.clone(), true), "{body}");
        }
        assert_eq!(of(""), (vec![], true));
    }

    #[test]
    fn the_values_before_the_cut_of_a_body_remain() {
        for body in ["{\"a\":1}\n{\"b\":", "[{\"a\":1},{\"b\"", "data: {\"a\":1}\n\ndata: {\"b\":"] {
            let (values, is_whole) = of(body);
            assert!(!is_whole && values.first() == Some(&json!({ "a": 1 })), "{body}: {values:?}");
        }
        let marked =
            "data: {\"a\":1}\n\ndata: {\"b\n…[otas-proxy: 9 of 99 bytes not kept]…\n\":2}\n\ndata: {\"c\":3}\n\n";
        assert_eq!(of(marked), (vec![json!({ "a": 1 }), json!({ "c": 3 })], false));
        let between = "data: {\"a\":1}\n\n…[otas-proxy: 9 of 99 bytes not kept]…\ndata: {\"c\":3}\n\n";
        assert_eq!(of(between), (vec![json!({ "a": 1 }), json!({ "c": 3 })], false));
    }
}
