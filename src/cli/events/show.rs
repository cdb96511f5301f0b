//! One event as JSON.

use serde_json::{Map, Value, json};

use crate::store::{EventRow, PastVerdict};

/// The whole event: the state of its delivery, the note on it, then what OTAS is sent.
pub(in crate::cli) fn whole(event: &EventRow) -> Value {
    let mut all = Map::new();
    all.insert("id".into(), json!(event.id));
    all.insert("session".into(), json!(event.session));
    all.insert("state".into(), json!(event.state.to_string()));
    all.insert("attempts".into(), json!(event.attempts));
    all.insert("verdict".into(), json!(event.verdict));
    all.insert("next_try_at_ms".into(), json!(event.next_try_at_ms));
    all.insert("otas_event_id".into(), json!(event.otas_event_id));
    all.insert("note".into(), json!(event.note));
    match serde_json::from_slice(&event.json) {
        Ok(Value::Object(stored)) => all.extend(stored),
        _ => {
            all.insert("unreadable".into(), json!(String::from_utf8_lossy(&event.json)));
        }
    }
    Value::Object(all)
}

/// OTAS's replies to its posts. Empty if OTAS accepted it at once.
pub(in crate::cli) fn history(history: &[PastVerdict]) -> Value {
    let said = |said: &PastVerdict| {
        let PastVerdict { verdict, posts, first_at_ms, last_at_ms } = said;
        json!({ "verdict": verdict, "posts": posts, "first_at_ms": first_at_ms, "last_at_ms": last_at_ms })
    };
    history.iter().map(said).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::State;

    fn event(state: State, json: &[u8]) -> EventRow {
        EventRow {
            id: 7,
            event_id: uuid::Uuid::nil(),
            session: 2,
            seq: 0,
            started_at_ms: 1_700_000_000_500,
            method: "POST".into(),
            host: "api.test".into(),
            path: "/v1".into(),
            status_code: 502,
            latency_ms: 12.6,
            request_bytes: 0,
            response_bytes: 0,
            error: "connect_refused: nobody".into(),
            state,
            attempts: 3,
            verdict: Some("answered 400".into()),
            next_try_at_ms: None,
            otas_event_id: None,
            note: None,
            json: json.to_vec(),
        }
    }

    #[test]
    fn the_whole_event_is_what_is_stored_and_where_it_is() {
        let whole = whole(&event(State::Dead, br#"{"path":"/v1","metadata":{"a":1}}"#));
        assert_eq!(
            whole.to_string(),
            r#"{"id":7,"session":2,"state":"dead","attempts":3,"verdict":"answered 400","next_try_at_ms":null,"otas_event_id":null,"note":null,"path":"/v1","metadata":{"a":1}}"#
        );
    }

    #[test]
    fn text_that_is_not_json_is_shown_unchanged() {
        assert_eq!(whole(&event(State::Dead, b"\xffhalf {"))["unreadable"], "\u{fffd}half {");
    }
}
