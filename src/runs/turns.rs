//! The turns of a thread.

use std::collections::HashSet;

use uuid::Uuid;

use super::{Step, Thread, Turn, tools};

/// The turns and side calls of a thread, by its calls in order. `beside`: calls that are known as side calls.
pub(super) fn thread(calls: &[&Step<'_>], beside: &HashSet<Uuid>) -> Thread {
    let first = calls.first();
    let id = first.and_then(|call| call.llm.thread().or(call.llm.agent_id())).map(str::to_owned);
    let mut thread = Thread { id, ..Thread::default() };
    let some_have_tools = calls.iter().any(|call| call.gist.has_tools == Some(true));
    // A side call may go on from another one.
    let without: HashSet<_> = calls.iter().filter(|call| is_beside(call)).map(|call| call.id).collect();
    let with = calls.iter().filter(|call| !without.contains(&call.id));
    let continued: HashSet<_> = with.filter_map(|call| call.continues).collect();
    let is_linked = |call: &Step<'_>| {
        call.continues.is_some_and(|before| !without.contains(&before)) || continued.contains(&call.id)
    };
    let is_side = |call: &Step<'_>| {
        beside.contains(&call.id) || some_have_tools && without.contains(&call.id) && !is_linked(call)
    };
    let (side, main): (Vec<&Step<'_>>, Vec<_>) = calls.iter().partition(|call| is_side(call));
    thread.side = side.iter().map(|call| call.id).collect();
    for (at, call) in main.iter().enumerate() {
        if begins_turn(&thread, call) {
            let turn =
                Turn { id: call.llm.turn().map(str::to_owned), said: call.gist.said.clone(), ..Turn::default() };
            thread.turns.push(turn);
        }
        let Some(turn) = thread.turns.last_mut() else { continue };
        turn.calls.push(call.id);
        turn.tools.extend(tools::of(call, main.get(at + 1..).unwrap_or_default()));
        turn.is_complete = call.gist.called.is_empty() && call.gist.is_answered && !call.failed;
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

/// Whether a call looks as if it were not part of the conversation, where other calls of its thread have tools: it has none, or only
/// checks something.
fn is_beside(call: &Step<'_>) -> bool {
    call.gist.has_tools == Some(false) || call.gist.is_check
}
