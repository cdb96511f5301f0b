//! What an event holds of a model call besides its bodies: facts in `custom_properties`; the provider's usage object,
//! its rate limits and the answer as text in `metadata`.

use std::panic::{AssertUnwindSafe, catch_unwind};

use serde::de::IgnoredAny;

use super::clock::hundredths;
use super::writer::EventWriter;
use super::{fit, headers};
use crate::capture::{Exchange, Fields};
use crate::llm::{Fact, Facts};
use crate::redact::{Ends, Masking, WITHHELD};

/// Prefixes of header fields with the provider's rate limits.
const LIMITS: [&str; 4] = ["x-ratelimit-", "anthropic-ratelimit-", "ratelimit", "retry-after"];
/// Prefix of the header fields of Codex. Only those with quotas are written:
const OF_CODEX: &str = "x-codex-";
/// their names contain one of these.
const QUOTAS_OF_CODEX: [&str; 2] = ["primary-", "secondary-"];
/// The most such fields that are written.
const LIMITS_MAX: usize = 32;
/// Bytes of one such field.
const LIMIT_MAX_BYTES: usize = 128;

/// Writes the facts among the properties.
pub(super) fn properties(out: &mut EventWriter<'_>, facts: &Facts) {
    for (name, fact) in &facts.properties {
        match fact {
            Fact::Text(text) => out.bounded_line(name, text),
            Fact::Number(number) => out.json.verbatim(name, &number.to_string()),
            Fact::Flag(flag) => out.json.flag(name, *flag),
        }
    }
}

/// Writes `usage_raw`, `rate_limit` and `llm` into `metadata`.
pub(super) fn write(out: &mut EventWriter<'_>, exchange: &Exchange) {
    let Some(facts) = &exchange.llm else { return };
    if let Some(raw) = &facts.usage_raw {
        let raw = out.uncounted_line(raw);
        if serde_json::from_str::<IgnoredAny>(&raw).is_ok() {
            out.json.verbatim("usage_raw", &raw);
        }
    }
    if let Some(response) = &exchange.response {
        rate_limit(out, &response.headers, &facts.limits);
    }
    let EventWriter { json, masking, .. } = out;
    json.open("llm");
    json.flag("complete", facts.complete);
    if let Some(first) = facts.first_byte {
        json.hundredths("first_byte_ms", hundredths(first));
    }
    if !facts.skipped.is_empty() {
        json.string("too_long", &facts.skipped.join(","));
    }
    if !facts.answer.is_empty() {
        let text = masked(&facts.answer, facts.complete, masking);
        json.string_within("text", &text, fit::ANSWER_MAX_BYTES, fit::CUT);
    }
    json.close();
}

/// The answer with its secrets masked. A text assembled from pieces may show a secret that was in none of them.
fn masked(answer: &str, complete: bool, masking: &mut Masking<'_>) -> String {
    let ends = Ends { cut_start: false, cut_end: !complete };
    let before = masking.counted();
    // A bug in the search must cost only this text, not its event or later ones.
    let searched = catch_unwind(AssertUnwindSafe(|| masking.text(answer, ends)));
    masking.recount(&before);
    match searched {
        Ok(Ok(masked)) => masked.unwrap_or_else(|| answer.to_owned()),
        _ => {
            masking.withhold();
            WITHHELD.to_owned()
        }
    }
}

/// `stated`: what the stream states. It is newer than a field of the same name.
fn rate_limit(out: &mut EventWriter<'_>, fields: &Fields, stated: &[(String, String)]) {
    let of_codex = |name: &str| {
        name.strip_prefix(OF_CODEX).is_some_and(|name| QUOTAS_OF_CODEX.iter().any(|part| name.contains(part)))
    };
    let is_limit = |(name, _): &(&str, &[u8])| LIMITS.iter().any(|limit| name.starts_with(limit)) || of_codex(name);
    let is_newest = |(name, _): &(&str, &[u8])| !stated.iter().any(|(known, _)| known == name);
    let of_stream = stated.iter().map(|(name, value)| (name.as_str(), value.as_bytes()));
    let fields = fields.iter().filter(|field| is_limit(field) && is_newest(field));
    let mut fields = of_stream.chain(fields).take(LIMITS_MAX).peekable();
    if fields.peek().is_none() {
        return;
    }
    out.json.open("rate_limit");
    for (name, value) in fields {
        let value = headers::text(value);
        let masked = out.uncounted_line(&value);
        out.json.foreign_key(name, LIMIT_MAX_BYTES);
        out.json.text(&masked, LIMIT_MAX_BYTES, fit::CUT);
    }
    out.json.close();
}

#[cfg(test)]
pub(super) mod tests {
    use std::collections::BTreeMap;
    use std::time::Duration;

    use serde_json::{Value, json};

    use super::super::testing::context;
    use super::super::tests::{event_of, exchange, headers, rules};
    use super::super::{Context, build};
    use super::*;
    use crate::config::CaptureLevel;
    use crate::llm::names;

    /// Facts in which every text is this one.
    pub(in crate::event) fn facts(text: &str) -> Facts {
        let mut facts = Facts { answer: text.to_owned(), complete: true, ..Facts::default() };
        for name in
            [names::REQUEST_MODEL, names::RESPONSE_ID, names::FINISH_REASONS, names::TOOL_CALLS, names::MCP_SESSION]
        {
            facts.properties.push((name, Fact::Text(text.to_owned())));
        }
        facts.properties.push((names::INPUT_TOKENS, Fact::from(7)));
        let usage = json!({ "input_tokens": 7, "note": text.replace('\0', "") });
        facts.usage_raw = Some(usage.to_string()).filter(|raw| raw.len() <= 8 << 10);
        facts.skipped = vec!["choices"; 8];
        facts
    }

    #[test]
    fn model_facts_are_properties_and_override_the_operators() {
        let mut exchange = exchange();
        exchange.response.as_mut().unwrap().headers =
            headers(&[("x-ratelimit-remaining-tokens", "149000"), ("retry-after", "2")]);
        let mut facts = facts("gpt-x");
        facts.first_byte = Some(Duration::from_micros(12_340));
        exchange.llm = Some(Box::new(facts));
        let properties = [names::REQUEST_MODEL, "gen_ai.agent.name"].map(|name| (name.to_owned(), "mine".to_owned()));
        let (event, value) = event_of(&exchange, &properties.into());
        assert_eq!(value["custom_properties"][names::REQUEST_MODEL], "gpt-x");
        assert_eq!(value["custom_properties"]["gen_ai.agent.name"], "mine");
        assert_eq!(event.llm.matches(names::REQUEST_MODEL).count(), 1);
        let metadata = &value["metadata"];
        assert_eq!(metadata["usage_raw"], json!({ "input_tokens": 7, "note": "gpt-x" }));
        assert_eq!(metadata["rate_limit"], json!({ "x-ratelimit-remaining-tokens": "149000", "retry-after": "2" }));
        let llm = &metadata["llm"];
        assert_eq!(
            (&llm["text"], &llm["complete"], &llm["first_byte_ms"]),
            (&json!("gpt-x"), &json!(true), &json!(12.34))
        );
    }

    #[test]
    fn secrets_in_an_answer_are_masked_and_capture_levels_apply() {
        let secret = "sk-proj-AbCdEfGhIjKlMnOpQrStUvWxYz0123456789AbCdEfGh";
        let mut exchange = exchange();
        exchange.llm = Some(Box::new(facts(&format!("the key is {secret}, password: \"hush-hush\""))));
        let (event, value) = event_of(&exchange, &BTreeMap::new());
        let text = String::from_utf8(event.whole_json()).unwrap();
        assert!(!text.contains(secret) && !text.contains("hush-hush") && !event.llm.contains(secret), "{text}");
        assert_eq!(value["custom_properties"][names::INPUT_TOKENS], 7);
        for (level, properties, answer) in [
            (CaptureLevel::Headers, true, false),
            (CaptureLevel::Metadata, true, false),
            (CaptureLevel::None, false, false),
        ] {
            let redactor = rules(&[("api.test", level)], Duration::from_secs(60));
            let context = Context { redactor: &redactor, ..context() };
            let value: Value = serde_json::from_slice(&build(&exchange, &context).json).unwrap();
            assert_eq!(value["custom_properties"][names::INPUT_TOKENS].is_number(), properties, "{level:?}");
            assert_eq!(value["metadata"]["llm"]["text"].is_string(), answer, "{level:?}");
        }
    }
}
