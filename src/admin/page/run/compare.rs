//! Two runs side by side: totals, tools, and where their conversations begin to differ.

use std::collections::BTreeSet;

use maud::{Markup, html};
use serde_json::Value;

use super::tools::{Use, by_name};
use super::whole::{self, Whole};
use super::words::{beginning, models, share};
use super::{query, unread};
use crate::admin::page::format::{count, duration};
use crate::admin::page::shown;
use crate::brief;
use crate::brief::costs;
use crate::conversation::{Block, Changes, Message, Request, changes};
use crate::run_view::Run;
use crate::store::{StoreError, Viewer};

/// Tools that are shown.
const TOOLS_MAX: usize = 50;
/// Characters of a message.
const SAID: usize = 600;

/// A run with its name.
pub(in crate::admin::page) struct Named {
    pub(in crate::admin::page) run: Run,
    pub(in crate::admin::page) name: String,
}

/// The first conversation of a run. `None`: it has none that can be read.
pub(in crate::admin::page) fn conversation(viewer: &Viewer, run: &Run) -> Result<Option<Whole>, StoreError> {
    let main = run.threads.iter().find(|thread| thread.parent.is_none() && !thread.turns.is_empty());
    let whole = main.map(|main| whole::of_thread(viewer, main)).transpose()?.flatten();
    Ok(whole.map(Whole::with_answer))
}

/// The page.
pub(in crate::admin::page) fn render([one, other]: [&Named; 2], conversations: [Option<&Whole>; 2]) -> Markup {
    html! {
        h1 { "Two sessions" }
        @for of in [one, other] { (unread(&of.run)) }
        table.compare {
            thead { tr { th {} @for of in [one, other] { th.n { a href={ "/run?" (query(&of.run.id)) } { (shown::line(&of.name)) } } } th.n { "difference" } } }
            tbody { (totals(&one.run, &other.run)) }
        }
        (tools(&one.run, &other.run, [&one.name, &other.name]))
        h2 { "Where the conversations differ" }
        @match conversations {
            [Some(one), Some(other)] => (differences([one, other])),
            _ => p.dim { "At least one of them has no conversation with a model that can be read." },
        }
    }
}

/// A figure of both runs. `None`: it is not known.
fn figure(name: &str, values: [Option<f64>; 2], shown: impl Fn(f64) -> String) -> Markup {
    let [one, other] = values;
    let difference = one.zip(other).map(|(one, other)| other - one);
    html! {
        tr {
            th scope="row" { (name) }
            @for value in values { td.n { @match value { Some(value) => { (shown(value)) }, None => span.dim { "unknown" } } } }
            td.n.dim { @if let Some(difference) = difference { (signed(difference, &shown)) } }
        }
    }
}

fn signed(difference: f64, shown: impl Fn(f64) -> String) -> String {
    match difference {
        0.0 => "same".to_owned(),
        more if more > 0.0 => format!("+{}", shown(more)),
        less => format!("−{}", shown(-less)),
    }
}

fn totals(one: &Run, other: &Run) -> Markup {
    let both = [one, other];
    let number = |of: fn(&Run) -> u64| both.map(|run| Some(of(run) as f64));
    let known = |of: fn(&Run) -> Option<u64>| both.map(|run| of(run).map(|number| number as f64));
    let whole = |value: f64| count(value as u64);
    let short = |value: f64| brief::tokens(value as u64);
    let text = |name: &str, of: [String; 2]| {
        html! {
            tr { th scope="row" { (name) } @for value in &of { td.n { (shown::line(value)) } } td.n.dim { @if of[0] == of[1] { "same" } } }
        }
    };
    html! {
        (text("agent", both.map(|run| run.agent.clone().unwrap_or_default())))
        (text("model", both.map(|run| models(&run.models))))
        (figure("lasted", both.map(|run| Some(run.totals.duration_ms() as f64)), duration))
        (figure("turns", number(Run::turns), whole))
        (figure("sub-agents", number(Run::sub_agents), whole))
        (figure("model calls", number(|run| run.totals.calls), whole))
        (figure("errors", number(|run| run.totals.errors), whole))
        (figure("calls to tools", number(|run| by_name(run).values().map(|of| of.calls).sum()), whole))
        (figure("tokens in", known(|run| run.totals.input), short))
        (figure("tokens out", known(|run| run.totals.output), short))
        (figure("read from the cache", known(|run| run.totals.cache_read), short))
        (figure("written to the cache", known(|run| run.totals.cache_write), short))
        (figure("uncached", known(|run| run.totals.uncached), short))
        (text("cached", both.map(|run| share(run.totals.cache_read, run.totals.input).unwrap_or_default())))
        (figure("cache misses", number(Run::cache_misses), whole))
        (cost(one, other))
    }
}

/// Costs in one currency can be subtracted.
fn cost(one: &Run, other: &Run) -> Markup {
    let only = |run: &Run| match run.totals.costs.iter().next() {
        Some((currency, cost)) if run.totals.costs.len() == 1 => Some((currency.clone(), *cost)),
        _ => None,
    };
    let difference = match (only(one), only(other)) {
        (Some((currency, before)), Some((of_other, after))) if currency == of_other => {
            signed(after - before, |amount| brief::money(amount, Some(&currency)))
        }
        _ => String::new(),
    };
    html! {
        tr {
            th scope="row" { "cost" }
            @for run in [one, other] { td.n { @if run.totals.costs.is_empty() { span.dim { "unknown" } } @else { (shown::line(&costs(&run.totals.costs))) } } }
            td.n.dim { (shown::line(&difference)) }
        }
    }
}

fn tools(one: &Run, other: &Run, names_of: [&str; 2]) -> Markup {
    let (of_one, of_other) = (by_name(one), by_name(other));
    let names: BTreeSet<&str> = of_one.keys().chain(of_other.keys()).copied().collect();
    let use_of = |of: Option<&Use>| {
        html! {
            td.n { @if let Some(of) = of {
                (count(of.calls)) @if of.failed > 0 { ", " span.bad { (count(of.failed)) " failed" } }
                span.dim { ", ≤ " (duration(of.at_most_ms as f64)) }
            } @else { span.dim { "–" } } }
        }
    };
    html! {
        @if !names.is_empty() {
            h2 { "Tools" }
            table.compare {
                thead { tr { th { "tool" } @for name in names_of { th.n { (shown::line(name)) } } th.n { "difference" } } }
                tbody {
                    @for name in names.iter().take(TOOLS_MAX) {
                        @let (before, after) = (of_one.get(name), of_other.get(name));
                        tr {
                            th scope="row" { (shown::line(name)) }
                            (use_of(before)) (use_of(after))
                            td.n.dim { (signed(after.map_or(0.0, |of| of.calls as f64) - before.map_or(0.0, |of| of.calls as f64), |calls| count(calls as u64))) }
                        }
                    }
                }
            }
            @if names.len() > TOOLS_MAX { p.dim { "and " (names.len() - TOOLS_MAX) " more" } }
        }
    }
}

/// Where they differ, part by part, in the order in which a model reads them.
fn differences([one, other]: [&Whole; 2]) -> Markup {
    let found = changes(&one.said, &other.said);
    let requests = [&one.said.request, &other.said.request];
    let model = |of: &Request| of.parameters.get("model").and_then(Value::as_str).unwrap_or_default().to_owned();
    let models = requests.map(model);
    let parts = [
        (
            "model",
            (models[0] != models[1]).then(|| html! { (shown::line(&models[0])) " and " (shown::line(&models[1])) }),
        ),
        ("tools", tools_differ(&found)),
        ("system prompt", (!found.system.is_empty() || found.system_removed > 0).then(|| html! { "not the same" })),
        ("parameters", names("", &other_parameters(&found))),
        (
            "messages",
            (found.removed + found.added > 0)
                .then(|| html! {
            @match found.kept { 0 => "they begin differently", 1 => "the first is the same", kept => { "the first " (count(kept as u64)) " are the same" } }
        }),
        ),
    ];
    let first = parts.iter().position(|(_, differs)| differs.is_some());
    html! {
        p.dim { "The last call of each first conversation, " (call(one)) " and " (call(other)) ", with everything that was said before it and the answer." }
        @if requests.iter().any(|of| of.is_cut) { p.note { "Some of a request was not kept: only what is there is compared." } }
        dl.facts.differences {
            @for (at, (name, differs)) in parts.iter().enumerate() {
                dt { (name) }
                dd { @match differs { Some(differs) => { (differs) }, None => span.dim { "same" } } @if first == Some(at) { span.badge.first { "first difference" } } }
            }
        }
        @if found.removed + found.added > 0 {
            div.columns {
                @for (title, of) in [("First session", requests[0]), ("Second session", requests[1])] {
                    section {
                        h3 { (title) ", message " (found.kept + 1) }
                        @match of.messages.get(found.kept) {
                            Some(message) => (said(message)),
                            None => p.dim { "It has no further message." },
                        }
                    }
                }
            }
        }
    }
}

fn tools_differ(found: &Changes) -> Option<Markup> {
    let lists = [
        names("only the first has ", &found.tools_removed),
        names("only the second has ", &found.tools_added),
        names("defined otherwise: ", &found.tools_changed),
        found.tools_moved.then(|| html! { "in another order" }),
    ];
    let lists: Vec<Markup> = lists.into_iter().flatten().collect();
    (!lists.is_empty()).then(|| html! { @for (at, list) in lists.iter().enumerate() { @if at > 0 { "; " } (list) } })
}

/// The model is compared by itself.
fn other_parameters(found: &Changes) -> Vec<String> {
    found.parameters.iter().map(|parameter| parameter.name.clone()).filter(|name| name != "model").collect()
}

fn names(before: &str, names: &[String]) -> Option<Markup> {
    (!names.is_empty()).then(|| html! { (before) (shown::line(&beginning(&names.join(", "), SAID))) })
}

fn call(of: &Whole) -> Markup {
    html! { a href={ "/event/" (of.last) } { "call " (of.last) } }
}

/// A message in a few lines.
fn said(message: &Message) -> Markup {
    html! {
        div.compared {
            b.role { (shown::line(&beginning(&message.role, 40))) }
            @for block in message.blocks.iter().take(8) {
                @match block {
                    Block::Text(text) => p { (shown::line(&beginning(text, SAID))) },
                    Block::Thinking(text) => p.dim { "thinking: " (shown::line(&beginning(text, SAID))) },
                    Block::ToolCall { name, arguments, .. } => p { b { (shown::line(&beginning(name, 80))) } " " code { (shown::line(&beginning(arguments, SAID))) } },
                    Block::ToolResult { content, .. } => p { span.dim { "result: " } @for block in content.iter().take(4) { @if let Some(text) = block.text() { code { (shown::line(&beginning(text, SAID))) } } } },
                    Block::Media { what, .. } => p.dim { (shown::line(&beginning(what, 80))) },
                    Block::Other { kind, .. } => p.dim { (shown::line(&beginning(kind, 80))) },
                }
            }
            @if message.blocks.len() > 8 { p.dim { "and " (message.blocks.len() - 8) " more parts" } }
        }
    }
}
