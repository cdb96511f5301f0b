use proptest::prelude::*;
use serde_json::json;

use super::*;

fn of(fields: &[(&str, &str)], members: &[(&'static str, Value)]) -> Option<Identity> {
    Identity::of(fields.iter().map(|(name, value)| (*name, value.as_bytes())), members)
}

fn parts(identity: &Identity) -> Vec<(&'static str, &str)> {
    let mut parts: Vec<_> = identity.parts().map(|(part, text)| (part.key(), text)).collect();
    parts.sort_unstable();
    parts
}

const SESSION: &str = "0b0c6e21-5a4b-4f7e-9c86-1a2b3c4d5e6f";
const THREAD: &str = "019a7b5c-1111-7000-8000-000000000001";

#[test]
fn claude_names_session_and_sub_agent_in_fields() {
    let fields = [
        ("user-agent", "claude-cli/2.1.197 (external, cli)"),
        ("x-claude-code-session-id", SESSION),
        ("x-claude-code-agent-id", "a1b2c3d4"),
        ("x-client-request-id", "req-1"),
    ];
    let identity = of(&fields, &[]).unwrap();
    assert_eq!((identity.name(), identity.version()), ("claude", Some("2.1.197")));
    assert_eq!(parts(&identity), [("agent_id", "a1b2c3d4"), ("request_id", "req-1"), ("session_id", SESSION)]);
    // The fields alone show the agent, whatever library sent them.
    assert_eq!(of(&fields[1..], &[]).unwrap().name(), "claude");
}

#[test]
fn claude_names_its_session_in_the_body() {
    let json = json!({ "device_id": "d", "account_uuid": "", "session_id": SESSION }).to_string();
    let old = format!("user_0011_account_2233_session_{SESSION}");
    for user in [json, old] {
        let identity = of(&[("user-agent", "node")], &[("metadata.user_id", json!(user))]).unwrap();
        assert_eq!((identity.name(), identity.get(Part::Session)), ("claude", Some(SESSION)), "{user}");
    }
    for other in ["user-4711", "{}", r#"{"session_id":"x"}"#, "user_1_session_2", ""] {
        assert_eq!(of(&[("user-agent", "node")], &[("metadata.user_id", json!(other))]), None, "{other}");
    }
}

#[test]
fn codex_names_session_thread_and_turn_in_fields() {
    let turn = json!({
        "session_id": SESSION, "thread_id": THREAD, "turn_id": "turn-7", "thread_source": "subagent",
        "agent_name": "/root/helper_1", "parent_thread_id": "019a-parent", "request_kind": "turn",
    });
    let fields = [
        ("user-agent", "codex_exec/0.171.0 (Linux)"),
        ("session-id", SESSION),
        ("thread-id", THREAD),
        ("x-openai-subagent", "collab_spawn"),
        ("x-codex-turn-metadata", &turn.to_string()),
    ];
    let identity = of(&fields, &[]).unwrap();
    assert_eq!(identity.version(), Some("0.171.0"));
    assert_eq!(
        parts(&identity),
        [
            ("agent_name", "/root/helper_1"),
            ("agent_type", "collab_spawn"),
            ("parent_thread_id", "019a-parent"),
            ("request_kind", "turn"),
            ("session_id", SESSION),
            ("thread_id", THREAD),
            ("thread_source", "subagent"),
            ("turn_id", "turn-7"),
        ]
    );
}

#[test]
fn codex_names_the_turn_of_a_websocket_in_the_body() {
    let inner = json!({ "session_id": SESSION, "thread_id": THREAD, "turn_id": "turn-8" }).to_string();
    let member = json!({ "x-codex-turn-metadata": inner, "x-codex-window-id": "w:1" });
    // The handshake still has the first turn.
    let first = json!({ "thread_id": THREAD, "turn_id": "turn-7" }).to_string();
    let fields = [("originator", "codex_cli_rs"), ("thread-id", THREAD), ("x-codex-turn-metadata", &*first)];
    let identity = of(&fields, &[("client_metadata", member.clone())]).unwrap();
    assert_eq!((identity.get(Part::Turn), identity.get(Part::Session)), (Some("turn-8"), Some(SESSION)));
    // The body alone shows the agent.
    let identity = of(&[], &[("client_metadata", member)]).unwrap();
    assert_eq!((identity.name(), identity.get(Part::Window)), ("codex", Some("w:1")));
}

#[test]
fn metadata_of_another_thread_is_not_believed() {
    for thread in [json!({ "thread_id": "another", "turn_id": "t" }), json!({ "turn_id": "t" }), json!([1])] {
        let fields =
            [("user-agent", "codex-tui/1"), ("thread-id", THREAD), ("x-codex-turn-metadata", &*thread.to_string())];
        let identity = of(&fields, &[]).unwrap();
        assert_eq!(parts(&identity), [("thread_id", THREAD)], "{thread}");
    }
}

#[test]
fn weak_names_count_only_from_a_known_agent() {
    let weak =
        [("x-session-id", "s-1"), ("session-id", SESSION), ("thread-id", THREAD), ("x-session-affinity", "s-1")];
    assert_eq!(of(&weak, &[]), None);
    assert_eq!(of(&[&weak[..], &[("user-agent", "curl/8.5")]].concat(), &[]), None);
    let opencode = of(&[&weak[..], &[("user-agent", "opencode/1.0.3")]].concat(), &[]).unwrap();
    assert_eq!(parts(&opencode), [("session_id", "s-1"), ("thread_id", "s-1")]);
    let codex = of(&[&weak[..], &[("user-agent", "codex_exec/1")]].concat(), &[]).unwrap();
    assert_eq!(parts(&codex), [("session_id", SESSION), ("thread_id", THREAD)]);
    let aider = of(&[&weak[..], &[("user-agent", "aider/0.80 +https://aider.chat")]].concat(), &[]).unwrap();
    assert_eq!((aider.name(), aider.version(), parts(&aider)), ("aider", Some("0.80"), vec![]));
}

#[test]
fn a_sub_agent_of_opencode_is_a_thread_in_the_session_of_its_parent() {
    let fields = [
        ("user-agent", "opencode/1.18.33 ai-sdk/provider-utils/4.0.23 runtime/bun/1.3.14"),
        ("x-session-affinity", "ses_child"),
        ("x-session-id", "ses_child"),
        ("x-parent-session-id", "ses_parent"),
    ];
    let ids = [("parent_thread_id", "ses_parent"), ("session_id", "ses_parent"), ("thread_id", "ses_child")];
    assert_eq!(parts(&of(&fields, &[]).unwrap()), ids);
}

#[test]
fn gemini_names_session_and_prompt_in_the_body() {
    let members = [("request.session_id", json!(SESSION)), ("user_prompt_id", json!("p########3"))];
    let identity = of(&[("user-agent", "GeminiCLI/0.9/gemini-3-pro (linux; x64)")], &members).unwrap();
    assert_eq!(parts(&identity), [("session_id", SESSION), ("turn_id", "p########3")]);
    assert_eq!(identity.version(), Some("0.9"));
    assert_eq!(of(&[("user-agent", "python")], &members), None);
    // A sub-agent's prompt.
    let members = [("request.session_id", json!(SESSION)), ("user_prompt_id", json!("32708079-6e10#1"))];
    let identity = of(&[("user-agent", "GeminiCLI-tui/0.61.0/gemini-3 (linux; x64)")], &members).unwrap();
    assert_eq!(parts(&identity), [("agent_id", "32708079-6e10"), ("session_id", SESSION)]);
}

#[test]
fn qwen_names_session_prompt_and_sub_agent_in_the_body() {
    let of = |prompt: &str| {
        let members = [("metadata.sessionId", json!(SESSION)), ("metadata.promptId", json!(prompt))];
        of(&[("user-agent", "QwenCode/0.15.10 (linux; x64)")], &members).unwrap()
    };
    assert_eq!(parts(&of("668d1920e1c98")), [("session_id", SESSION), ("turn_id", "668d1920e1c98")]);
    let third = format!("{SESSION}########3");
    assert_eq!(parts(&of(&third)), [("session_id", SESSION), ("turn_id", &third)]);
    let helper = of(&format!("{SESSION}#general-purpose-ty4jth#0"));
    assert_eq!(parts(&helper), [("agent_id", "general-purpose-ty4jth"), ("session_id", SESSION)]);
}

#[test]
fn invalid_ids_are_left_out() {
    for (value, known) in [("", false), ("a\u{7}b", false), (&*"x".repeat(257), false), (&*"x".repeat(256), true)] {
        let identity = of(&[("x-claude-code-session-id", value)], &[]).unwrap();
        assert_eq!(identity.get(Part::Session).is_some(), known, "{value:?}");
    }
}

proptest! {
    #[test]
    fn any_claim_is_read_without_a_panic(
        value in any::<Vec<u8>>(),
        text in "[-{}\":,\\[\\]a-z_0-9 é\\\\]{0,60}",
        name in prop::sample::select(vec!["user-agent", "session-id", "x-codex-turn-metadata", "x-claude-code-agent-id"]),
    ) {
        let fields = [(name, &*value), ("x-codex-turn-metadata", text.as_bytes())];
        for member in [json!(text), json!({ "x-codex-turn-metadata": text, "thread_id": [1] })] {
            let members = MEMBERS.map(|(name, _)| (name, member.clone()));
            if let Some(identity) = Identity::of(fields.into_iter(), &members) {
                prop_assert!(identity.parts().all(|(_, text)| text.len() <= TEXT_MAX_BYTES));
            }
        }
    }
}
