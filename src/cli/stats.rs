//! `otas-proxy stats`: sums over what is stored.

use std::process::ExitCode;

use clap::ValueEnum;
use clap::builder::PossibleValue;
use serde_json::json;

use super::events::terminal_width;
use super::filter::{FilterArgs, tell_what_is_missing};
use super::table::{Narrow, cell, render, render_in};
use super::{About, Done, Failure, say, session_name};
use crate::admin::page::format::{bytes, count, duration};
use crate::brief::costs;
use crate::config::Flags;
use crate::stats::{By, Groups, Stats, Totals};
use crate::store::{Filter, Store, Viewer};

/// Print totals of stored calls: errors, latencies, tokens, cost
///
/// Totals are over all calls, by host and by model. A second table says how many calls were read, relayed unread or cut. With --by
/// there is one table, by that fact. The command only reads the store, so it may run beside a proxy.
#[derive(clap::Args)]
pub(super) struct Args {
    /// Print totals by this fact; a call with several tools counts for each of them
    #[arg(long, value_enum, value_name = "FACT")]
    by: Option<By>,
    /// Print one JSON object
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    filter: FilterArgs,
    #[command(flatten)]
    flags: Flags,
}

impl ValueEnum for By {
    fn value_variants<'a>() -> &'a [Self] {
        &Self::ALL
    }

    fn to_possible_value(&self) -> Option<PossibleValue> {
        Some(PossibleValue::new(self.name()))
    }
}

pub(super) fn run(args: &Args) -> Done {
    let store = Store::open_to_read(&super::led(&args.flags, About::Store)?.loaded.config.store.path)?;
    let filter = args.filter.filter(&store, usize::MAX)?;
    match args.by {
        Some(fact) => by(&store.viewer(), &filter, fact, args.json)?,
        None => all(&store.viewer(), &filter, args.json)?,
    }
    Ok(ExitCode::SUCCESS)
}

fn all(viewer: &Viewer, filter: &Filter, json: bool) -> Result<(), Failure> {
    let mut stats = Stats::default();
    viewer.each(filter, |call| stats.add(&call))?;
    tell_what_is_missing(filter, stats.all.calls == 0);
    Ok(if json { say::json(&format!("{:#}", stats.json())) } else { say::raw(&shown(&stats)) }?)
}

fn by(viewer: &Viewer, filter: &Filter, fact: By, json: bool) -> Result<(), Failure> {
    let names = session_name::all(viewer, fact)?;
    let mut groups = Groups::new(fact);
    let mut is_empty = true;
    viewer.each(filter, |call| {
        is_empty = false;
        groups.add(&call, |session| names.get(&session).cloned().unwrap_or_else(|| session.to_string()));
    })?;
    tell_what_is_missing(filter, is_empty);
    if json {
        return Ok(say::json(&format!("{:#}", json!({ "by": fact.name(), "groups": groups.json() })))?);
    }
    let head = [fact.name(), "calls", "errors", "tokens in → out", "cost", "p50", "p95"];
    let row = |(name, of): (&str, &Totals)| {
        let latency = |share| of.latency_ms(share).map(duration).unwrap_or_default();
        vec![cell(name), count(of.calls), count(of.errors), tokens(of), costs(&of.costs), latency(0.5), latency(0.95)]
    };
    let rows: Vec<_> = groups.all().into_iter().map(row).collect();
    Ok(say::raw(&render_in(terminal_width(), &head, &rows, &BY_NARROW))?)
}

const HEAD: [&str; 10] = ["", "calls", "errors", "p50", "p90", "p99", "up", "down", "tokens in → out", "cost"];
/// Where the terminal is narrow: without `down`, `up`, `p90`, `p99`, `p50` and the tokens, and with shorter names.
const NARROW: Narrow = Narrow { dispensable: &[7, 6, 4, 5, 3, 8], flexible: &[0], readable: 17 };
/// The same for one fact: without `p95`, `p50` and the tokens.
const BY_NARROW: Narrow = Narrow { dispensable: &[6, 5, 3], flexible: &[0], readable: 17 };

fn shown(stats: &Stats) -> String {
    let width = terminal_width();
    let mut text = render_in(width, &HEAD, &[row("all", &stats.all)], &NARROW);
    for (title, names) in [("host", stats.hosts()), ("model", stats.models())] {
        if !names.is_empty() {
            let rows: Vec<_> = names.iter().map(|(name, totals)| row(name, totals)).collect();
            let head: Vec<&str> = [title].into_iter().chain(HEAD.into_iter().skip(1)).collect();
            text.push('\n');
            text.push_str(&render_in(width, &head, &rows, &NARROW));
        }
    }
    let of = &stats.coverage;
    let seen: Vec<Vec<String>> = [
        ("HTTPS, intercepted and read", of.intercepted),
        ("plain HTTP", of.plain),
        ("relayed unread", of.blind),
        ("refused certificates", of.refused_certificates),
        ("other tunnels that failed", of.failed_tunnels),
        ("cut", of.cut),
        ("gaps", of.gaps),
    ]
    .into_iter()
    .map(|(name, number)| vec![name.to_owned(), count(number)])
    .collect();
    text.push('\n');
    text.push_str(&render(&["what was seen", "calls"], &seen));
    text
}

fn row(name: &str, of: &Totals) -> Vec<String> {
    let latency = |share| of.latency_ms(share).map(duration).unwrap_or_default();
    vec![
        cell(name),
        count(of.calls),
        count(of.errors),
        latency(0.5),
        latency(0.9),
        latency(0.99),
        bytes(of.request_bytes),
        bytes(of.response_bytes),
        tokens(of),
        costs(&of.costs),
    ]
}

/// Tokens in and out. Empty without calls to models.
pub(super) fn tokens(of: &Totals) -> String {
    let known = |tokens: Option<u64>| tokens.map_or_else(|| "?".to_owned(), count);
    if of.llm_calls == 0 {
        return String::new();
    }
    format!("{} → {}", known(of.input_tokens), known(of.output_tokens))
}
