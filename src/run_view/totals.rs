//! Totals of model calls.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use crate::llm::Llm;
use crate::store::{Call, Entry, Facts};

/// Totals of model calls. A figure that no call reports is `None`, never 0.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Totals {
    /// Model calls.
    pub calls: u64,
    /// Those with an error.
    pub errors: u64,
    /// Input tokens, including cached ones.
    pub input: Option<u64>,
    /// Input tokens that were neither read from a cache nor written to one.
    pub uncached: Option<u64>,
    /// Input tokens read from a cache.
    pub cache_read: Option<u64>,
    /// Input tokens written to a cache.
    pub cache_write: Option<u64>,
    /// Output tokens.
    pub output: Option<u64>,
    /// The cost by currency.
    pub costs: BTreeMap<String, f64>,
    /// Calls with tokens and without a cost: their price is unknown.
    pub unpriced: u64,
    /// When the first call began, in Unix milliseconds. 0 without calls.
    pub start_ms: i64,
    /// When the last call ended, in Unix milliseconds. 0 without calls.
    pub end_ms: i64,
}

impl Totals {
    /// From the beginning of the first call to the end of the last, in milliseconds.
    pub fn duration_ms(&self) -> u64 {
        u64::try_from(self.end_ms - self.start_ms).unwrap_or(0)
    }

    /// Adds a model call.
    pub(super) fn add_call(&mut self, call: &Call, llm: &Llm) {
        let one = Self {
            calls: 1,
            errors: u64::from(!call.error.is_empty()),
            cache_read: llm.cache_read_tokens(),
            cache_write: llm.cache_write_tokens(),
            output: llm.output_tokens(),
            start_ms: call.started_at_ms,
            end_ms: call.ended_at_ms(),
            ..Self::default()
        };
        let cost = llm.cost().map(|cost| (llm.currency().unwrap_or_default(), cost));
        self.add_one(one, llm.input_tokens(), cost);
    }

    /// Adds a model call of a pass over all calls.
    pub(super) fn add_entry(&mut self, entry: &Entry, facts: &Facts) {
        let one = Self {
            calls: 1,
            errors: u64::from(entry.failed),
            cache_read: facts.cached_tokens,
            cache_write: facts.written_tokens,
            output: facts.output_tokens,
            start_ms: entry.started_at_ms,
            end_ms: entry.ended_at_ms(),
            ..Self::default()
        };
        self.add_one(one, facts.input_tokens, facts.money());
    }

    /// Adds a call with its input tokens and its cost by currency.
    fn add_one(&mut self, one: Self, input: Option<u64>, cost: Option<(&str, f64)>) {
        let cached = one.cache_read.unwrap_or(0).saturating_add(one.cache_write.unwrap_or(0));
        self.add(&Self {
            input,
            uncached: input.map(|input| input.saturating_sub(cached)),
            unpriced: u64::from(cost.is_none() && input.or(one.output).is_some()),
            ..one
        });
        if let Some((currency, cost)) = cost {
            match self.costs.get_mut(currency) {
                Some(sum) => *sum += cost,
                None => drop(self.costs.insert(currency.to_owned(), cost)),
            }
        }
    }

    /// Adds other totals.
    pub(super) fn add(&mut self, other: &Self) {
        if other.calls == 0 {
            return;
        }
        let is_first = self.calls == 0;
        self.start_ms = if is_first { other.start_ms } else { self.start_ms.min(other.start_ms) };
        self.end_ms = if is_first { other.end_ms } else { self.end_ms.max(other.end_ms) };
        self.calls += other.calls;
        self.errors += other.errors;
        self.unpriced += other.unpriced;
        for (sum, more) in [
            (&mut self.input, other.input),
            (&mut self.uncached, other.uncached),
            (&mut self.cache_read, other.cache_read),
            (&mut self.cache_write, other.cache_write),
            (&mut self.output, other.output),
        ] {
            *sum = match (*sum, more) {
                (Some(sum), Some(more)) => Some(sum.saturating_add(more)),
                (sum, more) => sum.or(more),
            };
        }
        for (currency, cost) in &other.costs {
            *self.costs.entry(currency.clone()).or_default() += cost;
        }
    }

    /// As JSON. An unknown figure is null.
    pub fn json(&self) -> Value {
        let has_calls = self.calls > 0;
        json!({
            "model_calls": self.calls,
            "errors": self.errors,
            "input_tokens": self.input,
            "uncached_tokens": self.uncached,
            "cache_read_tokens": self.cache_read,
            "cache_write_tokens": self.cache_write,
            "output_tokens": self.output,
            "costs": self.costs,
            "calls_without_price": self.unpriced,
            "started_at_ms": has_calls.then_some(self.start_ms),
            "ended_at_ms": has_calls.then_some(self.end_ms),
            "duration_ms": has_calls.then(|| self.duration_ms()),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn without_calls_no_time_is_known() {
        let none = Totals::default().json();
        assert!(none["started_at_ms"].is_null() && none["ended_at_ms"].is_null() && none["duration_ms"].is_null());
        let one = Totals { calls: 1, start_ms: 5, end_ms: 7, ..Totals::default() }.json();
        assert_eq!((&one["started_at_ms"], &one["duration_ms"]), (&json!(5), &json!(2)));
    }
}
