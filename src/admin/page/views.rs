//! The views of a call that show what was captured: request and response, times, the event, and its delivery.

use maud::{Markup, html};
use serde_json::Value;

use super::format::{bytes, date, duration};
use super::{bodies, parts, phases, shown};
use crate::event::{Llm, Side, Stored};
use crate::store::{EventRow, PastVerdict, State};

/// The event is shown up to this many bytes. The rest is in its JSON.
const SENT_MAX: usize = 256 << 10;

/// Request and response side by side.
pub(super) fn both(event: &Stored) -> Markup {
    html! {
        @if let Some(answer) = answer(event.metadata()) { details open { summary { "Answer" } (bodies::words(answer)) } }
        div.columns {
            section aria-label="Request" { h2 { "Request" } (side(event, Side::Request)) }
            section aria-label="Response" { h2 { "Response" } (side(event, Side::Response)) }
        }
    }
}

/// Header fields and body of one side.
pub(super) fn side(event: &Stored, side: Side) -> Markup {
    let fields = event.headers(side);
    html! {
        (bodies::body(event, side))
        @if fields.is_empty() { p.dim { "No header fields." } }
        @else {
            (parts::fields(&fields, true))
        }
    }
}

/// How long each phase took, and the connection.
pub(super) fn timing(row: &EventRow, event: &Stored, llm: Option<&Llm>) -> Markup {
    let metadata = event.metadata();
    let said = |value: &Value| value.as_str().map(str::to_owned);
    let fact = |name: &str, value: Option<String>| html! { @if let Some(value) = value { dt { (name) } dd { (shown::line(&value)) } } };
    html! {
        div.scroll { (phases::waterfall(&event.phases())) }
        dl.facts {
            dt { "Started" } dd { (date(row.started_at_ms)) }
            (fact("Latency", Some(duration(row.latency_ms))))
            @if let Some(llm) = llm {
                (fact("Time to first chunk", llm.first_chunk_ms().map(duration)))
                (fact("Time to first token", llm.first_token_ms().map(duration)))
                (fact("Tokens per second", llm.tokens_per_second().map(|rate| format!("{rate:.1}"))))
            }
            dt { "Bodies" } dd { (bytes(row.request_bytes)) " up, " (bytes(row.response_bytes)) " down" }
            @if let Some(peer) = said(&metadata["upstream"]["peer"]) {
                dt { "Connection" }
                dd {
                    (shown::line(&peer)) ", HTTP/" (shown::line(&said(&event.json()["custom_properties"]["network.protocol.version"]).unwrap_or_default()))
                    @if let Some(tls) = said(&metadata["upstream"]["tls_version"]) { ", " (shown::line(&tls)) }
                    @if metadata["upstream"]["reused"] == true { ", reused" }
                }
            }
        }
    }
}

/// The facts of a model call, and the event.
pub(super) fn raw(row: &EventRow, event: &Stored, llm: Option<&Llm>) -> Markup {
    let limits = event.metadata()["rate_limit"].as_object().into_iter().flatten();
    let facts = llm.into_iter().flat_map(|llm| llm.facts()).chain(limits);
    html! {
        @if llm.is_some() {
            h2 { "Facts of the model call" }
            table.fields { tbody { @for (name, value) in facts { tr { td { (shown::line(name)) } td { (shown::line(&plain(value))) } } } } }
        }
        @if event.metadata()["usage_raw"].is_object() { h2 { "Usage as the provider reported it" } (bodies::words(&event.metadata()["usage_raw"].to_string())) }
        h2 { "Event" }
        (sent(row))
    }
}

/// The state of its delivery, and OTAS's answers.
pub(super) fn delivery(row: &EventRow, history: &[PastVerdict]) -> Markup {
    html! {
        dl.facts {
            dt { "State" } dd { (state(row.state)) }
            dt { "Posts" } dd { (row.attempts) }
            @if let Some(verdict) = &row.verdict { dt { "Last verdict" } dd { (shown::line(verdict)) } }
            @if let Some(next) = row.next_try_at_ms { dt { "Next try" } dd { (date(next)) } }
            @if let Some(id) = &row.otas_event_id { dt { "OTAS event id" } dd { code { (shown::line(id)) } } }
            dt { "Number in its session" } dd { (row.seq) }
            dt { "Event id" } dd { code { (row.event_id) } }
        }
        @if !history.is_empty() { h2 { "OTAS's answers" } (history_table(history)) }
    }
}

/// What the event lacks, and why.
pub(super) fn missing(row: &EventRow, event: &Stored) -> Markup {
    let metadata = event.metadata();
    let damaged = metadata["cut"]["bodies_damaged"] == true;
    let cut = metadata["cut"].as_object().into_iter().flat_map(|cut| cut.keys().map(String::as_str));
    let cut = cut.filter(|what| *what != "bodies_damaged").collect::<Vec<_>>().join(", ");
    let side = |side: Side, name: &str| {
        let omitted = event.capture(side)["omitted"].as_u64().unwrap_or_default();
        let end = event.capture(side)["end"].as_str().filter(|end| *end != "complete").map(str::to_owned);
        html! {
            @if omitted > 0 { p.note { (bytes(omitted)) " of the " (name) "'s body were not kept (" code { "capture.body_max_bytes" } ", " code { "capture.body_head_bytes" } ", " code { "capture.memory_bytes" } ")." } }
            @if let Some(end) = end { p.note { "The " (name) "'s body did not end properly: " (shown::line(&end)) "." } }
        }
    };
    html! {
        @if let Some(blind) = metadata["blind"].as_str() { p.note { "Relayed without interception: " (shown::line(blind)) ". Only sizes and times are known." } }
        @if damaged { p.note.bad { "Parts of the bodies are damaged in the event store: a mark in the text shows where. Check the disk; " code { "otas-proxy store verify" } " names all damaged events." } }
        @if !cut.is_empty() { p.note { "Cut: " (shown::line(&cut)) "." } }
        @if event.json().is_null() { p.note.bad { "The event cannot be read: " (shown::line(&String::from_utf8_lossy(&row.json).chars().take(200).collect::<String>())) } }
        (side(Side::Request, "request"))
        (side(Side::Response, "response"))
    }
}

fn state(state: State) -> Markup {
    let class = match state {
        State::Pending | State::Kept => "dim",
        State::Delivered => "good",
        State::Dead => "bad",
    };
    html! { span class=(class) { (state) } }
}

/// One line for each run of equal answers.
fn history_table(history: &[PastVerdict]) -> Markup {
    html! {
        div.scroll {
            table {
                thead { tr { th { "from" } th { "to" } th.n { "posts" } th { "verdict" } } }
                tbody {
                    @for said in history {
                        tr { td { (date(said.first_at_ms)) } td { (date(said.last_at_ms)) } td.n { (said.posts) } td { (shown::line(&said.verdict)) } }
                    }
                }
            }
        }
    }
}

/// The response's text, assembled if it was streamed.
fn answer(metadata: &Value) -> Option<&str> {
    metadata["llm"]["text"].as_str().filter(|answer| !answer.is_empty())
}

fn plain(value: &Value) -> String {
    value.as_str().map_or_else(|| value.to_string(), str::to_owned)
}

fn sent(row: &EventRow) -> Markup {
    let text = String::from_utf8_lossy(&row.json);
    if text.len() <= SENT_MAX {
        return bodies::words(&text);
    }
    html! { p { (bytes(text.len() as u64)) " in all: " a href={ "/event/" (row.id) "/json" } { "open the whole event" } "." } }
}
