//! The ids of an agent's session, thread, turn or request. They are not secrets: they give no access, and people group calls by
//! them. So they are shown in header fields and in bodies.
//!
//! `mcp-session-id` is a secret: it works like a bearer token.

use serde_json::Value;

use crate::brief;
use crate::known_agents;

/// Header fields that always hold such an id.
const FIELDS: &[&str] = &[
    "session-id",
    "session_id",
    "thread-id",
    "thread_id",
    "conversation-id",
    "conversation_id",
    "x-conversation-id",
    "x-claude-code-session-id",
    "x-claude-code-agent-id",
    "x-claude-code-parent-agent-id",
    "x-client-request-id",
    "x-opencode-session",
    "x-opencode-request",
    "x-opencode-session-id",
    "x-session-affinity",
];
/// The prefix of the fields of Codex.
const CODEX: &str = "x-codex-";
/// Fields that hold such an id if an agent sends them. Other programs use these names for secrets.
const OF_AGENTS: &[&str] = &["x-session-id", "x-thread-id", "x-parent-session-id", "x-root-session-id"];
/// Prefixes of fields that only agents send.
const TELLING: [&str; 4] = ["x-claude-code-", "x-codex-", "x-opencode-", "x-session-affinity"];

/// The members of the session and of the prompt, by which Gemini CLI and Qwen Code are known.
const PROMPTS: [[&str; 2]; 2] = [["\"session_id\"", "\"user_prompt_id\""], ["\"sessionId\"", "\"promptId\""]];

/// An id has at least so many bytes: shorter texts are found by chance.
const ID_MIN_BYTES: usize = 8;
/// An id has at most so many bytes.
const ID_MAX_BYTES: usize = 256;
/// At most so many ids of one call are kept.
const IDS: usize = 64;
/// At most so many bytes of JSON are searched for ids at one place.
const JSON_MAX_BYTES: usize = 64 << 10;
/// At most so many places of a text are searched for ids.
const PLACES: usize = 8;

/// The ids of one call.
#[derive(Default)]
pub(super) struct Identity {
    /// Whether a known agent sent the call.
    agent: bool,
    ids: Vec<String>,
}

impl Identity {
    /// The ids in the header fields of a request.
    pub(super) fn of<'f>(fields: impl Iterator<Item = (&'f str, &'f [u8])> + Clone) -> Self {
        let text = |value: &'f [u8]| std::str::from_utf8(value).ok();
        let agent = fields.clone().any(|(name, value)| {
            TELLING.iter().any(|begin| name.starts_with(begin))
                || (name == "user-agent" && text(value).and_then(known_agents::of_user_agent).is_some())
        });
        let mut identity = Self { agent, ids: Vec::new() };
        for (name, value) in fields {
            if let Some(value) = text(value).filter(|_| identity.names(name)) {
                identity.note(value);
            }
        }
        identity
    }

    /// Whether the header field `name` (lower case) holds an id of the agent.
    pub(super) fn names(&self, name: &str) -> bool {
        FIELDS.contains(&name) || name.starts_with(CODEX) || (self.agent && OF_AGENTS.contains(&name))
    }

    /// Whether `value` is one of the ids.
    pub(super) fn has(&self, value: &str) -> bool {
        self.ids.iter().any(|id| id == value)
    }

    /// Notes the ids in a body: in the `client_metadata` of Codex, in the `user_id` of Claude Code, which is JSON in a string, and the
    /// session of Gemini CLI and Qwen Code beside the prompt. Returns whether there was a new one.
    pub(super) fn learn(&mut self, text: &str) -> bool {
        let before = self.ids.len();
        let has = |name: &str| memchr::memmem::find(text.as_bytes(), name.as_bytes()).is_some();
        let is_agent = self.agent;
        for names in PROMPTS.iter().filter(|[_, prompt]| is_agent && has(prompt)) {
            for value in names.iter().flat_map(|name| values_of(text, name)) {
                value.as_str().into_iter().for_each(|id| self.note(id));
            }
        }
        for name in ["client_metadata", "user_id"] {
            for value in values_of(text, name) {
                let value = match value {
                    Value::String(inner) => serde_json::from_str(&inner).ok(),
                    other => Some(other),
                };
                if let Some(value) = value.filter(|value| name == "client_metadata" || is_of_claude(value)) {
                    self.note_members(&value);
                }
            }
        }
        self.ids.len() > before
    }

    /// Keeps only some of the ids.
    pub(super) fn retain(&mut self, is_id: impl FnMut(&String) -> bool) {
        self.ids.retain(is_id);
    }

    /// All ids.
    pub(super) fn ids(&self) -> impl Iterator<Item = &str> {
        self.ids.iter().map(String::as_str)
    }

    /// Notes an id, or the ids in a JSON object.
    fn note(&mut self, value: &str) {
        let value = value.trim();
        if value.starts_with('{') && value.len() <= JSON_MAX_BYTES {
            if let Ok(json) = serde_json::from_str::<Value>(value) {
                self.note_members(&json);
            }
            return;
        }
        let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.:/".contains(&byte);
        let fits = (ID_MIN_BYTES..=ID_MAX_BYTES).contains(&value.len()) && value.bytes().all(plain);
        if fits && self.ids.len() < IDS && !self.has(value) {
            self.ids.push(value.to_owned());
        }
    }

    fn note_members(&mut self, json: &Value) {
        let Value::Object(members) = json else { return };
        for (name, value) in members {
            let name = name.to_ascii_lowercase();
            match value {
                Value::Object(_) => self.note_members(value),
                Value::String(text) if name.ends_with("id") || name.starts_with(CODEX) => self.note(text),
                _ => {}
            }
        }
    }
}

/// The JSON values behind a name in a text, at its first [`PLACES`].
fn values_of(text: &str, name: &str) -> impl Iterator<Item = Value> {
    memchr::memmem::find_iter(text.as_bytes(), name.as_bytes()).take(PLACES).filter_map(move |at| {
        let rest = text[at + name.len()..].trim_start_matches(['\\', '"']).trim_start();
        first_value(rest.strip_prefix(':')?)
    })
}

/// The JSON value at the start of a text; other text may follow it.
fn first_value(text: &str) -> Option<Value> {
    serde_json::Deserializer::from_str(brief::head(text, JSON_MAX_BYTES)).into_iter().next()?.ok()
}

/// Whether this is the object in which Claude Code describes its user.
fn is_of_claude(value: &Value) -> bool {
    value.get("session_id").is_some() && (value.get("device_id").is_some() || value.get("account_uuid").is_some())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(fields: &[(&str, &str)]) -> Identity {
        Identity::of(fields.iter().map(|(name, value)| (*name, value.as_bytes())))
    }

    #[test]
    fn an_id_is_known_by_its_field_and_a_weak_name_by_its_sender() {
        let nobody = of(&[("x-session-id", "0123456789")]);
        assert!(!nobody.names("x-session-id") && !nobody.has("0123456789"));
        for sender in [("user-agent", "opencode/1.2"), ("x-session-affinity", "a"), ("x-codex-window-id", "w")] {
            let agent = of(&[("x-session-id", "0123456789"), sender]);
            assert!(agent.names("x-session-id") && agent.has("0123456789"), "{sender:?}");
            assert!(!agent.names("mcp-session-id"));
        }
        let turn =
            of(&[("x-codex-turn-metadata", r#"{"session_id":"0123456789","n":1,"inner":{"turn_id":"turn-0123"}}"#)]);
        assert!(turn.has("0123456789") && turn.has("turn-0123"));
        assert!(!of(&[("session-id", "short")]).has("short"));
    }

    #[test]
    fn the_sessions_of_gemini_and_qwen_are_ids_if_these_sent_them() {
        let body = r#"{"model":"m","user_prompt_id":"0123456789########3","request":{"session_id":"abcdef-0123456789","contents":[]}}"#;
        let of_qwen = r#"{"messages":[],"metadata":{"sessionId":"abcdef-0123456789","promptId":"668d1920e1c98"}}"#;
        for (sender, body, known) in [
            ("GeminiCLI/0.61.0/gemini-3-pro (linux; x64)", body, true),
            ("QwenCode/0.15.10 (linux; x64)", of_qwen, true),
            ("python-requests/2", body, false),
            ("python-requests/2", of_qwen, false),
        ] {
            let mut identity = of(&[("user-agent", sender)]);
            identity.learn(body);
            assert_eq!(identity.has("abcdef-0123456789"), known, "{sender}");
        }
    }

    #[test]
    fn ids_are_found_in_the_members_of_bodies_that_agents_use() {
        for text in [
            r#"{"model":"m","client_metadata":{"session_id":"0123456789","x":1},"input":[]}"#,
            r#"{"client_metadata" : {"x-codex-turn-metadata":"{\"session_id\":\"0123456789\"}"}}"#,
            r#"{"metadata":{"user_id":"{\"device_id\":\"d\",\"account_uuid\":\"\",\"session_id\":\"0123456789\"}"}}"#,
        ] {
            let mut identity = Identity::default();
            identity.learn(text);
            assert!(identity.has("0123456789"), "{text}");
        }
        for text in [
            r#"{"session_id":"0123456789"}"#,
            r#"{"user_id":{"session_id":"0123456789"}}"#,
            r#"{"user_id":"{\"session_id\":\"0123456789\"}"}"#,
            r#""client_metadata""#,
        ] {
            let mut identity = Identity::default();
            identity.learn(text);
            assert!(!identity.has("0123456789"), "{text}");
        }
    }
}
