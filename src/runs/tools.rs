//! The calls to tools of an answer, and their results in a later request.

use std::collections::HashMap;

use super::gist::Called;
use super::{Step, ToolOutcome, ToolUse};

/// The calls to tools of this model call. `later`: the calls of its thread after it.
pub(super) fn of(call: &Step<'_>, later: &[&Step<'_>]) -> Vec<ToolUse> {
    let (mut seen, mut tools) = (HashMap::<&str, usize>::new(), Vec::new());
    for Called { id, name, arguments, .. } in &call.gist.called {
        // Where tools have no ids, results come in the order of the calls.
        let nth = seen.entry(id).or_default();
        let result = later.iter().find_map(|next| outcome(call, next, id, *nth));
        *nth += 1;
        let (id, name, arguments) = (id.clone(), name.clone(), arguments.clone());
        tools.push(ToolUse { by: call.id, id, name, arguments, result });
    }
    tools
}

/// The result that a later call brings. `nth`: which one of those with this id, among its new messages.
fn outcome(call: &Step<'_>, next: &Step<'_>, id: &str, nth: usize) -> Option<ToolOutcome> {
    let returned = next.gist.returned.iter().filter(|returned| returned.id == id).nth(nth)?;
    let at_most_ms = u64::try_from(next.started_ms - call.ended_ms).unwrap_or(0);
    Some(ToolOutcome { to: next.id, content: returned.result.clone(), is_error: returned.is_error, at_most_ms })
}
