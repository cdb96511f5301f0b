//! What some backends still need beside the current names of the conventions (`compat = true`): older names, and names of their
//! own. Pure.

use opentelemetry_proto::tonic::common::v1::any_value::Value as Any;
use serde_json::json;
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use super::attribute::{integer, text};
use super::call::Call;
use crate::llm::{Llm, names};

/// Until `cache_write`: Phoenix, Langfuse, Grafana Cloud, SigNoz.
const CACHE_CREATION: &str = "gen_ai.usage.cache_creation.input_tokens";
/// Until `gen_ai.provider.name`.
const SYSTEM: &str = "gen_ai.system";
/// Langfuse, Grafana Cloud, SigNoz: US dollars.
const COST: &str = "gen_ai.usage.cost";
/// Grafana Cloud, SigNoz: seconds.
const SERVER_TTFT: &str = "gen_ai.server.ttft";
/// Langfuse: the time of the first token.
const COMPLETION_START: &str = "langfuse.observation.completion_start_time";
/// Langfuse: tokens by kind, each counted once. Without it, Langfuse counts those of `cache_write` twice, because it subtracts
/// only those of `cache_creation` from the input.
const USAGE_DETAILS: &str = "langfuse.observation.usage_details";

/// Adds them to a model call.
pub(super) fn add(call: &Call<'_>, add: &mut impl FnMut(&str, Option<Any>)) {
    let Some(llm) = &call.llm else { return };
    add(CACHE_CREATION, llm.cache_write_tokens().and_then(integer));
    add(SYSTEM, llm.provider().and_then(text));
    add(COST, llm.cost().filter(|_| llm.currency() == Some("USD")).map(Any::DoubleValue));
    add(USAGE_DETAILS, usage_details(llm).map(Any::StringValue));
    let first_token = llm.first_token_ms().or_else(|| llm.first_chunk_ms());
    add(SERVER_TTFT, first_token.map(|ms| Any::DoubleValue(ms / 1_000.0)));
    add(COMPLETION_START, first_token.and_then(|ms| completion_start(call, ms)).map(Any::StringValue));
}

fn usage_details(llm: &Llm) -> Option<String> {
    let (input, output) = (llm.input_tokens()?, llm.output_tokens()?);
    let (read, written) = (llm.cache_read_tokens(), llm.cache_write_tokens());
    let reasoning = llm.facts().get(names::REASONING_TOKENS).and_then(serde_json::Value::as_u64);
    let mut details = json!({
        "input": input.saturating_sub(read.unwrap_or(0)).saturating_sub(written.unwrap_or(0)),
        "output": output.saturating_sub(reasoning.unwrap_or(0)),
        "total": input.saturating_add(output),
    });
    let parts =
        [("input_cached_tokens", read), ("input_cache_creation", written), ("output_reasoning_tokens", reasoning)];
    for (name, count) in parts {
        if let Some(count) = count {
            details[name] = count.into();
        }
    }
    Some(details.to_string())
}

/// When the first token came. It was measured from the time at which the request was forwarded.
fn completion_start(call: &Call<'_>, first_token_ms: f64) -> Option<String> {
    let phases = call.event.phases();
    let after_forwarding = phases.wait? + phases.receive.unwrap_or(0.0);
    let nanos = |ms: f64| (ms * 1e6).round() as u64;
    let first = call.ended().saturating_sub(nanos(after_forwarding)).saturating_add(nanos(first_token_ms));
    let first = first.clamp(call.started(), call.ended());
    // Times are measured in microseconds.
    OffsetDateTime::from_unix_timestamp_nanos(i128::from(first / 1_000 * 1_000)).ok()?.format(&Rfc3339).ok()
}
