//! Notes that people write on calls, by the command line.

use std::process::Output;

use otas_proxy::store::Store;
use serde_json::Value;

use crate::support::program::Folder;
use crate::support::sample::{Sample, append, steering, steers};

/// A folder with two calls.
fn folder() -> Folder {
    let folder = Folder::new();
    folder.configure("");
    let store = Store::open(&folder.path().join("events.db")).unwrap();
    let session = store.begin_session("run-1", "key-1", "{}").unwrap();
    append(
        &store,
        session,
        &[Sample::of("GET", "api.test", "/one", 200), Sample::of("GET", "api.test", "/two", 503)],
    );
    folder
}

fn run(folder: &Folder, arguments: &[&str]) -> Output {
    folder.program().args(arguments).current_dir(folder.path()).output().unwrap()
}

/// What a command prints.
fn said(folder: &Folder, arguments: &[&str]) -> String {
    let done = run(folder, arguments);
    assert!(done.status.success(), "{arguments:?}: {done:?}");
    String::from_utf8(done.stdout).unwrap()
}

fn note_of(folder: &Folder, id: &str) -> Value {
    let mut event: Value = serde_json::from_str(&said(folder, &["show", id, "--json"])).unwrap();
    event["note"].take()
}

#[test]
fn a_note_is_shown_with_its_call_found_and_taken_away() {
    let folder = folder();
    assert_eq!(note_of(&folder, "2"), Value::Null);
    assert_eq!(said(&folder, &["note", "2", "the Retry that hung"]), "");
    assert_eq!(note_of(&folder, "2"), "the Retry that hung");
    let whole: Vec<Value> =
        said(&folder, &["events", "--json"]).lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!((&whole[0]["note"], &whole[1]["note"]), (&Value::Null, &"the Retry that hung".into()));
    for query in ["note:retry", "is:noted", "\"retry that\"", "is:noted -note:other"] {
        let found = said(&folder, &["events", query]);
        assert!(
            found.contains("/two") && !found.contains("/one") && found.contains("the Retry that hung"),
            "{found}"
        );
    }
    for query in ["note:other", "path:/two -is:noted", "body:retry"] {
        assert!(!said(&folder, &["events", query]).contains("/two"), "{query}");
    }
    let har: Value = serde_json::from_str(&said(&folder, &["events", "--har", "-", "is:noted"])).unwrap();
    assert!(har["log"]["entries"][0]["comment"].as_str().unwrap().ends_with("\nthe Retry that hung"), "{har}");
    let shared = said(&folder, &["share", "2", "--output", "-"]);
    assert!(shared.contains("the Retry that hung"), "{shared}");
    said(&folder, &["note", "2", ""]);
    assert_eq!(
        (note_of(&folder, "2"), said(&folder, &["events", "is:noted"]).contains("/two")),
        (Value::Null, false)
    );
}

#[test]
fn a_note_is_masked_and_escaped_and_what_cannot_be_written_is_refused() {
    let folder = folder();
    let secret = "sk-ant-api03-".to_owned() + &"aB3".repeat(31) + "AA";
    said(&folder, &["note", "1", &format!("key {secret}: {}", steering("note"))]);
    for arguments in
        [&["show", "1"][..], &["events", "--json", "is:noted"], &["events"], &["share", "1", "--output", "-"]]
    {
        let text = said(&folder, arguments);
        assert!(
            text.contains("note:a") && !text.contains(steers) && !text.contains(&secret),
            "{arguments:?}: {text}"
        );
    }
    for (arguments, words) in [
        (["note", "9", "x"], "no event 9"),
        (["note", "1", &"long ".repeat(1_000)], "a note of 4999 bytes is too long: at most 4096"),
    ] {
        let refused = run(&folder, &arguments);
        let told = String::from_utf8(refused.stderr).unwrap();
        assert!(!refused.status.success() && told.contains(words), "{told}");
    }
    assert!(note_of(&folder, "1").as_str().unwrap().starts_with("key "), "the note before is still there");
}
