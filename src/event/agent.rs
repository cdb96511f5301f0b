//! The agent that sent the call, by what it says of itself: `metadata.agent`, and the properties by which people group calls.

use serde_json::{Value, json};

use super::fit;
use super::headers;
use super::writer::EventWriter;
use crate::agents::{self, Identity, Part};
use crate::capture::Exchange;
use crate::llm::names;
use crate::redact::Masking;

/// The properties of an identity.
const PROPERTIES: [(&str, Part); 4] = [
    (names::SESSION, Part::Session),
    (names::AGENT_ID, Part::Agent),
    (names::AGENT_THREAD, Part::Thread),
    (names::AGENT_TURN, Part::Turn),
];

/// The identity that a call states. The ids of agents are no secrets. What a rule masks in a header field or in the body, such as
/// one of the operator, is masked here as well.
/// `session_of`: the session of a thread.
pub(super) fn identity(
    masking: &mut Masking<'_>,
    exchange: &Exchange,
    session_of: &dyn Fn(&str) -> Option<String>,
) -> Option<Identity> {
    let fields = || exchange.request.headers.iter().filter(|(name, _)| agents::is_read(name));
    let claims: &[_] = exchange.llm.as_ref().map_or(&[], |facts| &facts.claims);
    // Most calls name no agent. Then nothing needs to be masked.
    if claims.is_empty() && Identity::of(fields(), &[]).is_none() {
        return None;
    }
    let shown: Vec<(&str, String)> = fields()
        .map(|(name, value)| {
            let value = headers::text(value);
            let masked = masking.uncounted(|masking| masking.header(name, &value));
            (name, masked.unwrap_or_else(|| value.into_owned()))
        })
        .collect();
    let members: Vec<(&'static str, Value)> = claims
        .iter()
        .filter_map(|(path, value)| {
            let name = path.rsplit('.').next().unwrap_or_default();
            let text = json!({ name: value }).to_string();
            masking.learn(&text);
            let masked = masking.uncounted(|masking| masking.line(&text)).unwrap_or(text);
            Some((*path, serde_json::from_str::<Value>(&masked).ok()?.get(name)?.clone()))
        })
        .collect();
    let mut identity = Identity::of(shown.iter().map(|(name, value)| (*name, value.as_bytes())), &members)?;
    // A sub-agent that names only its parent is in its parent's session.
    let parent = identity.get(Part::ParentThread).filter(|parent| identity.get(Part::Session) == Some(*parent));
    if let Some(session) = parent.and_then(session_of) {
        identity.set_session(session);
    }
    Some(identity)
}

/// Writes the properties.
pub(super) fn properties(out: &mut EventWriter<'_>) {
    let Some(identity) = out.agent.take() else { return };
    out.bounded(names::AGENT_NAME, identity.name());
    for (name, part) in PROPERTIES {
        if let Some(id) = identity.get(part) {
            out.bounded(name, id);
        }
    }
    out.agent = Some(identity);
}

/// Whether this property was written.
pub(super) fn is_property(identity: &Identity, name: &str) -> bool {
    let has = |(known, part): &(&str, Part)| *known == name && identity.get(*part).is_some();
    name == names::AGENT_NAME || PROPERTIES.iter().any(has)
}

/// Writes `metadata.agent`.
pub(super) fn write(out: &mut EventWriter<'_>) {
    let Some(identity) = &out.agent else { return };
    let json = &mut out.json;
    json.open("agent");
    json.string("name", identity.name());
    if let Some(version) = identity.version() {
        json.string("version", version);
    }
    for (part, text) in identity.parts() {
        json.string_within(part.key(), text, fit::VALUE_MAX_BYTES, fit::CUT);
    }
    json.close();
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::time::Duration;

    use serde_json::{Value, json};

    use super::super::Context;
    use super::super::build::build;
    use super::super::testing::context;
    use super::super::tests::{event_of, exchange, headers, rules};
    use crate::capture::Exchange;
    use crate::config::CaptureLevel;
    use crate::llm::{Facts, Llm};

    const SESSION: &str = "0b9f5d4e-8c55-4bb1-a7a5-7f0c4c2b9d01";

    fn of_claude() -> Exchange {
        let mut exchange = exchange();
        exchange.request.headers = headers(&[
            ("user-agent", "claude-cli/2.1.197 (external, cli)"),
            ("x-claude-code-session-id", SESSION),
            ("x-claude-code-agent-id", "a1b2c3d4e5"),
        ]);
        exchange
    }

    #[test]
    fn the_agent_is_in_metadata_and_in_the_properties() {
        let (event, value) = event_of(&of_claude(), &BTreeMap::from([("session.id".to_owned(), "mine".to_owned())]));
        let agent =
            json!({ "name": "claude", "version": "2.1.197", "session_id": SESSION, "agent_id": "a1b2c3d4e5" });
        assert_eq!(value["metadata"]["agent"], agent);
        let properties = &value["custom_properties"];
        assert_eq!(
            (&properties["gen_ai.agent.name"], &properties["session.id"], &properties["gen_ai.agent.id"]),
            (&json!("claude"), &json!(SESSION), &json!("a1b2c3d4e5"))
        );
        assert_eq!(event.llm, "", "an agent's call is not therefore a call to a model");
        let nobody = event_of(&exchange(), &BTreeMap::new()).1;
        assert!(nobody["metadata"]["agent"].is_null() && nobody["custom_properties"]["gen_ai.agent.name"].is_null());
    }

    #[test]
    fn a_model_call_carries_its_agent_in_the_summary() {
        let mut exchange = of_claude();
        let mut facts = Facts::default();
        facts.properties.push((crate::llm::names::REQUEST_MODEL, crate::llm::Fact::Text("m".to_owned())));
        exchange.llm = Some(Box::new(facts));
        let llm = Llm::parse(&event_of(&exchange, &BTreeMap::new()).0.llm).unwrap();
        assert_eq!((llm.agent(), llm.session(), llm.agent_id()), (Some("claude"), Some(SESSION), Some("a1b2c3d4e5")));
    }

    #[test]
    fn ids_in_the_body_are_read_before_masking_and_shown_alike() {
        let turn = json!({ "session_id": SESSION, "thread_id": "thread-1234", "turn_id": "turn-5678" });
        let mut exchange = exchange();
        let claims = vec![("client_metadata", json!({ "x-codex-turn-metadata": turn.to_string() }))];
        exchange.llm = Some(Box::new(Facts { claims, ..Facts::default() }));
        let agent = event_of(&exchange, &BTreeMap::new()).1["metadata"]["agent"].clone();
        let expected =
            json!({ "name": "codex", "session_id": SESSION, "thread_id": "thread-1234", "turn_id": "turn-5678" });
        assert_eq!(agent, expected);
    }

    #[test]
    fn secrets_in_the_place_of_an_id_are_masked() {
        let key = "sk-ant-api03-c4n4ry0123456789abcdefWXYZ";
        let mut exchange = of_claude();
        exchange.request.headers.push("x-client-request-id", key.as_bytes());
        let claims = vec![("metadata.user_id", json!(json!({ "device_id": "d", "session_id": key }).to_string()))];
        exchange.llm = Some(Box::new(Facts { claims, ..Facts::default() }));
        let event = event_of(&exchange, &BTreeMap::new()).0;
        let text = String::from_utf8(event.whole_json()).unwrap();
        assert!(text.contains("\"agent_id\":\"a1b2c3d4e5\"") && !text.contains("c4n4ry"), "{text}");
    }

    #[test]
    fn without_recorded_header_fields_the_agent_is_not_recorded() {
        for (level, known) in [(CaptureLevel::Headers, true), (CaptureLevel::Metadata, false)] {
            let redactor = rules(&[("api.test", level)], Duration::from_secs(60));
            let context = Context { redactor: &redactor, ..context() };
            let value: Value = serde_json::from_slice(&build(&of_claude(), &context).json).unwrap();
            assert_eq!(value["metadata"]["agent"].is_object(), known, "{level:?}");
        }
    }
}
