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
use super::ids;
use super::names;
use super::shorten;
use super::turn_span::{self, End, ToolCall, Turn};
use crate::conversation::{Block, Conversation};
use crate::llm::{Llm, names as llm};
use crate::runs::{self, Gist, Parent, Step, Thread, ToolUse};

/// The most calls of open turns that are held.
const HELD_CALLS: usize = 2_000;
/// The most bytes of their texts.
const HELD_BYTES: usize = 32 << 20;
/// Longer texts are cut.
const TEXT_MAX_BYTES: usize = 64 << 10;
/// A turn that is over is held for so long: calls may be stored in another order than they were made in.
const LATE_MS: i64 = 60_000;
/// A turn without calls for so long is over.
const GIVEN_UP_AFTER_MS: i64 = 30 * 60 * 1_000;
/// What a [`Gist`] may hold: of each call to a tool, of each result, and of the first message.
const GIST_BYTES: [usize; 3] = [6 << 10, 2 << 10, 64 << 10];

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

/// A call of a turn, as far as it is needed.
struct Held {
    id: Uuid,
    started_ms: i64,
    ended_ms: i64,
    started: u64,
    ended: u64,
    continues: Option<Uuid>,
    parent_thread: Option<String>,
    llm: Llm,
    failed: bool,
    gist: Gist,
    /// The tools that its answer calls, in order.
    tools: Vec<HeldTool>,
    /// Bytes of its texts, at most.
    bytes: usize,
    /// The first call of its turn.
    turn: Option<Uuid>,
}

/// A tool that an answer calls.
struct HeldTool {
    id: String,
    arguments: String,
    /// Its span was made.
    is_over: bool,
}

/// Where a call belongs.
#[derive(Default)]
pub(super) struct Placed {
    /// The trace and the span of its turn.
    pub(super) under: Option<(Vec<u8>, Vec<u8>)>,
    /// Spans of tools and turns that are over with this call.
    pub(super) over: Vec<Span>,
}

impl Turns {
    pub(super) fn new(content: Option<usize>) -> Self {
        Self { content, held: Vec::new(), turns: HashMap::new(), newest_ms: 0 }
    }

    /// Places a call. `span`: its span.
    pub(super) fn place(&mut self, call: &Call<'_>, span: &Span) -> Placed {
        let is_conversing = call.property(llm::OPERATION).is_some_and(|it| CONVERSING.contains(&it));
        let (Some(conversation), Some(facts), true) = (&call.conversation, &call.llm, is_conversing) else {
            return Placed::default();
        };
        let id = call.row.event_id;
        if self.held.iter().any(|held| held.id == id) {
            return Placed::default();
        }
        let has_tools = !conversation.request.tools.is_empty();
        let held = Held::of(call, conversation, facts.clone());
        self.newest_ms = self.newest_ms.max(held.ended_ms);
        let at = self.held.partition_point(|other| other.started_ms <= held.started_ms);
        self.held.insert(at, held);
        let threads = self.threads(id);
        let Some(found) = Found::of(&threads, id) else {
            self.held.retain(|held| held.id != id);
            return Placed::default();
        };
        let known = found.turn.calls.iter().copied().find(|first| self.turns.contains_key(first));
        // A single call without tools is nothing that an agent did in steps.
        if known.is_none() && !has_tools && found.turn.id.is_none() {
            self.held.retain(|held| held.id != id);
            return Placed::default();
        }
        let first = known.unwrap_or(id);
        if known.is_none() {
            let turn = self.begin(call, &found, span);
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
        Placed { under, over }
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
    fn begin(&self, call: &Call<'_>, found: &Found<'_>, span: &Span) -> Turn {
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
        let foreign = (!span.parent_span_id.is_empty()).then(|| (span.trace_id.clone(), span.parent_span_id.clone()));
        let (trace, parent) = foreign.or(above).unwrap_or_else(|| (ids::trace(id), Vec::new()));
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

/// The results of tools that a request brings, in order.
#[derive(Default)]
struct Results<'c> {
    /// The call.
    by: Uuid,
    left: Vec<(&'c str, &'c [Block])>,
}

impl<'c> Results<'c> {
    fn of(by: Uuid, conversation: &'c Conversation) -> Self {
        let messages = &conversation.request.messages;
        let from = messages.iter().rposition(|message| message.role == "assistant").map_or(0, |at| at + 1);
        let blocks = messages.iter().skip(from).flat_map(|message| &message.blocks);
        let result = |block: &'c Block| match block {
            Block::ToolResult { id, content, .. } => Some((id.as_str(), content.as_slice())),
            _ => None,
        };
        Self { by, left: blocks.filter_map(result).collect() }
    }

    /// Takes the next one of this tool.
    fn next(&mut self, tool: &ToolUse) -> Option<&'c [Block]> {
        tool.result.as_ref().filter(|result| result.to == self.by)?;
        let at = self.left.iter().position(|(id, _)| *id == tool.id)?;
        Some(self.left.remove(at).1)
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
}

impl Held {
    fn of(call: &Call<'_>, conversation: &Conversation, facts: Llm) -> Self {
        let metadata = call.event.metadata();
        let (started, ended) = (call.started(), call.ended());
        let tools = conversation.answer.blocks.iter().filter_map(|block| match block {
            Block::ToolCall { id, arguments, .. } => {
                let arguments = shorten::text(arguments, TEXT_MAX_BYTES).0;
                Some(HeldTool { id: id.clone(), arguments, is_over: false })
            }
            _ => None,
        });
        let tools: Vec<HeldTool> = tools.collect();
        let [of_call, of_result, of_opening] = GIST_BYTES;
        let is_first = !conversation.request.messages.iter().any(|message| message.role == "assistant");
        let bytes = tools.iter().map(|tool| tool.id.len() + tool.arguments.len() + of_call).sum::<usize>()
            + Results::of(call.row.event_id, conversation).left.len().saturating_mul(of_result)
            + if is_first { of_opening } else { of_result };
        Self {
            id: call.row.event_id,
            started_ms: ms(started),
            ended_ms: ms(ended),
            started,
            ended,
            continues: call.event.link("continues"),
            parent_thread: metadata["agent"]["parent_thread_id"].as_str().map(str::to_owned),
            llm: facts,
            failed: !call.row.error.is_empty(),
            gist: Gist::of(conversation),
            tools,
            bytes,
            turn: None,
        }
    }

    /// The agent's own session, and its agent.
    fn session(&self) -> (Option<&str>, Option<&str>) {
        (self.llm.session(), self.llm.agent())
    }

    fn step(&self) -> Step<'_> {
        Step {
            id: self.id,
            started_ms: self.started_ms,
            ended_ms: self.ended_ms,
            failed: self.failed,
            continues: self.continues,
            parent_thread: self.parent_thread.as_deref(),
            llm: &self.llm,
            gist: &self.gist,
        }
    }
}

/// Milliseconds of these nanoseconds.
fn ms(nanos: u64) -> i64 {
    i64::try_from(nanos / 1_000_000).unwrap_or(i64::MAX)
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
