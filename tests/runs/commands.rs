//! The commands over runs and conversations.

use std::path::Path;
use std::process::Output;

use serde_json::{Value, json};
use unicode_width::UnicodeWidthStr as _;

use super::agents::{Claude, Model, Tokens, get, text, uses};
use super::{SESSION, TASK, prices};
use crate::support::program::Folder;
use crate::support::proxy::{Running, TestProxy};
use crate::support::sample::{steering, steers};
use crate::terminal::{in_columns, without_colours};

/// A short session, with text that controls terminals in every place: a sub-agent, a failed tool, a failed call and its retry, a
/// cache miss.
pub(crate) async fn played() -> (Running, Vec<i64>) {
    let (proxy, model) = (TestProxy::new().with(prices).run().await, Model::start().await);
    let tokens = |read, written| Tokens { uncached: 10, read, written, output: 5 };
    let mut main = Claude::new(&proxy, &model, SESSION);
    main.says(&steering("said"));
    let arguments = json!({ "command": steering("argument") });
    main.call(&[uses("toolu_1", &steering("tool"), arguments)], tokens(0, 4_000)).await;
    get(&proxy, &model, "/file").await;
    main.results(&[("toolu_1", &steering("result"), true)]);
    main.fail(529, &steering("error")).await;
    main.call(&[uses("toolu_2", "Agent", json!({ "prompt": TASK }))], tokens(4_000, 500)).await;
    let mut sub = main.sub_agent("helper-1");
    sub.says(TASK);
    sub.call(&[text("Found three.")], tokens(0, 0)).await;
    main.results(&[("toolu_2", "Found three.", false)]);
    main.tools.push("WebFetch");
    main.call(&[text(&"A long answer.\n".repeat(100))], tokens(0, 5_000)).await;
    let calls = proxy.app.store.viewer();
    let mut rows: Vec<i64> = Vec::new();
    calls.each(&super::everything(), |call| rows.push(call.id)).unwrap();
    rows.reverse();
    (proxy, rows)
}

fn run(store: &Path, arguments: &[&str]) -> Output {
    let folder = Folder::new();
    folder.program().args(arguments).arg("--store-path").arg(store).output().unwrap()
}

/// What a command prints, which controls no terminal.
fn said(store: &Path, arguments: &[&str]) -> String {
    let done = run(store, arguments);
    let text = String::from_utf8(done.stdout).unwrap();
    assert!(done.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&done.stderr));
    let colours = without_colours(&text);
    assert!(!colours.contains(steers) && !colours.is_empty(), "{arguments:?}: {text:?}");
    text
}

fn json_of(store: &Path, arguments: &[&str]) -> Value {
    serde_json::from_str(&said(store, arguments)).unwrap()
}

#[tokio::test]
async fn a_run_is_shown_as_a_tree_and_listed_by_the_agents_own_session() {
    let (proxy, rows) = played().await;
    let store = proxy.app.store.path();
    let tree = said(store, &["events", "--tree"]);
    let lines: Vec<&str> = tree.lines().collect();
    assert!(lines[0].starts_with(&format!("claude {SESSION}  ")) && lines[0].contains("5 calls  1 failed"), "{tree}");
    for words in [
        "└─ “said:a\\u{1b}[2J",
        "   ├─ → tool:a\\u{1b}[2J",
        "argument:a\\u001b[2J",
        "failed  at most",
        &format!("retries #{}", rows[2]),
        "   ├─ → Agent ",
        "   │  └─ sub-agent helper-1  1 call",
        "   │     └─ “Look for the callers",
        "The tool WebFetch was added",
        &format!("cache miss against #{}: 0 of 4.5k tokens read.", rows[3]),
        "GET 127.0.0.1/file",
        "(4.0k read from, 500 written to the cache)",
    ] {
        assert!(tree.contains(words), "{words}\n{tree}");
    }
    assert_eq!(said(store, &["events", "--tree", "status:529"]), tree, "a run is shown whole");
    let coloured = said(store, &["events", "--tree", "--color", "always"]);
    assert!(coloured.contains("\u{1b}[31m") && without_colours(&coloured).contains("└─ “said:"), "{coloured}");
    for columns in [40, 60, 80, 120] {
        let shown = in_columns(columns, &["events", "--tree", "--store-path", store.to_str().unwrap()]);
        for line in without_colours(&shown).lines() {
            assert!(line.trim_end().width() <= columns, "{columns}: {line}");
        }
        assert!(shown.contains("\u{1b}[31m") && shown.contains("→ Agent"), "{shown}");
    }
    let json = json_of(store, &["events", "--tree", "--json"]);
    assert_eq!((&json["totals"]["model_calls"], &json["threads"][1]["parent_thread"]), (&json!(5), &json!(0)));
    let turn = &json["threads"][0]["turns"][0];
    assert_eq!((&turn["said"]["text"], &turn["complete"]), (&json!(steering("said")), &json!(true)));

    let table = said(store, &["runs"]);
    for words in ["claude", SESSION, "m-claude", "6 ", "13,540 → 20", "4,000"] {
        assert!(table.contains(words), "{words}\n{table}");
    }
    let run = &json_of(store, &["runs", "--json"])[0];
    assert_eq!((&run["run"], &run["other_calls"]), (&json!(format!("claude:{SESSION}")), &json!(1)));
    assert_eq!(run["totals"]["cache_read_tokens"], 4_000);
    proxy.stop().await;
}

#[tokio::test]
async fn a_conversation_is_read_and_two_calls_are_compared() {
    let (proxy, rows) = played().await;
    let (store, last) = (proxy.app.store.path(), rows[5].to_string());
    let whole = |more: &[&str]| said(store, &[&["show", &last, "--conversation"], more].concat());
    let folded = whole(&[]);
    for words in [
        "── system ──",
        "── 4 tools ──\nBash, Agent, Read, WebFetch",
        "── user ──",
        "said:a\\u{1b}[2J",
        "── assistant ──\n→ tool:a\\u{1b}[2J",
        "← result toolu_1 failed\nresult:a\\u{1b}[2J",
        "── answer of m-claude, end_turn ──\nA long answer.",
        "(--all)",
    ] {
        assert!(folded.contains(words), "{words}\n{folded}");
    }
    assert_eq!(
        (folded.matches("A long answer.").count(), whole(&["--all"]).matches("A long answer.").count()),
        (12, 100)
    );
    assert_eq!(said(store, &["events", "show", &last, "--conversation"]), folded);
    let json = json_of(store, &["show", &last, "--conversation", "--json"]);
    assert_eq!((&json["messages"][0]["role"], &json["answer"]["stop_reason"]), (&json!("user"), &json!("end_turn")));
    assert!(said(store, &["show", &last]).contains("\"request_body\""));

    let diff = said(store, &["diff", &last]);
    for words in [
        &format!("── #{} m-claude → #{last} m-claude ──", rows[3]),
        "cache miss: 0 of 4.5k tokens read. The tool WebFetch was added.",
        "+ tool WebFetch",
        "── messages: 3 kept, 0 removed or changed, 2 new ──",
        "← result toolu_2\nFound three.",
    ] {
        assert!(diff.contains(words), "{words}\n{diff}");
    }
    assert_eq!(said(store, &["diff", &rows[3].to_string(), &last]), diff);
    let json = json_of(store, &["diff", &last, "--json"]);
    assert_eq!((&json["tools"]["added"], &json["messages"]["added"]), (&json!(["WebFetch"]), &json!(2)));
    let reversed = json_of(store, &["diff", &last, &rows[0].to_string(), "--json"]);
    assert_eq!((&reversed["messages"]["removed"], &reversed["tools"]["removed"]), (&json!(4), &json!(["WebFetch"])));
    let reversed = said(store, &["diff", &last, &rows[3].to_string()]);
    assert!(!reversed.contains("cache miss"), "a later call left nothing for an earlier one: {reversed}");
    for (arguments, words) in [
        (&["diff", &rows[0].to_string()][..], "continues no stored call"),
        (&["diff", &last, &last], "is compared with itself"),
        (&["diff", "99999999"], "there is no event 99999999"),
        (&["show", &rows[1].to_string(), "--conversation"], "is not a conversation with a model"),
    ] {
        let done = run(store, arguments);
        let error = String::from_utf8_lossy(&done.stderr).into_owned();
        assert!(!done.status.success() && error.contains(words), "{arguments:?}: {error}");
    }
    proxy.stop().await;
}
