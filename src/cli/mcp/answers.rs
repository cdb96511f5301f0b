//! What each tool answers: text for a model, bounded, with captured characters that hide or turn text around escaped.

use std::time::Duration;

use super::arguments::{
    BODY_BYTES, Diff, ListRuns, MOST_ROWS, PIECE_BYTES, Part, ReadCall, ReadConversation, ReadRun, Search, Statistics,
};
use super::pieces::{MOST, piece};
use crate::admin::page::format::{bytes, date, duration};
use crate::brief::costs;
use crate::cli::conversation::{Look, render};
use crate::cli::events::tabs;
use crate::cli::table::{cell, fitted};
use crate::cli::{diff, runs, session_name, tree};
use crate::clock::now_ms;
use crate::event::{Content, Side, Stored};
use crate::query::Query;
use crate::run_view::{self, Limits, Memory, Totals, ViewError};
use crate::stats::{By, Groups, Stats};
use crate::store::{Filter, Viewer};
use crate::{cause, visible};

/// The most columns of a line of a list or a tree.
const COLUMNS: usize = 400;
/// The longest name of a run.
const RUN_NAME_BYTES: usize = 1_000;
/// For how long a run is read. Clients give up after a minute or so.
const RUN_TIME: Duration = Duration::from_secs(20);

type Answer = Result<String, String>;

fn said(error: impl std::error::Error + 'static) -> String {
    cause::chain(&error)
}

/// Why something cannot be shown, with the names of tools and arguments in place of commands.
fn unshown(error: ViewError) -> String {
    match error {
        ViewError::Store(error) => said(error),
        ViewError::NoEvent(id) => format!("no call has the number {id}; search_calls lists them"),
        ViewError::NoConversation(id) => {
            format!("call {id} is not a conversation with a model; search_calls with the query is:model lists those")
        }
        ViewError::SameEvent(id) => format!(
            "call {id} is compared with itself; give another number in `before`, or leave it out to compare with the previous call"
        ),
        ViewError::NoPrevious(id) => {
            format!("call {id} continues no stored call; give the number of the call to compare it with in `before`")
        }
    }
}

fn filter(viewer: &Viewer, query: &str, limit: usize) -> Result<Filter, String> {
    let Query { mut filter, session } = Query::parse(query, now_ms()).map_err(said)?;
    if let Some(name) = session {
        let found = viewer.session_named(&name).map_err(said)?;
        filter.session = Some(found.ok_or_else(|| format!("no session of the proxy is called `{name}`"))?);
    }
    filter.limit = limit;
    Ok(filter)
}

/// A line that says if bodies were not all looked through.
fn missing(filter: &Filter) -> String {
    filter.searched.note().map(|note| format!("[{note}]\n")).unwrap_or_default()
}

pub(super) fn search(viewer: &Viewer, of: &Search) -> Answer {
    let limit = of.limit.clamp(1, MOST_ROWS);
    let filter = filter(viewer, &of.query, limit)?;
    let calls = viewer.calls(&filter, of.before).map_err(said)?;
    let mut text = missing(&filter) + tabs::HEAD;
    for call in &calls {
        text.push_str(&fitted(tabs::line(call).trim_end_matches('\n'), COLUMNS));
        text.push('\n');
    }
    match calls.last() {
        None => Ok(missing(&filter) + "no call matches; list_runs shows which agents were seen"),
        Some(last) if calls.len() == limit => {
            Ok(format!("{text}[there may be more: call again with before={}]", last.call.id))
        }
        Some(_) => Ok(text),
    }
}

pub(super) fn call(viewer: &Viewer, of: &ReadCall) -> Answer {
    let row = viewer.event(of.id).map_err(said)?;
    let row = row.ok_or_else(|| format!("no call has the number {}; search_calls lists them", of.id))?;
    let stored = Stored::parse(&row.json);
    let side = match of.part {
        Part::Summary => None,
        Part::RequestBody => Some(Side::Request),
        Part::ResponseBody => Some(Side::Response),
    };
    if let Some(side) = side {
        return Ok(body(&stored, side, of.offset, of.limit.unwrap_or(PIECE_BYTES)));
    }
    let mut text = format!("{} {}\n", cell(&row.method), cell(&stored.url()));
    let status = if row.status_code == 0 { "no response".to_owned() } else { row.status_code.to_string() };
    text += &format!("{status}, {}, took {}\n", date(row.started_at_ms), duration(row.latency_ms));
    if !row.error.is_empty() {
        text += &format!("error: {}\n", cell(&row.error));
    }
    if let Some(note) = &row.note {
        text += &format!("note of a person: {}\n", cell(note));
    }
    for (name, fact) in stored.llm().iter().flat_map(|llm| llm.facts()) {
        let fact = fact.as_str().map_or_else(|| fact.to_string(), str::to_owned);
        text += &format!("{}: {}\n", cell(name), cell(&fact));
    }
    let links = stored.metadata()["links"].as_object();
    for (name, event) in links.into_iter().flatten().filter(|(name, _)| *name != "conversation") {
        let event = event.as_str().and_then(|id| id.parse().ok());
        let row = event.map(|event| viewer.row_before(event, of.id)).transpose().map_err(said)?.flatten();
        if let Some(row) = row {
            text += &format!("{}: call {row}\n", cell(name));
        }
    }
    for (side, name, part) in
        [(Side::Request, "request", "request_body"), (Side::Response, "response", "response_body")]
    {
        text += &format!("\n── {name} ──\n");
        for (field, value) in stored.headers(side) {
            text += &format!("{}: {}\n", cell(&field), cell(&value));
        }
        let cut = if stored.body_is_cut(side) { ", not all of it was kept" } else { "" };
        text += &format!("\n[body: {}{cut}; part={part} reads it]\n", bytes(stored.bytes(side)));
        text += &body(&stored, side, 0, of.limit.unwrap_or(BODY_BYTES).min(MOST / 2));
        text.push('\n');
    }
    Ok(piece(&text, 0, MOST))
}

/// A piece of a body.
fn body(stored: &Stored, side: Side, offset: usize, limit: usize) -> String {
    match stored.body(side) {
        Content::Empty => String::new(),
        Content::Text(text) => visible::lines(&piece(text, offset, limit)).into_owned(),
        Content::Bytes(kept) => format!("[{} bytes that are no text]", kept.len()),
    }
}

/// How conversations are shown to models.
fn look(whole: bool) -> Look {
    Look { all: whole, colours: false, hint: "whole=true" }
}

pub(super) fn conversation(viewer: &Viewer, of: &ReadConversation) -> Answer {
    let event = run_view::event(viewer, of.id).map_err(unshown)?;
    Ok(piece(&render(&event, look(of.whole)), of.offset, of.limit))
}

pub(super) fn diff(viewer: &Viewer, of: &Diff) -> Answer {
    let compared = run_view::compare(viewer, of.before, of.id).map_err(unshown)?;
    Ok(piece(&diff::render(&compared, look(of.whole)), of.offset, of.limit))
}

pub(super) fn runs(viewer: &Viewer, of: &ListRuns) -> Answer {
    let filter = filter(viewer, &of.query, usize::MAX)?;
    let runs = run_view::list(viewer, &filter).map_err(said)?;
    let sessions = session_name::by_row(viewer).map_err(said)?;
    if runs.is_empty() {
        return Ok(missing(&filter) + "no run has a call that matches");
    }
    let mut text = missing(&filter)
        + "run\tagent\tlast_call\tmodels\tmodel_calls\terrors\tinput_tokens\tcached\toutput_tokens\tcost\tother_calls\n";
    let limit = of.limit.clamp(1, MOST_ROWS);
    for run in runs.iter().take(limit) {
        let Totals { calls, errors, input, cache_read, output, .. } = &run.totals;
        let known = |tokens: &Option<u64>| tokens.map(|tokens| tokens.to_string()).unwrap_or_default();
        let models: Vec<&str> = run.models.keys().map(String::as_str).collect();
        let fields = [
            run.id.to_string(),
            runs::agent(run, &sessions),
            date(run.last_ms),
            models.join(","),
            calls.to_string(),
            (errors + run.other.errors).to_string(),
            known(input),
            known(cache_read),
            known(output),
            costs(&run.totals.costs),
            run.other.calls.to_string(),
        ];
        let line = fields.iter().map(|field| cell(field)).collect::<Vec<_>>().join("\t");
        text += &format!("{}\n", fitted(&line, COLUMNS));
    }
    let more = runs.len().saturating_sub(limit);
    Ok(if more > 0 { format!("{text}[{more} older runs: narrow the query, or raise the limit]") } else { text })
}

pub(super) fn run(viewer: &Viewer, memory: &Memory, of: &ReadRun) -> Answer {
    let unknown = || format!("no run, or more than one, is called `{}`; list_runs names them", of.run);
    if of.run.len() > RUN_NAME_BYTES {
        return Err(unknown());
    }
    let id = run_view::find(viewer, &of.run).map_err(said)?.ok_or_else(unknown)?;
    let limits = Limits { time: RUN_TIME, ..Limits::default() };
    let run = run_view::read_with(viewer, &id, &limits, memory).map_err(said)?.ok_or_else(unknown)?;
    Ok(piece(&tree::render(&run, Some(COLUMNS), false), of.offset, of.limit))
}

pub(super) fn statistics(viewer: &Viewer, of: &Statistics) -> Answer {
    let filter = filter(viewer, &of.query, usize::MAX)?;
    let json = match &of.by {
        None => {
            let mut stats = Stats::default();
            viewer.each(&filter, |call| stats.add(&call)).map_err(said)?;
            stats.json()
        }
        Some(name) => {
            let by = By::ALL.into_iter().find(|by| by.name() == name);
            let by =
                by.ok_or_else(|| format!("unknown fact `{name}`; expected {}", By::ALL.map(By::name).join(", ")))?;
            let names = session_name::all(viewer, by).map_err(said)?;
            let mut groups = Groups::new(by);
            let name = |session: i64| names.get(&session).cloned().unwrap_or_else(|| session.to_string());
            viewer.each(&filter, |call| groups.add(&call, name)).map_err(said)?;
            groups.json()
        }
    };
    Ok(piece(&(missing(&filter) + &visible::json(&format!("{json:#}"))), 0, MOST))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn errors_name_tools_and_arguments_and_no_commands() {
        for error in
            [ViewError::NoEvent(1), ViewError::NoConversation(1), ViewError::SameEvent(1), ViewError::NoPrevious(1)]
        {
            let said = unshown(error);
            assert!(said.contains("search_calls") || said.contains("`before`"), "{said}");
            assert!(!said.contains("otas-proxy"), "{said}");
        }
    }
}
