//! What is known of one call, ready to be written into its event.

use std::time::Duration;

use serde_json::Number;

/// A fact's value: flat, as properties are.
#[derive(Clone, PartialEq)]
#[cfg_attr(test, derive(Debug))]
pub enum Fact {
    /// A text from outside: to be masked and bounded.
    Text(String),
    /// A number as it came, or one of ours.
    Number(Number),
    /// Yes or no.
    Flag(bool),
}

impl Fact {
    /// Seconds, to a tenth of a millisecond.
    pub(super) fn seconds(of: Duration) -> Option<Self> {
        Number::from_f64((of.as_secs_f64() * 10_000.0).round() / 10_000.0).map(Self::Number)
    }

    /// A number with two decimals.
    pub(super) fn rate(of: f64) -> Option<Self> {
        Number::from_f64((of * 100.0).round() / 100.0).map(Self::Number)
    }
}

impl From<u64> for Fact {
    fn from(number: u64) -> Self {
        Self::Number(number.into())
    }
}

/// What is known of one call to a model or a tool.
#[derive(Clone, Default, PartialEq)]
#[cfg_attr(test, derive(Debug))]
pub struct Facts {
    /// By the names in [`names`](super::names), each at most once.
    pub properties: Vec<(&'static str, Fact)>,
    /// The provider's own usage object as it came: JSON.
    pub usage_raw: Option<String>,
    /// The answer as text for people; empty if there is none.
    pub answer: String,
    /// The answer came to its end, as its own form tells.
    pub complete: bool,
    /// From the request being forwarded to the first byte of the answer's body.
    pub first_byte: Option<Duration>,
    /// Members that were too long to be looked into.
    pub skipped: Vec<&'static str>,
    /// What the provider says of an error that its status tells.
    pub refusal: Option<String>,
    /// The answer carries an error, though its status may be a good one.
    pub failure: Option<Failure>,
}

/// An error that stands inside an answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Failure {
    /// `stream_error`, `response_failed`, `tool_error` or `jsonrpc_error`.
    pub id: &'static str,
    /// One sentence for people.
    pub detail: String,
}

impl Facts {
    /// Adds a fact, unless one of that name is there.
    pub(super) fn tell(&mut self, name: &'static str, fact: Option<Fact>) {
        if let Some(fact) = fact.filter(|_| self.get(name).is_none()) {
            self.properties.push((name, fact));
        }
    }

    /// One of the properties.
    pub fn get(&self, name: &str) -> Option<&Fact> {
        self.properties.iter().find(|(known, _)| *known == name).map(|(_, fact)| fact)
    }
}
