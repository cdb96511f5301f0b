//! What ties a call to the run of an agent: the process that made it, the session that it names, and the hosts that the answer of a
//! model sends tools to. It stands in the event's outline, so that no list has to read whole events.

use serde::{Deserialize, Serialize};

use super::json::digits;
use super::writer::EventWriter;
use crate::agents::Part;
use crate::capture::Exchange;

/// The most processes that are kept of a line of ancestors.
const PROCESSES_MAX: usize = 8;

/// What ties a call to the run of an agent.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Ties {
    /// The process that made the call and its ancestors, the process first: each by its id and its start time. Empty: not known.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub processes: Vec<String>,
    /// The agent's session that a call to others than models names.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub session: Option<String>,
    /// The thread or the sub-agent that such a call names.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub thread: Option<String>,
    /// The host and the port that were called, unless it is the usual port of the scheme.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub address: Option<String>,
    /// The hosts in URLs in the arguments of the answer's calls to tools, with the port if it is stated and not the usual one.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub hosts: Vec<String>,
}

impl Ties {
    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }

    /// The ties of a call. `is_llm`: the facts of the model call name the session already.
    pub(super) fn of(out: &mut EventWriter<'_>, exchange: &Exchange, is_llm: bool) -> Self {
        let process = exchange.process.found();
        let line = process.iter().flat_map(|of| [&of.facts].into_iter().chain(&of.ancestors));
        let processes = line.take(PROCESSES_MAX).map(|of| named(of.pid, of.start_ticks)).collect();
        let agent = out.agent.as_ref().filter(|_| !is_llm);
        let part = |part: Part| agent.and_then(|agent| agent.get(part)).map(str::to_owned);
        let (session, thread) = (part(Part::Session), part(Part::Thread).or_else(|| part(Part::Agent)));
        let origin = &exchange.origin;
        let is_usual = matches!((origin.scheme, origin.port), ("http", 80) | ("https", 443));
        let address = (!is_usual).then(|| format!("{}:{}", out.uncounted_line(&origin.host), origin.port));
        let hosts = exchange.llm.iter().flat_map(|facts| &facts.hosts);
        let hosts = hosts.map(|host| out.uncounted_line(host).into_owned()).collect();
        Self { processes, session, thread, address, hosts }
    }
}

/// A process, by its id and its start time. Made for each call, without the cost of `format!`.
fn named(pid: u32, start_ticks: u64) -> String {
    let mut name = Vec::with_capacity(24);
    digits(&mut name, u64::from(pid));
    name.push(b'.');
    digits(&mut name, start_ticks);
    String::from_utf8(name).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::time::Duration;

    use super::super::build::build;
    use super::super::testing::context;
    use super::super::tests::{event_of, exchange, headers, rules};
    use super::super::{Context, Event, Outline};
    use super::*;
    use crate::config::CaptureLevel;
    use crate::llm::{Fact, Facts, names};

    fn ties(event: &Event) -> Ties {
        Outline::parse(&event.outline).ties
    }

    #[test]
    fn a_call_is_tied_by_the_session_that_it_names_and_its_unusual_port() {
        let mut exchange = exchange();
        exchange.request.headers = headers(&[
            ("user-agent", "claude-cli/2.1.197"),
            ("x-claude-code-session-id", "0b9f5d4e-8c55"),
            ("x-claude-code-agent-id", "a1b2c3d4"),
        ]);
        let event = event_of(&exchange, &BTreeMap::new()).0;
        let named = Ties {
            session: Some("0b9f5d4e-8c55".to_owned()),
            thread: Some("a1b2c3d4".to_owned()),
            ..Ties::default()
        };
        assert_eq!(ties(&event), named);
        exchange.origin.port = 8443;
        let event = event_of(&exchange, &BTreeMap::new()).0;
        assert_eq!(ties(&event).address.as_deref(), Some("api.test:8443"));
    }

    #[test]
    fn a_model_call_is_tied_by_the_hosts_of_its_tools_unless_answers_are_not_recorded() {
        let mut exchange = exchange();
        let properties = vec![(names::REQUEST_MODEL, Fact::Text("m".to_owned()))];
        let hosts = vec!["docs.test".to_owned()];
        exchange.llm = Some(Box::new(Facts { properties, hosts: hosts.clone(), ..Facts::default() }));
        for (level, known) in [(CaptureLevel::Full, true), (CaptureLevel::Headers, false)] {
            let redactor = rules(&[("api.test", level)], Duration::from_secs(60));
            let context = Context { redactor: &redactor, ..context() };
            let hosts = if known { hosts.clone() } else { Vec::new() };
            assert_eq!(ties(&build(&exchange, &context)), Ties { hosts, ..Ties::default() }, "{level:?}");
        }
    }
}
