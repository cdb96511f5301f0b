//! `otas-proxy share`: a file of its own for a call or a run.

use std::os::unix::fs::PermissionsExt as _;
use std::process::Output;

use otas_proxy::store::Store;
use serde_json::json;

use crate::support::program::Folder;
use crate::support::sample::{HOSTILE, Sample, append, steers};

const SESSION: &str = "0b9f5d4e-8c55-4bb1-a7a5-7f0c4c2b9d01";

/// A folder with a call to a model of an agent's session, and a hostile one.
fn folder() -> Folder {
    let folder = Folder::new();
    folder.configure("");
    let store = Store::open(&folder.path().join("events.db")).unwrap();
    let session = store.begin_session("run-1", "key-1", &json!({ "command": HOSTILE }).to_string()).unwrap();
    let mut call = Sample::model("api.anthropic.com", "/v1/messages", "claude-x", (1_200, 340), 2_400.0);
    let ids =
        [("session.id", SESSION), ("gen_ai.agent.name", "claude"), ("otas_proxy.llm.api", "anthropic.messages")];
    for (name, value) in ids {
        call.llm[name] = value.into();
        call.event["custom_properties"][name] = value.into();
    }
    let asked = json!({ "model": "claude-x", "messages": [{ "role": "user", "content": "How far is the moon?" }] });
    call.event["request_body"] = asked.to_string().into();
    append(&store, session, &[call, Sample::hostile(), Sample::steering()]);
    folder
}

fn share(folder: &Folder, arguments: &[&str]) -> Output {
    folder.program().arg("share").args(arguments).current_dir(folder.path()).output().unwrap()
}

fn failure(folder: &Folder, arguments: &[&str]) -> String {
    let done = share(folder, arguments);
    assert!(!done.status.success() && done.stdout.is_empty(), "{arguments:?}: {done:?}");
    String::from_utf8(done.stderr).unwrap()
}

#[test]
fn a_call_and_a_run_are_written_for_their_owner_alone() {
    let folder = folder();
    for (what, words) in [
        ("1", "384,400 km"),
        (SESSION, "How far is the moon?"),
        ("0b9f5d4e", "claude 0b9f5d4e"),
        ("run-1", "Slowest: "),
    ] {
        let done = share(&folder, &[what, "--output", "shared.html", "--force"]);
        assert!(done.status.success() && done.stdout.is_empty(), "{what}: {done:?}");
        let file = folder.path().join("shared.html");
        let html = std::fs::read_to_string(&file).unwrap();
        assert!(html.starts_with("<!DOCTYPE html>") && html.contains(words), "{what}: {html}");
        assert!(html.contains("default-src 'none'") && !html.contains("<script"), "{what}");
        assert_eq!(std::fs::metadata(&file).unwrap().permissions().mode() & 0o777, 0o600);
    }
    for what in ["2", "3", "session:run-1"] {
        let done = share(&folder, &[what, "-o", "-"]);
        let html = String::from_utf8(done.stdout).unwrap();
        assert!(done.status.success() && html.contains("</html>"), "{what}");
        assert!(
            !html.contains("<script") && !html.contains("<img src=x") && !html.contains(steers),
            "{what}: {html}"
        );
    }
}

#[test]
fn no_file_is_written_over_and_no_link_is_followed() {
    let folder = folder();
    let (file, link) = (folder.path().join("there.html"), folder.path().join("link.html"));
    std::fs::write(&file, "mine").unwrap();
    std::os::unix::fs::symlink(&file, &link).unwrap();
    assert!(failure(&folder, &["1", "--output", "there.html"]).contains("exists already"));
    assert!(failure(&folder, &["1", "--output", "link.html"]).contains("exists already"));
    assert!(failure(&folder, &["1", "--output", "link.html", "--force"]).contains("symbolic link"));
    assert_eq!(std::fs::read_to_string(&file).unwrap(), "mine");
    assert!(failure(&folder, &["99", "--output", "new.html"]).contains("there is no event 99"));
    assert!(failure(&folder, &["nobody", "--output", "new.html"]).contains("`otas-proxy runs` lists them"));
    assert!(!folder.path().join("new.html").exists());
}
