//! The list of runs. It reads the index alone, no events.

use std::collections::{BTreeMap, HashMap};

use super::attribution::Runs;
use super::id::RunId;
use super::totals::Totals;
use crate::llm::Llm;
use crate::store::{Condition, Entry, Fact, Facts, Filter, SessionRow, StoreError, Viewer};

/// A run, as lists show it.
#[derive(Debug, Clone, PartialEq)]
pub struct Listed {
    /// Its id.
    pub id: RunId,
    /// The agent, by what it says of itself.
    pub agent: Option<String>,
    /// The sessions of the proxy that its calls are in.
    pub sessions: Vec<i64>,
    /// The calls to each model.
    pub models: BTreeMap<String, u64>,
    /// Totals of its model calls.
    pub totals: Totals,
    /// Its other calls.
    pub other: Other,
    /// It is no run, but the calls of a session that several agents share, as far as nothing ties them to one of these.
    pub is_unattributed: bool,
    /// When its newest call began, in Unix milliseconds.
    pub last_ms: i64,
}

/// Calls to others than models.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Other {
    /// The number of calls.
    pub calls: u64,
    /// Those with an error.
    pub errors: u64,
    /// When the first began, in Unix milliseconds.
    pub start_ms: i64,
    /// When the last ended, in Unix milliseconds.
    pub end_ms: i64,
    /// When the last began, in Unix milliseconds.
    last_ms: i64,
}

/// The runs of the calls that match, the one with the newest call first.
///
/// # Errors
/// When the store cannot be read in time.
pub fn list(viewer: &Viewer, filter: &Filter) -> Result<Vec<Listed>, StoreError> {
    let (mut runs, mut others) = (HashMap::<RunId, Listed>::new(), HashMap::<i64, Other>::new());
    viewer.each_entry(filter, |entry| {
        let Some(facts) = model_call(&entry) else {
            others.entry(entry.session).or_default().add(entry.started_at_ms, entry.ended_at_ms(), entry.failed);
            return;
        };
        let id = RunId::of_entry(&entry, facts);
        let run = runs.entry(id.clone()).or_insert_with(|| Listed::new(id));
        run.last_ms = run.last_ms.max(entry.started_at_ms);
        run.totals.add_entry(&entry, facts);
        if run.agent.is_none() {
            run.agent = facts.agent.as_deref().map(str::to_owned);
        }
        if let Some(model) = facts.model.as_deref() {
            match run.models.get_mut(model) {
                Some(calls) => *calls += 1,
                None => drop(run.models.insert(model.to_owned(), 1)),
            }
        }
        if !run.sessions.contains(&entry.session) {
            run.sessions.push(entry.session);
        }
    })?;
    let mut runs_of_sessions = HashMap::<i64, Vec<RunId>>::new();
    for run in runs.values() {
        run.sessions.iter().for_each(|session| runs_of_sessions.entry(*session).or_default().push(run.id.clone()));
    }
    for (session, other) in others {
        let of_session = runs_of_sessions.remove(&session).unwrap_or_default();
        let made = match &of_session[..] {
            [] => HashMap::from([(RunId::Proxy(session), other)]),
            [only] => HashMap::from([(only.clone(), other)]),
            _ => attributed(viewer, filter, session)?,
        };
        let is_shared = of_session.len() > 1;
        for (id, other) in made {
            let run = runs.entry(id.clone()).or_insert_with(|| Listed { sessions: vec![session], ..Listed::new(id) });
            run.last_ms = run.last_ms.max(other.last_ms);
            run.other.join(&other);
            run.is_unattributed = is_shared && run.totals.calls == 0;
        }
    }
    let mut runs: Vec<Listed> = runs.into_values().collect();
    runs.sort_by(|one, other| other.last_ms.cmp(&one.last_ms).then_with(|| one.id.cmp(&other.id)));
    Ok(runs)
}

/// The calls to others than models of a session that several runs share, by the run that made them. The proxy's run has the rest.
fn attributed(viewer: &Viewer, filter: &Filter, session: i64) -> Result<HashMap<RunId, Other>, StoreError> {
    let runs = runs_of(viewer, session)?;
    let mut made = HashMap::<RunId, Other>::new();
    viewer.each(&Filter { session: Some(SessionRow::of(session)), ..filter.clone() }, |call| {
        if Llm::parse(&call.llm).is_none_or(|llm| !llm.is_model_call()) {
            let run = runs.of(&call).cloned().unwrap_or(RunId::Proxy(session));
            made.entry(run).or_default().add(call.started_at_ms, call.ended_at_ms(), !call.error.is_empty());
        }
    })?;
    Ok(made)
}

/// The runs of a session of the proxy.
fn runs_of(viewer: &Viewer, session: i64) -> Result<Runs, StoreError> {
    let mut model_calls = Vec::new();
    viewer.each_entry(&Filter { session: Some(SessionRow::of(session)), ..everything() }, |entry| {
        model_calls.extend(model_call(&entry).map(|_| entry.id));
    })?;
    runs_by(viewer, &model_calls)
}

/// The runs of a session of the proxy, by the rows of its model calls.
pub(super) fn runs_by(viewer: &Viewer, model_calls: &[i64]) -> Result<Runs, StoreError> {
    let mut runs = Runs::default();
    viewer.each_of(model_calls, |call| {
        if let Some(llm) = Llm::parse(&call.llm) {
            runs.add(&call, &llm);
        }
    })?;
    Ok(runs)
}

/// The run that is meant by a text: its id, the agent's own id of the session or the beginning of it, or a session of the proxy (its
/// number, its run id or its id in OTAS). `None`: there is none, or there are several.
///
/// # Errors
/// When the store cannot be read in time.
pub fn find(viewer: &Viewer, text: &str) -> Result<Option<RunId>, StoreError> {
    let text = text.trim();
    let Ok(id) = text.parse();
    let (agent, session) = match id {
        RunId::Agent(agent, session) => (agent, session),
        RunId::Proxy(_) => match viewer.session_named(text)? {
            Some(session) => return Ok(Some(RunId::Proxy(session.id()))),
            // An agent's id may begin with digits.
            None => (String::new(), text.to_owned()),
        },
    };
    let mut found: Vec<RunId> = Vec::new();
    viewer.each_entry(&everything(), |entry| {
        let run = model_call(&entry).map(|facts| RunId::of_entry(&entry, facts));
        let Some(RunId::Agent(of_agent, of_session)) = &run else { return };
        let is_meant =
            !session.is_empty() && of_session.starts_with(&session) && (agent.is_empty() || *of_agent == agent);
        if let Some(run) = run.filter(|run| is_meant && !found.contains(run)) {
            found.push(run);
        }
    })?;
    let is_exact = |id: &&RunId| matches!(id, RunId::Agent(_, of_session) if *of_session == session);
    match (found.iter().find(is_exact), &found[..]) {
        (Some(exact), _) => Ok(Some(exact.clone())),
        (None, [only]) => Ok(Some(only.clone())),
        (None, []) => Ok(viewer.session_named(text)?.map(|session| RunId::Proxy(session.id()))),
        (None, _) => Ok(None),
    }
}

/// The model calls whose facts may have this id. Only few others match.
pub(super) fn naming(session: &str) -> Filter {
    let conditions = vec![Condition::Is(Fact::Llm), Condition::Is(Fact::LlmText(session.to_owned()))];
    Filter { conditions, limit: usize::MAX, ..Filter::default() }
}

/// All calls.
pub(super) fn everything() -> Filter {
    Filter { limit: usize::MAX, ..Filter::default() }
}

/// The facts of a call to a model.
pub(super) fn model_call(entry: &Entry) -> Option<&Facts> {
    entry.facts.as_deref().filter(|facts| facts.is_model_call)
}

impl Listed {
    fn new(id: RunId) -> Self {
        let (agent, sessions, models) = (None, Vec::new(), BTreeMap::new());
        let (totals, other) = (Totals::default(), Other::default());
        Self { id, agent, sessions, models, totals, other, is_unattributed: false, last_ms: 0 }
    }
}

impl Other {
    fn add(&mut self, start_ms: i64, end_ms: i64, failed: bool) {
        self.join(&Self { calls: 1, errors: u64::from(failed), start_ms, end_ms, last_ms: start_ms });
    }

    fn join(&mut self, other: &Self) {
        self.start_ms = if self.calls == 0 { other.start_ms } else { self.start_ms.min(other.start_ms) };
        self.end_ms = self.end_ms.max(other.end_ms);
        self.last_ms = self.last_ms.max(other.last_ms);
        self.calls += other.calls;
        self.errors += other.errors;
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::store::{NewEvent, Store};

    #[test]
    fn a_run_is_named_by_the_beginning_of_its_id_even_if_that_is_a_number() {
        let folder = tempfile::tempdir().unwrap();
        let store = Store::open(&folder.path().join("events.db")).unwrap();
        let row = store.begin_session("run-1", "key-1", "{}").unwrap();
        let ids = ["01970819-5b7d", "01970819-6c1e", "77770819-5b7d"];
        let facts = ids.map(|id| {
            json!({ "otas_proxy.llm.api": "anthropic.messages", "gen_ai.agent.name": "claude", "session.id": id })
                .to_string()
        });
        let events: Vec<NewEvent<'_>> = facts.iter().map(|llm| NewEvent { llm, ..NewEvent::plain(b"{}") }).collect();
        store.writer().unwrap().append(row, &events).unwrap();
        let viewer = store.viewer();
        let found = |text: &str| find(&viewer, text).unwrap();
        let agent = |id: &str| Some(RunId::Agent("claude".to_owned(), id.to_owned()));
        assert_eq!((found("77770819"), found("7777"), found(ids[2])), (agent(ids[2]), agent(ids[2]), agent(ids[2])));
        assert_eq!((found("01970819"), found("01970819-6")), (None, agent(ids[1])), "two begin so");
        assert_eq!(found(&row.id().to_string()), Some(RunId::Proxy(row.id())));
        assert_eq!((found("run-1"), found("99")), (Some(RunId::Proxy(row.id())), None));
    }
}
