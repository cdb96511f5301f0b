//! Which run made a call to others than models, where several runs share a session of the proxy (pure). A guess is not made: what
//! nothing proves is made by nobody.
//!
//! ```text
//!  the call names its session                              that run
//!  its process, or an ancestor, made model calls           the runs of these
//!    its process started those that made model calls       the same
//!  a tool of this name is called over MCP meanwhile        the run whose model called it
//!  a tool is called meanwhile, with a URL of this host     the same
//! ```

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};

use super::id::RunId;
use crate::event::{Outline, Ties};
use crate::llm::Llm;
use crate::store::Call;

/// The runs of a session of the proxy, by their model calls.
#[derive(Default)]
pub(super) struct Runs {
    runs: Vec<Active>,
    /// Places in `runs`: by id, by the agent's own id of the session, by the processes that made model calls, by their ancestors.
    by_id: HashMap<RunId, usize>,
    by_session: HashMap<String, BTreeSet<usize>>,
    by_process: HashMap<String, BTreeSet<usize>>,
    by_ancestor: HashMap<String, BTreeSet<usize>>,
    /// Where the models are.
    models: HashSet<String>,
    /// The hosts that tools were called with.
    hosts: HashSet<String>,
}

/// A run, and what its model calls show.
struct Active {
    id: RunId,
    processes: Processes,
    start_ms: i64,
    end_ms: i64,
    /// By thread, then by when they began: the tools that the answers called.
    asked: HashMap<String, BTreeMap<(i64, i64), Tools>>,
}

/// The tools that an answer called.
struct Tools {
    names: Vec<String>,
    hosts: Vec<String>,
}

/// The processes that made model calls.
#[derive(Default)]
pub(super) struct Processes {
    own: HashSet<String>,
    /// Their ancestors.
    above: HashSet<String>,
}

/// How a call's process is related to those that made model calls.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kin {
    /// It is one of them or a descendant, so many steps below. Or it started them.
    Near(usize),
    /// It is neither.
    Foreign,
    /// The processes are not known.
    Unknown,
}

/// A launcher is further away than any descendant.
const LAUNCHER: usize = usize::MAX;

impl Processes {
    pub(super) fn add(&mut self, ties: &Ties) {
        let mut line = ties.processes.iter().cloned();
        self.own.extend(line.next());
        self.above.extend(line);
    }

    pub(super) fn kin(&self, ties: &Ties) -> Kin {
        let Some(process) = ties.processes.first().filter(|_| !self.own.is_empty()) else { return Kin::Unknown };
        match ties.processes.iter().position(|one| self.own.contains(one)) {
            Some(steps) => Kin::Near(steps),
            None if self.above.contains(process) => Kin::Near(LAUNCHER),
            None => Kin::Foreign,
        }
    }
}

impl Runs {
    /// Adds a model call.
    pub(super) fn add(&mut self, call: &Call, llm: &Llm) {
        let id = RunId::of(call.session, Some(llm));
        let ties = Outline::parse(&call.outline).ties;
        self.models.insert(address(call, &ties).to_owned());
        let at = self.place(id, call.started_at_ms);
        let (process, ancestors) =
            ties.processes.split_first().map_or((None, &[][..]), |(one, more)| (Some(one), more));
        process.into_iter().for_each(|process| note(&mut self.by_process, process, at));
        ancestors.iter().for_each(|ancestor| note(&mut self.by_ancestor, ancestor, at));
        self.hosts.extend(ties.hosts.iter().cloned());
        let Some(run) = self.runs.get_mut(at) else { return };
        run.start_ms = run.start_ms.min(call.started_at_ms);
        run.end_ms = run.end_ms.max(call.ended_at_ms());
        run.processes.add(&ties);
        let names = llm.tool_calls().unwrap_or_default().split(',').map(|name| name.trim().to_owned());
        let tools = Tools { names: names.filter(|name| !name.is_empty()).collect(), hosts: ties.hosts };
        let thread = llm.thread().or(llm.agent_id()).unwrap_or_default().to_owned();
        run.asked.entry(thread).or_default().insert((call.started_at_ms, call.id), tools);
    }

    /// The place of a run, which may be new.
    fn place(&mut self, id: RunId, start_ms: i64) -> usize {
        let next = self.runs.len();
        let at = *self.by_id.entry(id.clone()).or_insert(next);
        if at == next {
            if let RunId::Agent(_, session) = &id {
                note(&mut self.by_session, session, at);
            }
            self.runs.push(Active::new(id, start_ms));
        }
        at
    }

    /// Whether there are several.
    pub(super) fn are_several(&self) -> bool {
        self.runs.len() > 1
    }

    /// The run of a call to others than models. `None`: it is not known, or there is none.
    pub(super) fn of(&self, call: &Call) -> Option<&RunId> {
        if let [only] = &self.runs[..] {
            return Some(&only.id);
        }
        let (ties, llm) = (Outline::parse(&call.outline).ties, Llm::parse(&call.llm));
        let session = llm.as_ref().and_then(Llm::session).or(ties.session.as_deref());
        if let Some(named) = only(self.at(session.and_then(|session| self.by_session.get(session)))) {
            return Some(&named.id);
        }
        let near = self.near(&ties, call.started_at_ms);
        if let [only] = near[..] {
            return Some(&only.id);
        }
        let (tool, address) = (llm.as_ref().and_then(Llm::tool), address(call, &ties));
        // Agents call where their models are, too.
        if tool.is_none() && (self.models.contains(address) || !self.hosts.contains(address)) {
            return None;
        }
        // If none is near, those whose processes are not known may have made it.
        let is_unknown = |run: &&Active| near.is_empty() && run.processes.kin(&ties) == Kin::Unknown;
        let may_be = near.iter().copied().chain(self.runs.iter().filter(is_unknown));
        let uses = |run: &&Active| match tool {
            Some(tool) => {
                run.is_calling(call.started_at_ms, |tools| tools.names.iter().any(|name| is_tool(name, tool)))
            }
            None => run.is_calling(call.started_at_ms, |tools| tools.hosts.iter().any(|host| host == address)),
        };
        only(may_be.filter(uses)).map(|run| &run.id)
    }

    /// The runs whose model calls were made by the call's process or the nearest of its ancestors, or by processes that it started.
    /// If there are several, one after the other, those that lasted then.
    fn near(&self, ties: &Ties, then_ms: i64) -> Vec<&Active> {
        let made = ties.processes.iter().find_map(|process| self.by_process.get(process));
        let launched = || self.by_ancestor.get(ties.processes.first()?);
        let near: Vec<&Active> = self.at(made.or_else(launched)).collect();
        let lasted: Vec<&Active> =
            near.iter().copied().filter(|run| run.start_ms <= then_ms && then_ms <= run.end_ms).collect();
        if lasted.is_empty() { near } else { lasted }
    }

    /// The runs at these places.
    fn at<'a>(&'a self, places: Option<&'a BTreeSet<usize>>) -> impl Iterator<Item = &'a Active> {
        places.into_iter().flatten().filter_map(|at| self.runs.get(*at))
    }
}

/// Adds a place under a key.
fn note(places: &mut HashMap<String, BTreeSet<usize>>, key: &str, at: usize) {
    if let Some(places) = places.get_mut(key) {
        places.insert(at);
    } else {
        places.insert(key.to_owned(), BTreeSet::from([at]));
    }
}

impl Active {
    fn new(id: RunId, start_ms: i64) -> Self {
        Self { id, processes: Processes::default(), start_ms, end_ms: start_ms, asked: HashMap::new() }
    }

    /// Whether the newest answer of one of its threads had called such a tool by then: its next call brings the result.
    fn is_calling(&self, then_ms: i64, is_one: impl Fn(&Tools) -> bool) -> bool {
        self.asked
            .values()
            .any(|calls| calls.range(..=(then_ms, i64::MAX)).next_back().is_some_and(|(_, of)| is_one(of)))
    }
}

/// Whether an agent's name of a tool is that of a tool of an MCP server. The agent may put the server before it: `mcp__server__tool`.
pub(super) fn is_tool(name: &str, over_mcp: &str) -> bool {
    let before = name.strip_suffix(over_mcp);
    before.is_some_and(|before| before.is_empty() || before.ends_with(['_', '.', '/', '-', ':']))
}

/// Where a call went: the host, with the port if it is not the usual one.
pub(super) fn address<'a>(call: &'a Call, ties: &'a Ties) -> &'a str {
    ties.address.as_deref().unwrap_or(&call.host)
}

/// The only one. `None`: there is none, or there are several.
pub(super) fn only<T>(mut all: impl Iterator<Item = T>) -> Option<T> {
    all.next().filter(|_| all.next().is_none())
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;
    use crate::llm::names;

    fn call(id: i64, at_ms: i64, llm: &Value, ties: Ties) -> Call {
        let outline = serde_json::to_string(&Outline { ties, ..Outline::default() }).unwrap();
        Call {
            id,
            session: 1,
            started_at_ms: at_ms,
            method: "POST".to_owned(),
            host: if llm[names::OUTPUT_TOKENS].is_null() { "docs.test" } else { "model.test" }.to_owned(),
            path: "/".to_owned(),
            status_code: 200,
            latency_ms: 10.0,
            request_bytes: 0,
            response_bytes: 0,
            error: String::new(),
            outline,
            llm: if llm.is_null() { String::new() } else { llm.to_string() },
        }
    }

    fn of(processes: &[&str]) -> Ties {
        Ties { processes: processes.iter().map(|it| (*it).to_owned()).collect(), ..Ties::default() }
    }

    fn model(id: i64, at_ms: i64, session: &str, tools: &str, ties: Ties) -> Call {
        let facts = json!({ names::AGENT_NAME: "claude", names::SESSION: session, names::OUTPUT_TOKENS: 1, names::TOOL_CALLS: tools });
        call(id, at_ms, &facts, ties)
    }

    fn runs(calls: &[Call]) -> Runs {
        let mut runs = Runs::default();
        calls.iter().for_each(|call| runs.add(call, &Llm::parse(&call.llm).unwrap()));
        runs
    }

    fn made_by(runs: &Runs, call: &Call) -> Option<String> {
        runs.of(call).map(ToString::to_string)
    }

    fn some(session: &str) -> Option<String> {
        Some(format!("claude:{session}"))
    }

    #[test]
    fn the_process_that_made_model_calls_or_started_another_made_the_call() {
        let runs = runs(&[
            model(1, 1_000, "a", "", of(&["10.1", "9.1"])),
            model(2, 1_000, "b", "", of(&["20.1", "9.1"])),
            model(3, 1_000, "c", "", of(&["31.1", "30.1", "9.1"])),
        ]);
        let by = |processes: &[&str]| made_by(&runs, &call(9, 1_500, &Value::Null, of(processes)));
        assert_eq!(by(&["10.1", "9.1"]), some("a"));
        assert_eq!(by(&["12.1", "11.1", "20.1", "9.1"]), some("b"), "a program that its tool started");
        assert_eq!(by(&["30.1", "9.1"]), some("c"), "the agent's launcher");
        assert_eq!(by(&["9.1"]), None, "the shell that started all of them");
        assert_eq!(by(&["40.1", "9.1"]), None, "another program of that shell");
        assert_eq!(by(&["10.2", "9.1"]), None, "the number of the process was used again");
        assert_eq!(by(&[]), None);
    }

    #[test]
    fn of_the_sessions_of_one_process_the_one_that_lasted_then_made_the_call() {
        let one = || of(&["10.1"]);
        let runs = runs(&[
            model(1, 1_000, "a", "", one()),
            model(2, 2_000, "a", "", one()),
            model(3, 3_000, "b", "", one()),
            model(4, 5_000, "b", "", one()),
            model(5, 4_000, "c", "", one()),
            model(6, 4_500, "c", "", one()),
        ]);
        let at = |at_ms| made_by(&runs, &call(9, at_ms, &Value::Null, one()));
        assert_eq!((at(1_500), at(3_500)), (some("a"), some("b")));
        assert_eq!((at(4_200), at(2_500)), (None, None), "two lasted, or none");
    }

    #[test]
    fn a_call_that_names_its_session_or_is_one_of_an_open_tool_call_has_its_run() {
        let to = |host: &str| Ties { hosts: vec![host.to_owned()], ..Ties::default() };
        let runs = runs(&[
            model(1, 1_000, "a", "mcp__wiki__search,Bash", to("docs.test")),
            model(2, 5_000, "a", "", Ties::default()),
            model(3, 1_500, "b", "search", to("other.test")),
            model(4, 3_000, "b", "Read", Ties::default()),
        ]);
        let named = Ties { session: Some("b".to_owned()), ..Ties::default() };
        assert_eq!(made_by(&runs, &call(9, 0, &Value::Null, named)), some("b"));
        let named = json!({ names::SESSION: "a", names::MCP_METHOD: "initialize" });
        assert_eq!(made_by(&runs, &call(9, 0, &named, Ties::default())), some("a"));
        let over_mcp = json!({ names::MCP_METHOD: "tools/call", names::TOOL: "search" });
        let tool = |at_ms| made_by(&runs, &call(9, at_ms, &over_mcp, Ties::default()));
        assert_eq!((tool(500), tool(1_200), tool(2_000), tool(4_000)), (None, some("a"), None, some("a")));
        let plain = |at_ms| made_by(&runs, &call(9, at_ms, &Value::Null, Ties::default()));
        assert_eq!((plain(2_000), plain(6_000)), (some("a"), None));
    }

    #[test]
    fn the_only_run_of_a_session_made_all_its_calls_and_no_run_none() {
        let one = runs(&[model(1, 1_000, "a", "", of(&["10.1"]))]);
        assert_eq!(made_by(&one, &call(9, 0, &Value::Null, of(&["40.1"]))), some("a"));
        assert_eq!(made_by(&Runs::default(), &call(9, 0, &Value::Null, of(&["40.1"]))), None);
    }
}
