//! The table of calls, newest first, and its live updates.

use std::collections::HashMap;

use maud::{Markup, html};
use serde_json::{Value, json};

use super::format::{bytes, clock, count, date, duration, money};
use super::phases;
use super::query::ListQuery;
use super::shown;
use crate::admin::age_seconds;
use crate::event::{Llm, Outline, Stored};
use crate::store::{EventRow, Listed, SessionInfo, State, StoreError, Viewer};

/// Rows on one page, and the most new rows in one update.
const ROWS: usize = 200;

/// Calls in flight that are shown.
const IN_FLIGHT: usize = 20;

/// New rows that are counted while the table is paused.
const COUNTED: usize = 1_000;

/// What the table shows.
pub(super) struct Page {
    rows: Vec<Listed>,
    /// Calls in flight; only on the first page without filters.
    in_flight: Vec<EventRow>,
    sessions: Sessions,
    /// There are older rows.
    more: bool,
    /// The newest row of the store when the page was read.
    newest: i64,
    /// This is the first page, which new calls are added to.
    live: bool,
    /// What the search has not looked through.
    note: Option<String>,
}

/// The names of sessions in the table.
type Sessions = HashMap<i64, String>;

/// Reads what the table shows.
pub(super) fn read(viewer: &Viewer, asked: &ListQuery) -> Result<Page, StoreError> {
    let newest = viewer.newest()?;
    let filter = asked.filter(viewer, ROWS + 1)?;
    let mut rows = match &filter {
        Some(filter) => viewer.calls(filter, Some(asked.before().unwrap_or(newest.saturating_add(1))))?,
        None => Vec::new(),
    };
    let note = filter.and_then(|filter| filter.searched.note());
    let more = rows.len() > ROWS;
    rows.truncate(ROWS);
    let live = asked.before().is_none();
    let in_flight = if live { in_flight(viewer, asked)? } else { Vec::new() };
    let sessions = named(viewer, sessions_of(&rows).chain(in_flight.iter().map(|row| row.session)))?;
    Ok(Page { rows, in_flight, sessions, more, newest, live, note })
}

/// Calls in flight. Filters apply only to calls that have ended.
fn in_flight(viewer: &Viewer, asked: &ListQuery) -> Result<Vec<EventRow>, StoreError> {
    if asked.query(None).is_empty() { viewer.calls_in_flight(IN_FLIGHT) } else { Ok(Vec::new()) }
}

fn sessions_of(rows: &[Listed]) -> impl Iterator<Item = i64> {
    rows.iter().map(|listed| listed.call.session)
}

/// The changes since the script's last request, in the form that its `take` reads: new rows (`rows`, and how many `more`), and
/// rows whose state changed (`moved`).
pub(super) fn news(viewer: &Viewer, asked: &ListQuery) -> Result<Value, StoreError> {
    let newest = viewer.newest()?;
    let limit = if asked.counts() { COUNTED } else { ROWS + 1 };
    let mut rows = match asked.filter(viewer, limit)? {
        Some(filter) => viewer.calls_between(&filter, asked.after(), newest)?,
        None => Vec::new(),
    };
    if asked.counts() {
        return Ok(json!({ "more": rows.len() }));
    }
    let more = rows.len().saturating_sub(ROWS);
    rows.truncate(ROWS);
    let mut moved = viewer.calls_with(&asked.moving())?;
    moved.retain(|listed| listed.state != State::Pending);
    let open = in_flight(viewer, asked)?;
    let all = sessions_of(&rows).chain(sessions_of(&moved)).chain(open.iter().map(|row| row.session));
    let sessions = named(viewer, all)?;
    let moved: serde_json::Map<String, Value> = moved
        .iter()
        .map(|listed| (listed.call.id.to_string(), row(listed, &sessions).into_string().into()))
        .collect();
    let rows: String = rows.iter().map(|listed| row(listed, &sessions).into_string()).collect();
    let open: String = open.iter().map(|row| open_row(row, &sessions).into_string()).collect();
    Ok(json!({ "rows": rows, "newest": newest, "more": more, "moved": moved, "open": open }))
}

/// The table with its filters.
pub(super) fn render(page: &Page, asked: &ListQuery) -> Markup {
    let last = page.rows.last().map(|listed| listed.call.id.to_string()).unwrap_or_default();
    html! {
        h1 { "Calls" }
        (filters(asked))
        @if let Some(error) = asked.error() { p.note.bad role="alert" { (shown::line(&error.to_string())) } }
        @if let Some(note) = &page.note { p.note role="status" { (shown::line(note)) } }
        div.bar {
            button #pause type="button" aria-pressed="false" hidden[true] title="p" { "Pause" }
            button #follow type="button" aria-pressed="true" hidden[true] title="f" { "Follow" }
            span #live-state.dim role="status" aria-live="polite" {}
            span.side {
                @if !page.live { a href={ "/" (asked.query(None)) } { "Newest" } " · " }
                a href={ "/har" (asked.query(None)) } download="otas-proxy.har" { "HAR" }
            }
        }
        table.calls data-live[page.live] data-newest=(page.newest) aria-label="Calls, the newest first" {
            colgroup {
                @for class in COLUMNS { col class=(class); }
            }
            thead {
                tr {
                    th.c-at { "at" } th.c-session { "session" } th.c-method { "method" } th.c-host { "host" } th.c-path { "path" }
                    th.c-code.n { "status" } th.c-ms { "latency" } th.c-size.n { "up / down" } th.c-llm { "model, tokens in → out" }
                    th.c-state { "event" }
                }
            }
            tbody.open { @for open in &page.in_flight { (open_row(open, &page.sessions)) } }
            tbody.past { @for listed in &page.rows { (row(listed, &page.sessions)) } }
        }
        @if page.rows.is_empty() {
            p.dim #none { "No matching calls." @if page.live { " New calls appear here as they come." } }
        }
        p { a #older.button href={ "/" (asked.query(Some(("before", &last)))) } hidden[!page.more] { "Older" } }
    }
}

const COLUMNS: [&str; 10] =
    ["c-at", "c-session", "c-method", "c-host", "c-path", "c-code", "c-ms", "c-size", "c-llm", "c-state"];

fn filters(asked: &ListQuery) -> Markup {
    let select = |name: &str, label: &str, now: &str, options: &[(&str, &str)]| {
        html! {
            label {
                (label)
                select name=(name) {
                    option value="" { "any" }
                    @for (value, shown) in options { option value=(value) selected[*value == now] { (shown) } }
                }
            }
        }
    };
    let input = |name: &str, label: &str, now: &str, hint: &str| {
        html! { label { (label) input type="search" name=(name) value=(now) placeholder=(hint) autocomplete="off" spellcheck="false"; } }
    };
    html! {
        form.filters method="get" action="/" role="search" {
            (input("text", "Search", &asked.text, "host:api status:5xx model:sonnet tool:Bash cost>0.1 \"any text\""))
            (input("host", "Host", &asked.host, ""))
            (select("status", "Status", &asked.status, &[
                ("error", "with an error"), ("2xx", "2xx"), ("3xx", "3xx"), ("4xx", "4xx"), ("5xx", "5xx"), ("1xx", "1xx"), ("none", "no response"),
            ]))
            (select("state", "Event", &asked.state, &[("pending", "pending"), ("delivered", "delivered"), ("dead", "dead"), ("kept", "not for OTAS")]))
            (input("agent", "Agent", &asked.agent, "command, key, id"))
            (input("session", "Session", &asked.session, "number, run id"))
            label.tick { input type="checkbox" name="llm" value="1" checked[!asked.llm.is_empty()]; "models only" }
            button type="submit" { "Filter" }
            @if !asked.query(None).is_empty() { a.button href="/" { "Clear" } }
        }
    }
}

fn row(listed: &Listed, sessions: &Sessions) -> Markup {
    let (call, outline) = (&listed.call, Outline::parse(&listed.call.outline));
    let session = sessions.get(&call.session).map_or("", String::as_str);
    html! {
        tr id={ "c" (call.id) } data-id=(call.id) data-state=(listed.state) {
            td.c-at title=(date(call.started_at_ms)) { (clock(call.started_at_ms)) }
            td.c-session title=(shown::plain(session)) { a href={ "/session/" (call.session) } { (shown::line(session)) } }
            td.c-method { (shown::line(&call.method)) }
            td.c-host title=(shown::plain(&call.host)) { (shown::line(&call.host)) }
            td.c-path title=(shown::plain(&call.path)) { a.call href={ "/event/" (call.id) } { (shown::line(&call.path)) } }
            td.c-code.n { (status(call.status_code, &call.error)) }
            td.c-ms { span.ms { (duration(call.latency_ms)) } (phases::bar(&outline.ms, call.latency_ms)) }
            td.c-size.n { (bytes(call.request_bytes)) " / " (bytes(call.response_bytes)) }
            td.c-llm { @if let Some(llm) = Llm::parse(&call.llm) { (model(&llm)) } }
            td.c-state { (state(listed.state, listed.verdict.as_deref())) }
        }
    }
}

/// A call in flight: what is known so far.
fn open_row(row: &EventRow, sessions: &Sessions) -> Markup {
    let event = Stored::parse(&row.json);
    let session = sessions.get(&row.session).map_or("", String::as_str);
    html! {
        tr.open {
            td.c-at title=(date(row.started_at_ms)) { (clock(row.started_at_ms)) }
            td.c-session title=(shown::plain(session)) { a href={ "/session/" (row.session) } { (shown::line(session)) } }
            td.c-method { (shown::line(&row.method)) }
            td.c-host title=(shown::plain(&row.host)) { (shown::line(&row.host)) }
            td.c-path title=(shown::plain(&row.path)) { a href={ "/open/" (row.event_id) } { (shown::line(&row.path)) } }
            td.c-code.n { (status(row.status_code, "")) }
            td.c-ms { span.ms { (duration(age_seconds(row.started_at_ms) * 1_000.0)) } " and on" }
            td.c-size.n { (bytes(row.request_bytes)) " / " (bytes(row.response_bytes)) }
            td.c-llm { @if let Some(llm) = event.llm() { (model(&llm)) } }
            td.c-state { span.dim { "in flight" } }
        }
    }
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
    html! { span class=(class) title=[(!error.is_empty()).then(|| shown::plain(error))] { (shown) @if !error.is_empty() { " !" } } }
}

/// The delivery state of an event.
pub(super) fn state(state: State, verdict: Option<&str>) -> Markup {
    let class = match state {
        State::Pending | State::Kept => "dim",
        State::Delivered => "good",
        State::Dead => "bad",
    };
    html! { span class=(class) title=[verdict.map(shown::plain)] { (state) } }
}

fn model(llm: &Llm) -> Markup {
    let tokens = |tokens: Option<u64>| tokens.map_or_else(|| "?".to_owned(), count);
    html! {
        // When space is short the name is shortened, not the figures.
        div.model {
            span.name title=[llm.provider().map(shown::plain)] { (shown::line(llm.model().or(llm.operation()).unwrap_or("a model"))) }
            @if llm.input_tokens().or(llm.output_tokens()).is_some() {
                " " span.dim { (tokens(llm.input_tokens())) " → " (tokens(llm.output_tokens())) }
            }
            @if let Some(cost) = llm.cost() { " " span.dim { (shown::line(&money(cost, llm.currency().unwrap_or_default()))) } }
        }
    }
}

fn named(viewer: &Viewer, ids: impl Iterator<Item = i64>) -> Result<Sessions, StoreError> {
    let mut named = Sessions::new();
    for id in ids {
        if !named.contains_key(&id)
            && let Some(row) = viewer.session_named(&id.to_string())?
        {
            named.insert(id, viewer.session(row)?.map(|info| name(&info)).unwrap_or_default());
        }
    }
    Ok(named)
}

/// A session's name for people: its caller and command, or else its run.
pub(super) fn name(info: &SessionInfo) -> String {
    let meta: Value = serde_json::from_str(&info.meta).unwrap_or_default();
    let parts = [&meta["caller"]["agent"], &meta["caller"]["label"], &meta["command"]];
    let mut said: Vec<&str> = parts.into_iter().filter_map(Value::as_str).filter(|part| !part.is_empty()).collect();
    // The program, if nothing else names it.
    if let Some(agent) = meta["agent"].as_str().filter(|agent| !said.iter().any(|part| part.contains(*agent))) {
        said.insert(0, agent);
    }
    if said.is_empty() { info.run_id.clone() } else { said.join(" · ") }
}
