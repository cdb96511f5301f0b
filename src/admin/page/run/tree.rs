//! A run as a tree of rows on one time axis: threads, turns, model calls, tools, and the sub-agents that these started.

use std::cell::{Cell, RefCell};

use maud::{Markup, html};

use super::axis::{Axis, WIDE};
use super::slowest::Slowest;
use super::thread_name;
use super::words::beginning;
use crate::admin::page::format::{count, duration};
use crate::admin::page::phases::px;
use crate::admin::page::shown;
use crate::brief::{self, costs};
use crate::happened::model;
use crate::run_view::{ModelCall, Run, Step, Thread, ToolCall, Totals, Turn};
use crate::store::Call;

/// Rows that are shown. The rest is counted.
const ROWS_MAX: usize = 3_000;
/// Up to this many rows, all are unfolded at first.
const UNFOLDED_MAX: usize = 80;
/// Levels that are indented. Deeper ones are not indented further.
const LEVELS_MAX: usize = 6;
/// Shortened times that are marked in each row.
const MARKED_MAX: usize = 6;
/// The narrowest bar.
const NARROWEST: f64 = 3.0;

/// Where the rows are shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::admin::page) enum Place {
    /// On the page: calls are links.
    Page,
    /// In a file that is shared: nothing leads out of it.
    File,
}

/// The tree.
pub(super) fn render<'a>(run: &'a Run, slowest: Option<Slowest<'a>>, place: Place) -> Markup {
    let axis = Axis::of(times(run).into_iter());
    let tree = Tree {
        run,
        place,
        slowest,
        unfolds: rows(run) <= UNFOLDED_MAX,
        room: Cell::new(ROWS_MAX),
        left_out: Cell::new(0),
        drawn: RefCell::new(vec![false; run.threads.len()]),
        axis,
    };
    let rows = tree.rows();
    html! {
        div.tree role="group" aria-label="What happened, on one time axis" {
            (head(&tree.axis))
            (rows)
        }
        @if tree.left_out.get() > 0 { p.note { (count(tree.left_out.get())) " further steps are not shown here." } }
        p.legend.dim {
            span.model { "model" } span.waited { "until its first token" } span.tool { "tool" } span.other { "other call" } span.failed { "failed" }
            @if tree.axis.shortened().next().is_some() { span.idle { "nothing happened: shortened" } }
        }
    }
}

/// Beginnings and ends of everything in the run.
fn times(run: &Run) -> Vec<(i64, i64)> {
    let steps = run.threads.iter().flat_map(|thread| thread.turns.iter().flat_map(|turn| &turn.steps));
    let side = run.threads.iter().flat_map(|thread| &thread.side).map(|call| of_call(&call.call));
    steps.map(of_step).chain(side).chain(run.other.iter().map(of_call)).collect()
}

fn of_step(step: &Step) -> (i64, i64) {
    match step {
        Step::Model(call) => of_call(&call.call),
        Step::Tool(tool) => of_tool(tool),
        Step::Other(call) => of_call(call),
    }
}

fn of_call(call: &Call) -> (i64, i64) {
    (call.started_at_ms, call.ended_at_ms())
}

/// A tool whose result has not come takes no time that is known.
fn of_tool(tool: &ToolCall) -> (i64, i64) {
    let ms = tool.result.as_ref().map_or(0, |result| i64::try_from(result.at_most_ms).unwrap_or(i64::MAX));
    (tool.called_ms, tool.called_ms.saturating_add(ms))
}

fn rows(run: &Run) -> usize {
    let of_thread =
        |thread: &Thread| 1 + thread.side.len() + thread.turns.iter().map(|turn| 1 + turn.steps.len()).sum::<usize>();
    run.threads.iter().map(of_thread).sum::<usize>() + run.other.len()
}

/// The times on the axis.
fn head(axis: &Axis) -> Markup {
    html! {
        div.row.head {
            span.name { "step" }
            span.ticks {
                @for quarter in 0..=4u8 {
                    @let ms = axis.elapsed_ms(WIDE * f64::from(quarter) / 4.0);
                    span { (if quarter == 0 { "0".to_owned() } else { duration(ms as f64) }) }
                }
            }
            span.n.time { "time" } span.n.tokens { "tokens in → out" } span.n.cost { "cost" }
        }
    }
}

struct Tree<'a> {
    run: &'a Run,
    place: Place,
    axis: Axis,
    slowest: Option<Slowest<'a>>,
    unfolds: bool,
    /// Rows that may still be shown.
    room: Cell<usize>,
    left_out: Cell<u64>,
    /// Threads that are shown. None is shown twice.
    drawn: RefCell<Vec<bool>>,
}

/// The cells of a row.
struct Row {
    level: usize,
    class: &'static str,
    name: Markup,
    bar: Markup,
    time: String,
    tokens: String,
    cost: String,
}

impl Tree<'_> {
    fn rows(&self) -> Markup {
        let run = self.run;
        html! {
            @for at in run.roots() { (self.thread(at, 0)) }
            // Threads whose parents are not in the tree.
            @for at in 0..run.threads.len() { (self.thread(at, 0)) }
            @if !run.other.is_empty() {
                details.node id="others" open[run.threads.is_empty()] {
                    summary.row { (cells(Row {
                        level: 0, class: "others",
                        name: html! { span.kind { "others" } " " (count(run.other.len() as u64)) " calls that belong to no turn" (errors(run.other.iter().filter(|call| !call.error.is_empty()).count() as u64)) },
                        bar: self.span(run.other.iter().map(of_call)), time: String::new(), tokens: String::new(), cost: String::new(),
                    })) }
                    @for call in &run.other { (self.other(call, 1)) }
                }
            }
        }
    }

    /// Whether there is room for another row.
    fn may_show(&self) -> bool {
        match self.room.get().checked_sub(1) {
            Some(left) => self.room.set(left),
            None => {
                self.left_out.set(self.left_out.get() + 1);
                return false;
            }
        }
        true
    }

    fn thread(&self, at: usize, level: usize) -> Markup {
        let is_new = self.drawn.borrow_mut().get_mut(at).is_some_and(|drawn| !std::mem::replace(drawn, true));
        let Some(thread) = self.run.threads.get(at).filter(|_| is_new && self.may_show()) else { return html! {} };
        let totals = &thread.with_sub_agents;
        let name = html! {
            span.kind { (if thread.parent.is_some() { "sub-agent" } else { "agent" }) } " "
            (shown::line(&thread_name(self.run, thread)))
            (errors(totals.errors)) (incomplete_price(totals))
        };
        let newest = thread.turns.len().saturating_sub(1);
        html! {
            details.node id={ "a" (at) } open[self.unfolds || level == 0] {
                summary.row { (cells(self.sums(level, "thread", name, totals))) }
                @for (number, turn) in thread.turns.iter().enumerate() { (self.turn(turn, level + 1, (at, number), number == newest)) }
                @if !thread.side.is_empty() {
                    details.node id={ "s" (at) } {
                        summary.row { (cells(Row {
                            level: level + 1, class: "side",
                            name: html! { span.kind { "beside" } " " (count(thread.side.len() as u64)) (if thread.side.len() == 1 { " call" } else { " calls" }) " beside the conversation (titles, checks)" },
                            bar: self.span(thread.side.iter().map(|call| of_call(&call.call))), time: String::new(), tokens: String::new(), cost: String::new(),
                        })) }
                        @for call in &thread.side { (self.model(call, level + 2)) }
                    }
                }
                @for child in self.run.loose_sub_agents(at) { (self.thread(child, level + 1)) }
            }
        }
    }

    fn turn(&self, turn: &Turn, level: usize, (thread, number): (usize, usize), is_newest: bool) -> Markup {
        if !self.may_show() {
            self.left_out.set(self.left_out.get() + turn.steps.len() as u64);
            return html! {};
        }
        let said = beginning(&turn.said.text, 160);
        let name = html! {
            span.kind { "turn " (number + 1) } " "
            @if !turn.is_complete { span.badge.begun { "open" } " " }
            (errors(turn.with_sub_agents.errors))
            @if said.is_empty() { span.dim { "what the user said is not known" } } @else { "“" (shown::line(&said)) "”" }
        };
        html! {
            details.node id={ "u" (thread) "-" (number) } open[self.unfolds || is_newest] {
                summary.row { (cells(self.sums(level, "turn", name, &turn.with_sub_agents))) }
                @for step in &turn.steps {
                    @match step {
                        Step::Model(call) => { (self.model(call, level + 1)) }
                        Step::Tool(tool) => { (self.tool(tool, level + 1)) }
                        Step::Other(call) => { (self.other(call, level + 1)) }
                    }
                }
            }
        }
    }

    /// A row with totals.
    fn sums(&self, level: usize, class: &'static str, name: Markup, totals: &Totals) -> Row {
        Row {
            level,
            class,
            name,
            bar: self.bar("span", (totals.start_ms, totals.end_ms), None),
            time: duration(totals.duration_ms() as f64),
            tokens: brief::in_and_out(totals.input, totals.output).unwrap_or_default(),
            cost: costs(&totals.costs),
        }
    }

    fn model(&self, of: &ModelCall, level: usize) -> Markup {
        if !self.may_show() {
            return html! {};
        }
        let (call, llm) = (&of.call, &of.llm);
        let is_slowest = self.slowest.as_ref().is_some_and(|slowest| slowest.is_call(call.id));
        let does = llm.tool_calls().or(llm.finish());
        let name = html! {
            span.kind { "model" } " " (self.link(call.id, &shown::line(model(llm))))
            @if of.retry_of.is_some() { span.badge { "retry" } }
            @if let Some(miss) = &of.miss {
                a.badge.miss href={ "#m" (call.id) } title=[miss.reason.as_deref().map(shown::plain)] { "cache miss" }
            }
            @if is_slowest { span.badge.slowest { "slowest" } }
            @if !call.error.is_empty() { " " span.bad { (shown::line(&beginning(brief::sentence(&call.error), 160))) } }
            @else if let Some(does) = does { " " span.dim { (shown::line(&beginning(does, 100))) } }
        };
        let first = llm.first_token_ms().or(llm.first_chunk_ms());
        let class = if call.error.is_empty() { "model" } else { "failed" };
        html! {
            div.row.leaf.slow[is_slowest] id={ "c" (call.id) } { (cells(Row {
                level, class: "model", name,
                bar: self.bar(class, of_call(call), first),
                time: duration(call.latency_ms),
                tokens: brief::in_and_out(llm.input_tokens(), llm.output_tokens()).unwrap_or_default(),
                cost: llm.cost().map(|cost| brief::money(cost, llm.currency())).unwrap_or_default(),
            })) }
        }
    }

    fn tool(&self, tool: &ToolCall, level: usize) -> Markup {
        if !self.may_show() {
            return html! {};
        }
        let is_slowest = self.slowest.as_ref().is_some_and(|slowest| slowest.is_tool(tool));
        let failed = tool.result.as_ref().is_some_and(|result| result.is_error == Some(true));
        let leads_to = tool.result.as_ref().map_or(tool.by, |result| result.to);
        let name = html! {
            span.kind { "tool" } " " (self.link(leads_to, &shown::line(&tool.name)))
            @if failed { span.badge.bad { "failed" } }
            @if tool.result.is_none() { span.badge { "no result yet" } }
            @if is_slowest { span.badge.slowest { "slowest" } }
            " " span.dim.mono { (shown::line(&beginning(&tool.arguments.text, 120))) }
        };
        let row = Row {
            level,
            class: "tool",
            name,
            bar: self.bar(if failed { "failed" } else { "tool" }, of_tool(tool), None),
            time: tool
                .result
                .as_ref()
                .map(|result| format!("≤ {}", duration(result.at_most_ms as f64)))
                .unwrap_or_default(),
            tokens: String::new(),
            cost: String::new(),
        };
        html! {
            @if tool.threads.is_empty() && tool.over_mcp.is_empty() && tool.calls.is_empty() {
                div.row.leaf.slow[is_slowest] { (cells(row)) }
            } @else {
                details.node id={ "t" (tool.by) "-" (tool.threads.first().map_or(0, |first| first + 1)) "-" (tool.over_mcp.iter().chain(&tool.calls).next().map_or(0, |call| call.id)) } open[self.unfolds] {
                    summary.row { (cells(row)) }
                    @for call in tool.over_mcp.iter().chain(&tool.calls) { (self.other(call, level + 1)) }
                    @for thread in &tool.threads { (self.thread(*thread, level + 1)) }
                }
            }
        }
    }

    fn other(&self, call: &Call, level: usize) -> Markup {
        if !self.may_show() {
            return html! {};
        }
        let is_slowest = self.slowest.as_ref().is_some_and(|slowest| slowest.is_call(call.id));
        let what = beginning(&format!("{} {}{}", call.method, call.host, call.path), 160);
        let name = html! {
            span.kind { "call" } " " (self.link(call.id, &shown::line(&what)))
            @if is_slowest { span.badge.slowest { "slowest" } }
            @if !call.error.is_empty() { " " span.bad { (shown::line(&beginning(brief::sentence(&call.error), 160))) } }
        };
        let class = if call.error.is_empty() { "other" } else { "failed" };
        html! {
            div.row.leaf.slow[is_slowest] id={ "c" (call.id) } { (cells(Row {
                level, class: "other", name, bar: self.bar(class, of_call(call), None),
                time: duration(call.latency_ms), tokens: String::new(), cost: String::new(),
            })) }
        }
    }

    /// The name of a call, which leads to it on the page.
    fn link(&self, call: i64, name: &Markup) -> Markup {
        match self.place {
            Place::Page => html! { a href={ "/event/" (call) } { (name) } },
            Place::File => html! { (name) },
        }
    }

    /// One bar from the first to the last of these.
    fn span(&self, times: impl Iterator<Item = (i64, i64)>) -> Markup {
        let both = times.fold(None, |both: Option<(i64, i64)>, (from, to)| {
            Some(both.map_or((from, to), |(first, last)| (first.min(from), last.max(to))))
        });
        both.map(|both| self.bar("span", both, None)).unwrap_or_default()
    }

    /// A bar on the axis. `first_ms`: the time to the first token, which is drawn lighter.
    fn bar(&self, class: &str, (from, to): (i64, i64), first_ms: Option<f64>) -> Markup {
        let (x, end) = (self.axis.x(from), self.axis.x(to));
        let wide = (end - x).clamp(NARROWEST, WIDE);
        // A bar at the very end stays on the axis.
        let x = x.min(WIDE - wide);
        let waited = first_ms.map(|ms| (self.axis.x(from.saturating_add(ms as i64)) - x).clamp(0.0, wide));
        let marked: Vec<_> = self.axis.shortened().collect();
        html! {
            svg viewBox=(format!("0 0 {WIDE} 10")) preserveAspectRatio="none" aria-hidden="true" {
                @if marked.len() <= MARKED_MAX {
                    @for piece in marked { rect.idle x=(px(piece.x)) y="0" width=(px(piece.wide)) height="10" {} }
                }
                rect class=(class) x=(px(x)) y="1" width=(px(wide)) height="8" {}
                @if let Some(waited) = waited { rect.waited x=(px(x)) y="1" width=(px(waited)) height="8" {} }
            }
        }
    }
}

fn cells(row: Row) -> Markup {
    let level = row.level.min(LEVELS_MAX);
    html! {
        span class={ "name l" (level) " is-" (row.class) } { (row.name) }
        span.track { (row.bar) }
        span.n.time { (row.time) }
        span.n.tokens { (row.tokens) }
        span.n.cost { (shown::line(&row.cost)) }
    }
}

fn errors(number: u64) -> Markup {
    html! { @if number > 0 { " " span.badge.bad { (count(number)) (if number == 1 { " error" } else { " errors" }) } " " } }
}

fn incomplete_price(totals: &Totals) -> Markup {
    html! { @if totals.unpriced > 0 { " " span.badge title="Calls to models whose price is not known: their cost is not in the sum" { (count(totals.unpriced)) " without price" } } }
}
