//! The list of calls with its search field, beside it the call that is open, and the list's live updates.

use std::collections::HashMap;

use maud::{Markup, html};
use serde_json::{Value, json};

use super::columns::{self, COLUMNS};
use super::query::ListQuery;
use super::{row, shown, sums};
use crate::store::{EventRow, Listed, SessionInfo, State, StoreError, Sums, Viewer};

/// Rows on one page, and the most new rows in one update.
const ROWS: usize = 200;

/// Calls in flight that are shown.
const IN_FLIGHT: usize = 20;

/// New rows that are counted while the list is held.
const COUNTED: usize = 1_000;

/// Words of the filter language that people need most: the name of a shortcut, its word, and its key.
const SHORTCUTS: [(&str, &str, &str); 2] = [("Errors", "status:error", "e"), ("Models", "is:model", "m")];

/// What the list shows.
pub(super) struct Page {
    rows: Vec<Listed>,
    /// Calls in flight; only on the first page without filters.
    in_flight: Vec<EventRow>,
    sessions: Sessions,
    /// There are further rows.
    more: bool,
    /// The newest row of the store when the page was read.
    newest: i64,
    /// This is the first page, which new calls are added to.
    live: bool,
    /// What the search has not looked through.
    note: Option<String>,
    /// The sums over all calls that match. `None`: they are not read yet.
    pub(super) sums: Option<Sums>,
}

/// The names of sessions in the list.
type Sessions = HashMap<i64, String>;

/// Reads what the list shows.
pub(super) fn read(viewer: &Viewer, asked: &ListQuery) -> Result<Page, StoreError> {
    let newest = viewer.newest()?;
    let sort = asked.sort();
    let filter = asked.filter(viewer, ROWS + 1)?;
    let (mut rows, sums) = match (&filter, sort) {
        (None, _) => (Vec::new(), None),
        (Some(filter), Some(sort)) => {
            let (rows, sums) = viewer.sorted(filter, sort, asked.skip(ROWS))?;
            (rows, Some(sums))
        }
        (Some(filter), None) => {
            (viewer.calls(filter, Some(asked.before().unwrap_or(newest.saturating_add(1))))?, None)
        }
    };
    let note = filter.and_then(|filter| filter.searched.note());
    let more = rows.len() > ROWS;
    rows.truncate(ROWS);
    let live = asked.before().is_none() && sort.is_none();
    let in_flight = if live { in_flight(viewer, asked)? } else { Vec::new() };
    let sessions = named(viewer, sessions_of(&rows).chain(in_flight.iter().map(|row| row.session)))?;
    Ok(Page { rows, in_flight, sessions, more, newest, live, note, sums })
}

/// The sums over all calls that match.
pub(super) fn sums(viewer: &Viewer, asked: &ListQuery) -> Result<Sums, StoreError> {
    match asked.filter(viewer, 0)? {
        Some(filter) => viewer.sums(&filter),
        None => Ok(Sums { is_whole: true, ..Sums::default() }),
    }
}

/// Calls in flight. Filters apply only to calls that have ended.
fn in_flight(viewer: &Viewer, asked: &ListQuery) -> Result<Vec<EventRow>, StoreError> {
    if asked.is_everything() { viewer.calls_in_flight(IN_FLIGHT) } else { Ok(Vec::new()) }
}

fn sessions_of(rows: &[Listed]) -> impl Iterator<Item = i64> {
    rows.iter().map(|listed| listed.call.session)
}

/// The changes since the script's last request, in the form that its `take` reads: new rows (`rows`, and how many `more`), rows
/// whose state changed (`moved`), and calls in flight (`open`). While the list is held, new rows are only counted.
pub(super) fn news(viewer: &Viewer, asked: &ListQuery) -> Result<Value, StoreError> {
    let newest = viewer.newest()?;
    let limit = if asked.counts() { COUNTED } else { ROWS + 1 };
    let mut rows = match asked.filter(viewer, limit)? {
        Some(filter) => viewer.calls_between(&filter, asked.after(), newest)?,
        None => Vec::new(),
    };
    let more = if asked.counts() { rows.len() } else { rows.len().saturating_sub(ROWS) };
    rows.truncate(if asked.counts() { 0 } else { ROWS });
    let mut moved = viewer.calls_with(&asked.moving())?;
    moved.retain(|listed| listed.state != State::Pending);
    let open = in_flight(viewer, asked)?;
    let all = sessions_of(&rows).chain(sessions_of(&moved)).chain(open.iter().map(|row| row.session));
    let sessions = named(viewer, all)?;
    let moved: serde_json::Map<String, Value> = moved
        .iter()
        .map(|listed| (listed.call.id.to_string(), ended_row(listed, &sessions).into_string().into()))
        .collect();
    let rows: String = rows.iter().map(|listed| ended_row(listed, &sessions).into_string()).collect();
    let open: serde_json::Map<String, Value> =
        open.iter().map(|row| (row.event_id.to_string(), open_row(row, &sessions).into_string().into())).collect();
    Ok(json!({ "rows": rows, "newest": newest, "more": more, "moved": moved, "open": open }))
}

/// The list, and `call` beside it.
pub(super) fn render(page: &Page, asked: &ListQuery, call: Option<&Markup>) -> Markup {
    html! {
        h1.unseen { "Calls" }
        (search(page, asked))
        @if let Some(error) = asked.error() { p.note.bad role="alert" { (shown::line(&error.to_string())) } }
        @if let Some(note) = &page.note { p.note role="status" { (shown::line(note)) } }
        div.split {
            section.list aria-label="Calls" {
                div.rows {
                    (table(page, asked))
                    @if page.rows.is_empty() {
                        p.dim.none #none { "No matching calls." @if page.live { " New calls appear here as they come." } }
                    }
                    (further(page, asked))
                }
                div.sums #sums data-late[page.sums.is_none()] { @if let Some(sums) = &page.sums { (sums::render(sums)) } }
            }
            section.pane #pane aria-label="Call" hidden[call.is_none()] { @if let Some(call) = call { (call) } }
        }
        (keys())
    }
}

fn table(page: &Page, asked: &ListQuery) -> Markup {
    html! {
        table.calls data-live[page.live] data-newest=(page.newest) aria-label="Calls" {
            colgroup { @for head in &COLUMNS { col class=(head.class); } }
            thead { tr { @for head in &COLUMNS { (columns::heading(head, asked)) } } }
            tbody.flying { @for open in &page.in_flight { (open_row(open, &page.sessions)) } }
            tbody.past { @for listed in &page.rows { (ended_row(listed, &page.sessions)) } }
        }
    }
}

/// The link to the rows behind these. A sorted list is turned by pages, because rows have other places in it.
fn further(page: &Page, asked: &ListQuery) -> Markup {
    let last = page.rows.last().map(|listed| listed.call.id.to_string()).unwrap_or_default();
    let next = (asked.page() + 1).to_string();
    let (name, pair) =
        if asked.sort().is_some() { ("More", ("page", next.as_str())) } else { ("Older", ("before", last.as_str())) };
    html! { p.further { a #older.button href={ "/" (asked.query([pair])) } hidden[!page.more] { (name) } } }
}

/// The search field and what belongs to the list as a whole.
fn search(page: &Page, asked: &ListQuery) -> Markup {
    let others = asked.filters().into_iter().filter(|(name, value)| *name != "text" && !value.is_empty());
    html! {
        form.search method="get" action="/" role="search" {
            input type="search" name="text" value=(asked.text) aria-label="Search" autocomplete="off" spellcheck="false"
                placeholder="host:api status:5xx model:sonnet tool:Bash cost>0.1 \"any text\"";
            @for (name, value) in others.clone() { input type="hidden" name=(name) value=(value); }
            button type="submit" { "Search" }
        }
        div.bar {
            @for (name, word, key) in SHORTCUTS {
                @let is_on = has_word(&asked.text, word);
                a.button.small href=(asked.searching(&toggled(&asked.text, word))) aria-current=[is_on.then_some("true")] data-key=(key) title=(word) { (name) }
            }
            @for (name, value) in others { span.chip { (name) ": " (shown::line(value)) } }
            @if !asked.is_everything() || asked.sort().is_some() { a href="/" { "Clear" } }
            span.side {
                button #news.small type="button" hidden[true] {}
                span #live-state.dim role="status" aria-live="polite" {}
                @if !page.live { a href=(asked.sorted_by("")) { "Newest" } }
                a href={ "/har" (asked.query(None)) } download="otas-proxy.har" { "HAR" }
                button #help.small.script type="button" title="Keys (?)" { "?" }
            }
        }
    }
}

fn has_word(text: &str, word: &str) -> bool {
    text.split_whitespace().any(|known| known.eq_ignore_ascii_case(word))
}

/// The text with the word, or without it if it has it.
fn toggled(text: &str, word: &str) -> String {
    if !has_word(text, word) {
        return format!("{text} {word}").trim().to_owned();
    }
    let others = text.split_whitespace().filter(|known| !known.eq_ignore_ascii_case(word));
    others.collect::<Vec<_>>().join(" ")
}

/// What the keys do. The script shows it.
fn keys() -> Markup {
    const KEYS: [(&str, &str); 12] = [
        ("j k", "next and previous call"),
        ("Enter", "open the call"),
        ("Esc", "close the call"),
        ("1 … 7", "tabs of the open call"),
        ("w", "write a note on the open call"),
        ("/", "search"),
        ("e", "only errors, or all"),
        ("m", "only models, or all"),
        ("$", "sort by cost"),
        ("t", "sort by time taken"),
        ("n", "show new calls"),
        ("?", "these keys"),
    ];
    html! {
        dialog #keys aria-label="Keys" {
            h2 { "Keys" }
            dl { @for (key, does) in KEYS { dt { kbd { (key) } } dd { (does) } } }
            form method="dialog" { button { "Close" } }
        }
    }
}

fn ended_row(listed: &Listed, sessions: &Sessions) -> Markup {
    row::ended(listed, sessions.get(&listed.call.session).map_or("", String::as_str))
}

fn open_row(open: &EventRow, sessions: &Sessions) -> Markup {
    row::in_flight(open, sessions.get(&open.session).map_or("", String::as_str))
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_shortcut_adds_its_word_or_takes_it_away() {
        assert_eq!(toggled("", "is:model"), "is:model");
        assert_eq!(toggled("host:a", "is:model"), "host:a is:model");
        assert_eq!(toggled("host:a IS:model x", "is:model"), "host:a x");
    }
}
