//! What goes into an event besides its exchange, and the finished event.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::apart::{BodyText, for_otas, with_bodies};
use super::links::{Links, Turn};
use crate::llm::Llm;
use crate::prices::Prices;
use crate::redact::Redactor;

/// What an event holds besides its exchange.
pub struct Context<'a> {
    /// The number of the event in its run, from 1.
    pub seq: u64,
    /// The id of this run of the proxy.
    pub run_id: &'a str,
    /// The rule that assigned the call to its session.
    pub rule: &'a str,
    /// The lowest status code that sets `error` to `http_<code>: <reason>`. 0: never.
    pub error_from_status: u16,
    /// The operator's `custom_properties`. Those with a name of ours are ignored.
    pub properties: &'a BTreeMap<String, String>,
    /// The price table, if there is one.
    pub prices: Option<&'a Prices>,
    /// The related calls.
    pub links: Links,
    /// Finds the call that a model call continues, by its facts.
    pub continues: &'a dyn Fn(&Llm) -> Option<Turn>,
    /// Finds the session of an agent's thread, where a call names only the thread that started its own.
    pub session_of: &'a dyn Fn(&str) -> Option<String>,
    /// Masks secrets, and decides how much of a call is recorded.
    pub redactor: &'a Redactor,
    /// How many bytes of a coded text are decoded.
    pub text_max_bytes: usize,
}

/// The event of one exchange as OTAS gets it, and the columns of our own store. The queue of a fleet has it, too: there its JSON and
/// its bodies stand behind the other members.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Event {
    /// The exchange's id.
    #[serde(rename = "event_id")]
    pub id: Uuid,
    /// The body of `POST /log/agent/`, without `project_id` and without the texts of its bodies.
    #[serde(skip)]
    pub json: Vec<u8>,
    /// The texts of its bodies.
    #[serde(skip)]
    pub bodies: Vec<BodyText>,
    /// When the request head had been read, in milliseconds since 1970.
    pub started_at_ms: i64,
    /// The method as in `json`.
    pub method: String,
    /// The host that was called: a name in lower case or an IP literal.
    pub host: String,
    /// The path as in `json`.
    pub path: String,
    /// The status that the agent received; 0 if none.
    pub status_code: u16,
    /// The latency as in `json`, rounded to two decimals.
    pub latency_ms: f64,
    /// The true size of the request body in bytes.
    pub request_bytes: u64,
    /// The true size of the response body in bytes.
    pub response_bytes: u64,
    /// The error as in `json`. Empty on success.
    pub error: String,
    /// A summary of the call for lists: see [`Outline`](super::Outline).
    pub outline: String,
    /// The facts of a model call for lists: see [`Llm`]. Empty for most calls.
    pub llm: String,
}

impl Event {
    /// The whole event: for people, and for sinks other than OTAS.
    pub fn whole_json(&self) -> Vec<u8> {
        with_bodies(&self.json, &self.bodies)
    }

    /// The body of `POST /log/agent/`, without `project_id`.
    pub fn for_otas(&self) -> Vec<u8> {
        for_otas(&self.json, &self.bodies)
    }

    /// Its size in memory, in bytes.
    pub fn bytes(&self) -> usize {
        self.json.len() + self.bodies.iter().map(|body| body.text.len()).sum::<usize>()
    }
}
