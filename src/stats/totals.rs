//! Totals of some calls.

use std::collections::{BTreeMap, HashMap};

use serde_json::{Value, json};

use crate::llm::Llm;
use crate::store::Call;

/// Totals of some calls.
#[derive(Debug, Clone, Default)]
pub struct Totals {
    /// The number of calls.
    pub calls: u64,
    /// Calls with an error.
    pub errors: u64,
    /// Bytes of request bodies.
    pub request_bytes: u64,
    /// Bytes of response bodies.
    pub response_bytes: u64,
    /// Model calls.
    pub llm_calls: u64,
    /// Input tokens. `None` if no call reported any.
    pub input_tokens: Option<u64>,
    /// Output tokens. `None` if no call reported any.
    pub output_tokens: Option<u64>,
    /// The cost by currency. Empty if it is unknown for all calls.
    pub costs: BTreeMap<String, f64>,
    /// When the newest call began, in Unix milliseconds. 0 without calls.
    pub last_ms: i64,
    latencies_ms: Vec<f32>,
}

impl Totals {
    /// The latency that a `share` of the calls did not exceed, in milliseconds (0.5 for p50). `None`: no calls.
    pub fn latency_ms(&self, share: f64) -> Option<f64> {
        let mut latencies = self.latencies_ms.clone();
        let last = latencies.len().checked_sub(1)?;
        let at = ((latencies.len() as f64 * share).ceil() as usize).saturating_sub(1).min(last);
        let (_, found, _) = latencies.select_nth_unstable_by(at, f32::total_cmp);
        Some((f64::from(*found) * 100.0).round() / 100.0)
    }

    pub(super) fn add(&mut self, call: &Call, llm: Option<&Llm>) {
        self.calls += 1;
        self.errors += u64::from(!call.error.is_empty());
        self.request_bytes += call.request_bytes;
        self.response_bytes += call.response_bytes;
        self.last_ms = self.last_ms.max(call.started_at_ms);
        self.latencies_ms.push(call.latency_ms as f32);
        let Some(llm) = llm else { return };
        self.llm_calls += u64::from(llm.is_model_call());
        for (sum, more) in
            [(&mut self.input_tokens, llm.input_tokens()), (&mut self.output_tokens, llm.output_tokens())]
        {
            // Unknown is not 0.
            *sum = match (*sum, more) {
                (Some(sum), Some(more)) => Some(sum.saturating_add(more)),
                (sum, more) => sum.or(more),
            };
        }
        if let Some(cost) = llm.cost() {
            *self.costs.entry(llm.currency().unwrap_or_default().to_owned()).or_default() += cost;
        }
    }

    /// As JSON. An unknown figure is null.
    pub fn json(&self) -> Value {
        // Amounts of different currencies have no sum.
        let only = self.costs.iter().next().filter(|_| self.costs.len() == 1);
        json!({
            "calls": self.calls,
            "errors": self.errors,
            "request_bytes": self.request_bytes,
            "response_bytes": self.response_bytes,
            "latency_ms": { "p50": self.latency_ms(0.5), "p90": self.latency_ms(0.9), "p95": self.latency_ms(0.95), "p99": self.latency_ms(0.99), "max": self.latency_ms(1.0) },
            "llm_calls": self.llm_calls,
            "input_tokens": self.input_tokens,
            "output_tokens": self.output_tokens,
            "cost": only.map(|(_, cost)| cost),
            "cost_currency": only.map(|(currency, _)| currency),
            "costs": self.costs,
        })
    }
}

/// Totals by name, most calls first.
pub(super) fn by_calls(map: &HashMap<String, Totals>) -> Vec<(&str, &Totals)> {
    let mut all: Vec<(&str, &Totals)> = map.iter().map(|(name, totals)| (name.as_str(), totals)).collect();
    all.sort_by(|(a, x), (b, y)| y.calls.cmp(&x.calls).then_with(|| a.cmp(b)));
    all
}

/// Not a call, but a report of lost events.
pub(super) fn is_gap(call: &Call) -> bool {
    call.method == "GAP" && call.host == "otas-proxy"
}
