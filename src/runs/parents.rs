//! What started the threads of sub-agents: the thread that the agent names, and the call to a tool whose result names the sub-agent;
//! else the open call to a tool whose prompt is what the thread begins with.

use std::collections::HashSet;

use uuid::Uuid;

use super::gist::Called;
use super::{Parent, Step};

/// The calls to tools that started a thread: the call whose answer called it, and its id.
type Taken = Vec<(Uuid, String)>;

/// The parent of each thread of a session. `beside`: calls beside the conversations.
pub(super) fn of<'s, 'a>(threads: &[Vec<&'s Step<'a>>], beside: &HashSet<Uuid>) -> Vec<Option<Parent>> {
    let main = |calls: &Vec<&'s Step<'a>>| calls.iter().filter(|call| !beside.contains(&call.id)).copied().collect();
    let threads: &[Vec<&Step<'_>>] = &threads.iter().map(main).collect::<Vec<_>>();
    // Each call to a tool starts one sub-agent: two may have the same task.
    let mut taken = Taken::new();
    // What a result proves is not left to the order.
    let proved: Vec<_> = (0..threads.len()).map(|at| find(at, threads, &mut taken, true)).collect();
    let rest = proved.into_iter().enumerate();
    rest.map(|(at, proved)| proved.or_else(|| parent(at, threads, &mut taken))).collect()
}

fn parent(at: usize, threads: &[Vec<&Step<'_>>], taken: &mut Taken) -> Option<Parent> {
    let first = *threads.get(at)?.first()?;
    let stated = stated(at, threads);
    let is_named = first.llm.agent_id().is_some();
    if at == 0 || stated.is_none() && first.parent_thread.is_none() && !is_named && first.llm.session().is_some() {
        return stated.map(|thread| Parent { thread, tool: None });
    }
    // A named sub-agent was started by something.
    let unknown = || stated.or(is_named.then_some(0)).map(|thread| Parent { thread, tool: None });
    find(at, threads, taken, false).or_else(unknown)
}

/// The thread that the first call names as its parent.
fn stated(at: usize, threads: &[Vec<&Step<'_>>]) -> Option<usize> {
    let id = threads.get(at)?.first()?.parent_thread?;
    let is_it = |calls: &Vec<&Step<'_>>| calls.first().is_some_and(|call| call.llm.thread() == Some(id));
    threads.iter().position(is_it).filter(|thread| *thread != at)
}

/// The call to a tool that started the thread. `proved`: its result must name the thread.
fn find(at: usize, threads: &[Vec<&Step<'_>>], taken: &mut Taken, proved: bool) -> Option<Parent> {
    let first = *threads.get(at)?.first()?;
    let id = first.llm.thread().or(first.llm.agent_id());
    let stated = stated(at, threads);
    let may_be = threads.iter().enumerate().filter(|(place, _)| *place != at && stated.is_none_or(|it| it == *place));
    // An agent may act on an answer before its end.
    let calls = may_be.flat_map(|(place, calls)| calls.iter().map(move |call| (place, *call)));
    let mut before = calls.filter(|(_, call)| call.started_ms <= first.started_ms);
    let (thread, by, id) = before.find_map(|(place, call)| {
        let later = threads.get(place)?.iter().skip_while(|later| later.id != call.id).skip(1);
        let started = |called: &&Called| match proved {
            true => called.is_task() && later.clone().any(|of| of.gist.names(&called.id, id)),
            false => {
                // An agent that names the parent may go on at once, before the sub-agent begins.
                let mut between = later.clone().take_while(|later| later.started_ms < first.started_ms);
                first.gist.begins_with_task(called)
                    && (stated.is_some() || !between.any(|of| of.gist.has_returned(&called.id)))
            }
        };
        let is_free = |called: &&Called| !taken.iter().any(|(by, known)| *by == call.id && *known == called.id);
        let tool = call.gist.called.iter().filter(is_free).find(started)?;
        Some((place, call.id, tool.id.clone()))
    })?;
    taken.push((by, id.clone()));
    Some(Parent { thread, tool: Some((by, id)) })
}
