//! The agent key and other secrets.

use super::*;

#[test]
fn the_key_file_is_read_and_its_key_stands_where_the_file_was_named() {
    let case = Case::file("[otas]\nagent_key_file = \"agent.key\"\n").write("cwd/agent.key", &format!("{KEY}\n"));
    let loaded = case.loaded();
    assert_eq!(loaded.config.otas.agent_key.as_ref().unwrap().expose(), KEY);
    assert_eq!(line(&loaded, "otas.agent_key"), pair("****1234", "file proxy.toml:2"));
    assert_eq!(loaded.config.otas.agent_key_file, Some(case.path("cwd/agent.key")));
}

#[test]
fn a_key_of_a_higher_layer_replaces_key_and_key_file_below() {
    let case = Case::file("[otas]\nagent_key_file = \"missing.key\"\n").env("OTAS_AGENT_KEY", OTHER_KEY);
    let loaded = case.loaded();
    assert_eq!(line(&loaded, "otas.agent_key"), pair("****5678", "environment OTAS_AGENT_KEY"));
    assert_eq!(line(&loaded, "otas.agent_key_file"), pair("not set", "default"));

    let case = case.write("cwd/flag.key", KEY).flags(|flags| flags.agent_key_file = Some("flag.key".into()));
    let loaded = case.loaded();
    assert_eq!(loaded.config.otas.agent_key.as_ref().unwrap().expose(), KEY);
    assert_eq!(line(&loaded, "otas.agent_key"), pair("****1234", "flag --agent-key-file"));
}

#[test]
fn key_and_key_file_in_one_file_is_an_error() {
    let text = format!("[otas]\nagent_key = \"{KEY}\"\nagent_key_file = \"k\"\n");
    let case = Case::file(&text).write("cwd/k", KEY);
    assert_eq!(
        case.refused(),
        "proxy.toml:3:18: otas.agent_key_file: `otas.agent_key` is set as well; keep one of the two"
    );
}

#[test]
fn a_key_file_that_is_missing_empty_or_not_a_key_is_named() {
    let case = Case::file("[otas]\nagent_key_file = \"agent.key\"\n");
    let path = case.path("cwd/agent.key").display().to_string();
    let place = "proxy.toml:2:18: otas.agent_key_file: ";
    let refused = case.refused();
    assert!(refused.starts_with(&format!("{place}cannot read {path}: No such file")), "{refused}");
    let case = case.write("cwd/agent.key", " \n");
    assert_eq!(case.refused(), format!("{place}{path} holds no agent key: it is empty"));
    let case = case.write("cwd/agent.key", "agent key\n");
    assert!(case.refused().starts_with(&format!("{place}{path} holds no agent key: it contains a space")));
}

#[test]
fn a_session_token_without_an_agent_key_is_an_error() {
    let refused = Case::new().env("OTAS_SESSION_TOKEN", "a.b.c").refused();
    let expected = "environment OTAS_SESSION_TOKEN: otas.session_token: a session token needs the \
                    agent key that it was made with; set `otas.agent_key`";
    assert!(refused.starts_with(expected), "{refused}");
    let case = Case::file("[otas]\nsession_token = \"a.b.c\"\n").env("OTAS_AGENT_KEY", KEY);
    assert_eq!(case.loaded().config.otas.session_token.unwrap().expose(), "a.b.c");
}

#[test]
fn no_report_and_no_error_shows_a_secret_even_in_the_wrong_place() {
    let case = Case::new().env("OTAS_AGENT_KEY", KEY).env("OTAS_SESSION_TOKEN", "header.payload.signature");
    let report = format!("{:?}", case.loaded().report());
    assert!(report.contains("****1234") && report.contains("****ture"), "{report}");
    assert!(!report.contains("agent_abc") && !report.contains("payload"), "{report}");

    let secret = "agent_s3cr3t_s3cr3t s3cr3t";
    let wrong = [
        format!("[otas]\nagent_key = \"{secret}\""),
        format!("[otas]\nagent_key = [\"{secret}\"]"),
        "[otas]\nagent_key = agent_s3cr3t".to_owned(),
        "[otas]\nagent_key = \"agent_s3cr3t".to_owned(),
        "[otas]\nagent_key = 'agent_s3cr3t\nx = 1".to_owned(),
        "[otas]\nagent_key \"agent_s3cr3t\"".to_owned(),
        "[otas]\nagent_key = \"agent_\\s3cr3t\"".to_owned(),
        "[otas]\nagent_key = \"a\" s3cr3t".to_owned(),
        "[otas]\nagent_key = 12345678901234567890s3cr3t".to_owned(),
        format!("[otas]\nbrian_url = \"{secret}\""),
        format!("[otas]\nproject_id = \"{secret}\""),
        format!("[otas]\nbrain_url = \"{secret}\""),
        "[otas]\nbrain_url = \"http://me:s3cr3t@host\"".to_owned(),
        "[otas]\nbrain_url = \"s3cr3t:x\"".to_owned(),
        format!("[listen]\nproxy = \"{secret}\""),
        format!("[tls]\npassthrough = [\"{secret}\"]"),
        format!("[proxy]\nvia = \"{secret}\""),
        format!("[delivery]\nmax_in_flight = \"{secret}\""),
        format!("[event]\nproperties = \"{secret}\""),
        format!("otas = \"{secret}\""),
    ];
    for text in wrong {
        let error = Case::file(&text).load().err().expect(&text);
        let said = format!("{error} {error:?}");
        assert!(said.contains("proxy.toml") && !said.contains("s3cr3t"), "{text}\n{said}");
    }
    for variable in ["OTAS_AGENT_KEY", "OTAS_SESSION_TOKEN", "OTAS_PROJECT_ID", "OTAS_BRAIN_URL"] {
        let refused = Case::new().env(variable, secret).refused();
        assert!(refused.contains(variable) && !refused.contains("s3cr3t"), "{refused}");
    }
}
