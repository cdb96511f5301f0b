//! `otas-proxy stats`: sums over what is stored.

use std::process::ExitCode;

use super::filter::FilterArgs;
use super::table::{cell, render};
use super::{About, Done, say};
use crate::admin::page::format::{bytes, cost, count, duration};
use crate::config::Flags;
use crate::stats::{Stats, Totals};
use crate::store::Store;

/// Print totals of stored calls: errors, latencies, tokens, cost
///
/// Totals are over all calls, by host and by model. A second table says how many calls were read, relayed unread or cut. The
/// command only reads the store, so it may run beside a proxy.
#[derive(clap::Args)]
pub(super) struct Args {
    /// Print one JSON object
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    filter: FilterArgs,
    #[command(flatten)]
    flags: Flags,
}

pub(super) fn run(args: &Args) -> Done {
    let store = Store::open_existing(&super::led(&args.flags, About::Store)?.loaded.config.store.path)?;
    let filter = args.filter.filter(&store, usize::MAX)?;
    let mut stats = Stats::default();
    store.viewer().each(&filter, |call| stats.add(&call))?;
    if args.json { say::json(&format!("{:#}", stats.json())) } else { say::raw(&shown(&stats)) }?;
    Ok(ExitCode::SUCCESS)
}

const HEAD: [&str; 10] = ["", "calls", "errors", "p50", "p90", "p99", "up", "down", "tokens in → out", "cost"];

fn shown(stats: &Stats) -> String {
    let mut text = render(&HEAD, &[row("all", &stats.all)]);
    for (title, names) in [("host", stats.hosts()), ("model", stats.models())] {
        if !names.is_empty() {
            let rows: Vec<_> = names.iter().map(|(name, totals)| row(name, totals)).collect();
            let head: Vec<&str> = [title].into_iter().chain(HEAD.into_iter().skip(1)).collect();
            text.push('\n');
            text.push_str(&render(&head, &rows));
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
    let tokens = |tokens: Option<u64>| tokens.map_or_else(|| "?".to_owned(), count);
    let both = format!("{} → {}", tokens(of.input_tokens), tokens(of.output_tokens));
    vec![
        cell(name),
        count(of.calls),
        count(of.errors),
        latency(0.5),
        latency(0.9),
        latency(0.99),
        bytes(of.request_bytes),
        bytes(of.response_bytes),
        if of.llm_calls > 0 { both } else { String::new() },
        of.cost.map(cost).unwrap_or_default(),
    ]
}
