//! Python's clients.

use std::process::{Child, Command, Stdio};

use serde_json::Value;

use super::installed::{Client, is_there, python_itself, python_package, strict_python, strict_python_itself};
use super::llm;
use super::stage::{Same, Stage, script, text, text_of};
use super::table::{Row, Told};
use crate::support::lines::Lines;
use crate::support::origin::{Certificate, Received, TestCa};
use crate::support::program::{events, python};
use crate::support::standin::Reply;
use crate::support::standin::files::files;

/// Sends back what it is sent.
fn echo(request: &Received) -> Reply {
    Reply::whole("application/json", request.body.clone())
}

/// One POST of a small JSON text.
async fn posts(
    client: &Client,
    row: &'static str,
    h2: bool,
    told: Told,
    trust: &str,
    (name, arguments): (&str, &[&str]),
) {
    let Some(row) = Row::of(client, row, told) else { return };
    let stage = Stage::new(h2, echo).await;
    let url = stage.origin.url("/v1/echo?q=1&x=%26");
    let (python, script) = (python(), script(name));
    let command = [&[&*python, &*script, &*url], arguments].concat();
    let same = stage.same(told, &command, trust).await;
    assert_eq!(same.said.replace(": ", ":"), "200 {\"ask\":\"me\"}");
    let event = only(&same);
    assert_eq!((&event["path"], &event["query_params"]), (&"/v1/echo".into(), &"q=1&x=%26".into()));
    for body in ["request_body", "response_body"] {
        assert_eq!(event[body].as_str().unwrap().replace(": ", ":"), "{\"ask\":\"me\"}");
    }
    row.passed();
}

fn only(same: &Same) -> &Value {
    assert_eq!(same.events.len(), 1, "{:#?}", same.events);
    &same.events[0]
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn requests() {
    let script = ("requests_get.py", &[][..]);
    posts(&python_package("requests"), "HTTP/1.1", false, Told::Variables, "REQUESTS_CA_BUNDLE", script).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn httpx_over_http_1() {
    let script = ("httpx_get.py", &["HTTP/1.1"][..]);
    posts(&python_package("httpx"), "HTTP/1.1", false, Told::Variables, "SSL_CERT_FILE", script).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn httpx_over_http_2() {
    let script = ("httpx_get.py", &["HTTP/2"][..]);
    posts(&python_package("httpx"), "HTTP/2", true, Told::Variables, "SSL_CERT_FILE", script).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn urllib() {
    let script = ("urllib_get.py", &[][..]);
    posts(&python_itself("urllib.request"), "HTTP/1.1", false, Told::Variables, "SSL_CERT_FILE", script).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn aiohttp_that_trusts_the_environment() {
    let script = ("aiohttp_get.py", &["True"][..]);
    posts(&python_package("aiohttp"), "with trust_env=True", false, Told::Variables, "SSL_CERT_FILE", script).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn aiohttp() {
    let script = ("aiohttp_get.py", &[][..]);
    posts(&python_package("aiohttp"), "HTTP/1.1", false, Told::Preload, "SSL_CERT_FILE", script).await;
}

async fn talks(package: &str, name: &str, base: &str, path: &str) {
    let Some(row) = Row::of(&python_package(package), "a question, answered whole and streamed", Told::Variables)
    else {
        return;
    };
    let stage = Stage::new(false, crate::support::standin::llm::model).await;
    let command = [&*python(), &*script(name), &stage.origin.url(base)];
    let same = stage.same(Told::Variables, &command, "SSL_CERT_FILE").await;
    llm::is_told_and_kept(&same, path);
    row.passed();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_openai_sdk() {
    talks("openai", "openai_chat.py", "/v1", "/v1/chat/completions").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_anthropic_sdk() {
    talks("anthropic", "anthropic_messages.py", "", "/v1/messages").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_page_shows_an_sdks_answer_while_it_arrives() {
    for (package, name, base, path) in [
        ("openai", "openai_chat.py", "/v1", "/v1/chat/completions"),
        ("anthropic", "anthropic_messages.py", "", "/v1/messages"),
    ] {
        if !is_there(&python_package(package)) {
            continue;
        }
        let command = |url: &str| {
            let mut command = tokio::process::Command::new(python());
            command.args([&*script(name), url]);
            command
        };
        llm::is_shown_while_it_comes(command, base, path).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn boto3_gets_an_object() {
    let Some(row) = Row::of(&python_package("boto3"), "S3 GetObject", Told::Variables) else { return };
    let objects = tempfile::tempdir().unwrap();
    std::fs::create_dir_all(objects.path().join("bucket/folder")).unwrap();
    std::fs::write(objects.path().join("bucket/folder/object.txt"), "an object").unwrap();
    let stage = Stage::new(false, files(objects.path().to_owned())).await;
    let command = [&*python(), &script("boto3_get_object.py"), &stage.origin.url("")];
    let same = stage.same(Told::Variables, &command, "AWS_CA_BUNDLE").await;
    assert_eq!(same.said, "200 9 an object");
    assert_eq!(only(&same)["path"], "/bucket/folder/object.txt");
    assert!(!only(&same).to_string().contains("Signature="), "a signature in an event");
    row.passed();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn websockets() {
    let Some(row) = Row::of(&python_package("websockets"), "two compressed messages and back", Told::Variables)
    else {
        return;
    };
    let stage = Stage::new(false, echo).await;
    let url = stage.origin.url("/socket").replace("https:", "wss:");
    let same = stage.same(Told::Variables, &[&*python(), &script("websockets_echo.py"), &url], "SSL_CERT_FILE").await;
    assert_eq!(same.said, "hello\ncafé ☕");
    let event = only(&same);
    assert_eq!(
        (&event["path"], &event["status_code"], &event["error"]),
        (&"/socket".into(), &101.into(), &"".into())
    );
    // What passed compressed reads in clear.
    assert_eq!(event["response_body"], "hello\ncafé ☕\n");
    assert_eq!(event["request_body"], "hello\ncafé ☕\n…[otas-proxy: closed with 1000]…\n");
    let socket = &event["metadata"]["websocket"];
    assert_eq!((&socket["agent"]["compressed"], &socket["origin"]["compressed"]), (&2.into(), &2.into()));
    row.passed();
}

/// A gRPC service in a process of its own; it ends when this is dropped.
struct GrpcServer {
    child: Child,
    address: String,
}

impl GrpcServer {
    fn start(ca: &TestCa, stage: &Stage) -> Self {
        let (certificate, key) = ca.issue(Certificate::Good);
        let [cert_file, key_file] = ["grpc.pem", "grpc.key"].map(|name| stage.folder.path().join(name));
        std::fs::write(&cert_file, certificate.pem()).unwrap();
        std::fs::write(&key_file, key.serialize_pem()).unwrap();
        let mut server = Command::new(python());
        server.arg(script("grpc_server.py")).args([cert_file, key_file]);
        let mut child = server.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
        let port = Lines::of(child.stdout.take().unwrap()).next().unwrap();
        Self { child, address: format!("localhost:{}", port.trim()) }
    }
}

impl Drop for GrpcServer {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn grpc_calls_and_their_trailers() {
    let Some(row) = Row::of(
        &python_package("grpcio"),
        "a unary call, streams (one of 10,000 messages), a failure",
        Told::Variables,
    ) else {
        return;
    };
    let stage = Stage::new(true, echo).await;
    let server = GrpcServer::start(&stage.ca, &stage);
    let command = [&*python(), &script("grpc_call.py"), &*server.address];
    let ca = stage.ca.file.to_str().unwrap();
    let direct = text_of(&stage.directly(&command, &[("GRPC_DEFAULT_SSL_ROOTS_FILE_PATH", ca)]).await);
    let proxied = text_of(&stage.run(&["--include-localhost"], &command, &[]).await);
    assert_eq!(direct, proxied);
    assert!(direct.starts_with("echo hello\n0 1 2 3 4\n10000 "), "{direct}");
    assert!(direct.ends_with("\nNOT_FOUND no such thing: é"), "{direct}");
    let events = events(stage.folder.path());
    assert_eq!(events.len(), 4, "{events:#?}");
    // 10 numbers of one digit, 90 of two, 900 of three, 9,000 of four.
    assert_eq!(events[2]["response_size_bytes"], 10_000 * 5 + 10 + 180 + 2_700 + 36_000);
    assert_eq!(events[3]["error"], "grpc_5: NOT_FOUND: no such thing: é");
    assert_eq!(events[3]["custom_properties"]["rpc.response.status_code"], "NOT_FOUND");
    // Each message has five bytes before it.
    for (event, path, sent, received) in
        [(&events[0], "/stand.In/Echo", 5 + 5, 5 + 10), (&events[1], "/stand.In/Count", 5 + 1, 5 * (5 + 1))]
    {
        assert_eq!((&event["method"], &event["path"]), (&"POST".into(), &path.into()));
        assert_eq!((&event["status_code"], &event["error"]), (&200.into(), &"".into()));
        assert_eq!(
            (&event["request_size_bytes"], &event["response_size_bytes"]),
            (&sent.into(), &received.into()),
            "{event:#}"
        );
        let properties = &event["custom_properties"];
        assert_eq!(properties["network.protocol.version"], "2");
        assert!(properties["user_agent.original"].as_str().unwrap().starts_with("grpc-python/"), "{event:#}");
        assert_eq!(event["metadata"]["response_trailers"]["grpc-status"], "0", "{event:#}");
    }
    row.passed();
}

/// Calls a name and an address as `script` says to.
async fn trusts_strictly(row: Row, python: &str, whether: &str) {
    let stage = Stage::new(false, echo).await;
    let port = stage.origin.addr.port().to_string();
    let command = [python, &script("strict_tls.py"), &port, whether];
    let done = stage.run(&["--include-localhost"], &command, &[]).await;
    assert_eq!(text(&done.stdout), "200\n200\n", "{}", text(&done.stderr));
    assert_eq!(events(stage.folder.path()).len(), 2);
    row.passed();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn our_leaves_are_trusted_in_strict_mode_for_names_and_addresses() {
    let client = python_itself("http.client");
    let Some(row) = Row::of(&client, "certificates checked strictly", Told::Variables) else { return };
    trusts_strictly(row, &python(), "asked").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn our_leaves_are_trusted_by_a_python_that_is_strict_by_default() {
    let client = strict_python_itself("http.client");
    let what = "certificates checked strictly, as it does by default";
    let Some(row) = Row::if_installed(&client, what, Told::Variables) else { return };
    let python = strict_python().unwrap();
    trusts_strictly(row, python.to_str().unwrap(), "default").await;
}
