//! Ids of an agent's session are no secrets, and are treated alike wherever they stand.

use super::*;

const ID: &str = "0b9f5d4e-8c55-4bb1-a7a5-7f0c4c2b9d01";

fn told<'a>(redactor: &'a Redactor, fields: &[(&'static str, &'static str)]) -> Masking<'a> {
    let mut masking = redactor.masking("api.test", 443, "/");
    masking.recognise(fields.iter().map(|(name, value)| (*name, value.as_bytes())));
    masking
}

#[test]
fn an_id_is_shown_in_its_field_and_in_the_body() {
    for name in [
        "x-claude-code-session-id",
        "x-claude-code-agent-id",
        "x-claude-code-parent-agent-id",
        "session-id",
        "session_id",
        "thread-id",
        "x-codex-window-id",
        "x-codex-parent-session-id",
        "x-client-request-id",
        "x-opencode-session",
        "x-opencode-request",
        "x-session-affinity",
    ] {
        let redactor = redactor();
        let mut masking = told(redactor, &[(name, ID)]);
        assert_eq!(masking.header(name, ID), None, "{name}");
        let body = format!(r#"{{"session_id":"{ID}","inner":"{{\"sessionId\":\"{ID}\"}}"}}"#);
        assert_eq!(masking.text(&body, Ends::default()).unwrap(), None, "{name}");
        assert_eq!(masking.query(&format!("session_id={ID}")), None, "{name}");
        assert_eq!(masking.total(), 0);
    }
}

#[test]
fn a_later_call_shows_it_as_well() {
    const LATER: &str = "5c1e0001-told-by-a-call";
    let redactor = redactor();
    told(redactor, &[("x-claude-code-session-id", LATER)]);
    let body = format!(r#"{{"events":[{{"session_id":"{LATER}"}}]}}"#);
    assert_eq!(told(redactor, &[]).text(&body, Ends::default()).unwrap(), None);
}

#[test]
fn a_body_that_tells_it_shows_it() {
    let (redactor, id) = (redactor(), "5c1e0000-told-by-a-body");
    let body =
        format!(r#"{{"type":"response.create","client_metadata":{{"session_id":"{id}"}},"session_id":"{id}"}}"#);
    assert_eq!(told(redactor, &[]).message(&body), None);
}

#[test]
fn other_sessions_stay_secret() {
    let redactor = redactor();
    let mut masking = told(redactor, &[("user-agent", "claude-cli/2.1"), ("x-claude-code-session-id", ID)]);
    assert!(masking.header("mcp-session-id", ID).is_some(), "it works like a bearer token");
    let other = masking.text(r#"{"session_id":"c4n4ry-0123456789"}"#, Ends::default()).unwrap().unwrap();
    assert!(clean(&other), "{other}");
    assert!(told(redactor, &[]).header("x-session-id", "c4n4ry-0123456789").is_some(), "nobody's");
    assert!(told(redactor, &[("user-agent", "opencode/1")]).header("x-session-id", ID).is_none());
    let key = "sk-ant-api03-c4n4ry0123456789abcdefWXYZ";
    let shown = told(redactor, &[("session-id", key)]).header("session-id", key).unwrap();
    assert!(clean(&shown), "{shown}");
}

#[test]
fn a_secret_in_the_place_of_an_id_is_masked_in_the_body_too() {
    let key = "sk-ant-api03-c4n4ry0123456789abcdefWXYZ";
    let in_string = format!(r#"{{"device_id":"d","session_id":"{key}"}}"#).replace('"', "\\\"");
    for body in [
        format!(r#"{{"client_metadata":{{"session_id":"{key}"}}}}"#),
        format!(r#"{{"metadata":{{"user_id":"{in_string}"}}}}"#),
    ] {
        let shown = told(redactor(), &[]).message(&body).unwrap();
        assert!(clean(&shown), "{shown}");
        assert!(clean(&told(redactor(), &[("session-id", key)]).message(&body).unwrap()));
    }
}

#[test]
fn the_operators_own_rule_still_holds() {
    let with = Redact { headers: vec!["x-claude-code-session-id".to_owned()], ..settings() };
    let redactor = Redactor::new(&with, &[], Fingerprint::new(&[7; 32])).unwrap();
    assert!(told(&redactor, &[("x-claude-code-session-id", ID)]).header("x-claude-code-session-id", ID).is_some());
}
