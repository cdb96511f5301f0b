//! Brain's part: accepts and lists events.

use axum::Json;
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse as _, Response};
use serde_json::{Map, Value, json};
use uuid::Uuid;

use super::answer::{Refusal, yes};
use super::database::{Database, KnownAgent, NewEvent};
use super::error::LedgerError;
use super::jwt::Claims;
use super::limits::{self, Columns};
use super::parse::parse;
use super::request::{ReadBody, header_text};
use super::stored::StoredEvent;

const LISTED_UNASKED: i64 = 200;
const LISTED_AT_MOST: i64 = 500;

/// `POST /api/v1/backend/log/agent/`: accepts one event. The checks run in OTAS's order: key, token, match, JSON, required
/// fields, save.
pub(super) fn log_event(database: &Database, headers: &HeaderMap, body: ReadBody) -> Result<Response, Refusal> {
    let (agent, claims) = sender(database, headers)?;
    let body = body?;
    let parsed = parse(&body).ok_or(Refusal::InvalidJson)?;
    let fields = parsed.value.as_object();
    let missing =
        limits::REQUIRED.into_iter().filter(|name| !fields.is_some_and(|fields| fields.contains_key(*name)));
    let missing: Vec<_> = missing.collect();
    let (Some(fields), true) = (fields, missing.is_empty()) else { return Err(Refusal::MissingFields(missing)) };
    let columns = savable(fields, parsed.lone_surrogate)?;
    let body = std::str::from_utf8(&body).map_err(|_| Refusal::InvalidJson)?;
    let event = NewEvent { agent: &agent, session_id: &claims.agent_session_id, columns, body };
    let event_id = database.save(&event).map_err(capture_failed)?;
    Ok(yes(StatusCode::CREATED, "event_captured", json!({"event_id": event_id.to_string()})))
}

/// `GET /api/v1/agent/session/events/`: a session's events in order of arrival.
pub(super) fn list_events(database: &Database, query: &[(String, String)]) -> Result<Response, Refusal> {
    let parameter = |name: &str| query.iter().rev().find(|(key, _)| key == name).map(|(_, value)| value.as_str());
    let id =
        parameter("session_id").filter(|id| !id.is_empty()).ok_or(Refusal::BadQuery("session_id is required"))?;
    let id = Uuid::parse_str(id).map_err(|_| Refusal::BadQuery("session_id must be a valid UUID"))?;
    let limit = match parameter("limit").map(str::parse) {
        None => LISTED_UNASKED,
        Some(Ok(limit)) => limit,
        Some(Err(_)) => return Err(Refusal::BadQuery("limit must be an integer")),
    };
    let limit = usize::try_from(limit.clamp(1, LISTED_AT_MOST)).unwrap_or_default();
    let events = database.events(Some(id), limit).map_err(|error| Refusal::server_error(&error))?;
    // OTAS answers with the agent of the session; here it is the agent of the events.
    let of_first = |read: fn(&StoredEvent) -> Uuid| events.first().map(|event| read(event).to_string());
    let answer = json!({
        "status": 1,
        "status_description": "session_events_listed",
        "agent_id": of_first(|event| event.agent_id),
        "project_id": of_first(|event| event.project_id),
        "session_id": id.to_string(),
        "count": events.len(),
        "events": events.iter().map(shown).collect::<Vec<_>>(),
    });
    Ok(Json(answer).into_response())
}

/// The agent of the key and the session of the token. Both must belong to the same agent.
fn sender(database: &Database, headers: &HeaderMap) -> Result<(KnownAgent, Claims), Refusal> {
    let key = header_text(headers, "x-otas-agent-key").ok_or(Refusal::MissingAgentKey)?;
    let agent = database.agent(&key).map_err(capture_failed)?.ok_or(Refusal::InvalidOrExpiredAgentKey)?;
    let token = header_text(headers, "x-otas-agent-session-token").ok_or(Refusal::MissingToken)?;
    let claims = database.claims(&token).ok_or(Refusal::InvalidOrExpiredToken)?;
    if claims.agent_id != agent.agent_id.to_string() {
        return Err(Refusal::SessionAgentMismatch);
    }
    Ok((agent, claims))
}

fn savable(fields: &Map<String, Value>, lone_surrogate: bool) -> Result<Columns<'_>, Refusal> {
    let columns =
        if lone_surrogate { Err("a string has a lone surrogate".to_owned()) } else { limits::columns(fields) };
    columns.map_err(|reason| {
        tracing::warn!(reason, "the collector refused an event that OTAS could not save");
        Refusal::EventCaptureFailed
    })
}

fn capture_failed(error: LedgerError) -> Refusal {
    tracing::error!(error = &error as &dyn std::error::Error, "the collector could not accept an event");
    Refusal::EventCaptureFailed
}

/// An event as OTAS lists it: all columns, with null or 0 for absent ones.
fn shown(event: &StoredEvent) -> Value {
    let mut shown = json!({
        "event_id": event.event_id.to_string(),
        "event_time": event.event_time,
        "event_date": event.event_time.split('T').next(),
        "project_id": event.project_id.to_string(),
        "agent_id": event.agent_id.to_string(),
        "agent_session_id": event.session_id.to_string(),
        "created_at": event.event_time,
    });
    let sent = |name: &str| event.body.get(name).cloned();
    for name in limits::REQUIRED.into_iter().filter(|name| *name != "project_id") {
        shown[name] = sent(name).unwrap_or_default();
    }
    for name in limits::SIZES {
        shown[name] = sent(name).unwrap_or_else(|| json!(0));
    }
    for name in limits::TEXTS.into_iter().chain(limits::OBJECTS) {
        shown[name] = sent(name).unwrap_or_default();
    }
    shown
}
