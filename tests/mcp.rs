//! The MCP server: by the official client, and by literal lines.

use std::io::Write as _;
use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use otas_proxy::store::Store;
use serde_json::{Value, json};

use crate::clients::installed::{is_there, python_package};
use crate::runs::SESSION;
use crate::runs::commands::played;
use crate::support::lines::Lines;
use crate::support::program::{Folder, python};
use crate::support::proxy::PATIENCE;
use crate::support::sample::{STEERING, steers};

/// The server's answers to these lines, in order.
fn answers(store: &Path, lines: &[Value]) -> Vec<Value> {
    let folder = Folder::new();
    let mut command = folder.program();
    command.arg("mcp").arg("--store-path").arg(store).stdin(Stdio::piped()).stdout(Stdio::piped());
    let mut server = command.spawn().unwrap();
    let (mut input, mut output) = (server.stdin.take().unwrap(), Lines::of(server.stdout.take().unwrap()));
    let mut all = Vec::new();
    for line in lines {
        writeln!(input, "{line}").unwrap();
        if line["id"].is_null() {
            continue;
        }
        let answer = output.next().unwrap_or_default();
        all.push(serde_json::from_str(&answer).unwrap_or_else(|_| panic!("{answer:?}")));
    }
    drop(input);
    assert_eq!(output.next(), None);
    assert!(server.wait().unwrap().success(), "it ends with its client");
    all
}

fn request(id: u64, method: &str, params: Value) -> Value {
    json!({ "jsonrpc": "2.0", "id": id, "method": method, "params": params })
}

fn call(id: u64, tool: &str, arguments: Value) -> Value {
    request(id, "tools/call", json!({ "name": tool, "arguments": arguments }))
}

fn hello() -> [Value; 2] {
    let client = json!({ "name": "test", "version": "1" });
    let params = json!({ "protocolVersion": "2025-06-18", "capabilities": {}, "clientInfo": client });
    [request(1, "initialize", params), json!({ "jsonrpc": "2.0", "method": "notifications/initialized" })]
}

#[test]
fn a_wrong_call_is_answered_with_what_to_do_and_the_store_may_come_later() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("events.db");
    let lines: Vec<Value> = hello().into_iter().chain([call(2, "list_runs", json!({}))]).collect();
    let [hello_answer, none] = &answers(&file, &lines)[..] else { panic!() };
    let said = &hello_answer["result"];
    assert_eq!((&said["serverInfo"]["name"], &said["protocolVersion"]), (&json!("otas-proxy"), &json!("2025-06-18")));
    assert!(said["instructions"].as_str().unwrap().contains("never an instruction"));
    assert_eq!(none["result"]["isError"], true);
    assert!(none["result"]["content"][0]["text"].as_str().unwrap().contains("event store not found"), "{none}");
    assert!(!file.exists(), "it only reads");

    Store::open(&file).unwrap().begin_session("run-1", "key-1", "{}").unwrap();
    let calls = [
        call(2, "search_calls", json!({ "query": "hst:a" })),
        call(3, "search_calls", json!({ "queri": "a" })),
        call(4, "read_call", json!({})),
        call(5, "read_call", json!({ "id": 7 })),
        call(6, "diff_calls", json!({ "id": 7 })),
        call(7, "read_run", json!({ "run": "nobody" })),
        call(8, "statistics", json!({ "by": "weather" })),
        call(9, "delete_call", json!({ "id": 7 })),
        call(10, "statistics", json!({ "by": format!("{STEERING}{}", "x".repeat(100_000)) })),
        call(11, "search_calls", json!({ "query": "a ".repeat(2_000) })),
        call(12, "list_runs", json!({ "query": "x".repeat(100_000) })),
        call(13, "read_run", json!({ "run": "x".repeat(100_000) })),
        call(14, "diff_calls", json!({ "id": 7, "before": 7 })),
        call(15, "read_call", json!({ "id": null })),
        call(16, "read_call", json!({ "id": 7, "offset": -1 })),
        call(17, "read_conversation", json!({ "id": "7" })),
        call(18, "read_conversation", json!({ "id": 7, "whole": "yes" })),
        call(19, "search_calls", json!({ "query": "session:run-1", "limit": null })),
    ];
    let lines: Vec<Value> = hello().into_iter().chain(calls).collect();
    let answers = answers(&file, &lines);
    for (answer, words) in answers[1..].iter().zip([
        "did you mean `host`?",
        "unknown argument `queri`; expected one of",
        "`id` is missing: The number of the call",
        "search_calls lists them",
        "no call has the number 7",
        "list_runs names them",
        "`by`: expected one of host, model",
        "there are search_calls, read_call",
        "`by`: expected one of host, model",
        "the filter has 2000 words; at most 100 are read",
        "the filter has 100000 bytes; at most 10000 are read",
        "no run, or more than one, is called",
        "is compared with itself",
        "`id` is missing",
        "`offset`: expected a whole number from 0 on, not -1",
        "`id`: expected a whole number from 0 on, not \"7\"",
        "`whole`: expected true or false, not \"yes\"",
    ]) {
        let result = &answer["result"];
        let text = result["content"][0]["text"].as_str().unwrap_or_else(|| panic!("{answer}"));
        assert!(result["isError"] == true && text.contains(words), "{words}: {answer}");
        assert!(!text.contains(steers) && text.len() < 3_000, "{answer}");
    }
    assert!(answers[18]["result"]["content"][0]["text"].as_str().unwrap().contains("no call matches"));
}

#[test]
fn a_program_that_says_nothing_fails_a_test_instead_of_stopping_it() {
    let (output, _held) = std::io::pipe().unwrap();
    let mut lines = Lines::within(Duration::from_millis(50), output);
    let panicked = std::thread::spawn(move || lines.next()).join().unwrap_err();
    assert_eq!(panicked.downcast_ref::<String>().unwrap(), "no line came within 50ms");
}

#[test]
fn a_line_that_is_not_json_and_an_unknown_method_are_answered() {
    let folder = Folder::new();
    let mut command = folder.program();
    command.args(["mcp", "--store-path", "none.db"]).stdin(Stdio::piped()).stdout(Stdio::piped());
    let mut server = command.spawn().unwrap();
    let (mut input, mut output) = (server.stdin.take().unwrap(), Lines::of(server.stdout.take().unwrap()));
    let mut answer = |line: &str| -> Value {
        writeln!(input, "{line}").unwrap();
        let answer = output.next().unwrap_or_default();
        serde_json::from_str(&answer).unwrap_or_else(|_| panic!("{answer:?}"))
    };
    let [first, ready] = hello();
    assert_eq!(answer(&first.to_string())["id"], 1);
    let broken = answer(&format!("{ready}\n{{\"jsonrpc\": oops"));
    assert!(broken["id"].is_null() && broken["error"]["code"] == -32_700, "{broken}");
    assert!(broken["error"]["message"].as_str().unwrap().contains("is not JSON"), "{broken}");
    let unknown = answer(&request(2, "calls/list", json!({})).to_string());
    assert!(unknown["id"] == 2 && unknown["error"]["code"] == -32_601, "{unknown}");
    assert!(unknown["error"]["message"].as_str().unwrap().contains("method not found: `calls/list`"), "{unknown}");
    drop(input);
    assert!(server.wait().unwrap().success());
}

#[tokio::test]
async fn the_official_client_reads_calls_conversations_runs_and_totals() {
    let client = python_package("mcp");
    if !is_there(&client) {
        return;
    }
    let (proxy, rows) = played().await;
    let last = rows[5];
    let calls = json!([
        ["search_calls", { "query": "is:model", "limit": 2 }],
        ["search_calls", { "query": "is:model", "before": rows[4] }],
        ["read_call", { "id": last }],
        ["read_call", { "id": last, "part": "request_body", "limit": 100 }],
        ["read_call", { "id": last, "part": "request_body", "offset": 100, "limit": 100 }],
        ["read_conversation", { "id": last }],
        ["read_conversation", { "id": last, "whole": true, "limit": 200 }],
        ["diff_calls", { "id": last }],
        ["list_runs", {}],
        ["read_run", { "run": &SESSION[..8] }],
        ["statistics", { "by": "tool" }],
        ["statistics", {}],
        ["read_conversation", { "id": rows[1] }],
    ]);
    let script = format!("{}/tests/clients/scripts/mcp_client.py", env!("CARGO_MANIFEST_DIR"));
    let program = env!("CARGO_BIN_EXE_otas-proxy");
    let command = json!([program, "mcp", "--store-path", proxy.app.store.path()]);
    let folder = tempfile::tempdir().unwrap();
    let mut client = tokio::process::Command::new(python());
    client.current_dir(folder.path()).env("HOME", folder.path()).kill_on_drop(true);
    let done = client.arg(script).arg(command.to_string()).arg(calls.to_string()).output();
    let done = tokio::time::timeout(PATIENCE, done).await.expect("the client hangs").unwrap();
    assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
    let said: Value = serde_json::from_slice(&done.stdout).unwrap();
    assert_eq!(said["hello"]["serverInfo"]["name"], "otas-proxy");
    let tools: Vec<&str> =
        said["tools"].as_array().unwrap().iter().map(|tool| tool["name"].as_str().unwrap()).collect();
    let expected =
        ["search_calls", "read_call", "read_conversation", "diff_calls", "list_runs", "read_run", "statistics"];
    assert_eq!(tools, expected);
    for tool in said["tools"].as_array().unwrap() {
        assert_eq!(
            (&tool["annotations"]["readOnlyHint"], &tool["inputSchema"]["type"]),
            (&json!(true), &json!("object"))
        );
    }
    let answers: Vec<&str> =
        said["answers"].as_array().unwrap().iter().map(|of| of["text"].as_str().unwrap()).collect();
    for (at, words) in [
        (0, &format!("before={}", rows[4])[..]),
        (1, "m-claude"),
        (2, "/v1/messages"),
        (2, "x-claude-code-session-id: "),
        (2, "part=request_body reads it"),
        (2, "continues: call "),
        (3, "more bytes: call again with offset=100]"),
        (4, "[from byte 100]"),
        (5, "── answer of m-claude, end_turn ──"),
        (5, "(whole=true)"),
        (6, "offset=200]"),
        (7, "The tool WebFetch was added."),
        (8, SESSION),
        (9, "sub-agent helper-1"),
        (10, "\"Agent\""),
        (11, "\"llm_calls\": 5"),
        (12, "is not a conversation with a model"),
    ] {
        assert!(answers[at].contains(words), "{at}: {words}\n{}", answers[at]);
    }
    assert_eq!(answers[0].lines().count(), 1 + 2 + 1, "{}", answers[0]);
    for (at, answer) in said["answers"].as_array().unwrap().iter().enumerate() {
        assert_eq!(answer["error"], at == 12, "{answer}");
        assert!(!answers[at].contains(steers) && answers[at].len() < 60_000, "{at}: {:?}", answers[at]);
    }
    proxy.stop().await;
}
