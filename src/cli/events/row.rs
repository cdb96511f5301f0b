//! One event as a row of the table: what happened, for people.

use clap::builder::styling::Style;
use time::OffsetDateTime;
use time::format_description::BorrowedFormatItem;
use time::macros::format_description;

use crate::admin::page::format::duration;
use crate::brief;
use crate::cli::color::{BAD, DIM, GOOD, WARN};
use crate::cli::table::{Cell, cell};
use crate::event::{Llm, Outline};
use crate::happened;
use crate::store::{Call, Listed, State};

/// The columns. `at` is there twice, with and without the day: the layout takes one of them.
pub(super) const HEAD: [&str; 7] = ["id", "at (UTC)", "at", "code", "took", "call", "what happened"];

/// The event as a row of the table.
pub(super) fn cells(listed: &Listed) -> Vec<Cell> {
    let call = &listed.call;
    let clock = format_description!("[hour]:[minute]:[second]");
    let of = |text: String, style: Style| Cell { text, style };
    vec![
        of(call.id.to_string(), Style::new()),
        of(day(call.started_at_ms), DIM),
        of(at(call.started_at_ms, clock), DIM),
        of(code(call), style_of(call)),
        of(duration(call.latency_ms), Style::new()),
        of(cell(&happened::target(call)), Style::new()),
        of(cell(&happened(listed)), if call.error.is_empty() { trouble(listed) } else { BAD }),
    ]
}

fn code(call: &Call) -> String {
    if call.status_code == 0 { "–".to_owned() } else { call.status_code.to_string() }
}

fn style_of(call: &Call) -> Style {
    match call.status_code {
        0..400 if !call.error.is_empty() => BAD,
        0..200 | 300..400 => DIM,
        200..300 => GOOD,
        400..500 => WARN,
        _ => BAD,
    }
}

fn trouble(listed: &Listed) -> Style {
    match listed.state {
        State::Dead => WARN,
        _ => Style::new(),
    }
}

/// What happened: the error, the model's work, what it was about, the delivery where it is not done, and the note on it.
fn happened(listed: &Listed) -> String {
    let llm = Llm::parse(&listed.call.llm);
    let parts = [
        Some(brief::sentence(&listed.call.error).to_owned()).filter(|error| !error.is_empty()),
        llm.as_ref().map(work),
        happened::about(&Outline::parse(&listed.call.outline).said),
        happened::delivery(listed),
        listed.note.as_ref().map(|note| format!("note: {note}")),
    ];
    parts.into_iter().flatten().collect::<Vec<_>>().join(" · ")
}

/// A call to a model: its name, tokens in and out, cost, why it stopped and which tools it called. A call over MCP: its method.
fn work(llm: &Llm) -> String {
    let parts =
        [Some(happened::model(llm).to_owned()), happened::tokens(llm), happened::cost(llm), happened::stop(llm)];
    parts.into_iter().flatten().collect::<Vec<_>>().join(" ")
}

/// A time in a table: day and time, in UTC.
pub(in crate::cli) fn day(unix_ms: i64) -> String {
    at(unix_ms, format_description!("[month]-[day] [hour]:[minute]:[second]"))
}

fn at(unix_ms: i64, form: &[BorrowedFormatItem<'_>]) -> String {
    OffsetDateTime::from_unix_timestamp(unix_ms.div_euclid(1_000))
        .ok()
        .and_then(|time| time.format(form).ok())
        .unwrap_or_else(|| unix_ms.to_string())
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    pub(in crate::cli::events) fn listed(error: &str, llm: &str, state: State, verdict: Option<&str>) -> Listed {
        let call = Call {
            id: 7,
            session: 2,
            started_at_ms: 1_700_000_000_500,
            method: "POST".into(),
            host: "api.test".into(),
            path: "/v1".into(),
            status_code: if error.is_empty() { 200 } else { 429 },
            latency_ms: 12.6,
            request_bytes: 0,
            response_bytes: 0,
            error: error.into(),
            outline: String::new(),
            llm: llm.into(),
        };
        Listed { call, state, attempts: 3, verdict: verdict.map(str::to_owned), note: None }
    }

    fn last(listed: &Listed) -> String {
        cells(listed).pop().unwrap().text
    }

    #[test]
    fn a_row_says_what_happened() {
        let llm = r#"{"gen_ai.response.model":"claude-sonnet-4-5-20250929","gen_ai.usage.input_tokens":12345,"gen_ai.usage.output_tokens":512,"otas_proxy.llm.cost":0.0312,"otas_proxy.llm.cost.currency":"USD","gen_ai.response.finish_reasons":"tool_use","otas_proxy.llm.tool_calls":"Bash,Read"}"#;
        let row = cells(&listed("", llm, State::Delivered, Some("delivered")));
        let texts: Vec<&str> = row.iter().map(|cell| cell.text.as_str()).collect();
        let expected = [
            "7",
            "11-14 22:13:20",
            "22:13:20",
            "200",
            "13 ms",
            "POST api.test/v1",
            "sonnet-4-5 12.3k→512 $0.031 tool_use: Bash,Read",
        ];
        assert_eq!(texts, expected);
        let half = r#"{"gen_ai.request.model":"m","gen_ai.usage.input_tokens":7}"#;
        assert_eq!(last(&listed("", half, State::Kept, None)), "m 7→?");
        let mcp = r#"{"gen_ai.operation.name":"execute_tool","gen_ai.tool.name":"search"}"#;
        assert_eq!(last(&listed("", mcp, State::Delivered, None)), "execute_tool search");
        let hello = r#"{"otas_proxy.llm.api":"mcp","mcp.method.name":"initialize"}"#;
        assert_eq!(last(&listed("", hello, State::Delivered, None)), "initialize");
    }

    #[test]
    fn the_host_of_a_tunnel_is_there_once() {
        let mut call = listed("", "", State::Delivered, None).call;
        for (method, path, shown) in [
            ("GET", "/v1", "GET api.test/v1"),
            ("CONNECT", "api.test:443", "CONNECT api.test:443"),
            ("OPTIONS", "*", "OPTIONS api.test *"),
            ("GAP", "", "GAP api.test"),
        ] {
            (call.method, call.path) = (method.into(), path.into());
            assert_eq!(happened::target(&call), shown);
        }
    }

    #[test]
    fn errors_come_first_and_delivery_only_where_it_is_not_done() {
        let llm = r#"{"gen_ai.request.model":"m"}"#;
        assert_eq!(
            last(&listed("http_429: slow down", llm, State::Dead, Some("answered 400"))),
            "slow down · m · dead: answered 400"
        );
        assert_eq!(
            last(&listed("connect_refused: nobody", "", State::Pending, None)),
            "connect_refused: nobody · pending"
        );
        assert_eq!(last(&listed("", "", State::Delivered, Some("delivered"))), "");
        let noted = Listed { note: Some("odd\u{202e}".into()), ..listed("", "", State::Delivered, None) };
        assert_eq!(last(&noted), "note: odd\\u{202e}");
    }
}
