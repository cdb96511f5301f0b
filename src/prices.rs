//! What a call to a model cost, by the user's own table of prices. What is not known is not 0: a model that the table does not
//! have, tokens that nobody told, or a kind of tokens without a price give no cost at all.

use std::path::{Path, PathBuf};

use serde::Deserialize;
use wildmatch::WildMatch;

use crate::llm::Llm;

/// The cost is told to this many parts of one unit of currency.
const PARTS: f64 = 1e10;
/// What is said of a file that is something else.
const FORM: &str = "it has `version`, `currency` and sections `[[models]]` with `model`, `provider`, `input`, `output`, `cache_read` \
                    and `cache_write`, as in prices.example.toml";
/// Prices are for so many tokens.
const PER_TOKENS: f64 = 1e6;

/// A table of prices, as its file has it.
#[derive(Debug, Clone)]
pub struct Prices {
    file: PathBuf,
    table: Table,
}

#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
struct Table {
    /// What events name the table by.
    version: String,
    /// What all prices are in.
    currency: String,
    #[serde(default)]
    models: Vec<Model>,
}

/// The prices of the models that one glob names, for a million tokens each.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
struct Model {
    /// A glob on the model that answered (or was asked for, if the answer does not say).
    model: String,
    /// Only of this provider.
    provider: Option<String>,
    /// Input that was not read from a cache.
    input: Option<f64>,
    output: Option<f64>,
    /// Input that was read from a cache.
    cache_read: Option<f64>,
    /// Input that was written to a cache.
    cache_write: Option<f64>,
}

impl Prices {
    /// Reads a table.
    ///
    /// # Errors
    /// What is wrong with it, and where.
    pub fn read(file: &Path) -> Result<Self, String> {
        let text =
            std::fs::read_to_string(file).map_err(|error| format!("cannot read {}: {error}", file.display()))?;
        // Without the parser's words, which repeat what the file holds: it may be another file, with secrets in it.
        let table: Table = toml::from_str(&text).map_err(|error| {
            let line =
                error.span().and_then(|span| text.get(..span.start)).map_or(1, |b| b.matches('\n').count() + 1);
            format!("{}:{line}: not a table of prices; {FORM}", file.display())
        })?;
        let sound = |price: &Option<f64>| price.is_none_or(|price| price.is_finite() && price >= 0.0);
        for (at, Model { input, output, cache_read, cache_write, .. }) in table.models.iter().enumerate() {
            if ![input, output, cache_read, cache_write].into_iter().all(sound) {
                return Err(format!(
                    "{}: entry {} of `models` has a price below 0 or not a number",
                    file.display(),
                    at + 1
                ));
            }
        }
        Ok(Self { file: file.to_owned(), table })
    }

    /// The file.
    pub fn file(&self) -> &Path {
        &self.file
    }

    /// What events name the table by.
    pub fn version(&self) -> &str {
        &self.table.version
    }

    /// What all prices are in.
    pub fn currency(&self) -> &str {
        &self.table.currency
    }

    /// What a call cost, by the first entry that has its model. `None`: it is not known.
    pub fn cost(&self, llm: &Llm) -> Option<f64> {
        let (name, provider) = (llm.model()?, llm.provider());
        let has = |entry: &&Model| {
            WildMatch::new(&entry.model).matches(name)
                && entry.provider.as_deref().is_none_or(|wanted| provider == Some(wanted))
        };
        let prices = self.table.models.iter().find(has)?;
        let (read, written) = (llm.cache_read_tokens().unwrap_or(0), llm.cache_write_tokens().unwrap_or(0));
        // The input counts what was read from caches and written to them, too.
        let fresh = llm.input_tokens()?.checked_sub(read)?.checked_sub(written)?;
        let output = match llm.output_tokens() {
            // Of an embedding there is none.
            None if llm.operation() == Some("embeddings") => 0,
            told => told?,
        };
        let kinds = [
            (fresh, prices.input),
            (output, prices.output),
            (read, prices.cache_read),
            (written, prices.cache_write),
        ];
        let mut cost = 0.0;
        for (tokens, price) in kinds.into_iter().filter(|(tokens, _)| *tokens > 0) {
            cost += tokens as f64 * price? / PER_TOKENS;
        }
        Some((cost * PARTS).round() / PARTS)
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    const TABLE: &str = r#"
        version = "t-1"
        currency = "EUR"
        [[models]]
        model = "big-*"
        provider = "acme"
        input = 2.0
        output = 10.0
        cache_read = 0.5
        cache_write = 2.5
        [[models]]
        model = "*"
        input = 1.0
        output = 1.0
    "#;

    fn prices(table: &str) -> Result<Prices, String> {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("prices.toml");
        std::fs::write(&file, table).unwrap();
        Prices::read(&file)
    }

    fn llm(facts: &Value) -> Llm {
        Llm::of(facts.as_object().unwrap()).unwrap()
    }

    fn cost(model: &str, tokens: [Option<u64>; 4]) -> Option<f64> {
        let [input, output, read, write] = tokens;
        prices(TABLE).unwrap().cost(&llm(&json!({
            "gen_ai.provider.name": "acme", "gen_ai.request.model": model, "gen_ai.usage.input_tokens": input,
            "gen_ai.usage.output_tokens": output, "gen_ai.usage.cache_read.input_tokens": read,
            "gen_ai.usage.cache_write.input_tokens": write,
        })))
    }

    #[test]
    fn each_kind_of_tokens_has_its_price_and_cached_ones_are_among_the_input() {
        assert_eq!(cost("big-1", [Some(1_000_000), Some(100_000), None, None]), Some(3.0));
        assert_eq!(cost("big-1", [Some(1_000), Some(0), Some(600), Some(400)]), Some(0.0013));
        assert_eq!(cost("other", [Some(3), Some(4), None, None]), Some(0.000_007));
    }

    #[test]
    fn what_is_not_known_has_no_cost() {
        assert_eq!(cost("big-1", [None, Some(1), None, None]), None, "input that nobody told");
        assert_eq!(cost("big-1", [Some(1), None, None, None]), None, "output that nobody told");
        assert_eq!(cost("other", [Some(9), Some(1), Some(2), None]), None, "a kind without a price");
        assert_eq!(cost("big-1", [Some(1), Some(1), Some(2), None]), None, "more cached than there was");
        let narrow = prices("version = 'v'\ncurrency = 'EUR'\n[[models]]\nmodel = 'x'\n").unwrap();
        assert_eq!(narrow.cost(&llm(&json!({ "gen_ai.request.model": "y" }))), None, "a model that is not there");
        assert_eq!(narrow.cost(&llm(&json!({ "gen_ai.usage.input_tokens": 5 }))), None, "no model");
    }

    #[test]
    fn an_embedding_needs_no_output() {
        let facts = json!({
            "gen_ai.operation.name": "embeddings", "gen_ai.request.model": "e", "gen_ai.usage.input_tokens": 2_000_000,
        });
        assert_eq!(prices(TABLE).unwrap().cost(&llm(&facts)), Some(2.0));
    }

    #[test]
    fn a_table_that_is_wrong_says_where() {
        for (table, word) in [
            ("version = 1\ncurrency = 'EUR'", "prices.toml:1: "),
            ("version = 'v'\ncurrency = 'EUR'\n[[models]]\nmodel = 'm'\ninptu = 1.0", "prices.toml:5: "),
            ("version = 'v'\ncurrency = 'EUR'\n[[models]]\nmodel = 'm'\ninput = -1.0", "below 0"),
        ] {
            let error = prices(table).unwrap_err();
            assert!(error.contains(word), "{error}");
        }
        assert!(Prices::read(Path::new("/nowhere/prices.toml")).unwrap_err().starts_with("cannot read"));
    }
}
