//! Which calls belong to one thread.

use std::collections::HashMap;

use uuid::Uuid;

use super::Step;

/// For each thread of a session its calls. All in the order in which they began.
pub(super) fn of<'s, 'a>(steps: &'s [Step<'a>]) -> Vec<Vec<&'s Step<'a>>> {
    let roots = roots(steps);
    let (mut places, mut threads) = (HashMap::new(), Vec::<Vec<&Step<'_>>>::new());
    for step in steps {
        // The main agent has no id, but its session has.
        let named = step.llm.thread().or(step.llm.agent_id()).or(step.llm.session().map(|_| ""));
        let key = named.map_or_else(|| root(&roots, step.id).to_string(), str::to_owned);
        let place = *places.entry(key).or_insert_with(|| {
            threads.push(Vec::new());
            threads.len() - 1
        });
        if let Some(calls) = threads.get_mut(place) {
            calls.push(step);
        }
    }
    threads
}

/// For each call that continues another: the first call of that conversation.
fn roots(steps: &[Step<'_>]) -> HashMap<Uuid, Uuid> {
    let mut roots = HashMap::new();
    for step in steps {
        if let Some(before) = step.continues {
            let root = root(&roots, before);
            roots.insert(step.id, root);
        }
    }
    roots
}

fn root(roots: &HashMap<Uuid, Uuid>, id: Uuid) -> Uuid {
    roots.get(&id).copied().unwrap_or(id)
}
