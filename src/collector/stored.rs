//! Stored events and sessions, as they are listed.

use serde_json::Value;
use uuid::Uuid;

/// An event as it was accepted.
#[derive(Debug, Clone, PartialEq)]
pub struct StoredEvent {
    /// The id that the sender received.
    pub event_id: Uuid,
    /// When it arrived: RFC 3339, UTC, with microseconds.
    pub event_time: String,
    /// The session of its token.
    pub session_id: Uuid,
    /// The agent of its key.
    pub agent_id: Uuid,
    /// The project of that agent, whatever the event says.
    pub project_id: Uuid,
    /// The event itself, as received.
    pub body: Value,
}

/// A session as it was opened.
#[derive(Debug, Clone, PartialEq)]
pub struct StoredSession {
    /// The session's id, as in its token and its events.
    pub session_id: Uuid,
    /// The agent that opened it.
    pub agent_id: Uuid,
    /// When it was opened: RFC 3339, UTC, with microseconds.
    pub created_at: String,
    /// The `meta` that it was opened with.
    pub meta: Value,
}
