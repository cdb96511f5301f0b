//! An event's JSON and its bodies, apart: the store keeps a text once, however many events have it. Put together, they are the
//! whole event for people ([`with_bodies`]), or the event for OTAS within its limit ([`for_otas`]): always the same bytes.

use bytestring::ByteString;
use serde_json::{Map, Value};

use super::bodies::cut_of;
use super::fit;
use super::json::{escape, escaped_beginning, escaped_len};

/// Stands at the end of a body that does not fit.
const CUT: &str = "\n…[otas-proxy: the rest is left out to fit OTAS's limit of 2,621,440 bytes an event]…\n";
/// The room for both flags in `metadata.cut`, and for the object if it is missing.
const FLAGS_BYTES: usize = 64;
/// An escaped byte takes at most so many.
const ESCAPE_MAX_BYTES: usize = 6;

/// A body, and where it goes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BodyText {
    /// Its place in the event's JSON, in bytes: inside an empty string.
    pub at: usize,
    /// The text, with its secrets masked. Without secrets it is what was captured, not a copy.
    pub text: ByteString,
}

/// The whole event: its JSON with the bodies in their places, which are in rising order.
pub fn with_bodies(json: &[u8], bodies: &[BodyText]) -> Vec<u8> {
    let text_bytes: usize = bodies.iter().map(|body| body.text.len()).sum();
    let mut event = Vec::with_capacity(json.len() + text_bytes + text_bytes / 8);
    let mut from = 0;
    for body in bodies {
        let at = body.at.clamp(from, json.len());
        event.extend_from_slice(json.get(from..at).unwrap_or_default());
        escape(&mut event, &body.text);
        from = at;
    }
    event.extend_from_slice(json.get(from..).unwrap_or_default());
    event
}

/// The event for OTAS: the whole event if it fits into a post. Otherwise its bodies are cut with a mark, and `metadata.cut` says so.
pub fn for_otas(json: &[u8], bodies: &[BodyText]) -> Vec<u8> {
    let room = fit::EVENT_MAX_BYTES.saturating_sub(fit::PROJECT_ID_RESERVE_BYTES + json.len());
    let text_bytes: usize = bodies.iter().map(|body| body.text.len()).sum();
    // Nearly all events fit without exact counting.
    if text_bytes.saturating_mul(ESCAPE_MAX_BYTES) <= room
        || bodies.iter().map(|body| escaped_len(&body.text)).sum::<usize>() <= room
    {
        return with_bodies(json, bodies);
    }
    cut_to(room.saturating_sub(FLAGS_BYTES), json, bodies).unwrap_or_else(|| with_bodies(json, bodies))
}

/// The event with so many bytes of its bodies. `None`: the JSON is damaged.
fn cut_to(room: usize, json: &[u8], bodies: &[BodyText]) -> Option<Vec<u8>> {
    let mut event: Map<String, Value> = serde_json::from_slice(json).ok()?;
    let needs = |name: &str| text_of(name, json, bodies).map_or(0, escaped_len);
    let (request, response) = (needs("request_body"), needs("response_body"));
    let (for_request, for_response) = fit::shares(room, request, response);
    for (name, needed, room) in [("request_body", request, for_request), ("response_body", response, for_response)] {
        let Some(text) = text_of(name, json, bodies) else { continue };
        let mut text = text.replace('\0', "\u{FFFD}");
        if needed > room {
            text.truncate(escaped_beginning(&text, room.saturating_sub(escaped_len(CUT))));
            text.push_str(CUT);
            cut_of(&mut event)?.insert(name.to_owned(), true.into());
        }
        event.insert(name.to_owned(), text.into());
    }
    serde_json::to_vec(&event).ok()
}

/// The text that goes into the member of this name.
fn text_of<'a>(name: &str, json: &[u8], bodies: &'a [BodyText]) -> Option<&'a str> {
    let key = format!("\"{name}\":\"");
    let is_it = |body: &&BodyText| json.get(..body.at).is_some_and(|before| before.ends_with(key.as_bytes()));
    bodies.iter().find(is_it).map(|body| &*body.text)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn body(at: usize, text: &str) -> BodyText {
        BodyText { at, text: text.into() }
    }

    #[test]
    fn bodies_go_into_their_places_escaped() {
        let json = br#"{"a":"","b":"","c":1}"#;
        let event = with_bodies(json, &[body(6, "x\"\n"), body(13, "é")]);
        assert_eq!(String::from_utf8(event).unwrap(), r#"{"a":"x\"\n","b":"é","c":1}"#);
        assert_eq!(with_bodies(json, &[]), json);
    }

    const JSON: &str = r#"{"path":"/","request_body":"","response_body":"","metadata":{"schema":1}}"#;

    fn bodies(request: &str, response: &str) -> [BodyText; 2] {
        [body(28, request), body(47, response)]
    }

    fn posted(request: &str, response: &str) -> (usize, Value) {
        let event = for_otas(JSON.as_bytes(), &bodies(request, response));
        (event.len(), serde_json::from_slice(&event).unwrap())
    }

    #[test]
    fn an_event_that_fits_is_posted_whole() {
        let (_, event) = posted("a question", "an answer");
        assert_eq!((&event["request_body"], &event["response_body"]), (&"a question".into(), &"an answer".into()));
        assert!(event["metadata"]["cut"].is_null());
    }

    #[test]
    fn a_body_that_does_not_fit_is_cut_with_a_mark_and_the_other_is_whole() {
        let long = "€".repeat(1_000_000);
        let (bytes, event) = posted(&long, "short");
        let shown = event["request_body"].as_str().unwrap();
        assert!(shown.starts_with("€€") && shown.ends_with("an event]…\n"), "{}", &shown[shown.len() - 200..]);
        assert_eq!(event["response_body"], "short");
        assert_eq!(event["metadata"], serde_json::json!({ "schema": 1, "cut": { "request_body": true } }));
        let limit = fit::EVENT_MAX_BYTES - fit::PROJECT_ID_RESERVE_BYTES;
        assert!((limit - 200..=limit).contains(&bytes), "{bytes}");
        let whole: Value = serde_json::from_slice(&with_bodies(JSON.as_bytes(), &bodies(&long, "short"))).unwrap();
        assert_eq!(whole["request_body"], long);
        assert!(whole["metadata"]["cut"].is_null());
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(24))]
        #[test]
        fn for_any_bodies_the_event_fits_and_is_the_same_each_time(
            one in "[a-z\"\\\\\u{0}-\u{20}é€🦀]{1,40}", other in "[a-z\u{1}\u{7f}]{1,9}",
            repeat in 0_usize..400_000, others in 0_usize..400_000,
        ) {
            let bodies = bodies(&one.repeat(repeat), &other.repeat(others));
            let event = for_otas(JSON.as_bytes(), &bodies);
            prop_assert!(event.len() <= fit::EVENT_MAX_BYTES - fit::PROJECT_ID_RESERVE_BYTES, "{}", event.len());
            prop_assert_eq!(&event, &for_otas(JSON.as_bytes(), &bodies));
            let value: Value = serde_json::from_slice(&event).unwrap();
            for (name, body) in [("request_body", &bodies[0]), ("response_body", &bodies[1])] {
                let (shown, text) = (value[name].as_str().unwrap(), body.text.replace('\0', "\u{FFFD}"));
                let cut = value["metadata"]["cut"][name] == true;
                prop_assert_eq!(cut, shown != text);
                prop_assert!(text.starts_with(shown.strip_suffix(CUT).unwrap_or(shown)));
            }
        }
    }

    #[test]
    fn places_that_are_not_there_harm_nothing() {
        assert_eq!(with_bodies(b"{}", &[body(9, "x"), body(1, "y")]), b"{}xy");
        let long = "x".repeat(3 << 20);
        assert!(for_otas(b"{}", &[body(9, &long)]).len() < 100);
        assert_eq!(for_otas(b"{", &[body(1, &long)]).len(), long.len() + 1);
    }
}
