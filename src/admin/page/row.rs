//! A row of the list: what happened in a call, in one line.

use maud::{Markup, html};

use super::format::{clock, date, duration};
use super::shown;
use crate::admin::age_seconds;
use crate::event::{Content, Llm, Outline, Said, Side, Stored};
use crate::store::{Call, EventRow, Listed, State};
use crate::{brief, happened};

/// What a row shows.
struct Row<'a> {
    /// The row's id in the document, and the call's in addresses.
    key: String,
    href: String,
    call: &'a Call,
    llm: Option<Llm>,
    said: Said,
    /// What is to be said of its delivery.
    delivery: Option<String>,
    /// The delivery state. `None`: it is in flight.
    state: Option<State>,
    session: &'a str,
    note: Option<&'a str>,
}

/// The row of a call that has ended. `session` is the session's name.
pub(super) fn ended(listed: &Listed, session: &str) -> Markup {
    let call = &listed.call;
    render(&Row {
        key: call.id.to_string(),
        href: format!("/event/{}", call.id),
        call,
        llm: Llm::parse(&call.llm),
        said: Outline::parse(&call.outline).said,
        delivery: happened::delivery(listed),
        state: Some(listed.state),
        session,
        note: listed.note.as_deref(),
    })
}

/// The row of a call in flight: what is known so far.
pub(super) fn in_flight(row: &EventRow, session: &str) -> Markup {
    let event = Stored::parse(&row.json);
    let llm = event.llm();
    let said = match event.body(Side::Request) {
        Content::Text(text) if llm.is_some() => Said::of_request(text),
        _ => Said::default(),
    };
    let call = Call {
        id: 0,
        session: row.session,
        started_at_ms: row.started_at_ms,
        method: row.method.clone(),
        host: row.host.clone(),
        path: row.path.clone(),
        status_code: row.status_code,
        latency_ms: age_seconds(row.started_at_ms) * 1_000.0,
        request_bytes: row.request_bytes,
        response_bytes: row.response_bytes,
        error: String::new(),
        outline: String::new(),
        llm: String::new(),
    };
    let (key, href) = (row.event_id.to_string(), format!("/open/{}", row.event_id));
    render(&Row { key, href, call: &call, llm, said, delivery: None, state: None, session, note: None })
}

fn render(row: &Row<'_>) -> Markup {
    let Row { call, llm, .. } = row;
    let llm = llm.as_ref();
    let model = llm.filter(|llm| llm.model().is_some());
    html! {
        tr id={ "c" (row.key) } data-id=(row.key) data-state=[row.state] class=[row.state.is_none().then_some("open")] {
            td.c-at title=(date(call.started_at_ms)) { (clock(call.started_at_ms)) }
            td.c-code.n { (status(call.status_code, &call.error)) }
            td.c-what {
                div.what {
                    a.call href=(row.href) title=(shown::plain(&happened::target(call))) { (what(row)) }
                    @if row.state.is_none() { span.chip { "in flight" } }
                    @if let Some(note) = row.note { span.chip title=(shown::plain(note)) { "note" } }
                    @if let Some(delivery) = &row.delivery {
                        span.chip.bad[row.state == Some(State::Dead)] title=(shown::plain(delivery)) { (row.state.map(|state| state.to_string()).unwrap_or_default()) }
                    }
                }
            }
            td.c-model title=[model.and_then(full_name)] { @if let Some(llm) = model { (shown::line(happened::model(llm))) } }
            td.c-tokens.n { (llm.and_then(happened::tokens).unwrap_or_default()) }
            td.c-cached.n { @if let Some(share) = llm.and_then(happened::cached_percent) { (share) " %" } }
            td.c-cost.n { (shown::line(&llm.and_then(happened::cost).unwrap_or_default())) }
            td.c-ms.n { (duration(call.latency_ms)) }
            td.c-session title=(shown::plain(row.session)) { a href={ "/session/" (call.session) } { (shown::line(row.session)) } }
        }
    }
}

/// The error, then what the call was about, or else what was called.
fn what(row: &Row<'_>) -> Markup {
    let Row { call, llm, said, .. } = row;
    let tool = llm.as_ref().and_then(Llm::tool);
    html! {
        @if !call.error.is_empty() { span.error { (shown::line(brief::sentence(&call.error))) } " " }
        @if let Some(tool) = tool {
            span.tool { (shown::line(tool)) } " " span.dim { "on " (shown::line(&call.host)) }
        } @else if let Some(text) = &said.user {
            span.said { "“" (shown::line(text)) "”" }
        } @else if let Some(tool) = &said.tool {
            span.tool { (shown::line(tool)) } @if let Some(argument) = &said.argument { " " span.mono { (shown::line(argument)) } }
        } @else if let Some(result) = &said.result {
            span.dim { "result: " } span.mono { (shown::line(result)) }
        } @else {
            (shown::line(&happened::target(call)))
        }
        @if let (None, Some(tools)) = (tool, llm.as_ref().and_then(Llm::tool_calls)) {
            " " span.dim { "→ " (shown::line(&tools.replace(',', ", "))) }
        }
    }
}

/// The whole name of a model and of its provider.
fn full_name(llm: &Llm) -> Option<String> {
    let names = [llm.model(), llm.provider()].into_iter().flatten().collect::<Vec<_>>().join(" · ");
    (!names.is_empty()).then(|| shown::plain(&names))
}

/// The status, with the error as its title.
pub(super) fn status(code: u16, error: &str) -> Markup {
    let class = match code {
        _ if code < 400 && !error.is_empty() => "bad",
        0..200 => "dim",
        200..300 => "good",
        300..400 => "dim",
        400..500 => "warn",
        _ => "bad",
    };
    let shown = if code == 0 { "–".to_owned() } else { code.to_string() };
    let is_odd = code < 400 && !error.is_empty();
    html! { span class=(class) title=[(!error.is_empty()).then(|| shown::plain(error))] { (shown) @if is_odd { " !" } } }
}
