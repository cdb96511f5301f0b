//! From the model calls of an agent to what it did: sessions, threads, turns and calls to tools. Pure: calls are handed in, oldest
//! first, and nothing is looked up.
//!
//! ```text
//!  session    the agent's own id, or else the calls that continue each other
//!    thread   one conversation: the main one, or that of a sub-agent
//!      turn   from a message of the user to the answer that calls no tool
//!        model calls, and the calls to tools between them
//! ```
//!
//! Ids that agents state come first, and what follows from the messages fills in.

mod parents;
#[cfg(test)]
mod tests;
mod threads;
mod tools;
mod turns;

use uuid::Uuid;

use crate::conversation::{Block, Conversation};
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
    /// The call that it continues.
    pub continues: Option<Uuid>,
    /// The thread that started this one, if the agent states it.
    pub parent_thread: Option<&'a str>,
    /// Its facts.
    pub llm: &'a Llm,
    /// Its bodies.
    pub conversation: &'a Conversation,
}

/// A session of an agent.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Session {
    /// The agent's name, if it is known.
    pub agent: Option<String>,
    /// The agent's own id of it. `None`: the calls only continue each other.
    pub id: Option<String>,
    /// Its threads, in the order in which they began.
    pub threads: Vec<Thread>,
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
    pub said: String,
    /// Its model calls, in order.
    pub calls: Vec<Uuid>,
    /// Its calls to tools, in order.
    pub tools: Vec<ToolUse>,
    /// Whether its last answer calls no tool.
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
    pub arguments: String,
    /// Its result. `None`: no later call has brought it.
    pub result: Option<ToolOutcome>,
}

/// The result of a call to a tool.
#[derive(Debug, Clone, PartialEq)]
pub struct ToolOutcome {
    /// The model call that brought it.
    pub to: Uuid,
    /// The result.
    pub content: Vec<Block>,
    /// Whether it is an error. `None`: the interface does not say.
    pub is_error: Option<bool>,
    /// The time from the end of the answer to the next model call, in milliseconds. The tool took at most this long: other tools,
    /// and the user's permission, are in it as well.
    pub at_most_ms: u64,
}

/// The sessions of these calls, in the order in which they began. `steps`: oldest first.
pub fn sessions(steps: &[Step<'_>]) -> Vec<Session> {
    threads::sessions(steps)
        .into_iter()
        .map(|of_session| {
            let first = of_session.first().and_then(|calls| calls.first());
            let mut threads: Vec<Thread> = of_session.iter().map(|calls| turns::thread(calls)).collect();
            for (thread, parent) in threads.iter_mut().zip(parents::of(&of_session)) {
                thread.parent = parent;
            }
            Session {
                agent: first.and_then(|call| call.llm.agent()).map(str::to_owned),
                id: first.and_then(|call| call.llm.session()).map(str::to_owned),
                threads,
            }
        })
        .collect()
}

impl Thread {
    /// All its model calls but those beside the conversation.
    pub fn calls(&self) -> impl Iterator<Item = Uuid> + '_ {
        self.turns.iter().flat_map(|turn| turn.calls.iter().copied())
    }
}

/// The calls to tools in an answer: id, name and arguments.
fn called<'s>(step: &'s Step<'_>) -> impl Iterator<Item = (&'s str, &'s str, &'s str)> {
    step.conversation.answer.blocks.iter().filter_map(|block| match block {
        Block::ToolCall { id, name, arguments } => Some((id.as_str(), name.as_str(), arguments.as_str())),
        _ => None,
    })
}
