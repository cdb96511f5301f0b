//! The turns of agents, found while their calls come one by one: which turn a call belongs to, and which tools and turns are over.
//! Pure, and bounded in memory.
//!
//! A turn's trace and its span are named by its first call, which is known when the turn begins. So the span of each call is sent at
//! once. That of a turn is sent when it is over, those of tools with the call that brings their results. Of the calls of open
//! turns only what [`runs`] needs is held.

use std::collections::HashMap;

use opentelemetry_proto::tonic::common::v1::KeyValue;
use opentelemetry_proto::tonic::trace::v1::Span;
use uuid::Uuid;

use super::attribute::{pair, text};
use super::call::{CONVERSING, Call};
use super::held::{Held, Results, TEXT_MAX_BYTES, ms};
use super::ids;
use super::names;
use super::shorten;
use super::span::Place;
use super::turn_span::{self, End, ToolCall, Turn};
use crate::conversation::Block;
use crate::llm::names as llm;
use crate::runs::{self, Parent, Thread, ToolUse};

/// The most calls of open turns that are held.
const HELD_CALLS: usize = 2_000;
/// The most bytes of their texts.
const HELD_BYTES: usize = 32 << 20;
/// A turn that is over is held for so long: calls may be stored in another order than they were made in.
const LATE_MS: i64 = 60_000;
/// A turn without calls for so long is over.
const GIVEN_UP_AFTER_MS: i64 = 30 * 60 * 1_000;
/// The open turns.
pub(super) struct Turns {
    /// The most bytes of an attribute with content.
    content: Option<usize>,
    held: Vec<Held>,
    /// Turns by their first call.
    turns: HashMap<Uuid, Turn>,
    /// When the newest call ended, in milliseconds since 1970.
    newest_ms: i64,
}

/// Where a call belongs.
pub(super) enum Placed {
    /// It is no part of a turn.
    Beside,
    /// What started this sub-agent is not known yet. Nothing was noted of it: it may be placed again.
    Orphan,
    /// It is part of a turn.
    In {
        /// The trace of its turn.
        trace: Vec<u8>,
        /// The span of its turn.
        span: Vec<u8>,
        /// Spans of tools and turns that are over with this call.
        over: Vec<Span>,
    },
}

impl Turns {
    pub(super) fn new(content: Option<usize>) -> Self {
        Self { content, held: Vec::new(), turns: HashMap::new(), newest_ms: 0 }
    }

    /// Places a call. `own`: its place if it is no part of a turn. `may_wait`: a sub-agent's call whose parent is not known is an
    /// [`Placed::Orphan`]; otherwise its turn begins a trace.
    pub(super) fn place(&mut self, call: &Call<'_>, own: &Place, may_wait: bool) -> Placed {
        let is_conversing = call.property(llm::OPERATION).is_some_and(|it| CONVERSING.contains(&it));
        let (Some(conversation), Some(facts), true) = (&call.conversation, &call.llm, is_conversing) else {
            return Placed::Beside;
        };
        let id = call.row.event_id;
        if self.held.iter().any(|held| held.id == id) {
            return Placed::Beside;
        }
        let has_tools = !conversation.request.tools.is_empty();
        let held = Held::of(call, conversation, facts.clone());
        let (ended_ms, is_of_sub_agent) = (held.ended_ms, held.is_of_sub_agent());
        let at = self.held.partition_point(|other| other.started_ms <= held.started_ms);
        self.held.insert(at, held);
        let threads = self.threads(id);
        let Some(found) = Found::of(&threads, id) else {
            self.held.retain(|held| held.id != id);
            return Placed::Beside;
        };
        let known = found.turn.calls.iter().copied().find(|first| self.turns.contains_key(first));
        // A single call without tools is nothing that an agent did in steps.
        if known.is_none() && !has_tools && found.turn.id.is_none() {
            self.held.retain(|held| held.id != id);
            return Placed::Beside;
        }
        let is_orphan = is_of_sub_agent && known.is_none() && !own.is_foreign && found.is_orphan();
        if is_orphan && may_wait {
            self.held.retain(|held| held.id != id);
            return Placed::Orphan;
        }
        self.newest_ms = self.newest_ms.max(ended_ms);
        let first = known.unwrap_or(id);
        if known.is_none() {
            let turn = self.begin(call, &found, own);
            self.turns.insert(first, turn);
        }
        let mut over = Vec::new();
        for before in found.before {
            over.extend(self.end_of(&before.calls, &before.tools, End::Superseded));
            for call in &before.calls {
                if let Some(turn) = self.turns.get_mut(call) {
                    turn.is_superseded = true;
                }
            }
        }
        self.join(first, call);
        let results = Results::of(id, conversation);
        over.extend(self.tools(first, &found.turn.tools, |tool| tool.result.is_some(), results));
        let under = self.turns.get(&first).map(|turn| (turn.trace.clone(), turn.span.clone()));
        if found.turn.is_complete {
            over.extend(self.end_of(&found.turn.calls, &found.turn.tools, End::Answered));
        }
        self.forget();
        over.extend(self.bounded());
        under.map_or(Placed::Beside, |(trace, span)| Placed::In { trace, span, over })
    }

    /// Ends the turns that nothing has been heard of for long.
    pub(super) fn give_up(&mut self, now_ms: i64) -> Vec<Span> {
        let is_fresh = |held: &&Held| now_ms - held.ended_ms < GIVEN_UP_AFTER_MS;
        let fresh: Vec<Uuid> = self.held.iter().filter(is_fresh).filter_map(|held| held.turn).collect();
        let stale: Vec<Uuid> = self.turns.keys().copied().filter(|first| !fresh.contains(first)).collect();
        let over = stale.into_iter().flat_map(|first| self.end(first, End::GivenUp)).collect();
        self.forget();
        over
    }

    /// Ends all turns.
    pub(super) fn stop(&mut self) -> Vec<Span> {
        let all: Vec<Uuid> = self.turns.keys().copied().collect();
        let over = all.into_iter().flat_map(|first| self.end(first, End::Stopped)).collect();
        self.forget();
        over
    }

    /// The threads of all held calls that may belong together with this one.
    fn threads(&self, id: Uuid) -> Vec<Thread> {
        let of_call = self.held.iter().find(|held| held.id == id).map(Held::session);
        let steps = self.held.iter().filter(|held| Some(held.session()) == of_call).map(Held::step);
        runs::threads(&steps.collect::<Vec<_>>())
    }

    /// A new turn. A sub-agent's is below the tool that started it.
    fn begin(&self, call: &Call<'_>, found: &Found<'_>, own: &Place) -> Turn {
        let id = call.row.event_id;
        let above = found.parent.and_then(|parent| {
            let thread = found.threads.get(parent.thread)?;
            let calls = |by: Uuid| thread.turns.iter().find(|turn| turn.calls.contains(&by)).map(|turn| &turn.calls);
            let calls = match &parent.tool {
                Some((by, _)) => calls(*by),
                None => thread.turns.last().map(|turn| &turn.calls),
            };
            let turn = calls?.iter().find_map(|first| self.turns.get(first))?;
            let tool = parent.tool.as_ref().and_then(|(by, id)| Some(ids::tool(*by, self.place_of(*by, id)?)));
            Some((turn.trace.clone(), tool.unwrap_or_else(|| turn.span.clone())))
        });
        // A call with a `traceparent` stays in that trace, and its turn with it.
        let above = above.filter(|_| !own.is_foreign);
        let (trace, parent) = above.unwrap_or_else(|| (own.trace.clone(), own.parent.clone()));
        Turn {
            trace,
            span: ids::turn(id),
            parent,
            identity: identity(call),
            agent: call.property(llm::AGENT_NAME).unwrap_or_default().to_owned(),
            said: if self.content.is_some() { found.turn.said.text.clone() } else { String::new() },
            answer: Vec::new(),
            started: call.started(),
            ended: call.ended(),
            calls: 0,
            error: String::new(),
            is_over: false,
            is_superseded: false,
        }
    }

    /// The place of a tool call among those of an answer.
    fn place_of(&self, by: Uuid, id: &str) -> Option<usize> {
        self.held.iter().find(|held| held.id == by)?.tools.iter().position(|tool| tool.id == id)
    }

    /// Adds a call to its turn.
    fn join(&mut self, first: Uuid, call: &Call<'_>) {
        let Some(held) = self.held.iter_mut().find(|held| held.id == call.row.event_id) else { return };
        held.turn = Some(first);
        let Some(turn) = self.turns.get_mut(&first) else { return };
        turn.calls += 1;
        // It goes on: its span is sent again when it is over.
        turn.is_over &= held.ended <= turn.ended;
        turn.started = turn.started.min(held.started);
        let is_last = turn.calls == 1 || held.ended >= turn.ended;
        turn.ended = turn.ended.max(held.ended);
        if is_last {
            turn.error.clone_from(&call.row.error);
        }
        if is_last && self.content.is_some() {
            let answer = call.conversation.iter().flat_map(|conversation| &conversation.answer.blocks);
            let text = |block: &Block| match block {
                Block::Text(text) => Some(Block::Text(shorten::text(text, TEXT_MAX_BYTES).0)),
                _ => None,
            };
            turn.answer = answer.filter_map(text).collect();
        }
    }

    /// The spans of these tools that were not made yet. `results`: those that the newest call brings.
    fn tools(
        &mut self,
        first: Uuid,
        tools: &[ToolUse],
        is_wanted: impl Fn(&ToolUse) -> bool,
        mut results: Results<'_>,
    ) -> Vec<Span> {
        let Some(turn) = self.turns.get(&first) else { return Vec::new() };
        let held = |id: Uuid| self.held.iter().find(|held| held.id == id);
        let mut places = HashMap::<Uuid, usize>::new();
        let (mut spans, mut made) = (Vec::new(), Vec::new());
        for tool in tools {
            let place = places.entry(tool.by).or_default();
            let at = *place;
            *place += 1;
            let Some(by) = held(tool.by).filter(|_| is_wanted(tool)) else { continue };
            let Some(known) = by.tools.get(at).filter(|known| !known.is_over) else { continue };
            made.push((tool.by, at));
            let call = ToolCall {
                turn,
                span: ids::tool(tool.by, at),
                tool,
                arguments: &known.arguments,
                result: results.next(tool),
                from: by.ended,
                to: tool.result.as_ref().and_then(|result| held(result.to)).map(|held| held.started),
            };
            spans.push(turn_span::tool(&call, self.content));
        }
        for (by, at) in made {
            let by = self.held.iter_mut().find(|held| held.id == by);
            if let Some(tool) = by.and_then(|held| held.tools.get_mut(at)) {
                tool.is_over = true;
                tool.arguments.clear();
            }
        }
        spans
    }

    /// Ends the turn with these calls: the tools without results, and the turn.
    fn end_of(&mut self, calls: &[Uuid], tools: &[ToolUse], end: End) -> Vec<Span> {
        let Some(first) = calls.iter().copied().find(|first| self.turns.contains_key(first)) else {
            return Vec::new();
        };
        if self.turns.get(&first).is_some_and(|turn| turn.is_over) {
            return Vec::new();
        }
        let mut over = self.tools(first, tools, |tool| tool.result.is_none(), Results::default());
        if let Some(turn) = self.turns.get_mut(&first) {
            turn.is_over = true;
            over.push(turn_span::turn(turn, end, self.content));
        }
        over
    }

    /// Ends a turn whose tools are not known.
    fn end(&mut self, first: Uuid, end: End) -> Vec<Span> {
        let threads = self.threads(first);
        let mut turns = threads.iter().flat_map(|thread| &thread.turns);
        let found = turns.find(|turn| turn.calls.contains(&first));
        match found {
            Some(turn) => self.end_of(&turn.calls, &turn.tools, end),
            None => self.end_of(&[first], &[], end),
        }
    }

    /// Drops the turns that are over. That of a sub-agent stays while the turn above it is open: of two sub-agents with the same
    /// task, the second must not get the tool call of the first.
    fn forget(&mut self) {
        let open: Vec<(Vec<u8>, Vec<u8>)> = self
            .turns
            .values()
            .filter(|turn| !turn.is_over)
            .map(|turn| (turn.trace.clone(), turn.span.clone()))
            .collect();
        let newest_ms = self.newest_ms;
        self.turns.retain(|_, turn| {
            let is_below = !turn.parent.is_empty()
                && open.iter().any(|(trace, span)| *trace == turn.trace && *span != turn.span);
            let is_late = turn.is_superseded || newest_ms - ms(turn.ended) > LATE_MS;
            !turn.is_over || is_below || !is_late
        });
        self.held.retain(|held| held.turn.is_some_and(|first| self.turns.contains_key(&first)));
    }

    /// Ends the turns that have waited longest, while there are too many.
    fn bounded(&mut self) -> Vec<Span> {
        let mut over = Vec::new();
        while self.held.len() > HELD_CALLS || self.held.iter().map(|held| held.bytes).sum::<usize>() > HELD_BYTES {
            let last = |first: Uuid| {
                self.held.iter().filter(|held| held.turn == Some(first)).map(|held| held.ended_ms).max()
            };
            let Some(stalest) = self.turns.keys().copied().min_by_key(|first| last(*first)) else { break };
            over.extend(self.end(stalest, End::GivenUp));
            self.turns.remove(&stalest);
            self.forget();
        }
        over
    }
}

/// A turn among the threads of its session.
struct Found<'s> {
    threads: &'s [Thread],
    parent: Option<&'s Parent>,
    turn: &'s runs::Turn,
    /// The turns of its thread before it.
    before: &'s [runs::Turn],
}

impl<'s> Found<'s> {
    /// The turn of a call. `None`: it is beside the conversation.
    fn of(threads: &'s [Thread], id: Uuid) -> Option<Self> {
        threads.iter().find_map(|thread| {
            let at = thread.turns.iter().position(|turn| turn.calls.contains(&id))?;
            let (before, from) = thread.turns.split_at_checked(at)?;
            Some(Self { threads, parent: thread.parent.as_ref(), turn: from.first()?, before })
        })
    }

    /// Whether it begins a thread, and the call to a tool that started it is not known.
    fn is_orphan(&self) -> bool {
        self.before.is_empty() && self.parent.is_none_or(|parent| parent.tool.is_none())
    }
}

/// Who the agent is, and its session.
fn identity(call: &Call<'_>) -> Vec<KeyValue> {
    let mut all = Vec::new();
    let mut add = |name: &str, value: Option<&str>| {
        all.extend(value.and_then(text).map(|value| pair(name, value)));
    };
    for name in [llm::AGENT_NAME, llm::AGENT_ID, llm::AGENT_THREAD, llm::AGENT_TURN] {
        add(name, call.property(name));
    }
    add(llm::SESSION, call.session().as_deref());
    add(llm::CONVERSATION, call.conversation_id());
    add(names::RUN_ID, call.event.metadata()["proxy"]["run_id"].as_str());
    all
}
