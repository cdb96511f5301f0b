//! Where calls to others than models belong in a run (pure): to the call of a tool that they carry out, or else into the turn that
//! lasted at that time.

use std::collections::{HashMap, HashSet};

use super::attribution::{Kin, Processes, address, is_tool, only};
use super::build::as_tool;
use super::tree::{Run, Step, Thread, ToolCall, Turn};
use crate::event::{Outline, Ties};
use crate::llm::Llm;
use crate::store::Call;

/// When model calls began, by their rows, in Unix milliseconds.
type Starts = HashMap<i64, i64>;

/// Puts calls to others than models where they belong. They are handed in oldest first.
pub(super) fn place_others(run: &mut Run, others: Vec<Call>) {
    let (mut starts, mut processes, mut models) = (Starts::new(), Processes::default(), HashSet::new());
    for call in run.threads.iter().flat_map(|thread| &thread.turns).flat_map(Turn::model_calls) {
        starts.insert(call.call.id, call.call.started_at_ms);
        let ties = Outline::parse(&call.call.outline).ties;
        models.insert(address(&call.call, &ties).to_owned());
        processes.add(&ties);
    }
    for call in others {
        let (llm, ties) = (Llm::parse(&call.llm), Outline::parse(&call.outline).ties);
        if let Some(of) = llm.as_ref().and_then(Llm::tool).and_then(|tool| runs_over_mcp(run, tool, &call, &starts)) {
            of.over_mcp.push(call);
        } else if let Some(of) = names_url(run, &call, &ties, &starts, &models) {
            of.calls.push(call);
        } else if let Some(turn) = turn(run, &call, &thread_named(llm.as_ref(), &ties), processes.kin(&ties)) {
            turn.steps.push(Step::Other(call));
        } else {
            run.other.push(call);
        }
    }
    for turn in run.threads.iter_mut().flat_map(|thread| &mut thread.turns) {
        turn.steps.sort_by_key(|step| match step {
            Step::Model(call) => call.call.started_at_ms,
            Step::Tool(tool) => tool.called_ms,
            Step::Other(call) => call.started_at_ms,
        });
    }
}

/// The thread or sub-agent that a call names.
fn thread_named(llm: Option<&Llm>, ties: &Ties) -> Option<String> {
    let of_llm = llm.and_then(|llm| llm.thread().or(llm.agent_id()));
    of_llm.or(ties.thread.as_deref()).map(str::to_owned)
}

/// The calls to tools that were open when a call began.
fn open_tools<'r>(run: &'r mut Run, call: &Call, starts: &Starts) -> impl Iterator<Item = &'r mut ToolCall> {
    let is_open = |of: &&mut ToolCall| {
        let ended = of.result.as_ref().map_or(Some(i64::MAX), |result| starts.get(&result.to).copied());
        starts.get(&of.by).is_some_and(|start| *start <= call.started_at_ms)
            && ended.is_some_and(|ended| call.started_at_ms <= ended)
    };
    let steps = run.threads.iter_mut().flat_map(|thread| &mut thread.turns).flat_map(|turn| &mut turn.steps);
    steps.filter_map(as_tool).filter(is_open).collect::<Vec<_>>().into_iter()
}

/// The first open call of an agent to this tool.
fn runs_over_mcp<'r>(run: &'r mut Run, tool: &str, call: &Call, starts: &Starts) -> Option<&'r mut ToolCall> {
    open_tools(run, call, starts).find(|of| of.over_mcp.is_empty() && is_tool(&of.name, tool))
}

/// The open call to a tool whose arguments name the address, if there is only one. Agents call where their models are, too: there the
/// path must be named as well.
fn names_url<'r>(
    run: &'r mut Run,
    call: &Call,
    ties: &Ties,
    starts: &Starts,
    models: &HashSet<String>,
) -> Option<&'r mut ToolCall> {
    let address = address(call, ties);
    let url = format!("{address}{}", call.path);
    let wanted = if models.contains(address) { &url } else { address };
    only(open_tools(run, call, starts).filter(|of| has_word(&of.arguments.text, wanted)))
}

/// Whether a text names a host, with a port or a path if these are wanted: not as a part of another one.
fn has_word(text: &str, host: &str) -> bool {
    let is_part = |char: char| char.is_alphanumeric() || char == '-' || char == '_';
    !host.is_empty()
        && text.match_indices(host).any(|(at, _)| {
            let (before, after) = (&text[..at], &text[at + host.len()..]);
            let goes_on = after.strip_prefix('.').unwrap_or(after).starts_with(is_part);
            !before.ends_with(|char| is_part(char) || char == '.') && !goes_on
        })
}

/// The turn that lasted when a call began: of the thread that it names, or else of the first agent, which started the others. `None`:
/// there is none, another program made the call, or two agents that did not start each other were at work.
fn turn<'r>(run: &'r mut Run, call: &Call, thread: &Option<String>, kin: Kin) -> Option<&'r mut Turn> {
    let lasts = |turn: &Turn| turn.totals.start_ms <= call.started_at_ms && call.started_at_ms <= turn.totals.end_ms;
    let lasting = |thread: &Thread| thread.turns.iter().position(lasts);
    let named = run.threads.iter().position(|of| thread.is_some() && of.id == *thread);
    let at = match named {
        Some(at) => at,
        None if kin == Kin::Foreign => return None,
        None => {
            let mut at_work = run.threads.iter().enumerate().filter(|(_, thread)| lasting(thread).is_some());
            let (first, _) = at_work.next()?;
            if at_work.any(|(_, thread)| thread.parent.is_none()) {
                return None;
            }
            first
        }
    };
    let thread = run.threads.get_mut(at)?;
    let turn = lasting(thread)?;
    thread.turns.get_mut(turn)
}

#[cfg(test)]
mod tests {
    use super::super::build::testing::loaded;
    use super::super::build::tree;
    use super::super::id::RunId;
    use super::*;

    fn played() -> Run {
        tree(RunId::Proxy(1), vec![loaded(1, "a", ""), loaded(3, "a", ""), loaded(4, "b", ""), loaded(6, "b", "")])
    }

    fn at(id: i64, ties: Ties) -> Call {
        let outline = serde_json::to_string(&Outline { ties, ..Outline::default() }).unwrap();
        Call { llm: String::new(), outline, ..loaded(id, "", "").call }
    }

    fn rows(turn: &Turn) -> Vec<i64> {
        let row = |step: &Step| match step {
            Step::Model(of) => of.call.id,
            Step::Other(call) => call.id,
            Step::Tool(_) => 0,
        };
        turn.steps.iter().map(row).collect()
    }

    fn loose(run: &Run) -> Vec<i64> {
        run.other.iter().map(|call| call.id).collect()
    }

    #[test]
    fn calls_of_tools_stand_in_the_turn_that_lasted_then() {
        let mut run = played();
        place_others(&mut run, [0, 2, 5, 9].map(|id| at(id, Ties::default())).into());
        assert_eq!((rows(&run.threads[0].turns[0]), rows(&run.threads[1].turns[0])), (vec![1, 2, 3], vec![4, 5, 6]));
        assert_eq!(loose(&run), [0, 9]);
    }

    #[test]
    fn of_agents_that_work_at_once_the_one_that_is_named_made_the_call() {
        let mut run = tree(
            RunId::Proxy(1),
            vec![loaded(1, "a", ""), loaded(2, "b", ""), loaded(8, "a", ""), loaded(9, "b", "")],
        );
        let named = Ties { thread: Some("b".to_owned()), ..Ties::default() };
        place_others(&mut run, vec![at(4, Ties::default()), at(5, named)]);
        assert_eq!((loose(&run), rows(&run.threads[1].turns[0])), (vec![4], vec![2, 5, 9]));
    }

    #[test]
    fn a_call_of_another_program_is_in_no_turn() {
        let by = |process: &str| Ties { processes: vec![process.to_owned(), "1.1".to_owned()], ..Ties::default() };
        let mut calls = vec![loaded(1, "a", ""), loaded(5, "a", "")];
        calls[0].call.outline = at(1, by("7.1")).outline;
        let mut run = tree(RunId::Proxy(1), calls);
        place_others(&mut run, vec![at(2, by("7.1")), at(3, by("8.1")), at(4, Ties::default())]);
        assert_eq!((loose(&run), rows(&run.threads[0].turns[0])), (vec![3], vec![1, 2, 4, 5]));
    }

    #[test]
    fn a_host_is_named_as_a_whole() {
        for (text, is_named) in [
            ("curl https://a.test/x", true),
            ("curl a.test:80", true),
            ("see a.test.", true),
            ("https://b.a.test/", false),
            ("https://a.test.example/", false),
            ("https://xa.test", false),
            ("https://a.tests", false),
            ("", false),
            ("https://a.test:8080/", true),
        ] {
            assert_eq!(has_word(text, "a.test"), is_named, "{text}");
        }
        assert!(!has_word("x", "") && has_word("curl a.test:8080/x/y", "a.test:8080"));
        assert!(!has_word("curl a.test:80801", "a.test:8080") && !has_word("a.test/xy", "a.test/x"));
    }
}
