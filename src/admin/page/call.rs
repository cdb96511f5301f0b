//! One call: what happened, the facts that matter, and the tab that is open.

use maud::{Markup, html};

use super::changes;
use super::format::{bytes, count, duration};
use super::parts::fact;
use super::query::CallQuery;
use super::related::{self, Related};
use super::row::status;
use super::tabs::{self, Place, Tab};
use super::{conversation, note, run, shown, views};
use crate::conversation::Conversation;
use crate::event::{Content, Llm, Said, Side, Stored};
use crate::export::curl;
use crate::llm::names;
use crate::run_view::{self, Compared, RunId, ViewError};
use crate::store::{EventRow, PastVerdict, StoreError, Viewer};
use crate::{brief, happened};

/// What is shown of a call.
pub(super) struct Shown {
    row: EventRow,
    event: Stored,
    llm: Option<Llm>,
    /// What a model call was about, or the tool of an MCP call.
    about: Option<String>,
    conversation: Option<Conversation>,
    related: Related,
    /// The session's name.
    session: String,
    tabs: Vec<Tab>,
    tab: Tab,
    /// What only the open tab needs.
    compared: Option<Compared>,
    history: Vec<PastVerdict>,
}

/// Reads what the open tab needs.
pub(super) fn read(viewer: &Viewer, row: EventRow, session: String, asked: &CallQuery) -> Result<Shown, StoreError> {
    let event = Stored::parse(&row.json);
    let conversation = Conversation::of(&event);
    let llm = event.llm();
    let about = about(&event, llm.as_ref());
    let related = related::read(viewer, &row, &event, llm.as_ref())?;
    let tabs = tabs::of(conversation.is_some(), is_stored(&row));
    let tab = tabs::named(&asked.tab, &tabs);
    let compared = if tab == Tab::Changes { compared(viewer, row.id)? } else { None };
    let history = if tab == Tab::Delivery { viewer.history(row.id)? } else { Vec::new() };
    Ok(Shown { row, event, llm, about, conversation, related, session, tabs, tab, compared, history })
}

/// The call beside the one before it. `None`: that is not known.
fn compared(viewer: &Viewer, id: i64) -> Result<Option<Compared>, StoreError> {
    match run_view::compare(viewer, None, id) {
        Ok(compared) => Ok(Some(compared)),
        Err(ViewError::Store(error)) => Err(error),
        Err(_) => Ok(None),
    }
}

impl Shown {
    /// Whether it is in flight.
    pub(super) fn is_flying(&self) -> bool {
        !is_stored(&self.row)
    }
}

/// A call in flight has no row yet.
fn is_stored(row: &EventRow) -> bool {
    row.id != 0
}

/// The title of its page.
pub(super) fn title(shown: &Shown) -> String {
    let row = &shown.row;
    shown.about.clone().unwrap_or_else(|| format!("{} {}{}", row.method, row.host, row.path))
}

/// The call. `may_change`: the store may be changed here.
pub(super) fn render(shown: &Shown, place: Place<'_>, may_change: bool) -> Markup {
    let Shown { row, event, about, .. } = shown;
    let is_stored = is_stored(row);
    let key = if is_stored { row.id.to_string() } else { row.event_id.to_string() };
    html! {
        article.one data-path=(tabs::path(&key, is_stored)) data-open=(key) data-tab=(tabs::key(shown.tab)) data-flying[!is_stored] {
            header {
                div.head {
                    @match about {
                        Some(about) => h1 { (shown::line(about)) },
                        None => h1 { (shown::line(&row.method)) " " (shown::line(&event.url())) },
                    }
                    a.close.button.small href=(place.closed()) title="Close (Esc)" { "Close" }
                }
                @if about.is_some() { p.url.mono { (shown::line(&row.method)) " " (shown::line(&event.url())) } }
                @if !row.error.is_empty() { p.note.bad role="alert" { b { (shown::line(brief::sentence(&row.error))) } } }
                (related::links(&shown.related))
                @if !is_stored { p.note { "In flight: this is what was captured so far." } }
                (facts(shown))
                @if is_stored { (views::missing(row, event)) }
                (uncertain(event))
                (note::render(row))
                (actions(row, event, may_change, place))
            }
            (tabs::bar(&shown.tabs, shown.tab, &key, is_stored, place))
            section.tab { (tab(shown)) }
        }
    }
}

fn tab(shown: &Shown) -> Markup {
    let Shown { row, event, conversation, compared, history, .. } = shown;
    let llm = shown.llm.as_ref();
    match (shown.tab, conversation) {
        (Tab::Conversation, Some(conversation)) => conversation::tab(conversation, !row.error.is_empty()),
        (Tab::Changes, _) => changes::tab(compared.as_ref()),
        (Tab::Request, _) => views::side(event, Side::Request),
        (Tab::Response, _) => views::side(event, Side::Response),
        (Tab::Timing, _) => views::timing(row, event, llm),
        (Tab::Raw, _) => views::raw(row, event, llm),
        (Tab::Delivery, _) => views::delivery(row, history),
        _ => views::both(event),
    }
}

/// What a model call was about, or the tool of an MCP call.
fn about(event: &Stored, llm: Option<&Llm>) -> Option<String> {
    if let Some(tool) = llm?.tool() {
        return Some(tool.to_owned());
    }
    match event.body(Side::Request) {
        Content::Text(text) => happened::about(&Said::of_request(text)),
        _ => None,
    }
}

fn facts(shown: &Shown) -> Markup {
    let Shown { row, event, session, .. } = shown;
    let llm = shown.llm.as_ref();
    let redactions = event.redactions();
    html! {
        dl.strip {
            div { dt { "status" } dd { (status(row.status_code, &row.error)) } }
            (fact("took", Some(duration(row.latency_ms))))
            @if let Some(llm) = llm {
                (fact("model", llm.model().map(str::to_owned)))
                (fact("tokens", happened::tokens(llm)))
                (fact("cached", happened::cached_percent(llm).map(|share| format!("{share} %"))))
                (fact("cost", happened::cost(llm)))
                (fact("stop reason", llm.finish().map(str::to_owned)))
                (fact("time to first token", llm.first_token_ms().map(duration)))
                (fact("agent", llm.agent().map(str::to_owned)))
            } @else {
                (fact("size", Some(format!("{} up, {} down", bytes(row.request_bytes), bytes(row.response_bytes)))))
            }
            @if let Some(llm) = llm {
                @let id = RunId::of(row.session, Some(llm));
                div { dt { "run" } dd { a href={ "/run?" (run::query(&id)) } { (shown::line(&run::name(&id, llm.agent(), Some(session)))) } } }
            }
            @else { div { dt { "session" } dd { a href={ "/session/" (row.session) } { (shown::line(session)) } } } }
            @if redactions > 0 { div title="They are not stored on disk" { dt { "secrets masked" } dd { (count(redactions)) } } }
        }
    }
}

/// What is uncertain, and why.
fn uncertain(event: &Stored) -> Markup {
    let (metadata, properties) = (event.metadata(), &event.json()["custom_properties"]);
    let usage = metadata["usage_raw"].as_object().filter(|_| metadata["llm"]["complete"] == false);
    let counts = |usage: &serde_json::Map<String, serde_json::Value>| {
        let counts = usage.iter().filter(|(_, value)| value.is_number());
        counts.map(|(name, value)| format!("{name} {value}")).collect::<Vec<_>>().join(", ")
    };
    html! {
        @if let Some(usage) = usage { p.note { "Reported by the provider so far: " (shown::line(&counts(usage))) "." } }
        @if let Some(why) = properties[names::PARSE_ERROR].as_str() { p.note { "Not everything could be parsed (" (shown::line(why)) "). Uncertain facts are left out." } }
        @if let Some(what) = metadata["llm"]["too_long"].as_str() { p.note { "Too long to parse: " (shown::line(what)) "." } }
    }
}

fn actions(row: &EventRow, event: &Stored, may_change: bool, place: Place<'_>) -> Markup {
    html! {
        div.bar.actions {
            button.small.script type="button" data-copy="curl" data-label="Copy as curl" { "Copy as curl" }
            @if is_stored(row) {
                a.button.small href={ "/event/" (row.id) "/har" } download={ "otas-proxy-" (row.id) ".har" } { "HAR" }
                a.button.small href={ "/event/" (row.id) "/json" } { "JSON" }
                a.button.small href={ "/event/" (row.id) "/share" } download={ "otas-proxy-" (row.id) ".html" } title="One HTML file of this call" { "Share" }
                @if may_change {
                    a.button.small href=(place.form(row.id, "note")) data-key="w" { (if row.note.is_some() { "Edit note" } else { "Note" }) }
                    a.button.small href=(place.form(row.id, "delete")) { "Delete" }
                }
                @if matches!(place, Place::Beside(_)) { a.alone href={ "/event/" (row.id) } { "Open alone" } }
            }
            details.curl { summary { "curl" } pre #curl tabindex="0" { (shown::lines(&curl::command(event))) } }
        }
    }
}
