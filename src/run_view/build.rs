//! Puts the tree of a run together (pure).

use std::collections::{BTreeMap, HashMap};

use uuid::Uuid;

use super::cache;
use super::id::RunId;
use super::totals::Totals;
use super::tree::{LeftOut, Miss, ModelCall, Parent, Run, Step, Thread, ToolCall, ToolResult, Turn};
use crate::llm::Llm;
use crate::runs::{self, Gist};
use crate::store::Call;

/// A model call, and what a tree needs of its event.
#[derive(Clone)]
pub(super) struct Loaded {
    pub(super) call: Call,
    pub(super) llm: Llm,
    pub(super) event: Uuid,
    pub(super) continues: Option<Uuid>,
    pub(super) retry_of: Option<Uuid>,
    pub(super) parent_thread: Option<String>,
    pub(super) name: Option<String>,
    pub(super) gist: Gist,
}

/// The tree of these model calls, oldest first.
pub(super) fn tree(id: RunId, loaded: Vec<Loaded>) -> Run {
    let steps: Vec<runs::Step<'_>> = loaded.iter().map(step).collect();
    let threads = runs::threads(&steps);
    drop(steps);
    let mut models = BTreeMap::new();
    for model in loaded.iter().filter_map(|of| of.llm.model()) {
        *models.entry(model.to_owned()).or_default() += 1;
    }
    let agent = loaded.iter().find_map(|of| of.llm.agent()).map(str::to_owned);
    let calls = Calls(loaded.into_iter().map(|of| (of.event, of)).collect());
    let mut threads: Vec<Thread> = threads.iter().map(|thread| calls.thread(thread)).collect();
    let started: Vec<(usize, Option<Parent>)> =
        threads.iter().enumerate().map(|(at, thread)| (at, thread.parent.clone())).collect();
    for (at, parent) in started {
        let Some(Parent { thread, tool: Some((by, tool)) }) = parent else { continue };
        let turns = threads.get_mut(thread).into_iter().flat_map(|thread| &mut thread.turns);
        let mut tools = turns.flat_map(|turn| &mut turn.steps).filter_map(as_tool);
        if let Some(tool) = tools.find(|of| of.by == by && of.id == tool && of.threads.is_empty()) {
            tool.threads.push(at);
        }
    }
    add_sub_agents(&mut threads);
    let mut totals = Totals::default();
    threads.iter().for_each(|thread| totals.add(&thread.totals));
    Run { id, agent, models, threads, other: Vec::new(), totals, left_out: LeftOut::default() }
}

fn step(of: &Loaded) -> runs::Step<'_> {
    runs::Step {
        id: of.event,
        started_ms: of.call.started_at_ms,
        ended_ms: of.call.ended_at_ms(),
        failed: !of.call.error.is_empty(),
        continues: of.continues,
        parent_thread: of.parent_thread.as_deref(),
        llm: &of.llm,
        gist: &of.gist,
    }
}

pub(super) fn as_tool(step: &mut Step) -> Option<&mut ToolCall> {
    if let Step::Tool(tool) = step { Some(tool) } else { None }
}

/// The model calls of a run, by their events.
struct Calls(HashMap<Uuid, Loaded>);

impl Calls {
    fn row(&self, event: Uuid) -> i64 {
        self.0.get(&event).map_or(0, |of| of.call.id)
    }

    fn thread(&self, of: &runs::Thread) -> Thread {
        let first = of.calls().next().or(of.side.first().copied());
        let name = first.and_then(|event| self.0.get(&event)?.name.clone());
        let parent = of.parent.as_ref().map(|parent| Parent {
            thread: parent.thread,
            tool: parent.tool.as_ref().map(|(by, id)| (self.row(*by), id.clone())),
        });
        let mut previous = None;
        let turns: Vec<Turn> = of.turns.iter().map(|turn| self.turn(turn, &mut previous)).collect();
        let side: Vec<ModelCall> = of.side.iter().filter_map(|event| self.model_call(*event)).collect();
        let mut totals = Totals::default();
        turns.iter().for_each(|turn| totals.add(&turn.totals));
        side.iter().for_each(|call| totals.add_call(&call.call, &call.llm));
        let with_sub_agents = totals.clone();
        Thread { id: of.id.clone(), name, parent, turns, side, totals, with_sub_agents }
    }

    /// A turn. `previous`: the last call of the thread that went well.
    fn turn<'s>(&'s self, of: &runs::Turn, previous: &mut Option<&'s Loaded>) -> Turn {
        let (mut steps, mut totals) = (Vec::new(), Totals::default());
        for event in &of.calls {
            let (Some(loaded), Some(mut call)) = (self.0.get(event), self.model_call(*event)) else { continue };
            totals.add_call(&call.call, &call.llm);
            call.miss = previous.and_then(|previous| miss(previous, loaded));
            if call.call.error.is_empty() {
                *previous = Some(loaded);
            }
            steps.push(Step::Model(call));
            let tools = of.tools.iter().filter(|tool| tool.by == *event);
            steps.extend(tools.map(|tool| Step::Tool(self.tool(tool, loaded.call.ended_at_ms()))));
        }
        let with_sub_agents = totals.clone();
        let (id, said) = (of.id.clone(), of.said.clone());
        Turn { id, said, is_complete: of.is_complete, steps, totals, with_sub_agents }
    }

    fn model_call(&self, event: Uuid) -> Option<ModelCall> {
        let of = self.0.get(&event)?;
        let retry_of = of.retry_of.and_then(|failed| self.0.get(&failed)).map(|failed| failed.call.id);
        Some(ModelCall { call: of.call.clone(), llm: of.llm.clone(), event, retry_of, miss: None })
    }

    fn tool(&self, of: &runs::ToolUse, called_ms: i64) -> ToolCall {
        let result = of.result.as_ref().map(|result| ToolResult {
            to: self.row(result.to),
            content: result.content.clone(),
            is_error: result.is_error,
            at_most_ms: result.at_most_ms,
        });
        ToolCall {
            by: self.row(of.by),
            id: of.id.clone(),
            name: of.name.clone(),
            arguments: of.arguments.clone(),
            result,
            threads: Vec::new(),
            over_mcp: Vec::new(),
            calls: Vec::new(),
            called_ms,
        }
    }
}

fn miss(previous: &Loaded, of: &Loaded) -> Option<Miss> {
    let short = cache::short(&previous.llm, &of.llm)?;
    Some(Miss { previous: previous.call.id, expected: short.expected, read: short.read, reason: None })
}

/// Adds the totals of the threads that each thread and each turn started.
fn add_sub_agents(threads: &mut [Thread]) {
    let own: Vec<Totals> = threads.iter().map(|thread| thread.totals.clone()).collect();
    let mut children = vec![Vec::new(); threads.len()];
    for (at, thread) in threads.iter().enumerate() {
        if let Some(of_parent) = thread.parent.as_ref().and_then(|parent| children.get_mut(parent.thread)) {
            of_parent.push(at);
        }
    }
    for (at, thread) in threads.iter_mut().enumerate() {
        thread.with_sub_agents = whole(at, &own, &children);
        for turn in &mut thread.turns {
            let started: Vec<usize> = turn.tools().flat_map(|tool| tool.threads.iter().copied()).collect();
            started.iter().for_each(|at| turn.with_sub_agents.add(&whole(*at, &own, &children)));
        }
    }
}

/// The totals of a thread and all below it.
fn whole(at: usize, own: &[Totals], children: &[Vec<usize>]) -> Totals {
    let (mut totals, mut seen, mut next) = (Totals::default(), vec![false; own.len()], vec![at]);
    while let Some(at) = next.pop() {
        // What agents say of their threads may go in a circle.
        let Some(is_seen) = seen.get_mut(at).filter(|is_seen| !**is_seen) else { continue };
        *is_seen = true;
        own.get(at).into_iter().for_each(|of| totals.add(of));
        next.extend(children.get(at).into_iter().flatten());
    }
    totals
}

#[cfg(test)]
pub(super) mod testing {
    use serde_json::json;

    use super::*;
    use crate::llm::names;

    /// A call of this thread, which says that another one started it.
    pub(in super::super) fn loaded(id: i64, thread: &str, parent: &str) -> Loaded {
        let facts = json!({
            names::SESSION: "s", names::AGENT_THREAD: thread, names::API: "openai.responses", names::OUTPUT_TOKENS: 1,
        });
        let llm = Llm::of(facts.as_object().unwrap()).unwrap();
        let text = String::new;
        let call = Call {
            id,
            session: 1,
            started_at_ms: id * 1_000,
            method: text(),
            host: "a.test".to_owned(),
            path: "/".to_owned(),
            status_code: 200,
            latency_ms: 10.0,
            request_bytes: 0,
            response_bytes: 0,
            error: text(),
            outline: text(),
            llm: text(),
        };
        Loaded {
            call,
            llm,
            event: Uuid::from_u128(id as u128),
            continues: None,
            retry_of: None,
            parent_thread: Some(parent.to_owned()),
            name: None,
            gist: Gist::default(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::testing::loaded as call;
    use super::*;

    #[test]
    fn threads_that_claim_to_have_started_each_other_are_counted_once() {
        let run = tree(RunId::Proxy(1), vec![call(1, "a", "b"), call(2, "b", "a"), call(3, "c", "c")]);
        let parents: Vec<_> = run.threads.iter().map(|thread| thread.parent.as_ref().map(|of| of.thread)).collect();
        assert_eq!(parents, [Some(1), Some(0), None]);
        let whole: Vec<_> = run.threads.iter().map(|thread| thread.with_sub_agents.calls).collect();
        assert_eq!((whole, run.totals.calls), (vec![2, 2, 1], 3));
    }
}
