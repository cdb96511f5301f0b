//! The list of sessions: the one with the newest call first. Two of them can be compared.

use std::collections::HashMap;

use maud::{Markup, html};

use super::words::{models, share};
use super::{name, query};
use crate::admin::page::format::{count, date, duration};
use crate::admin::page::{list as calls, shown};
use crate::brief::{self, costs};
use crate::clock::now_ms;
use crate::query::{Query, QueryError};
use crate::run_view::{self, Listed, RunId};
use crate::store::{StoreError, Viewer};

/// Sessions that are listed.
const LISTED_MAX: usize = 500;

/// What the list shows.
pub(in crate::admin::page) struct Sessions {
    runs: Vec<Listed>,
    /// How many more there are.
    more: usize,
    /// Names of the proxy's sessions.
    names: HashMap<i64, String>,
    text: String,
    error: Option<QueryError>,
}

/// Reads the sessions with calls that match the words of the filter language.
pub(in crate::admin::page) fn read(viewer: &Viewer, text: &str) -> Result<Sessions, StoreError> {
    let mut seen = Sessions { runs: Vec::new(), more: 0, names: HashMap::new(), text: text.to_owned(), error: None };
    let Query { mut filter, session } = match Query::parse(text, now_ms()) {
        Ok(query) => query,
        Err(error) => return Ok(Sessions { error: Some(error), ..seen }),
    };
    if let Some(named) = session {
        let Some(found) = viewer.session_named(&named)? else { return Ok(seen) };
        filter.session = Some(found);
    }
    filter.limit = usize::MAX;
    let mut runs = run_view::list(viewer, &filter)?;
    seen.more = runs.len().saturating_sub(LISTED_MAX);
    runs.truncate(LISTED_MAX);
    let sessions = viewer.sessions(usize::MAX)?;
    seen.names = sessions.iter().map(|info| (info.row.id(), calls::name(info))).collect();
    seen.runs = runs;
    Ok(seen)
}

/// The list. `chosen`: the sessions that are chosen for a comparison.
pub(in crate::admin::page) fn render(seen: &Sessions, chosen: &[RunId], now_ms: i64) -> Markup {
    html! {
        h1 { "Sessions" }
        form.find method="get" action="/sessions" role="search" {
            input type="search" name="text" aria-label="Search" value=(seen.text) placeholder="agent:claude model:sonnet status:error cost>0.1 since:1d" autocomplete="off" spellcheck="false";
            @for id in chosen { input type="hidden" name="with" value=(shown::plain(&id.to_string())); }
            button type="submit" { "Filter" }
            @if !seen.text.is_empty() { a.button href="/sessions" { "Clear" } }
        }
        @if let Some(error) = &seen.error { p.note.bad role="alert" { (shown::line(&error.to_string())) } }
        form method="get" action="/compare" {
            div.bar {
                button.compare type="submit" { "Compare two" }
                span.dim { "Choose two sessions." }
                a.side href="/sessions/delivery" { "Delivery by session" }
            }
            table.runs aria-label="Sessions, the one with the newest call first" {
                thead { tr {
                    th.r-pick { span.unseen { "compare" } } th.r-last { "last call" } th.r-name { "session" } th.r-model { "model" }
                    th.n.r-calls { "calls" } th.n.r-errors { "errors" } th.n.r-tokens { "tokens in → out" } th.n.r-cached { "cached" } th.n.r-cost { "cost" } th.n.r-lasted { "lasted" }
                } }
                tbody { @for run in &seen.runs { (row(run, seen, chosen.contains(&run.id), now_ms)) } }
            }
        }
        @if seen.runs.is_empty() { p.dim { "No sessions" @if !seen.text.is_empty() { " with matching calls" } "." } }
        @if seen.more > 0 { p.dim { "and " (count(seen.more as u64)) " older sessions: narrow the search to see them." } }
    }
}

fn row(run: &Listed, seen: &Sessions, is_chosen: bool, now_ms: i64) -> Markup {
    let totals = &run.totals;
    let session = run.sessions.first().and_then(|row| seen.names.get(row)).map(String::as_str);
    let name = name(&run.id, run.agent.as_deref(), session);
    let errors = totals.errors + run.other.errors;
    let lasted = match (totals.calls, run.other.calls) {
        (0, 0) => 0,
        (0, _) => run.other.end_ms - run.other.start_ms,
        (_, 0) => totals.end_ms - totals.start_ms,
        _ => totals.end_ms.max(run.other.end_ms) - totals.start_ms.min(run.other.start_ms),
    };
    html! {
        tr {
            td.r-pick { input type="checkbox" name="with" value=(run.id) checked[is_chosen] aria-label={ "Compare " (shown::plain(&name)) }; }
            td.r-last title=(date(run.last_ms)) { (ago(now_ms - run.last_ms)) }
            td.r-name {
                a.run href={ "/run?" (query(&run.id)) } { (shown::line(&name)) }
                @if let (RunId::Agent(..), Some(session)) = (&run.id, session) { " " span.dim { (shown::line(session)) } }
                @if run.is_unattributed { " " span.dim { "calls that nothing ties to one of its agents" } }
            }
            td.r-model { (shown::line(&models(&run.models))) }
            td.n.r-calls { (count(totals.calls + run.other.calls)) }
            td.n.r-errors.bad[errors > 0] { (count(errors)) }
            td.n.r-tokens { (brief::in_and_out(totals.input, totals.output).unwrap_or_default()) }
            td.n.r-cached { (share(totals.cache_read, totals.input).unwrap_or_default()) }
            td.n.r-cost { (shown::line(&costs(&totals.costs))) }
            td.n.r-lasted { (duration(lasted.max(0) as f64)) }
        }
    }
}

/// `8 min ago`.
fn ago(ms: i64) -> String {
    match ms / 1_000 {
        ..1 => "now".to_owned(),
        seconds @ 1..60 => format!("{seconds} s ago"),
        seconds @ 60..3_600 => format!("{} min ago", seconds / 60),
        seconds @ 3_600..86_400 => format!("{} h ago", seconds / 3_600),
        seconds => format!("{} d ago", seconds / 86_400),
    }
}
