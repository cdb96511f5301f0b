//! A run as a tree of lines.

use clap::builder::styling::Style;
use unicode_width::UnicodeWidthStr as _;

use super::color::{BAD, DIM, WARN};
use super::table::{cell, fitted};
use crate::admin::page::format::{date, duration};
use crate::brief;
use crate::happened;
use crate::run_view::{LeftOut, Miss, ModelCall, Run, RunId, Step, Thread, ToolCall, Totals, Turn};
use crate::store::Call;

/// A text is never cut to fewer columns.
const TEXT_MIN_COLUMNS: usize = 12;
/// The hosts that a line of other calls names.
const HOSTS: usize = 3;

/// A line of a tree.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Line {
    /// The branches before it.
    branches: String,
    /// What it is about. It is cut where the terminal is narrow.
    text: String,
    style: Style,
    /// Figures behind it.
    facts: String,
}

/// A node before its branches are drawn.
struct Node {
    text: String,
    style: Style,
    facts: String,
    children: Vec<Node>,
}

/// The tree as text, in lines of at most `width` columns.
pub(super) fn render(run: &Run, width: Option<usize>, colours: bool) -> String {
    let mut lines = Vec::new();
    draw(&root(run), "", "", &mut lines);
    lines.iter().map(|line| line.shown(width, colours)).collect()
}

impl Line {
    fn shown(&self, width: Option<usize>, colours: bool) -> String {
        let Self { branches, text, style, facts } = self;
        let gap = if facts.is_empty() { "" } else { "  " };
        let room = width.map_or(usize::MAX, |width| {
            let taken = branches.width() + gap.len() + facts.width();
            width.saturating_sub(taken).max(TEXT_MIN_COLUMNS)
        });
        let text = fitted(text, room);
        let left =
            width.map_or(usize::MAX, |width| width.saturating_sub(branches.width() + text.width() + gap.len()));
        let facts = fitted(facts, left);
        match colours {
            true => format!("{DIM}{branches}{DIM:#}{style}{text}{style:#}{gap}{DIM}{facts}{DIM:#}\n"),
            false => format!("{branches}{text}{gap}{facts}").trim_end().to_owned() + "\n",
        }
    }
}

fn draw(node: &Node, branch: &str, below: &str, lines: &mut Vec<Line>) {
    let (text, facts) = (node.text.clone(), node.facts.clone());
    lines.push(Line { branches: branch.to_owned(), text, style: node.style, facts });
    for (at, child) in node.children.iter().enumerate() {
        let is_last = at + 1 == node.children.len();
        let (fork, rest) = if is_last { ("└─ ", "   ") } else { ("├─ ", "│  ") };
        draw(child, &format!("{below}{fork}"), &format!("{below}{rest}"), lines);
    }
}

impl Node {
    fn new(text: String, facts: String) -> Self {
        Self { text, style: Style::new(), facts, children: Vec::new() }
    }

    fn styled(self, style: Style) -> Self {
        Self { style, ..self }
    }
}

fn root(run: &Run) -> Node {
    let name = match &run.id {
        RunId::Agent(agent, session) => format!("{agent} {session}"),
        RunId::Proxy(session) => format!("session {session}"),
    };
    let facts = format!("{}  {}", date(run.totals.start_ms), totals(&run.totals));
    let mut node = Node::new(cell(name.trim()), if run.totals.calls == 0 { String::new() } else { facts });
    let roots: Vec<usize> = run.roots().collect();
    let mut seen = vec![false; run.threads.len()];
    for at in &roots {
        match roots.len() {
            1 => node.children.extend(of_thread(run, *at, &mut seen)),
            _ => node.children.extend(thread(run, *at, "conversation", &mut seen)),
        }
    }
    // What agents say of their threads may go in a circle, in which no thread is the first.
    for at in 0..run.threads.len() {
        node.children.extend(thread(run, at, "conversation", &mut seen));
    }
    node.children.extend(others(&run.other.iter().collect::<Vec<_>>()));
    node.children.extend(left_out(&run.left_out));
    node
}

fn thread(run: &Run, at: usize, kind: &str, seen: &mut [bool]) -> Option<Node> {
    if seen.get(at).copied().unwrap_or(true) {
        return None;
    }
    let of = run.threads.get(at)?;
    let name = of.name.as_deref().or(of.id.as_deref()).unwrap_or_default();
    let children = of_thread(run, at, seen);
    let mut node = Node::new(cell(format!("{kind} {name}").trim()), totals(&of.with_sub_agents));
    node.children = children;
    Some(node)
}

/// What is below a thread.
fn of_thread(run: &Run, at: usize, seen: &mut [bool]) -> Vec<Node> {
    let Some(is_seen) = seen.get_mut(at).filter(|is_seen| !**is_seen) else { return Vec::new() };
    *is_seen = true;
    let Some(of) = run.threads.get(at) else { return Vec::new() };
    let mut nodes: Vec<Node> = of.turns.iter().map(|of| turn(run, of, seen)).collect();
    nodes.extend(beside(of));
    nodes.extend(run.loose_sub_agents(at).filter_map(|sub| thread(run, sub, "sub-agent", seen)));
    nodes
}

fn turn(run: &Run, of: &Turn, seen: &mut [bool]) -> Node {
    let open = if of.is_complete { "" } else { "  (not complete)" };
    let said =
        if of.said.text.is_empty() { "turn".to_owned() } else { cell(&format!("“{}”", one_line(&of.said.text))) };
    let mut node = Node::new(said, format!("{}{open}", totals(&of.with_sub_agents)));
    let mut other: Vec<&Call> = Vec::new();
    for step in &of.steps {
        match step {
            Step::Model(call) => node.children.push(model_call(call)),
            Step::Tool(call) => node.children.push(tool(run, call, seen)),
            Step::Other(call) => other.push(call),
        }
    }
    node.children.extend(others(&other));
    node
}

fn beside(of: &Thread) -> Option<Node> {
    let mut node = Node::new("beside the conversation".to_owned(), String::new()).styled(DIM);
    node.children = of.side.iter().map(model_call).collect();
    (!node.children.is_empty()).then_some(node)
}

fn model_call(of: &ModelCall) -> Node {
    let (call, llm) = (&of.call, &of.llm);
    let model = happened::model(llm);
    let retry = of.retry_of.map(|failed| format!(" retries #{failed}")).unwrap_or_default();
    let text = match call.error.as_str() {
        "" => format!("#{} {model}{retry}", call.id),
        error => format!("#{} {model}{retry}: {}", call.id, brief::sentence(error)),
    };
    let figure = |name: &str, tokens: Option<u64>| {
        tokens.filter(|tokens| *tokens > 0).map(|tokens| format!("{} {name}", brief::tokens(tokens)))
    };
    let (read, write) = (llm.cache_read_tokens(), llm.cache_write_tokens());
    let cached: Vec<String> =
        [figure("read from", read), figure("written to", write)].into_iter().flatten().collect();
    let cached = (!cached.is_empty()).then(|| format!("({} the cache)", cached.join(", ")));
    let facts = [happened::tokens(llm), cached, happened::cost(llm), Some(duration(call.latency_ms))];
    let mut node = Node::new(cell(&text), facts.into_iter().flatten().collect::<Vec<_>>().join("  "));
    if !call.error.is_empty() {
        node.style = BAD;
    }
    node.children.extend(of.miss.as_ref().map(miss));
    node
}

fn miss(of: &Miss) -> Node {
    let Miss { expected, read, reason, previous } = of;
    let reason = reason.as_deref().unwrap_or("The reason was not looked for.");
    let text = format!(
        "cache miss against #{previous}: {} of {} tokens read. {reason}",
        brief::tokens(*read),
        brief::tokens(*expected)
    );
    Node::new(cell(&text), String::new()).styled(WARN)
}

fn tool(run: &Run, of: &ToolCall, seen: &mut [bool]) -> Node {
    let text = cell(&format!("→ {} {}", of.name, one_line(&of.arguments.text)));
    let (facts, style) = match &of.result {
        None => ("no result".to_owned(), WARN),
        Some(result) => {
            let took = format!("at most {}", duration(result.at_most_ms as f64));
            if result.is_error == Some(true) { (format!("failed  {took}"), BAD) } else { (took, Style::new()) }
        }
    };
    let mut node = Node::new(text, facts).styled(style);
    if let Some(result) = of.result.as_ref().filter(|result| result.is_error == Some(true)) {
        node.children.push(Node::new(cell(&one_line(&result.content.text)), String::new()).styled(BAD));
    }
    node.children.extend(of.threads.iter().filter_map(|at| thread(run, *at, "sub-agent", seen)));
    node.children.extend(of.over_mcp.iter().map(|call| other(call, "over MCP: ")));
    node.children.extend(of.calls.iter().map(|call| other(call, "")));
    node
}

fn other(of: &Call, before: &str) -> Node {
    let text = format!("{before}#{} {} {}{}", of.id, of.method, of.host, of.path);
    let node = Node::new(cell(&text), duration(of.latency_ms));
    if of.error.is_empty() { node } else { node.styled(BAD) }
}

/// Calls to others than models: one by itself, several as one line.
fn others(calls: &[&Call]) -> Option<Node> {
    if let [only] = calls {
        return Some(other(only, ""));
    }
    let failed = calls.iter().filter(|call| !call.error.is_empty()).count();
    let mut hosts: Vec<(&str, usize)> = Vec::new();
    for call in calls {
        match hosts.iter_mut().find(|(host, _)| *host == call.host) {
            Some((_, number)) => *number += 1,
            None => hosts.push((&call.host, 1)),
        }
    }
    hosts.sort_by_key(|(_, number)| std::cmp::Reverse(*number));
    let named = hosts.iter().take(HOSTS).map(|(host, number)| format!("{host} ×{number}"));
    let more = if hosts.len() > HOSTS { ", …" } else { "" };
    let text = format!("{} other calls: {}{more}", calls.len(), named.collect::<Vec<_>>().join(", "));
    let node = Node::new(cell(&text), if failed > 0 { format!("{failed} failed") } else { String::new() });
    (!calls.is_empty()).then(|| node.styled(if failed > 0 { BAD } else { DIM }))
}

fn left_out(of: &LeftOut) -> Option<Node> {
    let LeftOut { model_calls, other_calls, unattributed, reasons, .. } = of;
    let parts = [
        (*model_calls > 0).then(|| format!("{model_calls} older model calls")),
        (*other_calls > 0).then(|| format!("{other_calls} other calls")),
        (*unattributed > 0).then(|| format!("{unattributed} other calls, because several agents share the session, and nothing shows which of them made these")),
        (*reasons > 0).then(|| format!("{reasons} reasons of cache misses")),
    ];
    let parts: Vec<String> = parts.into_iter().flatten().collect();
    let node = Node::new(format!("left out: {}", parts.join("; ")), String::new());
    (!parts.is_empty()).then(|| node.styled(WARN))
}

fn totals(of: &Totals) -> String {
    let errors = (of.errors > 0).then(|| format!("{} failed", of.errors));
    let calls = format!("{} {}", of.calls, if of.calls == 1 { "call" } else { "calls" });
    let cached = of.cache_read.filter(|read| *read > 0).map(|read| format!("({} cached)", brief::tokens(read)));
    let tokens = brief::in_and_out(of.input, of.output);
    let cost = (!of.costs.is_empty()).then(|| brief::costs(&of.costs));
    let parts = [Some(calls), errors, tokens, cached, cost, Some(duration(of.duration_ms() as f64))];
    parts.into_iter().flatten().collect::<Vec<_>>().join("  ")
}

/// A text on one line.
fn one_line(text: &str) -> String {
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}
