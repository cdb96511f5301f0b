//! The rows of events: as appended, as delivery needs them, and as people list them.

use uuid::Uuid;

use crate::event::{BodyText, Event};

/// A row of `sessions`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct SessionRow(pub(super) i64);

impl SessionRow {
    /// The row with this id.
    pub fn of(id: i64) -> Self {
        Self(id)
    }

    /// The row's id, as [`EventRow::session`] names it.
    pub fn id(self) -> i64 {
        self.0
    }
}

/// The delivery state of an event.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum State {
    /// Not yet acknowledged.
    Pending,
    /// Acknowledged by OTAS.
    Delivered,
    /// Refused for good; kept with its verdict.
    Dead,
    /// Not for OTAS: its session has no agent key (`otas.deliver = false`).
    Kept,
}

impl State {
    /// As the `state` column holds it.
    pub(super) const fn code(self) -> i64 {
        match self {
            Self::Pending => 0,
            Self::Delivered => 1,
            Self::Dead => 2,
            Self::Kept => 3,
        }
    }

    pub(super) const fn from_code(code: i64) -> Self {
        match code {
            1 => Self::Delivered,
            2 => Self::Dead,
            3 => Self::Kept,
            _ => Self::Pending,
        }
    }
}

impl std::fmt::Display for State {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Pending => "pending",
            Self::Delivered => "delivered",
            Self::Dead => "dead",
            Self::Kept => "kept",
        })
    }
}

/// An event to append. Everything is borrowed, so nothing is copied on the way to SQLite.
#[derive(Debug, Clone, Copy)]
pub struct NewEvent<'a> {
    /// The exchange's UUIDv7.
    pub event_id: Uuid,
    /// Its number in its session, starting at 0 or 1.
    pub seq: u64,
    /// When the request arrived, in Unix milliseconds.
    pub started_at_ms: i64,
    /// The request's method.
    pub method: &'a str,
    /// The host that was called.
    pub host: &'a str,
    /// The request's path.
    pub path: &'a str,
    /// The response's status code.
    pub status_code: u16,
    /// The latency of the call.
    pub latency_ms: f64,
    /// Size of the request's body.
    pub request_bytes: u64,
    /// Size of the response's body.
    pub response_bytes: u64,
    /// OTAS's `error`; empty on success.
    pub error: &'a str,
    /// Phases and connection facts, for lists (`event::Outline`).
    pub outline: &'a str,
    /// Model facts, for lists (`event::Llm`).
    pub llm: &'a str,
    /// The JSON object for OTAS, without `project_id` and without the texts of its bodies.
    pub json: &'a [u8],
    /// The texts of its bodies.
    pub bodies: &'a [BodyText],
}

impl<'a> NewEvent<'a> {
    /// An event, with its number in its session.
    pub(crate) fn of(seq: u64, event: &'a Event) -> Self {
        Self {
            event_id: event.id,
            seq,
            started_at_ms: event.started_at_ms,
            method: &event.method,
            host: &event.host,
            path: &event.path,
            status_code: event.status_code,
            latency_ms: event.latency_ms,
            request_bytes: event.request_bytes,
            response_bytes: event.response_bytes,
            error: &event.error,
            outline: &event.outline,
            llm: &event.llm,
            json: &event.json,
            bodies: &event.bodies,
        }
    }
}

#[cfg(test)]
impl<'a> NewEvent<'a> {
    /// For tests: an event with this JSON and arbitrary other values.
    pub(crate) fn plain(json: &'a [u8]) -> Self {
        Self {
            event_id: Uuid::now_v7(),
            seq: 0,
            started_at_ms: 1_700_000_000_000,
            method: "GET",
            host: "a.test",
            path: "/",
            status_code: 200,
            latency_ms: 1.0,
            request_bytes: 0,
            response_bytes: 0,
            error: "",
            outline: "",
            llm: "",
            json,
            bodies: &[],
        }
    }
}

/// A pending row as delivery needs it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PendingEvent {
    /// The row. Events are delivered in row order.
    pub id: i64,
    /// The exchange's UUIDv7.
    pub event_id: Uuid,
    /// The session that it belongs to.
    pub session: SessionRow,
    /// Posts so far, by all processes.
    pub attempts: u32,
    /// The JSON object for OTAS, without `project_id`.
    pub json: Vec<u8>,
}

/// A row as people list it.
#[derive(Debug, Clone, PartialEq)]
pub struct EventRow {
    /// The row.
    pub id: i64,
    /// The exchange's UUIDv7.
    pub event_id: Uuid,
    /// The session's row (`sessions.id`).
    pub session: i64,
    /// Its number in its session.
    pub seq: u64,
    /// When the request arrived, in Unix milliseconds.
    pub started_at_ms: i64,
    /// The request's method.
    pub method: String,
    /// The host that was called.
    pub host: String,
    /// The request's path.
    pub path: String,
    /// The response's status code.
    pub status_code: u16,
    /// The latency of the call.
    pub latency_ms: f64,
    /// Size of the request's body.
    pub request_bytes: u64,
    /// Size of the response's body.
    pub response_bytes: u64,
    /// OTAS's `error`; empty on success.
    pub error: String,
    /// The delivery state.
    pub state: State,
    /// Posts so far.
    pub attempts: u32,
    /// The verdict of the last post.
    pub verdict: Option<String>,
    /// When it is posted again, in Unix milliseconds.
    pub next_try_at_ms: Option<i64>,
    /// OTAS's id for it, once delivered.
    pub otas_event_id: Option<String>,
    /// The note that a person wrote on it.
    pub note: Option<String>,
    /// The JSON object for OTAS, without `project_id`.
    pub json: Vec<u8>,
}

#[cfg(test)]
impl EventRow {
    /// For tests: a delivered event with this JSON.
    pub(crate) fn plain(json: Vec<u8>) -> Self {
        Self {
            id: 7,
            event_id: Uuid::nil(),
            session: 1,
            seq: 1,
            started_at_ms: 1_700_000_000_500,
            method: "POST".into(),
            host: "a.test".into(),
            path: "/v1".into(),
            status_code: 200,
            latency_ms: 30.0,
            request_bytes: 2,
            response_bytes: 10,
            error: String::new(),
            state: State::Delivered,
            attempts: 1,
            verdict: None,
            next_try_at_ms: None,
            otas_event_id: None,
            note: None,
            json,
        }
    }
}
