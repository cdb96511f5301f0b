//! The cost of model calls, from the user's table of prices. Unknown is not 0: a model that is not in the table, unreported
//! tokens, or a kind of tokens without a price give no cost.

use std::path::{Path, PathBuf};

use serde::Deserialize;
use wildmatch::WildMatch;

/// The precision of a cost: this many parts of one currency unit.
const PARTS: f64 = 1e10;
/// The expected form, for error messages.
const FORM: &str = "it has `version`, `currency` and sections `[[models]]` with `model`, `provider`, `input`, `output`, `cache_read` \
                    and `cache_write`, as in prices.example.toml";
/// Prices are per this many tokens.
const PER_TOKENS: f64 = 1e6;

/// A table of prices, as in its file.
#[derive(Debug, Clone)]
pub struct Prices {
    file: PathBuf,
    table: Table,
}

#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
struct Table {
    /// The version that events name.
    version: String,
    /// The currency of all prices.
    currency: String,
    #[serde(default)]
    models: Vec<Model>,
}

/// Prices for the models that match one glob, per million tokens.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
struct Model {
    /// A glob for the model that answered, or else the model that was asked for.
    model: String,
    /// Only for this provider.
    provider: Option<String>,
    /// Input that was not read from a cache.
    input: Option<f64>,
    output: Option<f64>,
    /// Input that was read from a cache.
    cache_read: Option<f64>,
    /// Input that was written to a cache.
    cache_write: Option<f64>,
}

/// What a call to a model used, as far as it is known.
#[derive(Debug, Clone, Copy, Default)]
pub struct Usage<'a> {
    /// The model that answered, or the one that was asked for.
    pub model: Option<&'a str>,
    /// The provider, as OpenTelemetry names it.
    pub provider: Option<&'a str>,
    /// The operation, as OpenTelemetry names it.
    pub operation: Option<&'a str>,
    /// All input, cached or not.
    pub input_tokens: Option<u64>,
    /// All output.
    pub output_tokens: Option<u64>,
    /// Input that was read from a cache.
    pub cache_read_tokens: Option<u64>,
    /// Input that was written to a cache.
    pub cache_write_tokens: Option<u64>,
}

impl Prices {
    /// Reads a table.
    ///
    /// # Errors
    /// The problem, and its line.
    pub fn read(file: &Path) -> Result<Self, String> {
        let text =
            std::fs::read_to_string(file).map_err(|error| format!("cannot read {}: {error}", file.display()))?;
        // Without the parser's message: it quotes the file, which may be a wrong file with secrets in it.
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

    /// The version that events name.
    pub fn version(&self) -> &str {
        &self.table.version
    }

    /// The currency of all prices.
    pub fn currency(&self) -> &str {
        &self.table.currency
    }

    /// The cost of a call, by the first entry that matches its model. `None`: unknown.
    pub fn cost(&self, usage: &Usage<'_>) -> Option<f64> {
        let (name, provider) = (usage.model?, usage.provider);
        let has = |entry: &&Model| {
            WildMatch::new(&entry.model).matches(name)
                && entry.provider.as_deref().is_none_or(|wanted| provider == Some(wanted))
        };
        let prices = self.table.models.iter().find(has)?;
        let (read, written) = (usage.cache_read_tokens.unwrap_or(0), usage.cache_write_tokens.unwrap_or(0));
        // The input count includes tokens read from and written to caches.
        let fresh = usage.input_tokens?.checked_sub(read)?.checked_sub(written)?;
        let output = match usage.output_tokens {
            // An embedding has no output.
            None if usage.operation == Some("embeddings") => 0,
            reported => reported?,
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

    fn cost(model: &str, tokens: [Option<u64>; 4]) -> Option<f64> {
        let [input_tokens, output_tokens, cache_read_tokens, cache_write_tokens] = tokens;
        let (model, provider, operation) = (Some(model), Some("acme"), None);
        let usage =
            Usage { model, provider, operation, input_tokens, output_tokens, cache_read_tokens, cache_write_tokens };
        prices(TABLE).unwrap().cost(&usage)
    }

    #[test]
    fn each_kind_of_tokens_has_its_price_and_input_includes_cached_tokens() {
        assert_eq!(cost("big-1", [Some(1_000_000), Some(100_000), None, None]), Some(3.0));
        assert_eq!(cost("big-1", [Some(1_000), Some(0), Some(600), Some(400)]), Some(0.0013));
        assert_eq!(cost("other", [Some(3), Some(4), None, None]), Some(0.000_007));
    }

    #[test]
    fn unknown_has_no_cost() {
        assert_eq!(cost("big-1", [None, Some(1), None, None]), None, "unknown input");
        assert_eq!(cost("big-1", [Some(1), None, None, None]), None, "unknown output");
        assert_eq!(cost("other", [Some(9), Some(1), Some(2), None]), None, "a kind without a price");
        assert_eq!(cost("big-1", [Some(1), Some(1), Some(2), None]), None, "more cached than input");
        let narrow = prices("version = 'v'\ncurrency = 'EUR'\n[[models]]\nmodel = 'x'\n").unwrap();
        assert_eq!(
            narrow.cost(&Usage { model: Some("y"), ..Usage::default() }),
            None,
            "a model that is not in the table"
        );
        assert_eq!(narrow.cost(&Usage { input_tokens: Some(5), ..Usage::default() }), None, "no model");
    }

    #[test]
    fn an_embedding_needs_no_output() {
        let usage = Usage {
            operation: Some("embeddings"),
            model: Some("e"),
            input_tokens: Some(2_000_000),
            ..Usage::default()
        };
        assert_eq!(prices(TABLE).unwrap().cost(&usage), Some(2.0));
    }

    #[test]
    fn errors_in_a_table_have_a_line() {
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
