//! Conversations beside another one: those in which an agent asks a model about what the user said, before it acts on it. Gemini CLI
//! chooses a model in this way. Agents that name no session show no other tie.

use std::collections::HashSet;

use uuid::Uuid;

use super::Step;

/// Puts such conversations into the threads that they belong to, and returns their calls. `threads`: all calls of a session by
/// thread, in the order in which they began.
pub(super) fn join(threads: &mut Vec<Vec<&Step<'_>>>) -> HashSet<Uuid> {
    let mut beside = HashSet::new();
    let mut at = 0;
    while let Some(thread) = threads.get(at) {
        let Some(target) = target(thread, threads, &beside) else {
            at += 1;
            continue;
        };
        let calls = threads.remove(at);
        beside.extend(calls.iter().map(|call| call.id));
        if let Some(thread) = threads.get_mut(if target > at { target - 1 } else { target }) {
            thread.extend(calls);
            thread.sort_by_key(|call| call.started_ms);
        }
    }
    beside
}

/// The thread that a conversation is beside: one with tools, in which the model is asked about the same texts later. Of several the
/// one that has no such calls yet.
fn target(thread: &[&Step<'_>], threads: &[Vec<&Step<'_>>], beside: &HashSet<Uuid>) -> Option<usize> {
    let is_named = |call: &Step<'_>| call.llm.session().or(call.llm.thread()).or(call.llm.agent_id()).is_some();
    if !thread.iter().all(|call| call.gist.has_tools == Some(false) && !is_named(call)) {
        return None;
    }
    let asks = |call: &Step<'_>, of: &Step<'_>| {
        of.gist.has_tools == Some(true)
            && of.started_ms >= call.started_ms
            && !call.gist.said.text.is_empty()
            && of.gist.said == call.gist.said
    };
    let may_be = threads.iter().enumerate().filter(|(_, of)| {
        let is_asked = |call: &&Step<'_>| of.iter().any(|of| asks(call, of));
        thread.iter().all(is_asked)
    });
    may_be.min_by_key(|(_, of)| of.iter().filter(|call| beside.contains(&call.id)).count()).map(|(at, _)| at)
}
