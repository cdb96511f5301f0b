//! From the model calls of an agent's session to what it did: threads, turns and calls to tools. Pure: calls are handed in, oldest
//! first, and nothing is looked up.
//!
//! ```text
//!  session    what one start of an agent did: the calls that are handed in
//!    thread   one conversation: the main one, or that of a sub-agent
//!      turn   from a message of the user to the answer that calls no tool
//!        model calls, and the calls to tools between them
//! ```
//!
//! Ids that agents state come first, and what follows from the messages fills in. Of each conversation only a [`Gist`] is needed, so
//! conversations may be read one after another.

mod beside;
mod gist;
mod parents;
#[cfg(test)]
mod tests;
mod threads;
mod tools;
mod turns;

use uuid::Uuid;

pub use self::gist::{Excerpt, Gist};
use crate::llm::Llm;

/// A model call.
#[derive(Clone, Copy)]
pub struct Step<'a> {
    /// Its event.
    pub id: Uuid,
    /// When it began, in milliseconds since 1970.
    pub started_ms: i64,
    /// When it ended, in milliseconds since 1970.
    pub ended_ms: i64,
    /// Whether it failed.
    pub failed: bool,
    /// The call that it continues.
    pub continues: Option<Uuid>,
    /// The thread that started this one, if the agent states it.
    pub parent_thread: Option<&'a str>,
    /// Its facts.
    pub llm: &'a Llm,
    /// What its conversation says.
    pub gist: &'a Gist,
}

/// A conversation of a session.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Thread {
    /// The agent's own id of the thread or the sub-agent.
    pub id: Option<String>,
    /// What started it. `None`: the user, or unknown.
    pub parent: Option<Parent>,
    /// Its turns, in order.
    pub turns: Vec<Turn>,
    /// Calls beside the conversation: titles, topics, quota checks.
    pub side: Vec<Uuid>,
}

/// What started the thread of a sub-agent.
#[derive(Debug, Clone, PartialEq)]
pub struct Parent {
    /// The place of the parent among the session's threads.
    pub thread: usize,
    /// The call whose answer called the tool that started it, and the id of that tool call. `None`: not known.
    pub tool: Option<(Uuid, String)>,
}

/// A turn.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Turn {
    /// The agent's own id of it.
    pub id: Option<String>,
    /// What the user said.
    pub said: Excerpt,
    /// Its model calls, in order.
    pub calls: Vec<Uuid>,
    /// Its calls to tools, in order.
    pub tools: Vec<ToolUse>,
    /// Whether its last answer is whole and calls no tool, or the agent that started this one has its result.
    pub is_complete: bool,
}

/// A call to a tool.
#[derive(Debug, Clone, PartialEq)]
pub struct ToolUse {
    /// The model call whose answer called it.
    pub by: Uuid,
    /// The id that ties the result to it. May be empty.
    pub id: String,
    /// The tool.
    pub name: String,
    /// Its arguments, usually JSON.
    pub arguments: Excerpt,
    /// Its result. `None`: no later call has brought it.
    pub result: Option<ToolOutcome>,
}

/// The result of a call to a tool.
#[derive(Debug, Clone, PartialEq)]
pub struct ToolOutcome {
    /// The model call that brought it.
    pub to: Uuid,
    /// The result.
    pub content: Excerpt,
    /// Whether it is an error. `None`: the interface does not say.
    pub is_error: Option<bool>,
    /// The time from the end of the answer to the next model call, in milliseconds. The tool took at most this long: other tools,
    /// and the user's permission, are in it as well.
    pub at_most_ms: u64,
}

/// The threads of a session, in the order in which they began. `steps`: its calls, oldest first.
pub fn threads(steps: &[Step<'_>]) -> Vec<Thread> {
    let mut calls = threads::of(steps);
    let beside = beside::join(&mut calls);
    let mut threads: Vec<Thread> = calls.iter().map(|calls| turns::thread(calls, &beside)).collect();
    for (thread, parent) in threads.iter_mut().zip(parents::of(&calls, &beside)) {
        thread.parent = parent;
    }
    let over: Vec<bool> = threads.iter().map(|thread| is_over(thread, &threads)).collect();
    for (thread, _) in threads.iter_mut().zip(over).filter(|(_, is_over)| *is_over) {
        thread.turns.last_mut().into_iter().for_each(|turn| turn.is_complete = true);
    }
    threads
}

/// Whether the agent that started this sub-agent has its result. Some end with a call to a tool.
fn is_over(thread: &Thread, threads: &[Thread]) -> bool {
    let Some(Parent { thread, tool: Some((by, id)) }) = &thread.parent else { return false };
    let mut tools = threads.get(*thread).into_iter().flat_map(|thread| &thread.turns).flat_map(|turn| &turn.tools);
    tools.any(|tool| tool.by == *by && tool.id == *id && tool.result.is_some())
}

impl Thread {
    /// All its model calls but those beside the conversation.
    pub fn calls(&self) -> impl Iterator<Item = Uuid> + '_ {
        self.turns.iter().flat_map(|turn| turn.calls.iter().copied())
    }
}
