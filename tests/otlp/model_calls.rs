//! Model calls as spans: what backends read of them.

use std::collections::BTreeMap;

use opentelemetry_proto::tonic::common::v1::any_value::Value as Any;
use opentelemetry_proto::tonic::trace::v1::Span;
use otas_proxy::config::{Only, Spans};
use serde_json::{Value, json};

use super::coder::{self, MODEL, SESSION, SYSTEM, says, user};
use crate::support::collector::{TestCollector, attribute};
use crate::support::proxy::eventually;

const ALL: Spans = Spans { only: Only::All, content: None, compat: false, metrics: false };

/// Attributes with these prefixes, those of time left out.
fn of(span: &Span, prefixes: &[&str]) -> BTreeMap<String, Value> {
    let is_time = |name: &str| name.contains("time") || name.contains("ttft");
    let is_wanted = |name: &str| prefixes.iter().any(|prefix| name.starts_with(prefix)) && !is_time(name);
    let wanted = span.attributes.iter().filter(|pair| is_wanted(&pair.key));
    wanted.map(|pair| (pair.key.clone(), value(pair.value.as_ref().and_then(|value| value.value.as_ref())))).collect()
}

fn value(of: Option<&Any>) -> Value {
    match of {
        // Content is JSON in a text.
        Some(Any::StringValue(text)) if text.starts_with(['{', '[']) => serde_json::from_str(text).unwrap(),
        Some(Any::StringValue(text)) => json!(text),
        Some(Any::IntValue(number)) => json!(number),
        Some(Any::DoubleValue(number)) => json!(number),
        Some(Any::BoolValue(is)) => json!(is),
        Some(Any::ArrayValue(all)) => all.values.iter().map(|one| value(one.value.as_ref())).collect(),
        other => panic!("{other:?}"),
    }
}

fn object(value: Value) -> BTreeMap<String, Value> {
    serde_json::from_value(value).unwrap()
}

fn plain() -> Value {
    json!({
        "gen_ai.provider.name": "anthropic", "gen_ai.operation.name": "chat", "gen_ai.request.model": MODEL,
        "gen_ai.response.model": MODEL, "gen_ai.response.id": "msg_1", "gen_ai.response.finish_reasons": ["end_turn"],
        "gen_ai.request.max_tokens": 1_024, "gen_ai.request.stream": true, "gen_ai.agent.name": "claude",
        "gen_ai.conversation.id": SESSION, "session.id": SESSION,
        "gen_ai.usage.input_tokens": 1_050, "gen_ai.usage.output_tokens": 20,
        "gen_ai.usage.cache_read.input_tokens": 900, "gen_ai.usage.cache_write.input_tokens": 50,
    })
}

#[tokio::test]
async fn a_model_call_has_only_current_names_unless_the_settings_ask_for_more() {
    let compat = json!({
        "gen_ai.usage.cache_creation.input_tokens": 50, "gen_ai.system": "anthropic",
        "gen_ai.usage.cost": 0.0010575, "langfuse.observation.usage_details": {
            "input": 100, "input_cached_tokens": 900, "input_cache_creation": 50, "output": 20, "total": 1_070,
        },
    });
    let tool = |name: &str| json!({ "type": "function", "name": name, "description": "Does it.", "parameters": { "type": "object" } });
    let content = json!({
        "gen_ai.system_instructions": [{ "type": "text", "content": SYSTEM }],
        "gen_ai.tool.definitions": [tool("Bash"), tool("Agent")],
        "gen_ai.input.messages": [{ "role": "user", "parts": [{ "type": "text", "content": "Hello." }] }],
        "gen_ai.output.messages": [
            { "role": "assistant", "parts": [{ "type": "text", "content": "Hello to you." }], "finish_reason": "stop" },
        ],
    });
    let none = json!({});
    for (spans, more) in
        [(ALL, &none), (Spans { compat: true, ..ALL }, &compat), (Spans { content: Some(64 << 10), ..ALL }, &content)]
    {
        let collector = TestCollector::start().await;
        let proxy = coder::proxy(&collector.url(), spans).await;
        coder::call(&proxy, None, &[user("Hello.")], Some(&[says("Hello to you.")])).await;
        let all = collector.has(1).await;
        let span = all.iter().find(|span| span.name == format!("chat {MODEL}")).unwrap();
        let mut expected = object(plain());
        expected.extend(object(more.clone()));
        assert_eq!(of(span, &["gen_ai.", "session.", "langfuse."]), expected);
        for name in ["gen_ai.server.ttft", "langfuse.observation.completion_start_time"] {
            assert_eq!(attribute(span, name).is_some(), spans.compat, "{name}");
        }
        proxy.stop().await;
    }
}

#[tokio::test]
async fn other_calls_can_be_left_out_and_are_not_missed() {
    let collector = TestCollector::start().await;
    let proxy = coder::proxy(&collector.url(), Spans { only: Only::Llm, content: Some(4_096), ..ALL }).await;
    proxy.client().get("http://files.test/a").send().await.unwrap();
    coder::call_mcp(&proxy).await;
    coder::call(&proxy, None, &[user("Hello.")], None).await;
    let spans = collector.has(2).await;
    let tool = spans.iter().find(|span| span.name == "tools/call add").unwrap();
    assert_eq!(
        of(tool, &["gen_ai.tool", "gen_ai.operation"]),
        object(json!({
            "gen_ai.operation.name": "execute_tool", "gen_ai.tool.name": "add", "gen_ai.tool.call.arguments": { "a": 1 },
            "gen_ai.tool.call.result": { "content": [{ "type": "text", "text": "2" }] },
        }))
    );
    let failed = spans.iter().find(|span| span.name == format!("chat {MODEL}")).unwrap();
    let status = failed.status.as_ref().unwrap();
    assert_eq!(status.code, 2);
    assert!(status.message.contains("Overloaded"), "{status:?}");
    assert_eq!(attribute(failed, "gen_ai.output.messages"), None);
    eventually("all are done", async || proxy.status().await["sinks"][0]["sent"] == 2).await;
    let sink = proxy.status().await["sinks"][0].clone();
    assert_eq!((&sink["skipped"], &sink["missed"], &sink["waiting"]), (&json!(1), &json!(0), &json!(0)));
    assert_eq!(collector.spans().len(), 2);
    proxy.stop().await;
}
