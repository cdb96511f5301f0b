//! What an event says of a call to a model beside its bodies: facts in `custom_properties`, and the provider's own count, its limits
//! and the answer as text in `metadata`.

use std::panic::{AssertUnwindSafe, catch_unwind};

use serde::de::IgnoredAny;

use super::json::Json;
use super::metadata::{bounded, hundredths, uncounted};
use super::{fit, headers};
use crate::capture::{Exchange, Fields};
use crate::llm::{Fact, Facts};
use crate::redact::{Ends, Masking, WITHHELD};

/// How fields begin in which providers tell what is left of their limits.
const LIMITS: [&str; 4] = ["x-ratelimit-", "anthropic-ratelimit-", "ratelimit", "retry-after"];
/// Such fields that are told.
const LIMITS_MAX: usize = 32;
/// Bytes of one of them.
const LIMIT_MAX_BYTES: usize = 128;

/// Writes the facts among the properties.
pub(super) fn properties(json: &mut Json, facts: &Facts, masking: &mut Masking<'_>) {
    for (name, fact) in &facts.properties {
        match fact {
            Fact::Text(text) => {
                let masked = uncounted(masking, |masking| masking.line(text));
                bounded(json, name, masked.as_deref().unwrap_or(text));
            }
            Fact::Number(number) => json.verbatim(name, &number.to_string()),
            Fact::Flag(flag) => json.flag(name, *flag),
        }
    }
}

/// Writes `usage_raw`, `rate_limit` and `llm` into `metadata`.
pub(super) fn write(json: &mut Json, exchange: &Exchange, masking: &mut Masking<'_>) {
    let Some(facts) = &exchange.llm else { return };
    if let Some(raw) = &facts.usage_raw {
        let masked = uncounted(masking, |masking| masking.line(raw));
        let raw = masked.as_deref().unwrap_or(raw);
        if serde_json::from_str::<IgnoredAny>(raw).is_ok() {
            json.verbatim("usage_raw", raw);
        }
    }
    if let Some(response) = &exchange.response {
        rate_limit(json, &response.headers, masking);
    }
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

/// The answer without its secrets: a text put together from pieces may show one that was in none of them.
fn masked(answer: &str, complete: bool, masking: &mut Masking<'_>) -> String {
    let ends = Ends { cut_start: false, cut_end: !complete };
    let before = masking.counted();
    // A fault in the search must cost this text, not its event nor those after it.
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

fn rate_limit(json: &mut Json, fields: &Fields, masking: &mut Masking<'_>) {
    let told = |(name, _): &(&str, &[u8])| LIMITS.iter().any(|limit| name.starts_with(limit));
    let mut fields = fields.iter().filter(told).take(LIMITS_MAX).peekable();
    if fields.peek().is_none() {
        return;
    }
    json.open("rate_limit");
    for (name, value) in fields {
        let value = headers::text(value);
        let masked = uncounted(masking, |masking| masking.line(&value));
        json.foreign_key(name, LIMIT_MAX_BYTES);
        json.text(masked.as_deref().unwrap_or(&value), LIMIT_MAX_BYTES, fit::CUT);
    }
    json.close();
}
