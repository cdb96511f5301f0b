//! The cost of a model call, written after the properties with its model and its tokens.

use std::time::SystemTime;

use serde_json::Value;
use time::OffsetDateTime;

use super::fit;
use super::json::Json;
use crate::llm::{Llm, names};
use crate::prices::{Prices, Usage};

/// What the cost depends on besides the properties.
pub(super) struct Billed<'a> {
    /// The provider's usage object: JSON.
    pub(super) usage_raw: Option<&'a str>,
    /// When the call was made.
    pub(super) started_at: SystemTime,
}

/// Names of the service tier of calls at standard prices.
const STANDARD: [&str; 5] = ["", "default", "standard", "auto", "on_demand"];
/// Regions of inference without an extra charge.
const ANYWHERE: [&str; 3] = ["", "global", "not_available"];
/// Counts of tokens that are not text, in the usage object.
const AUDIO: [&str; 6] = [
    "/prompt_tokens_details/audio_tokens",
    "/completion_tokens_details/audio_tokens",
    "/input_tokens_details/audio_tokens",
    "/input_token_details/audio_tokens",
    "/output_token_details/audio_tokens",
    "/output_tokens_details/audio_tokens",
];

/// Writes the cost, if the properties since byte `from` and the price tables determine it.
pub(super) fn write(json: &mut Json, from: usize, prices: &Prices, billed: &Billed<'_>) {
    let Some(llm) = Llm::of_open_member(json.since(from)) else { return };
    let usage: Value = billed.usage_raw.and_then(|raw| serde_json::from_str(raw).ok()).unwrap_or_default();
    let tier = tier(&llm, &usage);
    let day = OffsetDateTime::from(billed.started_at).date().to_string();
    let Some(cost) = prices.cost(&Usage {
        model: llm.model(),
        provider: llm.provider(),
        operation: llm.operation(),
        tier: tier.as_deref(),
        day: Some(&day),
        input_tokens: llm.input_tokens(),
        output_tokens: llm.output_tokens(),
        cache_read_tokens: llm.cache_read_tokens(),
        cache_write_tokens: llm.cache_write_tokens(),
        cache_write_1h_tokens: usage["cache_creation"]["ephemeral_1h_input_tokens"].as_u64(),
    }) else {
        return;
    };
    json.decimal(names::COST, cost.amount);
    for (name, value) in [(names::COST_CURRENCY, cost.currency), (names::COST_PRICES, cost.table)] {
        json.string_within(name, value, fit::VALUE_MAX_BYTES, fit::CUT);
    }
}

/// How the call is billed. `None`: at standard prices. A table that does not know the tier knows no cost.
fn tier(llm: &Llm, usage: &Value) -> Option<String> {
    let other_than = |usual: &[&str], value: Option<&str>| {
        value.map(str::to_ascii_lowercase).filter(|value| !usual.contains(&value.as_str()))
    };
    other_than(&STANDARD, llm.service_tier())
        .or_else(|| other_than(&STANDARD, usage["speed"].as_str()))
        .or_else(|| other_than(&ANYWHERE, usage["inference_geo"].as_str()))
        .or_else(|| is_not_text(usage).then(|| "media".to_owned()))
}

/// Whether tokens of other prices than text are among those of the call: audio, and images as output.
fn is_not_text(usage: &Value) -> bool {
    let is_of = |name: &str, kinds: &[&str]| {
        let details = usage[name].as_array().into_iter().flatten();
        details
            .filter(|of| of["tokenCount"] != 0)
            .any(|of| of["modality"].as_str().is_some_and(|it| kinds.contains(&it)))
    };
    AUDIO.iter().any(|place| usage.pointer(place).and_then(Value::as_u64).is_some_and(|tokens| tokens > 0))
        || is_of("promptTokensDetails", &["AUDIO"])
        || is_of("candidatesTokensDetails", &["AUDIO", "IMAGE", "VIDEO"])
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use serde_json::{Value, json};

    use super::*;

    /// The properties of a call with a known number of tokens, and its cost.
    fn written(prices: &Prices, properties: &[(&str, &str)], usage: &Value) -> Value {
        let mut json = Json::object(0);
        let from = json.len();
        json.open("custom_properties");
        for (name, value) in properties {
            json.string(name, value);
        }
        json.number("gen_ai.usage.input_tokens", 1_000);
        json.number("gen_ai.usage.output_tokens", 1);
        if let Some(written) = usage["cache_creation_input_tokens"].as_u64() {
            json.number("gen_ai.usage.cache_write.input_tokens", written);
        }
        let started_at = SystemTime::UNIX_EPOCH + Duration::from_secs(1_795_449_601);
        write(&mut json, from, prices, &Billed { usage_raw: Some(&usage.to_string()), started_at });
        json.close();
        serde_json::from_slice::<Value>(&json.finish()).unwrap()["custom_properties"].clone()
    }

    #[test]
    fn a_known_cost_is_written_with_its_currency_and_the_tables_version() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("prices.toml");
        let table = "version = 'v-7'\ncurrency = 'EUR'\n[[models]]\nmodel = 'm*'\ninput = 1.5\noutput = 3\n";
        std::fs::write(&file, table).unwrap();
        let prices = Prices::read(&file).unwrap();
        let known = written(&prices, &[("gen_ai.request.model", "m-1")], &json!({}));
        assert_eq!(known["otas_proxy.llm.cost"], json!(0.001_503));
        assert_eq!(known["otas_proxy.llm.cost.currency"], "EUR");
        assert_eq!(known["otas_proxy.llm.cost.prices"], "v-7");
        let unknown = written(&prices, &[("gen_ai.request.model", "x")], &json!({}));
        assert_eq!(unknown.as_object().unwrap().len(), 3, "unknown is absent");
    }

    #[test]
    fn how_a_call_is_billed_decides() {
        let prices = Prices::public();
        let claude = [("gen_ai.provider.name", "anthropic"), ("gen_ai.response.model", "claude-haiku-4-5-20251001")];
        let cost = |usage: Value| written(&prices, &claude, &usage)["otas_proxy.llm.cost"].clone();
        assert_eq!(cost(json!({ "inference_geo": "global", "speed": "standard" })), json!(0.001_005));
        let cached = |creation: Value| json!({ "cache_creation_input_tokens": 400, "cache_creation": creation });
        assert_eq!(cost(cached(json!({ "ephemeral_1h_input_tokens": 0 }))), json!(0.001_105));
        assert_eq!(cost(cached(json!({ "ephemeral_1h_input_tokens": 400 }))), json!(0.001_405));
        for other in [json!({ "speed": "fast" }), json!({ "inference_geo": "us" })] {
            assert_eq!(cost(other), Value::Null);
        }
        let tier = |tier: &str| {
            let call = [&claude[..], &[("otas_proxy.llm.service_tier", tier)]].concat();
            written(&prices, &call, &json!({}))["otas_proxy.llm.cost"].clone()
        };
        assert_eq!(
            [tier("standard"), tier("batch"), tier("priority")],
            [json!(0.001_005), json!(0.000_502_5), Value::Null]
        );
        let gemini = [("gen_ai.provider.name", "gcp.gemini"), ("gen_ai.response.model", "gemini-2.5-flash")];
        let spoken = |modality: &str| json!({ "promptTokensDetails": [{ "modality": modality, "tokenCount": 9 }] });
        let cost = |usage: Value| written(&prices, &gemini, &usage)["otas_proxy.llm.cost"].clone();
        assert_eq!([cost(spoken("TEXT")), cost(spoken("AUDIO"))], [json!(0.000_302_5), Value::Null]);
    }
}
