//! What names a run.

use std::convert::Infallible;
use std::fmt;
use std::str::FromStr;

use crate::llm::Llm;
use crate::store::{Entry, Facts};

/// What names a run.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum RunId {
    /// A session of an agent: the agent's name, which may be empty, and the agent's own id of the session.
    Agent(String, String),
    /// The calls of a session of the proxy in which no agent names a session of its own: the row of the session.
    Proxy(i64),
}

impl RunId {
    /// The run of a call: of a session of the proxy, with the facts of a model call.
    pub fn of(session: i64, llm: Option<&Llm>) -> Self {
        match llm.and_then(Llm::session) {
            Some(id) => Self::Agent(llm.and_then(Llm::agent).unwrap_or_default().to_owned(), id.to_owned()),
            None => Self::Proxy(session),
        }
    }

    /// The run of a model call of a pass over all calls.
    pub(super) fn of_entry(entry: &Entry, facts: &Facts) -> Self {
        match &facts.session {
            Some(id) => Self::Agent(facts.agent.as_deref().unwrap_or_default().to_owned(), id.to_string()),
            None => Self::Proxy(entry.session),
        }
    }
}

impl fmt::Display for RunId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Agent(agent, session) if agent.is_empty() => f.write_str(session),
            Self::Agent(agent, session) => write!(f, "{agent}:{session}"),
            Self::Proxy(session) => write!(f, "{session}"),
        }
    }
}

impl FromStr for RunId {
    type Err = Infallible;

    /// The inverse of `Display`.
    fn from_str(text: &str) -> Result<Self, Infallible> {
        Ok(match (text.parse(), text.split_once(':')) {
            (Ok(session), _) => Self::Proxy(session),
            (Err(_), Some((agent, session))) => Self::Agent(agent.to_owned(), session.to_owned()),
            (Err(_), None) => Self::Agent(String::new(), text.to_owned()),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_is_read_as_it_is_written() {
        let agent = |agent: &str, session: &str| RunId::Agent(agent.to_owned(), session.to_owned());
        for id in [agent("claude", "0b9f:5d4e"), agent("", "0b9f5d4e"), RunId::Proxy(12)] {
            assert_eq!(id.to_string().parse(), Ok(id));
        }
    }
}
