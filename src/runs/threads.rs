//! Which calls belong to one session, and which of them to one thread.

use std::collections::HashMap;

use uuid::Uuid;

use super::Step;

/// For each session its threads, for each thread its calls. All in the order in which they began.
pub(super) fn sessions<'s, 'a>(steps: &'s [Step<'a>]) -> Vec<Vec<Vec<&'s Step<'a>>>> {
    let roots = roots(steps);
    let mut sessions = Groups::default();
    for step in steps {
        let key = match step.llm.session() {
            Some(id) => (step.llm.agent().unwrap_or_default().to_owned(), id.to_owned()),
            None => (String::new(), root(&roots, step.id).to_string()),
        };
        sessions.add(key, step);
    }
    sessions.0.into_iter().map(|(_, calls)| threads(calls, &roots)).collect()
}

fn threads<'s, 'a>(calls: Vec<&'s Step<'a>>, roots: &HashMap<Uuid, Uuid>) -> Vec<Vec<&'s Step<'a>>> {
    let mut threads = Groups::default();
    for step in calls {
        // The main agent has no id, but its session has.
        let named = step.llm.thread().or(step.llm.agent_id()).or(step.llm.session().map(|_| ""));
        threads.add(named.map_or_else(|| root(roots, step.id).to_string(), str::to_owned), step);
    }
    threads.0.into_iter().map(|(_, calls)| calls).collect()
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

/// Groups in the order in which they began.
struct Groups<K, V>(Vec<(K, Vec<V>)>);

impl<K, V> Default for Groups<K, V> {
    fn default() -> Self {
        Self(Vec::new())
    }
}

impl<K: PartialEq, V> Groups<K, V> {
    fn add(&mut self, key: K, value: V) {
        match self.0.iter_mut().rfind(|(known, _)| *known == key) {
            Some((_, values)) => values.push(value),
            None => self.0.push((key, vec![value])),
        }
    }
}
