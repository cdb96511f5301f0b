//! `otas-proxy runs`: the sessions of agents, with what each did.

use std::collections::{BTreeMap, HashMap};
use std::process::ExitCode;

use serde_json::{Value, json};

use super::filter::FilterArgs;
use super::stats::tokens;
use super::table::{cell, render};
use super::{About, Done, say, session_name};
use crate::admin::page::format::{costs, count, date};
use crate::brief;
use crate::config::Flags;
use crate::event::Llm;
use crate::stats::{By, Groups, Totals};
use crate::store::{SessionInfo, Store};

/// List the sessions of agents with their models, tokens, cost and errors
///
/// The session with the newest call is the last. With filters, only matching calls count, and sessions without any are left out.
/// The command only reads the store, so it may run beside a proxy.
#[derive(clap::Args)]
pub(super) struct Args {
    /// The number of sessions to list, those with the newest calls
    #[arg(long, value_name = "N", default_value_t = 50)]
    limit: usize,
    /// Print one JSON array
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    filter: FilterArgs,
    #[command(flatten)]
    flags: Flags,
}

/// The calls to each model, by session.
type Models = HashMap<i64, BTreeMap<String, u64>>;

pub(super) fn run(args: &Args) -> Done {
    let store = Store::open_existing(&super::led(&args.flags, About::Store)?.loaded.config.store.path)?;
    let filter = args.filter.filter(&store, usize::MAX)?;
    let viewer = store.viewer();
    let (mut groups, mut models) = (Groups::new(By::Session), Models::new());
    viewer.each(&filter, |call| {
        groups.add(&call, |session| session.to_string());
        if let Some(model) = Llm::parse(&call.llm).as_ref().and_then(Llm::model) {
            *models.entry(call.session).or_default().entry(model.to_owned()).or_default() += 1;
        }
    })?;
    let sessions = viewer.sessions(usize::MAX)?;
    let totals: HashMap<&str, &Totals> = groups.all().into_iter().collect();
    let mut runs: Vec<(&SessionInfo, &Totals)> =
        sessions.iter().filter_map(|info| Some((info, *totals.get(info.row.id().to_string().as_str())?))).collect();
    runs.sort_by_key(|(_, totals)| totals.last_ms);
    let newest = runs.get(runs.len().saturating_sub(args.limit)..).unwrap_or_default();
    let none = BTreeMap::new();
    let models = |info: &SessionInfo| models.get(&info.row.id()).unwrap_or(&none);
    if args.json {
        let all: Value = newest.iter().map(|(info, totals)| in_json(info, totals, models(info))).collect();
        say::json(&format!("{all:#}"))?;
    } else {
        let head = ["last call", "agent", "run", "calls", "errors", "model", "tokens in → out", "cost"];
        let rows: Vec<_> = newest.iter().map(|(info, totals)| row(info, totals, models(info))).collect();
        say::raw(&render(&head, &rows))?;
    }
    Ok(ExitCode::SUCCESS)
}

fn in_json(info: &SessionInfo, totals: &Totals, models: &BTreeMap<String, u64>) -> Value {
    json!({
        "session": info.row.id(),
        "run_id": info.run_id,
        "otas_session_id": info.otas_session_id,
        "agent": session_name::agent(info),
        "opened_at_ms": info.opened_at_ms,
        "closed_at_ms": info.closed_at_ms,
        "last_call_at_ms": totals.last_ms,
        "models": models,
        "totals": totals.json(),
    })
}

fn row(info: &SessionInfo, totals: &Totals, models: &BTreeMap<String, u64>) -> Vec<String> {
    vec![
        date(totals.last_ms),
        cell(&session_name::agent(info)),
        cell(&info.run_id),
        count(totals.calls),
        count(totals.errors),
        cell(&model(models)),
        tokens(totals),
        costs(&totals.costs),
    ]
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
