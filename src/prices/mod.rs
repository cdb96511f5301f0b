//! The cost of model calls, from tables of prices: the user's, and the public prices that ship inside. An entry of the user's table
//! comes before all public ones. Unknown is not 0: a model that is in no table, unreported tokens, or a kind of tokens without a
//! price give no cost.

use std::path::{Path, PathBuf};
use std::sync::LazyLock;

use serde::Deserialize;
use wildmatch::WildMatch;

/// The precision of a cost: this many parts of one currency unit.
const PARTS: f64 = 1e10;
/// The expected form, for error messages.
const FORM: &str = "it has `version`, `currency` and sections `[[models]]` with `model`, `provider`, `tiers`, `above_input_tokens`, \
                    `until`, `input`, `output`, `cache_read`, `cache_write` and `cache_write_1h`, as in prices.example.toml";
/// Prices are per this many tokens.
const PER_TOKENS: f64 = 1e6;
/// The public prices, a table a provider. Each file states its sources.
const PUBLIC: [&str; 3] =
    [include_str!("public/anthropic.toml"), include_str!("public/google.toml"), include_str!("public/openai.toml")];

/// The public tables, read when they are first needed: most commands need none.
static PUBLIC_TABLES: LazyLock<Vec<Table>> =
    LazyLock::new(|| PUBLIC.iter().filter_map(|table| toml::from_str(table).ok()).collect());

/// Tables of prices: the user's, which is searched first, and the public ones.
#[derive(Debug, Clone, PartialEq)]
pub struct Prices {
    /// The user's table, and its file.
    own: Option<(PathBuf, Table)>,
}

#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
struct Table {
    /// The version that events name. Those of public tables are a provider and a date.
    version: String,
    /// The currency of all prices.
    currency: String,
    #[serde(default)]
    models: Vec<Model>,
}

/// Prices for the models that match one glob, per million tokens.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
struct Model {
    /// A glob for the model that answered, or else the model that was asked for.
    model: String,
    /// Only for this provider.
    provider: Option<String>,
    /// Only for calls that are billed like this (`batch`, `flex`, `priority`, …). Empty: only for calls at standard prices.
    #[serde(default)]
    tiers: Vec<String>,
    /// Only for calls with more input than this.
    above_input_tokens: Option<u64>,
    /// Only up to this day (UTC), as `2026-12-31`.
    until: Option<String>,
    /// Input that was not read from a cache.
    input: Option<f64>,
    output: Option<f64>,
    /// Input that was read from a cache.
    cache_read: Option<f64>,
    /// Input that was written to a cache.
    cache_write: Option<f64>,
    /// Input that was written to a cache for an hour.
    cache_write_1h: Option<f64>,
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
    /// How the call is billed. `None`: at standard prices.
    pub tier: Option<&'a str>,
    /// The day of the call (UTC), as `2026-11-29`.
    pub day: Option<&'a str>,
    /// All input, cached or not.
    pub input_tokens: Option<u64>,
    /// All output.
    pub output_tokens: Option<u64>,
    /// Input that was read from a cache.
    pub cache_read_tokens: Option<u64>,
    /// Input that was written to a cache.
    pub cache_write_tokens: Option<u64>,
    /// The part of it that was written for an hour.
    pub cache_write_1h_tokens: Option<u64>,
}

/// The cost of a call.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Cost<'a> {
    /// How much.
    pub amount: f64,
    /// In which currency.
    pub currency: &'a str,
    /// The version of the table.
    pub table: &'a str,
}

impl Prices {
    /// The public prices.
    pub fn public() -> Self {
        Self { own: None }
    }

    /// The user's table, then the public prices.
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
        if let Some(at) = table.models.iter().position(|model| !model.is_sound()) {
            return Err(format!(
                "{}: entry {} of `models` has a price below 0 or not a number, or an `until` that is not a day such as 2026-12-31",
                file.display(),
                at + 1
            ));
        }
        Ok(Self { own: Some((file.to_owned(), table)) })
    }

    /// The user's file.
    pub fn file(&self) -> Option<&Path> {
        self.own.as_ref().map(|(file, _)| file.as_path())
    }

    /// The versions of all tables. Those of public prices are a provider and a date.
    pub fn versions(&self) -> impl Iterator<Item = &str> {
        self.tables().map(|table| table.version.as_str())
    }

    /// In the order in which they are searched.
    fn tables(&self) -> impl Iterator<Item = &Table> {
        self.own.iter().map(|(_, table)| table).chain(PUBLIC_TABLES.iter())
    }

    /// The cost of a call, by the first entry that matches it. `None`: unknown.
    pub fn cost(&self, usage: &Usage<'_>) -> Option<Cost<'_>> {
        let mut entries = self.tables().flat_map(|table| table.models.iter().map(move |model| (table, model)));
        let (table, prices) = entries.find(|(_, model)| model.covers(usage))?;
        let amount = prices.cost(usage)?;
        Some(Cost { amount, currency: &table.currency, table: &table.version })
    }
}

impl Model {
    fn is_sound(&self) -> bool {
        let Self { input, output, cache_read, cache_write, cache_write_1h, .. } = self;
        let prices = [input, output, cache_read, cache_write, cache_write_1h];
        let is_price = |price: &Option<f64>| price.is_none_or(|price| price.is_finite() && price >= 0.0);
        prices.into_iter().all(is_price) && self.until.as_deref().is_none_or(is_day)
    }

    fn covers(&self, usage: &Usage<'_>) -> bool {
        let Some(name) = usage.model else { return false };
        let tier = match usage.tier {
            None => self.tiers.is_empty(),
            Some(tier) => self.tiers.iter().any(|known| known == tier),
        };
        tier && self.provider.as_deref().is_none_or(|wanted| usage.provider == Some(wanted))
            && self.above_input_tokens.is_none_or(|above| usage.input_tokens.is_some_and(|input| input > above))
            && self.until.as_deref().is_none_or(|until| usage.day.is_some_and(|day| day <= until))
            && [name, undated(name)].iter().any(|name| WildMatch::new(&self.model).matches(name))
    }

    fn cost(&self, usage: &Usage<'_>) -> Option<f64> {
        let (read, written) = (usage.cache_read_tokens.unwrap_or(0), usage.cache_write_tokens.unwrap_or(0));
        // The input count includes tokens read from and written to caches.
        let fresh = usage.input_tokens?.checked_sub(read)?.checked_sub(written)?;
        let for_an_hour = usage.cache_write_1h_tokens.unwrap_or(0);
        let output = match usage.output_tokens {
            // An embedding has no output.
            None if usage.operation == Some("embeddings") => 0,
            reported => reported?,
        };
        let kinds = [
            (fresh, self.input),
            (output, self.output),
            (read, self.cache_read),
            (written.checked_sub(for_an_hour)?, self.cache_write),
            (for_an_hour, self.cache_write_1h),
        ];
        let mut cost = 0.0;
        for (tokens, price) in kinds.into_iter().filter(|(tokens, _)| *tokens > 0) {
            cost += tokens as f64 * price? / PER_TOKENS;
        }
        Some((cost * PARTS).round() / PARTS)
    }
}

/// The model's name without the day of its release: `claude-sonnet-4-5-20250929`, `gpt-5-2025-08-07`.
fn undated(name: &str) -> &str {
    let cut = |length: usize, is_date: fn(&str) -> bool| {
        let (name, date) = name.split_at_checked(name.len().checked_sub(length)?)?;
        name.strip_suffix('-').filter(|_| is_date(date))
    };
    let digits = |text: &str| text.bytes().all(|byte| byte.is_ascii_digit());
    cut(8, digits).or_else(|| cut(10, is_day)).unwrap_or(name)
}

/// Whether this has the form `2026-12-31`.
fn is_day(text: &str) -> bool {
    text.len() == 10
        && text
            .bytes()
            .enumerate()
            .all(|(at, byte)| if at == 4 || at == 7 { byte == b'-' } else { byte.is_ascii_digit() })
}

#[cfg(test)]
mod tests;
