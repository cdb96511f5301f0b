//! Turns as traces: `invoke_agent` above the model calls and tools of a turn, sub-agents below the tools that start them, also when
//! calls interleave, after a restart, and when the collector is away.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use opentelemetry_proto::tonic::trace::v1::Span;
use otas_proxy::config::{Config, Only, Spans};
use serde_json::{Value, json};

use super::coder::{self, MODEL, SESSION, assistant, results, says, user, uses};
use crate::support::collector::{Answer, TestCollector, attribute};
use crate::support::proxy::{Running, eventually};

const SPANS: Spans = Spans { only: Only::Llm, content: Some(64 << 10), compat: true, metrics: false };
const TASK: &str = "Count the tests of the parser.";

/// Spans by their id: a span that came twice counts once, the last one.
fn by_id(spans: &[Span]) -> BTreeMap<Vec<u8>, Span> {
    spans.iter().map(|span| (span.span_id.clone(), span.clone())).collect()
}

/// The tree of a trace: each span's name below that of its parent.
fn tree(spans: &[Span]) -> BTreeSet<String> {
    let all = by_id(spans);
    let path = |span: &Span| {
        let mut names = vec![span.name.clone()];
        let mut at = span.clone();
        while let Some(parent) = all.get(&at.parent_span_id) {
            assert_eq!(parent.trace_id, at.trace_id, "{} is in another trace than {}", at.name, parent.name);
            names.push(parent.name.clone());
            at = parent.clone();
        }
        assert!(at.parent_span_id.is_empty(), "the parent of {} is missing", at.name);
        names.reverse();
        names.join(" > ")
    };
    all.values().map(path).collect()
}

fn traces(spans: &[Span]) -> BTreeSet<Vec<u8>> {
    spans.iter().map(|span| span.trace_id.clone()).collect()
}

fn named<'s>(spans: &'s [Span], name: &str) -> Vec<&'s Span> {
    spans.iter().filter(|span| span.name == name).collect()
}

fn json_of(span: &Span, name: &str) -> Value {
    serde_json::from_str(&attribute(span, name).unwrap()).unwrap()
}

fn started() -> [Value; 3] {
    [
        uses("t1", "Bash", &json!({ "command": "ls" })),
        uses("t2", "Agent", &json!({ "prompt": TASK })),
        uses("t3", "Agent", &json!({ "prompt": TASK })),
    ]
}

/// The messages of the main agent once its tools have answered.
fn answered() -> Vec<Value> {
    let outcomes = results(&[("t1", "a b"), ("t2", "7 tests."), ("t3", "Seven.")]);
    vec![user("List it, and count the tests."), assistant(&started()), outcomes]
}

/// A turn with a tool and two sub-agents of the same task.
async fn turn(proxy: &Running) {
    coder::call(proxy, None, &[user("List it, and count the tests.")], Some(&started())).await;
    coder::call(proxy, Some("x1"), &[user(TASK)], Some(&[says("7 tests.")])).await;
    coder::call(proxy, Some("x2"), &[user(TASK)], None).await;
    coder::call(proxy, Some("x2"), &[user(TASK)], Some(&[says("Seven.")])).await;
    coder::call(proxy, None, &answered(), Some(&[says("There are 7.")])).await;
}

fn chat() -> String {
    format!("chat {MODEL}")
}

fn whole_tree() -> BTreeSet<String> {
    let root = "invoke_agent claude";
    [
        root.to_owned(),
        format!("{root} > {}", chat()),
        format!("{root} > execute_tool Bash"),
        format!("{root} > execute_tool Agent"),
        format!("{root} > execute_tool Agent > {root}"),
        format!("{root} > execute_tool Agent > {root} > {}", chat()),
    ]
    .into()
}

#[tokio::test]
async fn a_turn_is_one_trace_with_tools_and_sub_agents() {
    let collector = TestCollector::start().await;
    let proxy = coder::proxy(&collector.url(), SPANS).await;
    turn(&proxy).await;
    let spans = collector.has(11).await;
    assert_eq!((tree(&spans), traces(&spans).len(), spans.len()), (whole_tree(), 1, 11));
    let root = *named(&spans, "invoke_agent claude").iter().find(|span| span.parent_span_id.is_empty()).unwrap();
    assert_eq!(json_of(root, "gen_ai.input.messages")[0]["parts"][0]["content"], "List it, and count the tests.");
    assert_eq!(json_of(root, "gen_ai.output.messages")[0]["parts"][0]["content"], "There are 7.");
    for (name, expected) in [
        ("gen_ai.operation.name", "invoke_agent"),
        ("gen_ai.agent.name", "claude"),
        ("session.id", SESSION),
        ("gen_ai.conversation.id", SESSION),
        ("otas_proxy.turn.calls", "2"),
        ("otas_proxy.turn.end", "answered"),
    ] {
        assert_eq!(attribute(root, name).as_deref(), Some(expected), "{name}");
    }
    assert_eq!(attribute(root, "gen_ai.usage.input_tokens"), None, "tokens are counted once, at the calls");
    let bash = named(&spans, "execute_tool Bash")[0];
    assert_eq!(json_of(bash, "gen_ai.tool.call.arguments"), json!({ "command": "ls" }));
    for (name, expected) in [
        ("gen_ai.operation.name", "execute_tool"),
        ("gen_ai.tool.name", "Bash"),
        ("gen_ai.tool.call.id", "t1"),
        ("gen_ai.tool.call.result", "a b"),
        ("session.id", SESSION),
        ("otas_proxy.tool.duration_is_upper_bound", "BoolValue(true)"),
    ] {
        assert_eq!(attribute(bash, name).as_deref(), Some(expected), "{name}");
    }
    assert!(
        bash.start_time_unix_nano <= bash.end_time_unix_nano && bash.end_time_unix_nano <= root.end_time_unix_nano
    );
    // Each sub-agent is below a tool call of its own.
    let tools: BTreeSet<_> = named(&spans, "execute_tool Agent").iter().map(|span| span.span_id.clone()).collect();
    let subs = named(&spans, "invoke_agent claude").into_iter().filter(|span| !span.parent_span_id.is_empty());
    assert_eq!(subs.map(|span| span.parent_span_id.clone()).collect::<BTreeSet<_>>(), tools);
    proxy.stop().await;
}

#[tokio::test]
async fn spans_that_are_sent_again_are_the_same() {
    let collector = TestCollector::start().await;
    let again = Answer::Status(503, Some("0"));
    collector.answer(&[again.clone(), again.clone(), again, Answer::AtMost(5)]);
    let short = |config: &mut Config| {
        config.delivery.backoff_min = Duration::from_millis(1);
        config.delivery.backoff_max = Duration::from_millis(20);
    };
    let proxy = coder::changed_proxy(&collector.url(), SPANS, short).await;
    turn(&proxy).await;
    let spans = collector.has(11).await;
    assert_eq!((tree(&spans), spans.len()), (whole_tree(), 11));
    let all: Vec<Span> =
        collector.posted().iter().flat_map(|posted| crate::support::collector::spans(&posted.request)).collect();
    let accepted = by_id(&spans);
    assert!(all.len() > 11 && all.iter().all(|span| accepted[&span.span_id] == *span));
    assert_eq!(proxy.stop().await.sinks[0].fed.sent, 5);
}

#[tokio::test]
async fn a_turn_goes_on_after_a_restart() {
    let collector = TestCollector::start().await;
    let proxy = coder::proxy(&collector.url(), SPANS).await;
    coder::call(&proxy, None, &[user("List it, and count the tests.")], Some(&started())).await;
    coder::call(&proxy, Some("x1"), &[user(TASK)], Some(&[says("7 tests.")])).await;
    collector.has(3).await;
    let Running { app, folder, .. } = proxy;
    let hurry = tokio_util::sync::CancellationToken::new();
    app.stop(Duration::from_secs(20), hurry, |_| {}).await;
    let stopped = collector.spans();
    let ends: BTreeSet<_> = stopped.iter().filter_map(|span| attribute(span, "otas_proxy.turn.end")).collect();
    assert_eq!(
        ends,
        ["answered".to_owned(), "stopped".to_owned()].into(),
        "an open turn is sent when the proxy stops"
    );

    let path = folder.path().join("otas-proxy.db");
    let proxy = coder::changed_proxy(&collector.url(), SPANS, |config| config.store.path = path).await;
    coder::call(&proxy, Some("x2"), &[user(TASK)], Some(&[says("Seven.")])).await;
    coder::call(&proxy, None, &answered(), Some(&[says("There are 7.")])).await;
    proxy.stop().await;
    let spans = collector.spans();
    assert_eq!((tree(&spans), traces(&spans).len()), (whole_tree(), 1));
    let root = by_id(&spans).into_values().find(|span| span.parent_span_id.is_empty()).unwrap();
    assert_eq!(attribute(&root, "otas_proxy.turn.end").as_deref(), Some("answered"));
}

#[tokio::test]
async fn a_call_that_is_no_part_of_a_turn_is_sent_once_and_a_traceparent_is_kept() {
    let collector = TestCollector::start().await;
    let proxy = coder::proxy(&collector.url(), Spans { only: Only::All, ..SPANS }).await;
    proxy.client().get("http://files.test/a").send().await.unwrap();
    coder::call_mcp(&proxy).await;
    let body = json!({ "model": MODEL, "max_tokens": 9, "messages": [{ "role": "user", "content": "A title?" }] });
    let post = proxy.client().post("http://api.anthropic.com/v1/messages").header("content-type", "application/json");
    let trace = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
    post.try_clone().unwrap().body(body.to_string()).send().await.unwrap();
    post.header("traceparent", trace).body(body.to_string()).send().await.unwrap();
    let summary = proxy.stop().await;
    let spans = collector.spans();
    assert_eq!((summary.sinks[0].fed.sent, spans.len(), by_id(&spans).len()), (4, 4, 4));
    let traced = spans.iter().filter(|span| !span.parent_span_id.is_empty()).collect::<Vec<_>>();
    assert_eq!((traced.len(), traced[0].parent_span_id[0], traced[0].trace_id[0]), (1, 0xb7, 0x0a));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_sub_agent_whose_call_is_stored_before_the_call_that_started_it_is_below_its_tool() {
    let collector = TestCollector::start().await;
    let proxy = coder::proxy(&collector.url(), SPANS).await;
    let task = uses("t2", "Agent", &json!({ "prompt": TASK }));
    let held = coder::held_call(&proxy, &[user("Count the tests.")], std::slice::from_ref(&task)).await;
    coder::call(&proxy, Some("x1"), &[user(TASK)], Some(&[says("7 tests.")])).await;
    eventually("it is stored", async || proxy.app.store.counts(None).unwrap().total == 1).await;
    held.end().await;
    let outcome = results(&[("t2", "7 tests.")]);
    let talk = [user("Count the tests."), assistant(&[task]), outcome];
    coder::call(&proxy, None, &talk, Some(&[says("There are 7.")])).await;
    let spans = collector.has(6).await;
    let without_bash: BTreeSet<String> = whole_tree().into_iter().filter(|path| !path.contains("Bash")).collect();
    assert_eq!((tree(&spans), traces(&spans).len(), spans.len()), (without_bash, 1, 6));
    assert_eq!(proxy.stop().await.sinks[0].fed.sent, 3);
}
