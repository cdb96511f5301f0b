//! The tools of a run by use.

use std::collections::BTreeMap;

use maud::{Markup, html};

use crate::admin::page::format::{count, duration};
use crate::admin::page::shown;
use crate::run_view::Run;

/// Tools that are shown.
const TOOLS_MAX: usize = 50;

/// What a tool did in a run.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Use {
    pub(super) calls: u64,
    pub(super) failed: u64,
    /// The sum of its times, each of which is an upper bound.
    pub(super) at_most_ms: u64,
}

/// The tools of a run.
pub(super) fn by_name(run: &Run) -> BTreeMap<&str, Use> {
    let mut tools: BTreeMap<&str, Use> = BTreeMap::new();
    let turns = run.threads.iter().flat_map(|thread| &thread.turns);
    for tool in turns.flat_map(|turn| turn.tools()) {
        let of = tools.entry(&tool.name).or_default();
        of.calls += 1;
        if let Some(result) = &tool.result {
            of.failed += u64::from(result.is_error == Some(true));
            of.at_most_ms = of.at_most_ms.saturating_add(result.at_most_ms);
        }
    }
    tools
}

/// The table, the most used first.
pub(super) fn render(run: &Run) -> Markup {
    let tools = by_name(run);
    let mut all: Vec<(&str, Use)> = tools.into_iter().collect();
    all.sort_by(|one, other| other.1.calls.cmp(&one.1.calls).then_with(|| one.0.cmp(other.0)));
    html! {
        @if !all.is_empty() {
            section.tools {
                h2 { "Tools" }
                div.scroll { table {
                    thead { tr { th { "tool" } th.n { "calls" } th.n { "failed" } th.n title="Other tools and the user's permission are in it as well" { "time, at most" } } }
                    tbody {
                        @for (name, of) in all.iter().take(TOOLS_MAX) {
                            tr { td { (shown::line(name)) } td.n { (count(of.calls)) } td.n.bad[of.failed > 0] { (count(of.failed)) } td.n { (duration(of.at_most_ms as f64)) } }
                        }
                    }
                } }
                @if all.len() > TOOLS_MAX { p.dim { "and " (all.len() - TOOLS_MAX) " more" } }
            }
        }
    }
}
