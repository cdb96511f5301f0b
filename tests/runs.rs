//! Runs of agents, from their calls through the proxy to the tree.

pub(crate) mod agents;
pub(crate) mod commands;
#[cfg(target_os = "linux")]
mod shared;

use std::time::Instant;

use otas_proxy::config::Config;
use otas_proxy::prices::Prices;
use otas_proxy::run_view::{self, Limits, Miss, Run, RunId, Step, Thread};
use otas_proxy::store::{Filter, Viewer};
use serde_json::{Value, json};

use self::agents::{Claude, Codex, Model, Tokens, function, get, message, over_mcp, text, uses};
use crate::support::proxy::{Running, TestProxy};

/// A result of a tool: about 50 of them make 400 KiB.
const RESULT_BYTES: usize = 9_000;
/// The same task for two sub-agents.
const TASK: &str = "Look for the callers of the parser, and list them.";
pub(crate) const SESSION: &str = "0b9f5d4e-8c55-4bb1-a7a5-7f0c4c2b9d01";
const OTHER: &str = "7d0a3c11-1111-4bb1-a7a5-7f0c4c2b9d02";
const OF_CODEX: &str = "019a0000-2222-7bb1-a7a5-7f0c4c2b9d03";

fn tokens(uncached: u64, read: u64, written: u64) -> Tokens {
    Tokens { uncached, read, written, output: 10 }
}

fn read(viewer: &Viewer, agent: &str, session: &str) -> Run {
    let id = RunId::Agent(agent.to_owned(), session.to_owned());
    run_view::read(viewer, &id, &Limits::default()).unwrap().unwrap()
}

fn everything() -> Filter {
    Filter { limit: usize::MAX, ..Filter::default() }
}

fn misses(thread: &Thread) -> Vec<&Miss> {
    thread.turns.iter().flat_map(|turn| turn.model_calls()).filter_map(|call| call.miss.as_ref()).collect()
}

/// Prices of the models that are played.
fn prices(config: &mut Config) {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("prices.toml");
    let model = "[[models]]\nmodel = 'm-*'\ninput = 2\noutput = 10\ncache_read = 0.2\ncache_write = 2.5\n";
    std::fs::write(&file, format!("version = '1'\ncurrency = 'USD'\n{model}")).unwrap();
    config.event.prices = Prices::read(&file).unwrap();
}

/// A session of 60 calls of Claude Code: 48 of its main agent, 12 of three sub-agents.
struct LongRun<'a> {
    main: Claude<'a>,
    subs: [Claude<'a>; 3],
    cached: u64,
    sent: Tokens,
}

impl<'a> LongRun<'a> {
    fn new(proxy: &'a Running, model: &'a Model) -> Self {
        let mut main = Claude::new(proxy, model, SESSION);
        main.says("Tidy the parser up.");
        let subs = ["a1", "a2", "a3"].map(|agent| main.sub_agent(agent));
        Self { main, subs, cached: 0, sent: Tokens::default() }
    }

    /// The next call of the main agent. `missed`: the cache is read only so far.
    async fn main(&mut self, answer: &[Value], missed: Option<u64>) {
        let read = missed.unwrap_or(self.cached);
        let tokens = tokens(5, read, 2_000 + self.cached - read);
        self.cached = read + tokens.written;
        self.main.call(answer, tokens).await;
        self.count(tokens);
    }

    async fn sub(&mut self, at: usize, answer: &[Value], tokens: Tokens) {
        self.subs[at].call(answer, tokens).await;
        self.count(tokens);
    }

    fn count(&mut self, tokens: Tokens) {
        self.sent.uncached += tokens.uncached;
        self.sent.read += tokens.read;
        self.sent.written += tokens.written;
        self.sent.output += tokens.output;
    }

    /// Step `n` of 48, and what belongs to it.
    async fn step(&mut self, n: usize) {
        let (id, result) = (format!("toolu_{n}"), "x".repeat(RESULT_BYTES));
        match n {
            // Two sub-agents with the same task, at the same time.
            10 => {
                let task = |id: &str| uses(id, "Agent", json!({ "description": "callers", "prompt": TASK }));
                self.main(&[text("I ask two helpers."), task("toolu_a1"), task("toolu_a2")], None).await;
                for at in [0, 1] {
                    self.subs[at].says(TASK);
                    self.sub(at, &[uses("toolu_s", "Bash", json!({ "command": "rg parse" }))], tokens(9, 0, 500))
                        .await;
                }
                for calls in 0..2 {
                    for at in [0, 1] {
                        let id = if calls == 0 { "toolu_s" } else { "toolu_t" };
                        self.subs[at].results(&[(id, "three files", false)]);
                        self.sub(at, &[uses("toolu_t", "Bash", json!({ "command": "cat" }))], tokens(9, 500, 0))
                            .await;
                    }
                }
                for at in [0, 1] {
                    self.subs[at].results(&[("toolu_t", "text", false)]);
                    self.sub(at, &[text("Found three.")], tokens(9, 500, 0)).await;
                }
                self.main.results(&[("toolu_a1", "Found three.", false), ("toolu_a2", "Found three.", false)]);
            }
            30 => {
                let prompt = "Write the documentation of the new parser.";
                self.main(&[uses("toolu_a3", "Agent", json!({ "prompt": prompt }))], None).await;
                self.subs[2].says(prompt);
                for call in 0..3 {
                    let id = format!("toolu_d{call}");
                    self.sub(2, &[uses(&id, "Bash", json!({ "command": "ls" }))], tokens(9, 0, 0)).await;
                    self.subs[2].results(&[(&id, "no such file", true)]);
                }
                self.sub(2, &[text("Written.")], tokens(9, 0, 0)).await;
                self.main.results(&[("toolu_a3", "Written.", false)]);
            }
            // The turn ends, and the user asks for more.
            20 | 47 => {
                self.main(&[text("Done.")], None).await;
                self.main.says("Now the tests.");
            }
            _ => {
                // A tool is added, the system prompt changes, and the cache expires.
                let missed = match n {
                    15 => Some(0),
                    25 => Some(4_000),
                    35 => Some(0),
                    _ => None,
                };
                match n {
                    15 => self.main.tools.push("WebFetch"),
                    25 => self.main.system.push_str("Be brief."),
                    40 => self.main.fail(529, "Overloaded").await,
                    _ => {}
                }
                self.main(&[uses(&id, "Bash", json!({ "command": format!("step {n}") }))], missed).await;
                self.main.results(&[(&id, &result, n == 5)]);
            }
        }
    }
}

#[tokio::test]
async fn a_long_session_among_those_of_other_agents_has_its_tree_its_totals_and_its_misses() {
    let (proxy, model) = (TestProxy::new().with(prices).run().await, Model::start().await);
    let mut long = LongRun::new(&proxy, &model);
    let mut other = Claude::new(&proxy, &model, OTHER);
    let mut codex = CodexRun::new(&proxy, &model);
    other.says("Tidy the parser up.");
    long.main.title("Tidy the parser up.").await;
    for n in 0..48 {
        long.step(n).await;
        let id = format!("toolu_o{n}");
        if n % 4 == 0 {
            other.call(&[uses(&id, "Bash", json!({ "command": "ls" }))], tokens(100, 0, 0)).await;
            other.results(&[(&id, "a b c", false)]);
        }
        if n % 2 == 1 && n < 40 {
            codex.step(n as u64 / 2, async {}).await;
        }
    }
    assert!(serde_json::to_string(&long.main.messages).unwrap().len() > 400 * 1024 * 9 / 10);
    let viewer = proxy.app.store.viewer();

    let listed = run_view::list(&viewer, &everything()).unwrap();
    let mut seen: Vec<_> =
        listed.iter().map(|run| (run.id.to_string(), run.totals.calls, run.totals.errors)).collect();
    seen.sort();
    let expected = [
        (format!("claude:{SESSION}"), 62, 1),
        (format!("claude:{OTHER}"), 12, 0),
        (format!("codex:{OF_CODEX}"), 20, 0),
    ];
    assert_eq!(seen, expected);

    let run = read(&viewer, "claude", SESSION);
    assert_eq!((run.agent.as_deref(), run.left_out.unattributed), (Some("claude"), 0));
    assert_eq!(run.models, [("m-claude".to_owned(), 61), ("m-small".to_owned(), 1)].into());
    let sent = long.sent;
    assert_eq!((run.totals.calls, run.totals.errors), (62, 1));
    assert_eq!(
        (run.totals.uncached, run.totals.cache_read, run.totals.cache_write, run.totals.output),
        (Some(sent.uncached + 30), Some(sent.read), Some(sent.written), Some(sent.output + 3))
    );
    let millionths = (sent.uncached + 30) * 20 + sent.read * 2 + sent.written * 25 + (sent.output + 3) * 100;
    let cost = run.totals.costs["USD"];
    assert!((cost - millionths as f64 / 1e7).abs() < 1e-4, "{cost} {millionths}");

    let [main, a1, a2, a3] = &run.threads[..] else { panic!("{} threads", run.threads.len()) };
    let ids: Vec<_> = run.threads.iter().map(|thread| thread.id.as_deref()).collect();
    assert_eq!(ids, [None, Some("a1"), Some("a2"), Some("a3")]);
    let turns: Vec<_> = main
        .turns
        .iter()
        .map(|turn| (turn.said.text.as_str(), turn.model_calls().count(), turn.is_complete))
        .collect();
    assert_eq!(turns, [("Tidy the parser up.", 21, true), ("Now the tests.", 28, true)]);
    assert_eq!(main.side.len(), 1);
    for (thread, tool, calls) in [(a1, "toolu_a1", 4), (a2, "toolu_a2", 4), (a3, "toolu_a3", 4)] {
        let parent = thread.parent.as_ref().unwrap();
        assert_eq!((parent.thread, parent.tool.as_ref().map(|(_, id)| id.as_str())), (0, Some(tool)));
        assert_eq!((thread.turns.len(), thread.totals.calls), (1, calls));
    }
    let first = &main.turns[0];
    let tools: Vec<_> =
        first.tools().map(|tool| (tool.id.as_str(), tool.name.as_str(), tool.threads.clone())).collect();
    assert_eq!(tools.len(), 19 + 2);
    assert!(tools.contains(&("toolu_a1", "Agent", vec![1])) && tools.contains(&("toolu_a2", "Agent", vec![2])));
    let failed = first.tools().find(|tool| tool.id == "toolu_5").unwrap().result.as_ref().unwrap();
    assert_eq!((failed.is_error, failed.content.is_cut), (Some(true), true));
    assert_eq!((first.totals.calls, first.with_sub_agents.calls), (21, 21 + 8));
    assert_eq!(main.with_sub_agents.calls, 62);

    let retried: Vec<_> =
        main.turns[1].model_calls().filter_map(|call| Some((call.call.id, call.retry_of?))).collect();
    let failed: Vec<_> = main.turns[1].model_calls().filter(|call| !call.call.error.is_empty()).collect();
    assert_eq!(retried, [(retried[0].0, failed[0].call.id)]);
    let reasons: Vec<_> = misses(main).iter().map(|miss| miss.reason.as_deref().unwrap_or_default()).collect();
    assert!(reasons[0].contains("The tool WebFetch was added"), "{reasons:?}");
    assert!(reasons[1].contains("Block 2 of the system prompt changed"), "{reasons:?}");
    assert!(reasons[2].contains("Nothing that was sent before changed"), "{reasons:?}");
    assert_eq!(reasons.len(), 3, "{reasons:?}");
    assert_eq!(misses(a1).len() + misses(a2).len() + misses(a3).len(), 0);

    // Each call continues the one before it.
    for thread in &run.threads {
        let calls: Vec<_> = thread.turns.iter().flat_map(|turn| turn.model_calls()).collect();
        let answered: Vec<i64> =
            calls.iter().filter(|call| call.call.error.is_empty()).map(|call| call.call.id).collect();
        for pair in answered.windows(2) {
            let event = run_view::event(&viewer, pair[1]).unwrap();
            assert_eq!(run_view::previous(&viewer, &event).unwrap().map(|before| before.id), Some(pair[0]));
        }
    }
    let newest = main.turns[1].model_calls().last().unwrap().call.id;
    let compared = run_view::compare(&viewer, None, newest).unwrap();
    let changes = &compared.changes;
    assert_eq!((changes.removed, changes.added, changes.system.len(), changes.tools_added.len()), (0, 2, 0, 0));
    assert!(compared.miss.is_none());

    CodexRun::check(&read(&viewer, "codex", OF_CODEX));
    let beside = read(&viewer, "claude", OTHER);
    assert_eq!((beside.threads.len(), beside.threads[0].turns[0].tools().count()), (1, 12));

    let found = |text: &str| run_view::find(&viewer, text).unwrap();
    assert_eq!(found(&SESSION[..8]), Some(run.id.clone()));
    assert_eq!(found(&format!("claude:{SESSION}")), Some(run.id.clone()));
    assert_eq!((found("nobody"), found("")), (None, None));

    let started = Instant::now();
    let short = run_view::read(&viewer, &run.id, &Limits { model_calls: 10, ..Limits::default() }).unwrap().unwrap();
    assert_eq!((short.totals.calls, short.left_out.model_calls), (10, 52));
    assert!(started.elapsed().as_secs() < 20);

    // Which of the agents makes this call is not known. It is a run of its own, which can be read.
    get(&proxy, &model, "/file").await;
    let listed = run_view::list(&viewer, &everything()).unwrap();
    let plain = listed.iter().find(|run| run.totals.calls == 0).unwrap();
    let read = run_view::read(&viewer, &plain.id, &Limits::default()).unwrap().unwrap();
    let paths: Vec<_> = read.other.iter().map(|call| call.path.as_str()).collect();
    assert_eq!((plain.other.calls, paths, read.left_out.unattributed), (1, vec!["/file"], 0));
    proxy.stop().await;
}

/// A session of 20 calls of Codex: 14 of its main thread in two turns, 6 of a helper.
struct CodexRun<'a> {
    root: Codex<'a>,
    helper: Codex<'a>,
}

impl<'a> CodexRun<'a> {
    fn new(proxy: &'a Running, model: &'a Model) -> Self {
        let mut root = Codex::new(proxy, model, OF_CODEX);
        root.says("Find the bug.");
        let helper = root.sub_agent("helper-thread");
        Self { root, helper }
    }

    /// Call `n` of 20. `meanwhile` is done while its tools run.
    async fn step(&mut self, n: u64, meanwhile: impl Future<Output = ()>) {
        let Self { root, helper } = self;
        let id = format!("call_{n}");
        match n {
            0..6 => {
                root.call(&[function(&id, "docs__search", &json!({ "query": n }))], tokens(100, n * 1_000, 0)).await;
                meanwhile.await;
                root.result(&id, "nothing");
            }
            6 => {
                let spawns = function(&id, "spawn_agent", &json!({ "message": TASK }));
                root.call(&[spawns], tokens(100, 6_000, 0)).await;
                helper.says(TASK);
            }
            7..12 => {
                helper.call(&[function(&id, "shell", &json!({ "command": ["rg"] }))], tokens(50, 0, 0)).await;
                helper.result(&id, "a line");
            }
            12 => {
                helper.call(&[message("They are three.")], tokens(50, 0, 0)).await;
                root.result("call_6", "They are three.");
            }
            13 => {
                root.call(&[message("Here it is.")], tokens(100, 7_000, 0)).await;
                root.turn = "turn-2".to_owned();
                root.says("Mend it.");
            }
            14..19 => {
                root.call(&[function(&id, "shell", &json!({ "command": ["sed"] }))], tokens(100, 8_000, 0)).await;
                root.result(&id, "ok");
            }
            _ => root.call(&[message("Mended.")], tokens(100, 0, 0)).await,
        }
    }

    /// Checks threads, turns, tools, totals and the one miss.
    fn check(run: &Run) {
        let [main, helper] = &run.threads[..] else { panic!("{} threads", run.threads.len()) };
        assert_eq!((run.totals.calls, main.totals.calls, helper.totals.calls), (20, 14, 6));
        let read = (0..6).map(|n| n * 1_000).sum::<u64>() + 6_000 + 7_000 + 5 * 8_000;
        assert_eq!(
            (run.totals.uncached, run.totals.cache_read, run.totals.output),
            (Some(14 * 100 + 6 * 50), Some(read), Some(200))
        );
        let turns: Vec<_> = main
            .turns
            .iter()
            .map(|turn| {
                (turn.id.as_deref(), turn.said.text.as_str(), turn.model_calls().count(), turn.tools().count())
            })
            .collect();
        assert_eq!(turns, [(Some("turn-1"), "Find the bug.", 8, 7), (Some("turn-2"), "Mend it.", 6, 5)]);
        assert!(main.turns.iter().all(|turn| turn.is_complete && turn.tools().all(|tool| tool.result.is_some())));
        let parent = helper.parent.as_ref().unwrap();
        assert_eq!((parent.thread, parent.tool.as_ref().map(|(_, id)| id.as_str())), (0, Some("call_6")));
        assert_eq!((helper.name.as_deref(), helper.turns.len()), (Some("/root/helper_1"), 1));
        let [miss] = &misses(main)[..] else { panic!() };
        assert_eq!((miss.expected, miss.read), (8_000, 0));
        assert!(miss.reason.as_deref().unwrap().contains("Nothing that was sent before changed"));
    }
}

#[tokio::test]
async fn a_session_of_codex_has_its_threads_turns_and_tools_and_the_calls_of_its_tools() {
    let (proxy, model) = (TestProxy::new().with(prices).run().await, Model::start().await);
    let mut codex = CodexRun::new(&proxy, &model);
    for n in 0..20 {
        let of_tools = async {
            if n == 3 {
                over_mcp(&proxy, &model, "search").await;
                get(&proxy, &model, "/file").await;
            }
        };
        codex.step(n, of_tools).await;
    }
    let viewer = proxy.app.store.viewer();
    let run = read(&viewer, "codex", OF_CODEX);
    CodexRun::check(&run);
    let turn = &run.threads[0].turns[0];
    let over: Vec<_> = turn.tools().filter(|tool| !tool.over_mcp.is_empty()).map(|tool| tool.id.as_str()).collect();
    assert_eq!(over, ["call_3"], "the call over MCP belongs to the tool that was open");
    let others: Vec<_> = turn
        .steps
        .iter()
        .filter_map(|step| if let Step::Other(call) = step { Some(call.path.as_str()) } else { None })
        .collect();
    assert_eq!((others, run.other.len()), (vec!["/file"], 0));
    proxy.stop().await;
}
