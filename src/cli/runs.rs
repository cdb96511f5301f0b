//! `otas-proxy runs`: the sessions of agents, with what each did.

use std::collections::{BTreeMap, HashMap};
use std::process::ExitCode;

use serde_json::{Value, json};

use super::events::{self, terminal_width};
use super::filter::{FilterArgs, at_least_one, tell_what_is_missing};
use super::table::{Narrow, cell, render_in};
use super::{About, Done, say, session_name};
use crate::admin::page::format::{count, date};
use crate::brief;
use crate::brief::costs;
use crate::config::Flags;
use crate::run_view::{self, Listed, RunId};
use crate::store::{SessionInfo, Store};

/// List the sessions of agents with their models, tokens, cost and errors
///
/// An agent's own session, if it names one; other calls are listed by the session of the proxy. The one with the newest call is the
/// last. With filters, only matching calls count, and sessions without any are left out. `events --tree` shows what each did. The
/// command only reads the store, so it may run beside a proxy.
#[derive(clap::Args)]
pub(super) struct Args {
    /// The number of sessions to list, those with the newest calls
    #[arg(long, value_name = "N", default_value_t = 50, value_parser = at_least_one)]
    limit: usize,
    /// Print one JSON array
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    filter: FilterArgs,
    #[command(flatten)]
    flags: Flags,
}

const HEAD: [&str; 9] =
    ["last call", "agent", "run", "calls", "errors", "model", "tokens in → out", "cached", "cost"];
/// Where the terminal is narrow: without the cached tokens, all tokens, the model, the time and the errors, and with the beginning of a
/// run's name, which names the run as well.
const NARROW: Narrow = Narrow { dispensable: &[7, 6, 5, 0, 4], flexible: &[1, 2], readable: 9 };

pub(super) fn run(args: &Args) -> Done {
    let store = Store::open_to_read(&super::led(&args.flags, About::Store)?.loaded.config.store.path)?;
    let filter = args.filter.filter(&store, usize::MAX)?;
    let viewer = store.viewer();
    let mut runs = run_view::list(&viewer, &filter)?;
    tell_what_is_missing(&filter, runs.is_empty());
    runs.truncate(args.limit);
    runs.reverse();
    let sessions = session_name::by_row(&viewer)?;
    if args.json {
        let all: Value = runs.iter().map(|run| in_json(run, &sessions)).collect();
        say::json(&format!("{all:#}"))?;
    } else {
        let (width, mut head, mut time) = (terminal_width(), HEAD, date as fn(i64) -> String);
        if width.is_some() {
            (head[0], time) = ("last call (UTC)", events::day);
        }
        let rows: Vec<_> = runs.iter().map(|run| row(run, &sessions, time)).collect();
        say::raw(&render_in(width, &head, &rows, &NARROW))?;
    }
    Ok(ExitCode::SUCCESS)
}

/// The sessions of the proxy that a run is in.
fn of_proxy<'s>(run: &Listed, sessions: &'s HashMap<i64, SessionInfo>) -> impl Iterator<Item = &'s SessionInfo> {
    run.sessions.iter().filter_map(|session| sessions.get(session))
}

/// The agent: what it says of itself, or else what the proxy knows of its session.
pub(super) fn agent(run: &Listed, sessions: &HashMap<i64, SessionInfo>) -> String {
    if run.is_unattributed {
        return "(unattributed)".to_owned();
    }
    let known = || of_proxy(run, sessions).next().map(session_name::agent);
    run.agent.clone().or_else(known).unwrap_or_default()
}

pub(super) fn in_json(run: &Listed, sessions: &HashMap<i64, SessionInfo>) -> Value {
    let mut json = run.json();
    json["agent"] = agent(run, sessions).into();
    json["proxy_sessions"] = of_proxy(run, sessions)
        .map(|info| {
            json!({
                "session": info.row.id(),
                "run_id": info.run_id,
                "otas_session_id": info.otas_session_id,
                "opened_at_ms": info.opened_at_ms,
                "closed_at_ms": info.closed_at_ms,
            })
        })
        .collect();
    json
}

fn row(run: &Listed, sessions: &HashMap<i64, SessionInfo>, time: fn(i64) -> String) -> Vec<String> {
    let of = &run.totals;
    let known = |tokens: Option<u64>| tokens.map_or_else(|| "?".to_owned(), count);
    let tokens = (of.calls > 0).then(|| format!("{} → {}", known(of.input), known(of.output)));
    vec![
        time(run.last_ms),
        cell(&agent(run, sessions)),
        cell(&name(run, sessions)),
        count(of.calls + run.other.calls),
        count(of.errors + run.other.errors),
        cell(&model(&run.models)),
        tokens.unwrap_or_default(),
        of.cache_read.map(count).unwrap_or_default(),
        costs(&of.costs),
    ]
}

/// The agent's own id of its session, or else the run id of the proxy's session.
fn name(run: &Listed, sessions: &HashMap<i64, SessionInfo>) -> String {
    match &run.id {
        RunId::Agent(_, session) => session.clone(),
        RunId::Proxy(session) => {
            sessions.get(session).map_or_else(|| session.to_string(), |info| info.run_id.clone())
        }
    }
}

/// The model with the most calls, and how many others there are.
fn model(models: &BTreeMap<String, u64>) -> String {
    match (models.iter().max_by_key(|(_, calls)| **calls), models.len()) {
        (None, _) => String::new(),
        (Some((most, _)), 1) => brief::model(most).to_owned(),
        (Some((most, _)), several) => format!("{} +{}", brief::model(most), several - 1),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_model_with_the_most_calls_is_named() {
        let models = |all: &[(&str, u64)]| all.iter().map(|(name, calls)| ((*name).to_owned(), *calls)).collect();
        assert_eq!(model(&models(&[])), "");
        assert_eq!(model(&models(&[("claude-opus-4-1-20250805", 1)])), "opus-4-1");
        assert_eq!(model(&models(&[("a", 1), ("b", 3), ("c", 2)])), "b +2");
    }
}
