//! The cost of a model call, written after the properties with its model and its tokens.

use super::fit;
use super::json::Json;
use crate::llm::{Llm, names};
use crate::prices::{Prices, Usage};

/// Writes the cost, if the properties since byte `from` and the price table determine it.
pub(super) fn write(json: &mut Json, from: usize, prices: &Prices) {
    let Some(cost) = Llm::of_open_member(json.since(from)).and_then(|llm| prices.cost(&usage(&llm))) else { return };
    json.decimal(names::COST, cost);
    for (name, value) in [(names::COST_CURRENCY, prices.currency()), (names::COST_PRICES, prices.version())] {
        json.string_within(name, value, fit::VALUE_MAX_BYTES, fit::CUT);
    }
}

fn usage(llm: &Llm) -> Usage<'_> {
    Usage {
        model: llm.model(),
        provider: llm.provider(),
        operation: llm.operation(),
        input_tokens: llm.input_tokens(),
        output_tokens: llm.output_tokens(),
        cache_read_tokens: llm.cache_read_tokens(),
        cache_write_tokens: llm.cache_write_tokens(),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    #[test]
    fn a_known_cost_is_written_with_its_currency_and_the_tables_version() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("prices.toml");
        let table = "version = 'v-7'\ncurrency = 'EUR'\n[[models]]\nmodel = 'm*'\ninput = 1.5\noutput = 3\n";
        std::fs::write(&file, table).unwrap();
        let prices = Prices::read(&file).unwrap();
        let written = |model: &str| {
            let mut json = Json::object(0);
            let from = json.len();
            json.open("custom_properties");
            json.string("gen_ai.request.model", model);
            json.number("gen_ai.usage.input_tokens", 1_000);
            json.number("gen_ai.usage.output_tokens", 1);
            write(&mut json, from, &prices);
            json.close();
            serde_json::from_slice::<Value>(&json.finish()).unwrap()["custom_properties"].clone()
        };
        let known = written("m-1");
        assert_eq!(known["otas_proxy.llm.cost"], json!(0.001_503));
        assert_eq!(known["otas_proxy.llm.cost.currency"], "EUR");
        assert_eq!(known["otas_proxy.llm.cost.prices"], "v-7");
        assert_eq!(written("x").as_object().unwrap().len(), 3, "unknown is absent");
    }
}
