//! The conversation of a thread, put together from its calls.

use crate::conversation::{Answer, Conversation, Message};
use crate::run_view::{self, Thread, ViewError};
use crate::store::{StoreError, Viewer};

/// Calls that are read at most to put a conversation together.
const PARTS_MAX: usize = 200;

/// A conversation.
pub(in crate::admin::page) struct Whole {
    /// The row of its last call.
    pub(in crate::admin::page) last: i64,
    /// What its last call was sent, with everything that was said before it, and the answer.
    pub(in crate::admin::page) said: Conversation,
}

/// Reads the conversation of a thread. `None`: it has none that can be read.
pub(in crate::admin::page) fn of_thread(viewer: &Viewer, thread: &Thread) -> Result<Option<Whole>, StoreError> {
    let calls: Vec<i64> = (thread.turns.iter().flat_map(|turn| turn.model_calls()))
        .filter(|call| call.call.error.is_empty())
        .map(|call| call.call.id)
        .collect();
    // A call sends everything that was said, or goes on from the call before it.
    let mut parts = Vec::new();
    for row in calls.iter().rev().take(PARTS_MAX) {
        let part = match run_view::event(viewer, *row) {
            Ok(event) => event.conversation,
            Err(ViewError::Store(error)) => return Err(error),
            Err(_) => break,
        };
        let goes_on = part.request.goes_on;
        parts.push(part);
        if !goes_on {
            break;
        }
    }
    Ok(calls.last().copied().zip(joined(parts)).map(|(last, said)| Whole { last, said }))
}

/// One conversation from calls that go on from each other, newest first.
fn joined(parts: Vec<Conversation>) -> Option<Conversation> {
    let mut parts = parts.into_iter().rev();
    let mut whole = parts.next()?;
    for part in parts {
        whole.request.messages.push(answer(whole.answer));
        whole.request.messages.extend(part.request.messages);
        (whole.request.parameters, whole.answer) = (part.request.parameters, part.answer);
        whole.request.is_cut |= part.request.is_cut;
        if !part.request.system.is_empty() {
            whole.request.system = part.request.system;
        }
        if !part.request.tools.is_empty() {
            whole.request.tools = part.request.tools;
        }
    }
    whole.request.goes_on = false;
    Some(whole)
}

impl Whole {
    /// With the answer as its last message.
    pub(super) fn with_answer(mut self) -> Self {
        let last = std::mem::take(&mut self.said.answer);
        self.said.request.messages.push(answer(last));
        self
    }
}

fn answer(of: Answer) -> Message {
    Message { role: "assistant".to_owned(), blocks: of.blocks }
}
