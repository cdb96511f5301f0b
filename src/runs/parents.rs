//! What started the threads of sub-agents: the thread that the agent names; else the open call to a tool whose prompt is what the
//! thread begins with.

use serde_json::Value;
use uuid::Uuid;

use super::{Parent, Step, called};
use crate::conversation::Block;

/// Members of a tool's arguments that hold the task of a sub-agent.
const TASKS: [&str; 6] = ["prompt", "task", "message", "instructions", "input", "description"];
/// A shorter task may occur in any message by chance.
const TASK_MIN_BYTES: usize = 8;

/// The parent of each thread of a session.
pub(super) fn of(threads: &[Vec<&Step<'_>>]) -> Vec<Option<Parent>> {
    // Each call to a tool starts one sub-agent: two may have the same task.
    let mut taken: Vec<(Uuid, String)> = Vec::new();
    (0..threads.len()).map(|at| parent(at, threads, &mut taken)).collect()
}

fn parent(at: usize, threads: &[Vec<&Step<'_>>], taken: &mut Vec<(Uuid, String)>) -> Option<Parent> {
    let first = *threads.get(at)?.first()?;
    let stated = first.parent_thread.and_then(|id| {
        threads.iter().position(|calls| calls.first().is_some_and(|call| call.llm.thread() == Some(id)))
    });
    let is_named = first.llm.agent_id().is_some();
    if at == 0 || stated.is_none() && first.parent_thread.is_none() && !is_named && first.llm.session().is_some() {
        return stated.map(|thread| Parent { thread, tool: None });
    }
    let may_be = threads.iter().enumerate().filter(|(place, _)| *place != at && stated.is_none_or(|it| it == *place));
    let found =
        may_be.flat_map(|(place, calls)| calls.iter().map(move |call| (place, *call))).find_map(|(place, call)| {
            let mut tools = called(call).filter(|_| call.ended_ms <= first.started_ms);
            let tool = tools.find(|(id, _, arguments)| {
                !taken.iter().any(|(by, known)| *by == call.id && known == id)
                    && is_open(call, id, threads.get(place), first.started_ms)
                    && task(arguments).is_some_and(|task| begins_with(first, &task))
            })?;
            Some((place, call.id, tool.0.to_owned()))
        });
    if let Some((thread, by, id)) = found {
        taken.push((by, id.clone()));
        return Some(Parent { thread, tool: Some((by, id)) });
    }
    // A named sub-agent was started by something.
    stated.or(is_named.then_some(0)).map(|thread| Parent { thread, tool: None })
}

/// Whether no call of the thread had brought the result of this tool call by then.
fn is_open(by: &Step<'_>, id: &str, calls: Option<&Vec<&Step<'_>>>, then_ms: i64) -> bool {
    let between = calls.into_iter().flatten().filter(|call| call.id != by.id && call.started_ms < then_ms);
    let mut results =
        between.flat_map(|call| &call.conversation.request.messages).flat_map(|message| &message.blocks);
    !results.any(|block| matches!(block, Block::ToolResult { id: known, .. } if known == id && !id.is_empty()))
}

/// The task in the arguments of a tool.
fn task(arguments: &str) -> Option<String> {
    let arguments: Value = serde_json::from_str(arguments).ok()?;
    let task = TASKS.iter().find_map(|name| arguments[*name].as_str())?.trim();
    (task.len() >= TASK_MIN_BYTES).then(|| task.to_owned())
}

/// Whether the thread's first message of the user has this text. Agents put reminders around it.
fn begins_with(first: &Step<'_>, task: &str) -> bool {
    let mut messages = first.conversation.request.messages.iter();
    let user = messages.find(|message| message.role == "user");
    user.is_some_and(|message| message.blocks.iter().filter_map(Block::text).any(|text| text.contains(task)))
}
