//! Totals by one fact of the calls.

use std::collections::HashMap;

use serde_json::{Value, json};

use super::totals::{Totals, by_calls, is_gap};
use crate::llm::Llm;
use crate::store::Call;

/// The fact that calls are grouped by.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum By {
    /// The host.
    Host,
    /// The model. Calls without one are left out.
    Model,
    /// The agent that a model call names itself by; else the agent of its session.
    Agent,
    /// The tool: each one that a model called in its answer, or that was called over MCP. A call counts for each of its tools.
    Tool,
    /// The session.
    Session,
    /// The status of the response.
    Status,
}

impl By {
    /// All facts.
    pub const ALL: [Self; 6] = [Self::Host, Self::Model, Self::Agent, Self::Tool, Self::Session, Self::Status];

    /// Its name.
    pub fn name(self) -> &'static str {
        match self {
            Self::Host => "host",
            Self::Model => "model",
            Self::Agent => "agent",
            Self::Tool => "tool",
            Self::Session => "session",
            Self::Status => "status",
        }
    }
}

/// Totals of groups of calls.
#[derive(Debug)]
pub struct Groups {
    by: By,
    groups: HashMap<String, Totals>,
}

impl Groups {
    /// No calls yet.
    pub fn new(by: By) -> Self {
        Self { by, groups: HashMap::new() }
    }

    /// Adds a call. `of_session` is the name of its agent or its session, if calls are grouped by that.
    pub fn add(&mut self, call: &Call, of_session: impl FnOnce(i64) -> String) {
        if is_gap(call) {
            return;
        }
        let llm = Llm::parse(&call.llm);
        let names = match self.by {
            By::Host => vec![call.host.clone()],
            By::Model => llm.as_ref().and_then(Llm::model).map(str::to_owned).into_iter().collect(),
            By::Agent => match llm.as_ref().and_then(Llm::agent) {
                Some(agent) => vec![agent.to_owned()],
                None => vec![of_session(call.session)],
            },
            By::Session => vec![of_session(call.session)],
            By::Tool => llm.as_ref().map(tools).unwrap_or_default(),
            By::Status => vec![if call.status_code == 0 { "none".to_owned() } else { call.status_code.to_string() }],
        };
        for name in names {
            self.groups.entry(name).or_default().add(call, llm.as_ref());
        }
    }

    /// The groups, most calls first.
    pub fn all(&self) -> Vec<(&str, &Totals)> {
        by_calls(&self.groups)
    }

    /// The groups as a JSON array, most calls first.
    pub fn json(&self) -> Value {
        let group = |(name, totals): (&str, &Totals)| {
            let mut group = json!({ "name": name });
            if let (Value::Object(group), Value::Object(totals)) = (&mut group, totals.json()) {
                group.extend(totals);
            }
            group
        };
        self.all().into_iter().map(group).collect()
    }
}

/// The tools of a call, each once.
fn tools(llm: &Llm) -> Vec<String> {
    let called = llm.tool_calls().unwrap_or_default().split(',');
    let over_mcp = llm.tool().unwrap_or_default();
    let mut tools: Vec<String> =
        called.chain([over_mcp]).map(str::trim).filter(|tool| !tool.is_empty()).map(str::to_owned).collect();
    tools.sort_unstable();
    tools.dedup();
    tools
}

#[cfg(test)]
mod tests {
    use super::*;

    fn call(session: i64, host: &str, status_code: u16, llm: &str) -> Call {
        Call {
            id: 1,
            session,
            started_at_ms: session * 1_000,
            method: "POST".into(),
            host: host.into(),
            path: "/".into(),
            status_code,
            latency_ms: 10.0,
            request_bytes: 1,
            response_bytes: 1,
            error: if status_code < 400 { String::new() } else { "http_500".into() },
            outline: String::new(),
            llm: llm.into(),
        }
    }

    #[test]
    fn calls_are_grouped_by_each_fact() {
        let calls = [
            call(
                1,
                "a.test",
                200,
                r#"{"gen_ai.request.model":"m","otas_proxy.llm.tool_calls":"Bash,Read,Bash","gen_ai.usage.input_tokens":5}"#,
            ),
            call(1, "a.test", 500, r#"{"gen_ai.request.model":"m","gen_ai.agent.name":"claude"}"#),
            call(2, "b.test", 0, r#"{"gen_ai.tool.name":"Read"}"#),
            Call { method: "GAP".into(), ..call(2, "otas-proxy", 0, "") },
        ];
        for (by, expected) in [
            (By::Host, &[("a.test", 2, 1), ("b.test", 1, 0)][..]),
            (By::Model, &[("m", 2, 1)]),
            (By::Agent, &[("agent 1", 1, 0), ("agent 2", 1, 0), ("claude", 1, 1)]),
            (By::Session, &[("agent 1", 2, 1), ("agent 2", 1, 0)]),
            (By::Tool, &[("Read", 2, 0), ("Bash", 1, 0)]),
            (By::Status, &[("200", 1, 0), ("500", 1, 1), ("none", 1, 0)]),
        ] {
            let mut groups = Groups::new(by);
            calls.iter().for_each(|call| groups.add(call, |session| format!("agent {session}")));
            let seen: Vec<_> = groups.all().into_iter().map(|(name, of)| (name, of.calls, of.errors)).collect();
            assert_eq!(seen, expected, "{by:?}");
        }
        let mut groups = Groups::new(By::Host);
        calls.iter().for_each(|call| groups.add(call, |_| String::new()));
        let json = groups.json();
        assert_eq!(
            (&json[0]["name"], &json[0]["calls"], &json[0]["latency_ms"]["p95"]),
            (&json!("a.test"), &json!(2), &json!(10.0))
        );
        assert_eq!((&json[0]["input_tokens"], &json[1]["input_tokens"]), (&json!(5), &Value::Null));
        assert_eq!(groups.all()[1].1.last_ms, 2_000);
    }
}
