//! The slowest phase of a run (pure): a model call, a tool that started no sub-agent, or another call.

use std::collections::HashSet;

use crate::run_view::{Run, Step, ToolCall, Turn};

/// The slowest phase.
#[derive(Clone, Copy)]
pub(super) struct Slowest<'a> {
    step: Phase<'a>,
    /// How long it took, or at most took.
    pub(super) ms: f64,
    /// The place of its thread, and that of its turn. `None`: it belongs to no turn.
    pub(super) turn: Option<(usize, usize)>,
}

#[derive(Clone, Copy)]
enum Phase<'a> {
    /// The call of this row, and its name.
    Call(i64, &'a str),
    Tool(&'a ToolCall),
}

impl<'a> Slowest<'a> {
    /// Whether it is the call of this row.
    pub(super) fn is_call(&self, row: i64) -> bool {
        matches!(self.step, Phase::Call(of, _) if of == row)
    }

    /// Whether it is this call of a tool.
    pub(super) fn is_tool(&self, tool: &ToolCall) -> bool {
        matches!(self.step, Phase::Tool(of) if std::ptr::eq(of, tool))
    }

    /// The tool, or the host or model that was called.
    pub(super) fn name(&self) -> &'a str {
        match self.step {
            Phase::Call(_, name) => name,
            Phase::Tool(tool) => &tool.name,
        }
    }

    /// The row of the call that shows it.
    pub(super) fn row(&self) -> i64 {
        match self.step {
            Phase::Call(row, _) => row,
            Phase::Tool(tool) => tool.result.as_ref().map_or(tool.by, |result| result.to),
        }
    }

    /// Whether the time is only an upper bound.
    pub(super) fn is_bound(&self) -> bool {
        matches!(self.step, Phase::Tool(_))
    }
}

/// The model calls of a turn whose answers started sub-agents. The tools that were called together with such a one have its time, too.
fn starters(turn: &Turn) -> HashSet<i64> {
    turn.tools().filter(|tool| !tool.threads.is_empty()).map(|tool| tool.by).collect()
}

/// Whether the time of a tool says something of the tool. Of one that made calls or started a sub-agent, these are the phases.
fn is_phase(tool: &ToolCall, starters: &HashSet<i64>) -> bool {
    tool.over_mcp.is_empty() && !starters.contains(&tool.by)
}

/// The slowest phase. `None`: nothing took any time.
pub(super) fn slowest(run: &Run) -> Option<Slowest<'_>> {
    let turns = run
        .threads
        .iter()
        .enumerate()
        .flat_map(|(thread, of)| of.turns.iter().enumerate().map(move |(number, turn)| ((thread, number), turn)));
    let steps = turns.flat_map(|(place, turn)| {
        let starters = starters(turn);
        let steps =
            turn.steps.iter().filter(move |step| !matches!(step, Step::Tool(tool) if !is_phase(tool, &starters)));
        steps.map(move |step| (Some(place), step))
    });
    let of_turns = steps.filter_map(|(turn, step)| {
        let (step, ms) = match step {
            Step::Model(of) => {
                (Phase::Call(of.call.id, of.llm.model().unwrap_or(of.call.host.as_str())), of.call.latency_ms)
            }
            Step::Tool(tool) => (Phase::Tool(tool), tool.result.as_ref()?.at_most_ms as f64),
            Step::Other(call) => (Phase::Call(call.id, &call.host), call.latency_ms),
        };
        Some(Slowest { step, ms, turn })
    });
    let other = run.other.iter().map(|call| Slowest {
        step: Phase::Call(call.id, &call.host),
        ms: call.latency_ms,
        turn: None,
    });
    of_turns.chain(other).filter(|phase| phase.ms > 0.0).max_by(|one, other| one.ms.total_cmp(&other.ms))
}
