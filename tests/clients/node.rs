//! Node's clients: with `--preload` where Node knows nothing of proxies (20), and by variables alone where it does (24).

use std::path::Path;

use super::installed::{Client, is_there, node, node_itself, node_modules, node_package};
use super::llm;
use super::stage::{Same, Stage, script};
use super::table::{Row, Told};
use crate::support::origin::Received;
use crate::support::standin::Reply;
use crate::support::standin::llm::model;

/// A Node without proxies, and one with.
const TOLD: [(u32, Told); 2] = [(20, Told::Preload), (24, Told::Variables)];

/// Sends back what it is sent.
fn echo(request: &Received) -> Reply {
    Reply::whole("application/json", request.body.clone())
}

/// A module looks for packages beside itself: the script is put beside a link to them.
pub(super) fn put_script(folder: &Path, name: &str) {
    std::fs::copy(script(name), folder.join(name)).unwrap();
    std::os::unix::fs::symlink(node_modules(), folder.join("node_modules")).unwrap();
}

async fn same(stage: &Stage, major: u32, told: Told, name: &str, url: &str) -> Same {
    for folder in [&stage.direct, &stage.proxied] {
        put_script(folder, name);
    }
    stage.same(told, &[node(major).to_str().unwrap(), name, url], "NODE_EXTRA_CA_CERTS").await
}

/// One POST of a small JSON text.
async fn posts(client: impl Fn(u32) -> Client, name: &str) {
    for (major, told) in TOLD {
        let Some(row) = Row::of(&client(major), "HTTP/1.1", told) else { continue };
        let stage = Stage::new(false, echo).await;
        let same = same(&stage, major, told, name, &stage.origin.url("/v1/echo?q=1&x=%2F")).await;
        assert_eq!(same.said, "200 {\"ask\":\"me\"}");
        let [event] = &same.events[..] else { panic!("{:#?}", same.events) };
        assert_eq!((&event["path"], &event["query_params"]), (&"/v1/echo".into(), &"q=1&x=%2F".into()));
        assert_eq!(
            (&event["request_body"], &event["response_body"]),
            (&"{\"ask\":\"me\"}".into(), &"{\"ask\":\"me\"}".into())
        );
        row.passed();
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn fetch() {
    posts(|major| node_itself(major, "fetch"), "fetch.mjs").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn https() {
    posts(|major| node_itself(major, "node:https"), "https.mjs").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn axios() {
    posts(|major| node_package(major, "axios"), "axios.mjs").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn undici_with_the_environments_agent() {
    posts(|major| node_package(major, "undici"), "undici.mjs").await;
}

async fn talks(package: &str, name: &str, base: &str, path: &str) {
    for (major, told) in TOLD {
        let client = node_package(major, package);
        let Some(row) = Row::of(&client, "a question, answered whole and streamed", told) else { continue };
        let stage = Stage::new(false, model).await;
        let same = same(&stage, major, told, name, &stage.origin.url(base)).await;
        llm::is_told_and_kept(&same, path);
        row.passed();
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_openai_sdk() {
    talks("openai", "openai_chat.mjs", "/v1", "/v1/chat/completions").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_anthropic_sdk() {
    talks("@anthropic-ai/sdk", "anthropic_messages.mjs", "", "/v1/messages").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_page_shows_an_sdks_answer_while_it_arrives() {
    for (package, name, base, path) in [
        ("openai", "openai_chat.mjs", "/v1", "/v1/chat/completions"),
        ("@anthropic-ai/sdk", "anthropic_messages.mjs", "", "/v1/messages"),
    ] {
        if !is_there(&node_package(24, package)) {
            continue;
        }
        let folder = tempfile::tempdir().unwrap();
        put_script(folder.path(), name);
        let command = |url: &str| {
            let mut command = tokio::process::Command::new(node(24));
            command.current_dir(folder.path()).args([name, url]);
            command
        };
        llm::is_shown_while_it_comes(command, base, path).await;
    }
}

/// `ws` connects by itself, so that Node's own use of variables passes it by: only the preload catches it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn ws() {
    let Some(row) = Row::of(&node_package(20, "ws"), "two messages and back", Told::Preload) else { return };
    let stage = Stage::new(false, echo).await;
    let url = stage.origin.url("/socket").replace("https:", "wss:");
    let same = same(&stage, 20, Told::Preload, "ws_echo.mjs", &url).await;
    assert_eq!(same.said, "hello\ncafé ☕");
    let [event] = &same.events[..] else { panic!("{:#?}", same.events) };
    assert_eq!((&event["path"], &event["status_code"]), (&"/socket".into(), &101.into()));
    row.passed();
}
