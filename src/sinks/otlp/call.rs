//! A stored event that becomes a span, as far as it was read. Pure.

use std::borrow::Cow;

use crate::config::Only;
use crate::conversation::Conversation;
use crate::event::{Llm, Stored};
use crate::llm::names::{AGENT_THREAD, API, CONVERSATION, OPERATION, SESSION};
use crate::store::EventRow;

/// Operations of model calls that generate. Turns consist of them.
pub(super) const CONVERSING: [&str; 3] = ["chat", "generate_content", "text_completion"];

/// An event that becomes a span.
pub(super) struct Call<'a> {
    pub(super) row: &'a EventRow,
    pub(super) event: Stored,
    /// Its facts, if it is a call to a model or over MCP.
    pub(super) llm: Option<Llm>,
    /// What was said, if it is a call to a model that converses.
    pub(super) conversation: Option<Conversation>,
}

impl<'a> Call<'a> {
    pub(super) fn of(row: &'a EventRow) -> Self {
        let event = Stored::parse(&row.json);
        Self { row, conversation: Conversation::of(&event), llm: event.llm(), event }
    }

    /// Whether a sink with this setting takes it.
    pub(super) fn is_for(&self, only: Only) -> bool {
        only == Only::All || self.is_model_or_tool()
    }

    /// Whether it is a call to a model or a tool.
    pub(super) fn is_model_or_tool(&self) -> bool {
        let is_model = || self.property(API).is_some_and(|api| api != "mcp");
        self.property(OPERATION).is_some() || is_model()
    }

    /// A property that is a text.
    pub(super) fn property(&self, name: &str) -> Option<&str> {
        self.event.json()["custom_properties"][name].as_str().filter(|text| !text.is_empty())
    }

    /// The session by which calls are grouped: the agent's own, or else the calls that continue each other.
    pub(super) fn session(&self) -> Option<Cow<'_, str>> {
        let first = self.event.metadata()["links"]["conversation"].as_str().map(Cow::Borrowed);
        let computed =
            || first.or_else(|| self.conversation.as_ref().map(|_| Cow::Owned(self.row.event_id.to_string())));
        self.property(SESSION).map(Cow::Borrowed).or_else(computed)
    }

    /// The conversation's id by the agent or the provider. It is never made up.
    pub(super) fn conversation_id(&self) -> Option<&str> {
        [CONVERSATION, AGENT_THREAD, SESSION].into_iter().find_map(|name| self.property(name))
    }

    /// When its request came, in nanoseconds since 1970.
    pub(super) fn started(&self) -> u64 {
        u64::try_from(self.row.started_at_ms).unwrap_or(0).saturating_mul(1_000_000)
    }

    /// When its last byte came.
    pub(super) fn ended(&self) -> u64 {
        self.started().saturating_add(nanos(&self.event, self.row))
    }
}

/// From the request's head to the last byte, as far as measured.
fn nanos(event: &Stored, row: &EventRow) -> u64 {
    let ms = event.metadata()["timings"]["total"].as_f64().unwrap_or(row.latency_ms);
    // A float out of range is clamped.
    (ms * 1e6).round() as u64
}
