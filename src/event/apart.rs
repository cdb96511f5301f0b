//! An event's JSON and its bodies, apart: the store keeps a text once, however many events have it. Put together, they are the
//! event for OTAS, always with the same bytes.

use super::json::escape;

/// Stands at the end of a body that does not fit. Already escaped.
const CUT: &str = "\\n…[otas-proxy: the rest is left out to fit OTAS's limit of 2,621,440 bytes an event]…\\n";

/// A body, and where it goes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BodyText {
    /// Its place in the event's JSON, in bytes: inside an empty string.
    pub at: usize,
    /// How many escaped bytes of it go into the event. `None`: all of them.
    pub room_bytes: Option<usize>,
    /// The text, with its secrets masked.
    pub text: String,
}

/// The event: its JSON with the bodies in their places, which are in rising order.
pub fn with_bodies(json: &[u8], bodies: &[BodyText]) -> Vec<u8> {
    let text_bytes: usize = bodies.iter().map(|body| body.text.len()).sum();
    let mut event = Vec::with_capacity(json.len() + text_bytes + text_bytes / 8);
    let mut from = 0;
    for body in bodies {
        let at = body.at.clamp(from, json.len());
        event.extend_from_slice(json.get(from..at).unwrap_or_default());
        match body.room_bytes {
            None => escape(&mut event, &body.text, usize::MAX),
            Some(room_bytes) => {
                escape(&mut event, &body.text, room_bytes.saturating_sub(CUT.len()));
                event.extend_from_slice(CUT.as_bytes());
            }
        }
        from = at;
    }
    event.extend_from_slice(json.get(from..).unwrap_or_default());
    event
}

#[cfg(test)]
mod tests {
    use super::*;

    fn body(at: usize, room_bytes: Option<usize>, text: &str) -> BodyText {
        BodyText { at, room_bytes, text: text.to_owned() }
    }

    #[test]
    fn bodies_go_into_their_places_escaped() {
        let json = br#"{"a":"","b":"","c":1}"#;
        let event = with_bodies(json, &[body(6, None, "x\"\n"), body(13, None, "é")]);
        assert_eq!(String::from_utf8(event).unwrap(), r#"{"a":"x\"\n","b":"é","c":1}"#);
        assert_eq!(with_bodies(json, &[]), json);
    }

    #[test]
    fn a_body_is_cut_to_its_room_with_a_mark() {
        let text = "€".repeat(1_000);
        let event = with_bodies(br#"{"a":""}"#, &[body(6, Some(300), &text)]);
        let value: serde_json::Value = serde_json::from_slice(&event).unwrap();
        let shown = value["a"].as_str().unwrap();
        assert!(shown.starts_with("€€") && shown.ends_with("an event]…\n"), "{shown}");
        assert!(event.len() <= 300 + 8);
    }

    #[test]
    fn places_that_are_not_there_harm_nothing() {
        assert_eq!(with_bodies(b"{}", &[body(9, None, "x"), body(1, None, "y")]), b"{}xy");
    }
}
