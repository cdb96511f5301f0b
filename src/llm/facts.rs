//! The facts of one call, ready to be written into its event.

use std::ops::Range;
use std::time::Duration;

use serde_json::{Number, Value};

/// The value of a fact.
#[derive(Clone, PartialEq)]
#[cfg_attr(test, derive(Debug))]
pub enum Fact {
    /// Text from outside, which must be masked and bounded.
    Text(String),
    /// A number.
    Number(Number),
    /// A boolean.
    Flag(bool),
}

impl Fact {
    /// Seconds, rounded to a tenth of a millisecond.
    pub(super) fn seconds(of: Duration) -> Option<Self> {
        Number::from_f64((of.as_secs_f64() * 10_000.0).round() / 10_000.0).map(Self::Number)
    }

    /// A number rounded to two decimals.
    pub(super) fn rate(of: f64) -> Option<Self> {
        Number::from_f64((of * 100.0).round() / 100.0).map(Self::Number)
    }
}

impl From<u64> for Fact {
    fn from(number: u64) -> Self {
        Self::Number(number.into())
    }
}

/// The facts of one call to a model or a tool.
#[derive(Clone, Default, PartialEq)]
#[cfg_attr(test, derive(Debug))]
pub struct Facts {
    /// Facts by their names in [`names`](super::names), each at most once.
    pub properties: Vec<(&'static str, Fact)>,
    /// The provider's usage object, unchanged: JSON.
    pub usage_raw: Option<String>,
    /// The answer as text for people. May be empty.
    pub answer: String,
    /// Whether the answer is complete by its own format.
    pub complete: bool,
    /// Time from forwarding the request to the first byte of the response body.
    pub first_byte: Option<Duration>,
    /// Members that were too long to be read.
    pub skipped: Vec<&'static str>,
    /// The provider's error message, if the status is an error.
    pub refusal: Option<String>,
    /// The ids of the answer's calls to tools, by which the next request brings their results. Only the first few.
    pub tool_ids: Vec<String>,
    /// The hosts in URLs in the arguments of the answer's calls to tools. Only the first few.
    pub hosts: Vec<String>,
    /// Quotas and rate limits that a stream states, by the names of the header fields that say the same.
    pub limits: Vec<(String, String)>,
    /// The members of the request in which agents name themselves ([`MEMBERS`](crate::agents::MEMBERS)).
    pub claims: Vec<(&'static str, Value)>,
    /// Where each message of the request stands, in bytes of its decoded body. Empty: not known, or there is none.
    pub messages: Vec<Range<usize>>,
    /// An error inside the answer, even if the status is a success.
    pub failure: Option<AnswerError>,
}

/// An error inside an answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AnswerError {
    /// `stream_error`, `response_failed`, `tool_error` or `jsonrpc_error`.
    pub id: &'static str,
    /// One sentence for people.
    pub detail: String,
}

impl Facts {
    /// Adds a fact, unless there is one of that name.
    pub(super) fn add(&mut self, name: &'static str, fact: Option<Fact>) {
        if let Some(fact) = fact.filter(|_| self.get(name).is_none()) {
            self.properties.push((name, fact));
        }
    }

    /// The fact of this name.
    pub fn get(&self, name: &str) -> Option<&Fact> {
        self.properties.iter().find(|(known, _)| *known == name).map(|(_, fact)| fact)
    }
}
