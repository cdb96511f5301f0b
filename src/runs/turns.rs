//! The turns of a thread.

use super::{Step, Thread, Turn, called, tools};
use crate::conversation::{Block, Message};

/// A call that asks for fewer tokens checks something.
const CHECK_MAX_TOKENS: u64 = 64;

/// The turns and side calls of a thread, by its calls in order.
pub(super) fn thread(calls: &[&Step<'_>]) -> Thread {
    let first = calls.first();
    let id = first.and_then(|call| call.llm.thread().or(call.llm.agent_id())).map(str::to_owned);
    let mut thread = Thread { id, ..Thread::default() };
    let main: Vec<&Step<'_>> = calls.iter().filter(|call| !is_beside(call, calls)).copied().collect();
    thread.side = calls.iter().filter(|call| is_beside(call, calls)).map(|call| call.id).collect();
    for (at, call) in main.iter().enumerate() {
        if begins_turn(&thread, call) {
            let turn = Turn { id: call.llm.turn().map(str::to_owned), said: said(call), ..Turn::default() };
            thread.turns.push(turn);
        }
        let Some(turn) = thread.turns.last_mut() else { continue };
        turn.calls.push(call.id);
        turn.tools.extend(tools::of(call, main.get(at + 1..).unwrap_or_default()));
        turn.is_complete = called(call).next().is_none() && !call.conversation.answer.is_cut;
    }
    thread
}

fn begins_turn(thread: &Thread, call: &Step<'_>) -> bool {
    let Some(last) = thread.turns.last() else { return true };
    match (last.id.as_deref(), call.llm.turn()) {
        (Some(one), Some(other)) => one != other,
        _ => last.is_complete,
    }
}

/// Whether a call is not part of the conversation: it has no tools, or checks something, while other calls of its thread have
/// tools; and no call continues another there.
fn is_beside(call: &Step<'_>, calls: &[&Step<'_>]) -> bool {
    let request = &call.conversation.request;
    let has_tools = |call: &Step<'_>| !call.conversation.request.tools.is_empty();
    let names = ["max_tokens", "max_output_tokens", "max_completion_tokens"];
    let most = names.iter().find_map(|name| request.parameters.get(*name)?.as_u64());
    let is_linked = call.continues.is_some() || calls.iter().any(|other| other.continues == Some(call.id));
    let is_small = most.is_some_and(|most| most <= CHECK_MAX_TOKENS);
    !is_linked && calls.iter().any(|other| has_tools(other)) && (!has_tools(call) || is_small)
}

/// What the user said last.
fn said(call: &Step<'_>) -> String {
    let messages = &call.conversation.request.messages;
    // Agents put reminders before what the user said.
    let text = |message: &Message| {
        message
            .blocks
            .iter()
            .rev()
            .find_map(|block| if let Block::Text(text) = block { Some(text.clone()) } else { None })
    };
    messages.iter().rev().filter(|message| message.role == "user").find_map(text).unwrap_or_default()
}
