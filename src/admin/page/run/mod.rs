//! The pages of runs: the list of sessions, one run as a tree with its waterfall, and two runs side by side.
//!
//! ```text
//!  list       the sessions
//!  tree       one run: rows on one time axis (axis), its slowest phase (slowest)
//!  cache      what the prompt cache did, and why it was missed
//!  tools      the tools by use
//!  compare    two runs side by side (whole: the conversation of a thread)
//! ```

mod axis;
mod cache;
pub(super) mod compare;
pub(super) mod list;
mod slowest;
mod tools;
mod tree;
pub(super) mod whole;
mod words;

use std::time::Duration;

use maud::{Markup, html};

use self::slowest::Slowest;
pub(super) use self::tree::Place;
use self::words::{beginning, models, share as share_of};
use super::format::{count, date, duration};
use super::parts::fact;
use super::{session_name, shown};
use crate::brief::{self, costs};
use crate::run_view::{self, Limits, Memory, Run, RunId, Thread};
use crate::store::{StoreError, Viewer};

/// The name of a run's file.
pub(super) const FILE: &str = "otas-proxy-run.html";

/// The characters of an agent's session id that are enough to tell sessions apart.
const ID_SHOWN: usize = 8;

/// How much of a run is read at once.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Reading {
    /// What is read quickly: a page is there at once, and says what it lacks. Then the script asks for the rest.
    Quick,
    /// All of it.
    Whole,
}

/// The time for reading conversations before a page is shown.
const QUICK: Duration = Duration::from_millis(30);

/// The run of this id, with its name. `None`: there is none.
pub(super) fn find(
    viewer: &Viewer,
    memory: &Memory,
    id: &str,
    reading: Reading,
) -> Result<Option<(Run, String)>, StoreError> {
    let whole = Limits::default();
    let limits = if reading == Reading::Quick { Limits { time: QUICK, ..whole } } else { whole };
    let read = |id: &RunId| run_view::read_with(viewer, id, &limits, memory);
    // Links have the whole id; people may write its beginning.
    let Ok(given) = id.parse::<RunId>();
    let is_whole = matches!(&given, RunId::Agent(agent, _) if !agent.is_empty());
    let run = match if is_whole { read(&given)? } else { None } {
        Some(run) => Some(run),
        None => run_view::find(viewer, id)?.map(|id| read(&id)).transpose()?.flatten(),
    };
    let Some(run) = run else { return Ok(None) };
    let session = match &run.id {
        RunId::Proxy(row) => Some(session_name(viewer, *row)?),
        RunId::Agent(..) => None,
    };
    let name = name(&run.id, run.agent.as_deref(), session.as_deref());
    Ok(Some((run, name)))
}

/// The name of a run for people. `session`: the name of the proxy's session.
pub(super) fn name(id: &RunId, agent: Option<&str>, session: Option<&str>) -> String {
    match id {
        RunId::Agent(named, id) => {
            let agent = agent.or(Some(named.as_str())).filter(|agent| !agent.is_empty()).unwrap_or("agent");
            format!("{agent} {}", id.chars().take(ID_SHOWN).collect::<String>())
        }
        RunId::Proxy(row) => {
            session.filter(|name| !name.is_empty()).map_or_else(|| format!("session {row}"), str::to_owned)
        }
    }
}

/// The query of a page about a run.
pub(super) fn query(id: &RunId) -> String {
    form_urlencoded::Serializer::new(String::new()).append_pair("id", &id.to_string()).finish()
}

/// What the page of a run shows. The script replaces it while the run goes on.
pub(super) fn render(run: &Run, name: &str, place: Place) -> Markup {
    let slowest = slowest::slowest(run);
    html! {
        h1 { (shown::line(name)) }
        @if place == Place::Page {
            div.bar {
                a.button href={ "/run/share?" (query(&run.id)) } download=(FILE) { "Share" }
                a.button href={ "/sessions?" (form_urlencoded::Serializer::new(String::new()).append_pair("with", &run.id.to_string()).finish()) } { "Compare" }
                @if let RunId::Proxy(session) = run.id { a.button href={ "/session/" (session) } { "Its calls over time" } }
                span #run-state.dim role="status" {}
            }
        }
        (strip(run))
        (left_out(run))
        @if let Some(slowest) = &slowest { (slowest_phase(run, slowest, place)) }
        (tree::render(run, slowest, place))
        div.columns { (cache::render(run, place)) (tools::render(run)) }
    }
}

/// The name of a thread.
pub(super) fn thread_name(run: &Run, thread: &Thread) -> String {
    let own = thread.name.as_deref().or(thread.id.as_deref()).filter(|_| thread.parent.is_some());
    beginning(own.or(run.agent.as_deref()).unwrap_or("main"), 80)
}

/// The totals on one line.
fn strip(run: &Run) -> Markup {
    let totals = &run.totals;
    let sub_agents = run.sub_agents();
    html! {
        dl.strip {
            (fact("agent", run.agent.clone()))
            (fact("model", Some(models(&run.models))))
            @if totals.calls > 0 {
                (fact("began", Some(date(totals.start_ms))))
                (fact("lasted", Some(duration(totals.duration_ms() as f64))))
            }
            (fact("turns", Some(count(run.turns()))))
            (fact("sub-agents", (sub_agents > 0).then(|| count(sub_agents))))
            (fact("model calls", Some(count(totals.calls))))
            @if totals.errors > 0 { div { dt { "errors" } dd.bad { (count(totals.errors)) } } }
            (fact("tokens in → out", brief::in_and_out(totals.input, totals.output)))
            (fact("cached", share_of(totals.cache_read, totals.input)))
            (fact("cost", Some(costs(&totals.costs))))
        }
    }
}

/// That older calls are still being read: the script asks for them at once.
pub(super) fn unread(run: &Run) -> Markup {
    let unread = run.left_out.unread;
    html! {
        @if unread > 0 { p.note data-unread { "The newest calls. " (count(unread)) " older model calls are being read, and are not in the totals yet." } }
    }
}

fn left_out(run: &Run) -> Markup {
    let of = &run.left_out;
    html! {
        (unread(run))
        @let too_many = of.model_calls - of.unread;
        @if too_many > 0 { p.note { (count(too_many)) " older model calls are left out: the run is long. `otas-proxy events` lists all." } }
        @if of.other_calls > 0 { p.note { (count(of.other_calls)) " calls to others than models are left out: there are too many." } }
        @if of.unattributed > 0 { p.note { (count(of.unattributed)) " calls to others than models are left out: several agents share the proxy's session, and nothing shows which of them made these." } }
        @if of.reasons > 0 { p.note { "The reasons of " (count(of.reasons)) " cache misses were not looked for: there are too many." } }
    }
}

/// The slowest phase, with a link to its place in the tree.
fn slowest_phase(run: &Run, found: &Slowest<'_>, place: Place) -> Markup {
    let lasted = run.totals.duration_ms() as f64;
    html! {
        p.slowest {
            "Slowest: "
            @match place {
                Place::Page => a href={ "/event/" (found.row()) } { (shown::line(found.name())) },
                Place::File => { b { (shown::line(found.name())) } }
            }
            ", " @if found.is_bound() { "at most " } b { (duration(found.ms)) }
            @if let Some((_, turn)) = found.turn { ", in turn " (turn + 1) }
            @if lasted > 0.0 && found.ms <= lasted { span.dim { " (" (format!("{:.0}", found.ms / lasted * 100.0)) " % of the session)" } }
        }
    }
}
