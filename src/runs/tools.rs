//! The calls to tools of an answer, and their results in a later request.

use std::collections::HashMap;

use super::{Step, ToolOutcome, ToolUse, called};
use crate::conversation::{Block, Message};

/// The calls to tools of this model call. `later`: the calls of its thread after it.
pub(super) fn of(call: &Step<'_>, later: &[&Step<'_>]) -> Vec<ToolUse> {
    let mut seen = HashMap::<&str, usize>::new();
    let with_id = |(id, name, arguments)| {
        // Where tools have no ids, results come in the order of the calls.
        let nth = seen.entry(id).or_default();
        let result = later.iter().find_map(|next| outcome(call, next, id, *nth));
        *nth += 1;
        ToolUse {
            by: call.id,
            id: id.to_owned(),
            name: str::to_owned(name),
            arguments: str::to_owned(arguments),
            result,
        }
    };
    called(call).map(with_id).collect()
}

/// The result that a later call brings. `nth`: which one of those with this id, among its new messages.
fn outcome(call: &Step<'_>, next: &Step<'_>, id: &str, nth: usize) -> Option<ToolOutcome> {
    let results = new_messages(&next.conversation.request.messages).flat_map(|message| &message.blocks);
    let mut of_id = results.filter_map(|block| match block {
        Block::ToolResult { id: known, content, is_error } if known == id => Some((content, is_error)),
        _ => None,
    });
    let (content, is_error) = of_id.nth(nth)?;
    let at_most_ms = u64::try_from(next.started_ms - call.ended_ms).unwrap_or(0);
    Some(ToolOutcome { to: next.id, content: content.clone(), is_error: *is_error, at_most_ms })
}

/// The messages after the last answer.
fn new_messages(messages: &[Message]) -> impl Iterator<Item = &Message> {
    let after = messages.iter().rposition(|message| message.role == "assistant").map_or(0, |at| at + 1);
    messages.iter().skip(after)
}
