//! Totals over calls: count, latency, size and cost, by host and by model, and how much of the traffic was captured. Pure:
//! calls are added one by one.

mod by;
mod totals;

use std::collections::HashMap;

use serde_json::{Map, Value, json};

pub use self::by::{By, Groups};
pub use self::totals::Totals;

use self::totals::{by_calls, is_gap};
use crate::event::{Llm, Outline};
use crate::store::Call;

/// The totals.
#[derive(Debug, Clone, Default)]
pub struct Stats {
    /// All calls.
    pub all: Totals,
    /// Coverage.
    pub coverage: Coverage,
    hosts: HashMap<String, Totals>,
    models: HashMap<String, Totals>,
}

/// How much of the traffic was captured.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Coverage {
    /// HTTPS calls that were intercepted.
    pub intercepted: u64,
    /// Plain HTTP calls.
    pub plain: u64,
    /// Tunnels that were relayed without interception.
    pub blind: u64,
    /// Tunnels whose agent refused our certificate.
    pub refused_certificates: u64,
    /// Other failed tunnels.
    pub failed_tunnels: u64,
    /// Calls with an incomplete event.
    pub cut: u64,
    /// Events that report lost events.
    pub gaps: u64,
}

impl Stats {
    /// Adds a call.
    pub fn add(&mut self, call: &Call) {
        let (outline, llm) = (Outline::parse(&call.outline), Llm::parse(&call.llm));
        self.coverage.add(call, &outline);
        if is_gap(call) {
            return;
        }
        self.all.add(call, llm.as_ref());
        match self.hosts.get_mut(&call.host) {
            Some(known) => known.add(call, llm.as_ref()),
            None => self.hosts.entry(call.host.clone()).or_default().add(call, llm.as_ref()),
        }
        if let Some(model) = llm.as_ref().and_then(Llm::model) {
            self.models.entry(model.to_owned()).or_default().add(call, llm.as_ref());
        }
    }

    /// By host, most calls first.
    pub fn hosts(&self) -> Vec<(&str, &Totals)> {
        by_calls(&self.hosts)
    }

    /// By model, most calls first.
    pub fn models(&self) -> Vec<(&str, &Totals)> {
        by_calls(&self.models)
    }

    /// The totals of everything added so far.
    pub fn json(&self) -> Value {
        let map = |of: Vec<(&str, &Totals)>| -> Map<String, Value> {
            of.into_iter().map(|(name, totals)| (name.to_owned(), totals.json())).collect()
        };
        let Coverage { intercepted, plain, blind, refused_certificates, failed_tunnels, cut, gaps } = self.coverage;
        json!({
            "all": self.all.json(),
            "hosts": map(self.hosts()),
            "models": map(self.models()),
            "coverage": {
                "intercepted": intercepted, "plain": plain, "blind": blind,
                "refused_certificates": refused_certificates, "failed_tunnels": failed_tunnels, "cut": cut, "gaps": gaps,
            },
        })
    }
}

impl Coverage {
    fn add(&mut self, call: &Call, outline: &Outline) {
        self.cut += u64::from(outline.cut);
        let count = match (outline.read, &outline.blind, &*outline.scheme) {
            _ if is_gap(call) => &mut self.gaps,
            (_, Some(_), _) => &mut self.blind,
            _ if call.error.starts_with("client_refused_certificate") => &mut self.refused_certificates,
            (true, _, "https") => &mut self.intercepted,
            (true, ..) => &mut self.plain,
            // Events of older versions do not say.
            (false, None, "") => return,
            (false, None, _) => &mut self.failed_tunnels,
        };
        *count += 1;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn call(host: &str, latency_ms: f64) -> Call {
        Call {
            id: 1,
            session: 1,
            started_at_ms: 0,
            method: "GET".into(),
            host: host.into(),
            path: "/".into(),
            status_code: 200,
            latency_ms,
            request_bytes: 1,
            response_bytes: 10,
            error: String::new(),
            outline: r#"{"scheme":"https","read":true,"ms":{}}"#.into(),
            llm: String::new(),
        }
    }

    #[test]
    fn totals_are_kept_overall_by_host_and_by_model() {
        let mut stats = Stats::default();
        for n in 1..=100 {
            stats.add(&call("a.test", f64::from(n)));
        }
        let llm = r#"{"gen_ai.response.model":"m","gen_ai.usage.input_tokens":7,"otas_proxy.llm.cost":0.5,"otas_proxy.llm.cost.currency":"EUR"}"#;
        stats.add(&Call { llm: llm.into(), error: "http_500: x".into(), ..call("b.test", 1_000.0) });
        stats.add(&Call { llm: r#"{"gen_ai.response.model":"m"}"#.into(), ..call("b.test", 1.0) });
        assert_eq!((stats.all.calls, stats.all.errors, stats.all.response_bytes), (102, 1, 1_020));
        assert_eq!(
            stats.hosts().iter().map(|(host, of)| (*host, of.calls)).collect::<Vec<_>>(),
            [("a.test", 100), ("b.test", 2)]
        );
        let tool = r#"{"otas_proxy.llm.api":"mcp","mcp.method.name":"tools/call","gen_ai.tool.name":"search"}"#;
        let mut with_tool = Stats::default();
        with_tool.add(&Call { llm: tool.into(), ..call("b.test", 1.0) });
        assert_eq!((with_tool.all.calls, with_tool.all.llm_calls), (1, 0), "a call over MCP is to a tool");
        let (name, model) = stats.models()[0];
        assert_eq!(
            (name, model.llm_calls, model.input_tokens, model.output_tokens, &model.costs),
            ("m", 2, Some(7), None, &std::collections::BTreeMap::from([("EUR".to_owned(), 0.5)]))
        );
        let all = &stats.json()["all"];
        assert_eq!((&all["cost"], &all["cost_currency"]), (&json!(0.5), &json!("EUR")));
        let dollars = llm.replace("EUR", "USD");
        stats.add(&Call { llm: dollars, ..call("b.test", 1.0) });
        let all = &stats.json()["all"];
        assert_eq!((&all["cost"], &all["costs"]), (&Value::Null, &json!({ "EUR": 0.5, "USD": 0.5 })));
        let a = stats.hosts()[0].1;
        assert_eq!((a.latency_ms(0.5), a.latency_ms(0.99), a.latency_ms(1.0)), (Some(50.0), Some(99.0), Some(100.0)));
        assert_eq!(Totals::default().latency_ms(0.5), None);
        assert_eq!(stats.json()["models"]["m"]["output_tokens"], Value::Null);
    }

    #[test]
    fn coverage_is_counted_by_kind() {
        let mut stats = Stats::default();
        let outline =
            |outline: &str, error: &str| Call { outline: outline.into(), error: error.into(), ..call("a", 1.0) };
        for call in [
            outline(r#"{"scheme":"https","read":true,"cut":true}"#, ""),
            outline(r#"{"scheme":"http","read":true}"#, ""),
            outline(r#"{"scheme":"tcp","blind":"configured"}"#, ""),
            outline(r#"{"scheme":"https"}"#, "client_refused_certificate: x"),
            outline(r#"{"scheme":"https"}"#, "connect_refused: x"),
            outline("", ""),
            Call { method: "GAP".into(), ..call("otas-proxy", 0.0) },
        ] {
            stats.add(&call);
        }
        let expected = Coverage {
            intercepted: 1,
            plain: 1,
            blind: 1,
            refused_certificates: 1,
            failed_tunnels: 1,
            cut: 1,
            gaps: 1,
        };
        assert_eq!((stats.coverage, stats.all.calls), (expected, 6));
    }
}
