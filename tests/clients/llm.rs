//! What the events of a conversation with a model must hold, whatever SDK led it, and what the page shows while one goes on.

use std::process::Stdio;
use std::time::Duration;

use otas_proxy::llm::names;
use serde_json::{Value, json};
use tokio::process::Command;

use super::stage::Same;
use crate::support::manual::{Call, ManualOrigin, piece};
use crate::support::origin::{Certificate, TestCa};
use crate::support::proxy::{Running, TestProxy, eventually};
use crate::support::standin::llm::{TOOL, says, streamed, whole};

/// A question asked twice, answered whole and then streamed: said by the program, and kept in the events.
pub(super) fn is_told_and_kept(same: &Same, path: &str) {
    let said = same.said.lines().nth(1).expect("two lines").replace('|', "");
    assert_eq!((same.said.lines().next(), said), (Some(&*says()), says()));
    assert_eq!(same.events.len(), 2);
    for (event, end) in same.events.iter().zip(["}", "\n\n"]) {
        assert_eq!((&event["method"], &event["path"]), (&"POST".into(), &path.into()));
        assert!(event["request_body"].as_str().unwrap().contains("Good evening?"), "{event:#}");
        let body = event["response_body"].as_str().unwrap();
        assert!(body.contains("café") && body.ends_with(end), "{event:#}");
        assert!(!event.to_string().contains("sk-stand-in"), "a key in an event: {event:#}");
    }
    let streams = |event: &Value| event["request_body"].as_str().unwrap().contains("\"stream\":true");
    assert_eq!(same.events.iter().map(streams).collect::<Vec<_>>(), [false, true]);
    for (event, streams) in same.events.iter().zip([false, true]) {
        has_facts(event, streams);
    }
}

/// The facts of the stand-in's answers.
fn has_facts(event: &Value, streams: bool) {
    let properties = &event["custom_properties"];
    for (name, expected) in [
        (names::OPERATION, json!("chat")),
        (names::REQUEST_MODEL, json!("stand-in")),
        (names::REQUEST_STREAM, json!(streams)),
        (names::RESPONSE_MODEL, json!("stand-in")),
        (names::INPUT_TOKENS, json!(3)),
        (names::OUTPUT_TOKENS, json!(4)),
        (names::TOOL_CALLS, if streams { json!(TOOL) } else { Value::Null }),
        (names::PROVIDER, Value::Null),
        (names::PARSE_ERROR, Value::Null),
        (names::SEMCONV, json!(names::SEMCONV_VERSION)),
    ] {
        assert_eq!(properties[name], expected, "{name} in {properties:#}");
    }
    assert_eq!(properties[names::TIME_TO_FIRST_TOKEN].is_number(), streams, "{properties:#}");
    let llm = &event["metadata"]["llm"];
    assert!(llm["text"].as_str().unwrap().starts_with(&says()) && llm["complete"] == true, "{llm:#}");
}

/// An SDK asks, and the answer is held back before its end: the page shows what has come of it.
pub(super) async fn is_shown_while_it_comes(client: impl Fn(&str) -> Command, base: &str, path: &str) {
    let folder = tempfile::tempdir().unwrap();
    let ca = TestCa::new(folder.path());
    let mut origin = ManualOrigin::start(Some(ca.server(Certificate::Good, &[b"http/1.1"]))).await;
    let proxy = TestProxy::new().trusting(&ca).run().await;
    let mut client = client(&format!("https://localhost:{}{base}", origin.addr.port()));
    client.env("HTTPS_PROXY", proxy.url()).env("NODE_USE_ENV_PROXY", "1").kill_on_drop(true);
    for trust in ["SSL_CERT_FILE", "NODE_EXTRA_CA_CERTS"] {
        client.env(trust, &proxy.app.ca_file);
    }
    let running = client.env_remove("NO_PROXY").stdin(Stdio::null()).stdout(Stdio::piped()).spawn().unwrap();
    let (pieces, _question) = origin.call().await.stream("application/json");
    pieces.send(piece(whole(path))).await.unwrap();
    drop(pieces);
    proxy.events_so_far(1).await;
    let (pieces, _question) = Call::stream(origin.call().await, "text/event-stream");
    let events = streamed(path);
    let tool = events.iter().position(|event| event.contains(TOOL)).unwrap();
    for event in &events[..=tool] {
        pieces.send(piece(event.clone())).await.unwrap();
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    // The tool's name is in the request as well.
    let says_so = says();
    let parts = ["stand-in", says_so.trim(), TOOL, "time to first token", "In flight"];
    let shown = shown_while_open(&proxy, path, &parts).await;
    assert!(!shown.contains("<dt>tokens</dt>"), "tokens before the end: {shown}");
    if path == "/v1/messages" {
        assert!(shown.contains("Reported by the provider so far: <bdi>input_tokens 3"), "{shown}");
    }
    for event in &events[tool + 1..] {
        pieces.send(piece(event.clone())).await.unwrap();
    }
    drop(pieces);
    let said = running.wait_with_output().await.unwrap();
    assert!(said.status.success() && String::from_utf8_lossy(&said.stdout).contains("café"));
    proxy.events_so_far(2).await;
    let conversation = page(&proxy, "/event/2").await;
    assert!(conversation.contains("<dt>tokens</dt>") && conversation.contains(says().trim()), "{conversation}");
    let timing = page(&proxy, "/event/2?tab=timing").await;
    assert!(timing.contains("Tokens per second"), "{timing}");
    let events = proxy.events().await;
    has_facts(&events[1], true);
}

/// The page of the one call under way to this path, once it has these texts.
async fn shown_while_open(proxy: &Running, path: &str, texts: &[&str]) -> String {
    let found = std::sync::Mutex::new(String::new());
    eventually("the page shows the call under way", async || {
        let list: Value = serde_json::from_str(&page(proxy, "/live?after=0").await).unwrap();
        let mut open = list["open"].as_object().into_iter().flatten();
        let is_this = |row: &Value| row.as_str().is_some_and(|row| row.contains(path));
        let Some((id, _)) = open.find(|(_, row)| is_this(row)) else { return false };
        let shown = page(proxy, &format!("/open/{id}")).await;
        let done = texts.iter().all(|text| shown.contains(text));
        *found.lock().unwrap() = shown;
        done
    })
    .await;
    found.into_inner().unwrap()
}

async fn page(proxy: &Running, path: &str) -> String {
    let token = proxy.token();
    let url = format!("http://{}{path}", proxy.app.admin_addr);
    let direct = proxy.client_builder().no_proxy().build().unwrap();
    direct.get(url).bearer_auth(token).send().await.unwrap().text().await.unwrap()
}
