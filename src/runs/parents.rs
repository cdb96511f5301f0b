//! What started the threads of sub-agents: the thread that the agent names; else the open call to a tool whose prompt is what the
//! thread begins with.

use uuid::Uuid;

use super::{Parent, Step};

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
    let stated = stated.filter(|thread| *thread != at);
    let is_named = first.llm.agent_id().is_some();
    if at == 0 || stated.is_none() && first.parent_thread.is_none() && !is_named && first.llm.session().is_some() {
        return stated.map(|thread| Parent { thread, tool: None });
    }
    let may_be = threads.iter().enumerate().filter(|(place, _)| *place != at && stated.is_none_or(|it| it == *place));
    let found =
        may_be.flat_map(|(place, calls)| calls.iter().map(move |call| (place, *call))).find_map(|(place, call)| {
            // An agent may act on an answer before its end.
            let mut tools = call.gist.called.iter().filter(|_| call.started_ms <= first.started_ms);
            let tool = tools.find(|called| {
                first.gist.begins_with_task(called)
                    && !taken.iter().any(|(by, known)| *by == call.id && *known == called.id)
                    // An agent that names the parent may go on at once, before the sub-agent begins.
                    && (stated.is_some() || is_open(call, &called.id, threads.get(place), first.started_ms))
            })?;
            Some((place, call.id, tool.id.clone()))
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
    let after = calls.into_iter().flatten().skip_while(|call| call.id != by.id).skip(1);
    let mut between = after.take_while(|call| call.started_ms < then_ms);
    !between.any(|call| call.gist.returned.iter().any(|returned| returned.id == id && !id.is_empty()))
}
