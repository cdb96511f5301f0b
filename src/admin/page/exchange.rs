//! One exchange: request, response, the time of each phase, and the state of its event.

use maud::{Markup, html};
use serde_json::Value;

use super::format::{bytes, count, date, duration, money};
use super::{bodies, list, phases, shown};
use crate::event::{Llm, Side, Stored};
use crate::export::curl;
use crate::llm::names;
use crate::store::{EventRow, PastVerdict};

/// The posted event is shown up to this many bytes. The rest is in its JSON.
const SENT_MAX: usize = 256 << 10;

/// The page of one event. `session` is the session's name. `history` is what OTAS answered, if the first post was not accepted.
pub(super) fn render(row: &EventRow, session: &str, history: &[PastVerdict]) -> Markup {
    let event = Stored::parse(&row.json);
    html! {
        h1 { (shown::line(&row.method)) " " (shown::line(&event.url())) }
        // A call in flight has no row yet.
        @if row.id == 0 { p.note { "In flight: this is what was captured so far." } }
        (facts(row, &event, session))
        @if row.id != 0 { (missing(row, &event)) }
        div.bar {
            button type="button" data-copy="curl" data-label="Copy as curl" hidden[true] { "Copy as curl" }
            @if row.id != 0 {
                a.button href={ "/event/" (row.id) "/har" } download={ "otas-proxy-" (row.id) ".har" } { "HAR" }
                a.button href={ "/event/" (row.id) "/json" } { "JSON" }
            }
        }
        h2 { "Time" }
        div.scroll { (phases::waterfall(&event.phases())) }
        @if let Some(llm) = event.llm() { (model(&llm, &event)) }
        div.columns {
            section aria-label="Request" {
                h2 { "Request" }
                (fields(&event, Side::Request))
                (bodies::body(&event, Side::Request))
            }
            section aria-label="Response" {
                h2 { "Response" }
                (fields(&event, Side::Response))
                (bodies::body(&event, Side::Response))
            }
        }
        details { summary { "As curl" } pre #curl tabindex="0" { (shown::lines(&curl::command(&event))) } }
        details { summary { "The event as sent to OTAS" } (sent(row)) }
        @if !history.is_empty() { h2 { "OTAS's answers" } (history_table(history)) }
    }
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

fn facts(row: &EventRow, event: &Stored, session: &str) -> Markup {
    let metadata = event.metadata();
    let said = |value: &Value| value.as_str().map(str::to_owned);
    html! {
        dl.facts {
            dt { "Status" } dd { (list::status(row.status_code, &row.error)) " in " (duration(row.latency_ms)) }
            @if !row.error.is_empty() { dt { "Error" } dd.bad { (shown::line(&row.error)) } }
            dt { "Started" } dd { (date(row.started_at_ms)) }
            dt { "Session" } dd { a href={ "/session/" (row.session) } { (shown::line(session)) } @if row.id != 0 { ", number " (row.seq) " in it" } }
            dt { "Bodies" } dd { (bytes(row.request_bytes)) " up, " (bytes(row.response_bytes)) " down" }
            @if let Some(peer) = said(&metadata["upstream"]["peer"]) {
                dt { "Connection" }
                dd {
                    (shown::line(&peer)) ", HTTP/" (shown::line(&said(&event.json()["custom_properties"]["network.protocol.version"]).unwrap_or_default()))
                    @if let Some(tls) = said(&metadata["upstream"]["tls_version"]) { ", " (shown::line(&tls)) }
                    @if metadata["upstream"]["reused"] == true { ", reused" }
                }
            }
            @if row.id != 0 { dt { "Event" } dd {
                (list::state(row.state, row.verdict.as_deref())) ", posts: " (row.attempts)
                @if let Some(verdict) = &row.verdict { ", last: " (shown::line(verdict)) }
                @if let Some(next) = row.next_try_at_ms { ", again at " (date(next)) }
                @if let Some(id) = &row.otas_event_id { ", OTAS event id " code { (shown::line(id)) } }
            } }
        }
    }
}

/// What the event lacks, and why.
fn missing(row: &EventRow, event: &Stored) -> Markup {
    let (metadata, redactions) = (event.metadata(), event.redactions());
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
        @if redactions > 0 { p.note { "Secrets masked: " (count(redactions)) ". They are not stored on disk." } }
        @if damaged { p.note.bad { "Parts of the bodies are damaged in the event store: a mark in the text shows where. Check the disk; " code { "otas-proxy store verify" } " names all damaged events." } }
        @if !cut.is_empty() { p.note { "Cut: " (shown::line(&cut)) "." } }
        @if event.json().is_null() { p.note.bad { "The event cannot be read: " (shown::line(&String::from_utf8_lossy(&row.json).chars().take(200).collect::<String>())) } }
        (side(Side::Request, "request"))
        (side(Side::Response, "response"))
    }
}

fn model(llm: &Llm, event: &Stored) -> Markup {
    let card = |name: &str, value: Option<String>| {
        html! { @if let Some(value) = value { div.card { b { (shown::line(&value)) } span { (name) } } } }
    };
    html! {
        h2 { "Model" }
        div.cards {
            (card("model", llm.model().map(str::to_owned)))
            (card("agent", llm.agent().map(str::to_owned)))
            (card("provider", llm.provider().map(str::to_owned)))
            (card("operation", llm.operation().map(str::to_owned)))
            (card("tokens in", llm.input_tokens().map(count)))
            (card("tokens out", llm.output_tokens().map(count)))
            (card("time to first chunk", llm.first_chunk_ms().map(duration)))
            (card("time to first token", llm.first_token_ms().map(duration)))
            (card("tokens per second", llm.tokens_per_second().map(|rate| format!("{rate:.1}"))))
            (card("stop reason", llm.finish().map(str::to_owned)))
            (card("tools called", llm.tool_calls().map(str::to_owned)))
            (card("cost", llm.cost().map(|cost| money(cost, llm.currency().unwrap_or_default()))))
        }
        (uncertain(event))
        @if let Some(answer) = answer(event.metadata()) { details open { summary { "Response" } (bodies::words(answer)) } }
        details {
            summary { "All properties" }
            table.fields {
                @for (name, value) in llm.facts() { tr { td { (shown::line(name)) } td { (shown::line(&plain(value))) } } }
                @for (name, value) in event.metadata()["rate_limit"].as_object().into_iter().flatten() { tr { td { (shown::line(name)) } td { (shown::line(&plain(value))) } } }
            }
            @if event.metadata()["usage_raw"].is_object() { p { "Usage as the provider reported it:" } (bodies::words(&event.metadata()["usage_raw"].to_string())) }
        }
    }
}

/// What is uncertain, and why.
fn uncertain(event: &Stored) -> Markup {
    let (metadata, properties) = (event.metadata(), &event.json()["custom_properties"]);
    let usage = metadata["usage_raw"].as_object().filter(|_| metadata["llm"]["complete"] == false);
    let counts = |usage: &serde_json::Map<String, Value>| {
        let counts = usage.iter().filter(|(_, value)| value.is_number());
        counts.map(|(name, value)| format!("{name} {value}")).collect::<Vec<_>>().join(", ")
    };
    html! {
        @if let Some(usage) = usage { p.note { "Reported by the provider so far: " (shown::line(&counts(usage))) "." } }
        @if let Some(why) = properties[names::PARSE_ERROR].as_str() { p.note { "Not everything could be parsed (" (shown::line(why)) "). Uncertain facts are left out." } }
        @if let Some(what) = metadata["llm"]["too_long"].as_str() { p.note { "Too long to parse: " (shown::line(what)) "." } }
    }
}

/// The response's text, assembled if it was streamed.
fn answer(metadata: &Value) -> Option<&str> {
    metadata["llm"]["text"].as_str().filter(|answer| !answer.is_empty())
}

fn plain(value: &Value) -> String {
    value.as_str().map_or_else(|| value.to_string(), str::to_owned)
}

fn fields(event: &Stored, side: Side) -> Markup {
    let fields = event.headers(side);
    html! {
        @if fields.is_empty() { p.dim { "No header fields." } }
        @else { table.fields { @for (name, value) in &fields { tr { td { (shown::line(name)) } td.mono { (shown::line(value)) } } } } }
    }
}

fn sent(row: &EventRow) -> Markup {
    let text = String::from_utf8_lossy(&row.json);
    if text.len() <= SENT_MAX {
        return bodies::words(&text);
    }
    html! { p { (bytes(text.len() as u64)) " in all: " a href={ "/event/" (row.id) "/json" } { "open the whole event" } "." } }
}
