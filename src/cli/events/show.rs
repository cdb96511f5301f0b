//! One event, as a row of the table and as JSON.

use serde_json::{Map, Value, json};
use time::OffsetDateTime;
use time::macros::format_description;

use crate::cli::table::cell;
use crate::event::Llm;
use crate::store::{EventRow, Listed, PastVerdict, State};

/// The table's columns.
pub(super) const HEAD: [&str; 10] =
    ["id", "at (UTC)", "session", "call", "code", "ms", "model, tokens", "state", "tries", "why"];
/// Those that may be cut on a narrow terminal: the call, the model and the reason.
pub(super) const FLEXIBLE: [usize; 3] = [3, 6, 9];
/// How wide each usually is, for calls that are not there yet when the heading is printed.
pub(super) const USUAL: [usize; 10] = [5, 14, 16, 48, 4, 7, 30, 9, 5, 20];

/// The event as a row of the table.
pub(super) fn cells(listed: &Listed) -> Vec<String> {
    let call = &listed.call;
    vec![
        call.id.to_string(),
        at(call.started_at_ms),
        call.session.to_string(),
        cell(&format!("{} {}{}", call.method, call.host, call.path)),
        call.status_code.to_string(),
        format!("{:.0}", call.latency_ms),
        Llm::parse(&call.llm).map(|llm| cell(&model(&llm))).unwrap_or_default(),
        listed.state.to_string(),
        listed.attempts.to_string(),
        cell(&why(listed)),
    ]
}

/// The model, and the tokens that went in and came out, as far as they are known.
fn model(llm: &Llm) -> String {
    let name = llm.model().or(llm.operation()).unwrap_or("?");
    let tokens = |tokens: Option<u64>| tokens.map_or_else(|| "?".to_owned(), |tokens| tokens.to_string());
    match (llm.input_tokens(), llm.output_tokens()) {
        (None, None) => name.to_owned(),
        (up, down) => format!("{name} {}→{}", tokens(up), tokens(down)),
    }
}

/// The whole event: the state of its delivery, then what OTAS is sent.
pub(super) fn whole(event: &EventRow) -> Value {
    let mut all = Map::new();
    all.insert("id".into(), json!(event.id));
    all.insert("session".into(), json!(event.session));
    all.insert("state".into(), json!(event.state.to_string()));
    all.insert("attempts".into(), json!(event.attempts));
    all.insert("verdict".into(), json!(event.verdict));
    all.insert("next_try_at_ms".into(), json!(event.next_try_at_ms));
    all.insert("otas_event_id".into(), json!(event.otas_event_id));
    match serde_json::from_slice(&event.json) {
        Ok(Value::Object(stored)) => all.extend(stored),
        _ => {
            all.insert("unreadable".into(), json!(String::from_utf8_lossy(&event.json)));
        }
    }
    Value::Object(all)
}

/// OTAS's replies to its posts. Empty if OTAS accepted it at once.
pub(super) fn history(history: &[PastVerdict]) -> Value {
    let said = |said: &PastVerdict| {
        let PastVerdict { verdict, posts, first_at_ms, last_at_ms } = said;
        json!({ "verdict": verdict, "posts": posts, "first_at_ms": first_at_ms, "last_at_ms": last_at_ms })
    };
    history.iter().map(said).collect()
}

/// What is wrong: with its delivery while it is not delivered, else with the call.
fn why(listed: &Listed) -> String {
    match (listed.state, &listed.verdict) {
        (State::Pending | State::Dead, Some(verdict)) => verdict.clone(),
        _ => listed.call.error.split(':').next().unwrap_or_default().to_owned(),
    }
}

fn at(unix_ms: i64) -> String {
    let shown = format_description!("[month]-[day] [hour]:[minute]:[second]");
    OffsetDateTime::from_unix_timestamp(unix_ms.div_euclid(1_000))
        .ok()
        .and_then(|time| time.format(shown).ok())
        .unwrap_or_else(|| unix_ms.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::Call;

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
            json: json.to_vec(),
        }
    }

    fn listed(state: State) -> Listed {
        let call = Call {
            id: 7,
            session: 2,
            started_at_ms: 1_700_000_000_500,
            method: "POST".into(),
            host: "api.test".into(),
            path: "/v1".into(),
            status_code: 502,
            latency_ms: 12.6,
            request_bytes: 0,
            response_bytes: 0,
            error: "connect_refused: nobody".into(),
            outline: String::new(),
            llm: r#"{"gen_ai.request.model":"m","gen_ai.usage.input_tokens":7}"#.into(),
        };
        Listed { call, state, attempts: 3, verdict: Some("answered 400".into()) }
    }

    #[test]
    fn a_row_tells_the_call_and_what_is_wrong() {
        let row = cells(&listed(State::Dead));
        let expected =
            ["7", "11-14 22:13:20", "2", "POST api.test/v1", "502", "13", "m 7→?", "dead", "3", "answered 400"];
        assert_eq!(row, expected);
        assert_eq!(cells(&listed(State::Delivered))[9], "connect_refused");
    }

    #[test]
    fn the_whole_event_is_what_is_stored_and_where_it_is() {
        let whole = whole(&event(State::Dead, br#"{"path":"/v1","metadata":{"a":1}}"#));
        assert_eq!(
            whole.to_string(),
            r#"{"id":7,"session":2,"state":"dead","attempts":3,"verdict":"answered 400","next_try_at_ms":null,"otas_event_id":null,"path":"/v1","metadata":{"a":1}}"#
        );
    }

    #[test]
    fn what_is_no_json_is_shown_as_it_is() {
        assert_eq!(whole(&event(State::Dead, b"\xffhalf {"))["unreadable"], "\u{fffd}half {");
    }
}
