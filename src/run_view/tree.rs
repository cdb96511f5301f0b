//! A run as a tree.

use std::collections::BTreeMap;

use uuid::Uuid;

use super::id::RunId;
use super::totals::Totals;
use crate::llm::Llm;
use crate::runs::Excerpt;
use crate::store::Call;

/// A run: what an agent did in one session.
#[derive(Debug, Clone)]
pub struct Run {
    /// Its id.
    pub id: RunId,
    /// The agent, by what it says of itself.
    pub agent: Option<String>,
    /// The calls to each model.
    pub models: BTreeMap<String, u64>,
    /// Its conversations in the order in which they began: the main one, and those of sub-agents.
    pub threads: Vec<Thread>,
    /// The calls that belong to no turn, oldest first: they are not calls to models. Where several agents share the proxy's session,
    /// its run also has those that nothing ties to one of them.
    pub other: Vec<Call>,
    /// Totals of all threads.
    pub totals: Totals,
    /// What is not in the tree.
    pub left_out: LeftOut,
}

/// What is not in a tree.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct LeftOut {
    /// Model calls: the oldest ones, because the run is too long, or took too long to read.
    pub model_calls: u64,
    /// How many of these there was no time for. With the same [`super::Memory`], reading goes on there.
    pub unread: u64,
    /// Calls to others than models, because there are too many.
    pub other_calls: u64,
    /// Calls to others than models that were made meanwhile in a session of the proxy that several agents share: which of them made
    /// these is not known.
    pub unattributed: u64,
    /// Reasons of cache misses, because there are too many.
    pub reasons: u64,
}

/// A conversation.
#[derive(Debug, Clone)]
pub struct Thread {
    /// The agent's own id of the thread or the sub-agent.
    pub id: Option<String>,
    /// The name or the type that the agent gave the sub-agent.
    pub name: Option<String>,
    /// What started it. `None`: the user, or unknown.
    pub parent: Option<Parent>,
    /// Its turns, in order.
    pub turns: Vec<Turn>,
    /// Calls beside the conversation: titles, topics, quota checks.
    pub side: Vec<ModelCall>,
    /// Totals of its own calls, with those beside the conversation.
    pub totals: Totals,
    /// The same with the threads that it started, and those that these started.
    pub with_sub_agents: Totals,
}

/// What started a thread.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Parent {
    /// The place of the parent among the run's threads.
    pub thread: usize,
    /// The row of the call whose answer called the tool that started it, and the id of that tool call. `None`: not known.
    pub tool: Option<(i64, String)>,
}

/// A turn: from a message of the user to the answer that calls no tool.
#[derive(Debug, Clone)]
pub struct Turn {
    /// The agent's own id of it.
    pub id: Option<String>,
    /// What the user said.
    pub said: Excerpt,
    /// Whether its last answer is whole and calls no tool, or the agent that started this one has its result.
    pub is_complete: bool,
    /// What happened, in order.
    pub steps: Vec<Step>,
    /// Totals of its model calls.
    pub totals: Totals,
    /// The same with the sub-agents that it started.
    pub with_sub_agents: Totals,
}

/// What happened in a turn.
#[derive(Debug, Clone)]
pub enum Step {
    /// A model call.
    Model(ModelCall),
    /// A call to a tool.
    Tool(ToolCall),
    /// Another call of the same session at that time, such as one of a tool.
    Other(Call),
}

/// A model call.
#[derive(Debug, Clone)]
pub struct ModelCall {
    /// Its row in the list.
    pub call: Call,
    /// Its facts.
    pub llm: Llm,
    /// The id of its event.
    pub event: Uuid,
    /// The row of the failed call that it repeats.
    pub retry_of: Option<i64>,
    /// Set if it read less from the prompt cache than it could.
    pub miss: Option<Miss>,
}

/// A miss of the prompt cache.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Miss {
    /// The row of the previous call of the thread.
    pub previous: i64,
    /// The tokens that the previous call left in the cache.
    pub expected: u64,
    /// The tokens that were read.
    pub read: u64,
    /// Why, in one sentence. `None`: not found out.
    pub reason: Option<String>,
}

/// A call to a tool.
#[derive(Debug, Clone, PartialEq)]
pub struct ToolCall {
    /// The row of the model call whose answer called it.
    pub by: i64,
    /// The id that ties the result to it. May be empty.
    pub id: String,
    /// The tool.
    pub name: String,
    /// Its arguments, usually JSON.
    pub arguments: Excerpt,
    /// Its result. `None`: no later call has brought it.
    pub result: Option<ToolResult>,
    /// The threads that it started: their places in the run.
    pub threads: Vec<usize>,
    /// The calls over MCP that it made.
    pub over_mcp: Vec<Call>,
    /// The other calls that it seems to have made: they came while it ran, and its arguments name the host.
    pub calls: Vec<Call>,
    /// When the answer that called it ended, in Unix milliseconds.
    pub called_ms: i64,
}

/// The result of a call to a tool.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ToolResult {
    /// The row of the model call that brought it.
    pub to: i64,
    /// The result.
    pub content: Excerpt,
    /// Whether it is an error. `None`: the interface does not say.
    pub is_error: Option<bool>,
    /// The tool took at most so many milliseconds: other tools, and the user's permission, are in it as well.
    pub at_most_ms: u64,
}

impl Run {
    /// The places of the threads that nothing in the run started.
    pub fn roots(&self) -> impl Iterator<Item = usize> + '_ {
        self.threads.iter().enumerate().filter(|(_, thread)| thread.parent.is_none()).map(|(at, _)| at)
    }

    /// The number of turns of all threads.
    pub fn turns(&self) -> u64 {
        self.threads.iter().map(|thread| thread.turns.len() as u64).sum()
    }

    /// The number of threads that another one started.
    pub fn sub_agents(&self) -> u64 {
        self.threads.iter().filter(|thread| thread.parent.is_some()).count() as u64
    }

    /// The number of calls that missed the prompt cache.
    pub fn cache_misses(&self) -> u64 {
        let calls = self.threads.iter().flat_map(|thread| &thread.turns).flat_map(Turn::model_calls);
        calls.filter(|call| call.miss.is_some()).count() as u64
    }

    /// The places of the threads that this one started through a tool that is not known.
    pub fn loose_sub_agents(&self, of: usize) -> impl Iterator<Item = usize> + '_ {
        let is_loose =
            move |thread: &Thread| thread.parent.as_ref().is_some_and(|it| it.thread == of && it.tool.is_none());
        self.threads.iter().enumerate().filter(move |(_, thread)| is_loose(thread)).map(|(at, _)| at)
    }
}

impl Turn {
    /// Its model calls, in order.
    pub fn model_calls(&self) -> impl Iterator<Item = &ModelCall> {
        self.steps.iter().filter_map(|step| if let Step::Model(call) = step { Some(call) } else { None })
    }

    /// Its calls to tools, in order.
    pub fn tools(&self) -> impl Iterator<Item = &ToolCall> {
        self.steps.iter().filter_map(|step| if let Step::Tool(call) = step { Some(call) } else { None })
    }
}
