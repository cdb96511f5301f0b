//! The list of runs. It reads the index alone, no events.

use std::collections::{BTreeMap, HashMap};

use super::attribution::Runs;
use super::id::RunId;
use super::totals::Totals;
use crate::llm::Llm;
use crate::store::{Condition, Fact, Filter, SessionRow, StoreError, Viewer};

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
    viewer.each(filter, |call| {
        let llm = Llm::parse(&call.llm).filter(Llm::is_model_call);
        let Some(llm) = llm else {
            others.entry(call.session).or_default().add(
                call.started_at_ms,
                call.ended_at_ms(),
                !call.error.is_empty(),
            );
            return;
        };
        let id = RunId::of(call.session, Some(&llm));
        let run = runs.entry(id.clone()).or_insert_with(|| Listed::new(id));
        run.last_ms = run.last_ms.max(call.started_at_ms);
        run.totals.add_call(&call, &llm);
        if run.agent.is_none() {
            run.agent = llm.agent().map(str::to_owned);
        }
        if let Some(model) = llm.model() {
            *run.models.entry(model.to_owned()).or_default() += 1;
        }
        if !run.sessions.contains(&call.session) {
            run.sessions.push(call.session);
        }
    })?;
    for (session, other) in others {
        let of_session: Vec<RunId> =
            runs.values().filter(|run| run.sessions.contains(&session)).map(|run| run.id.clone()).collect();
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
pub(super) fn runs_of(viewer: &Viewer, session: i64) -> Result<Runs, StoreError> {
    let (session, conditions) = (Some(SessionRow::of(session)), vec![Condition::Is(Fact::Llm)]);
    let mut runs = Runs::default();
    viewer.each(&Filter { session, conditions, limit: usize::MAX, ..Filter::default() }, |call| {
        if let Some(llm) = Llm::parse(&call.llm).filter(Llm::is_model_call) {
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
    viewer.each(&naming(&session), |call| {
        let id = RunId::of(call.session, Llm::parse(&call.llm).as_ref());
        let RunId::Agent(of_agent, of_session) = &id else { return };
        let is_meant =
            !session.is_empty() && of_session.starts_with(&session) && (agent.is_empty() || *of_agent == agent);
        if is_meant && !found.contains(&id) {
            found.push(id);
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
