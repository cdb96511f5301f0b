//! UASAM's part: verifies agent keys and opens sessions.

use axum::http::{HeaderMap, StatusCode};
use axum::response::Response;
use serde_json::{Value, json};

use super::answer::{Refusal, yes};
use super::database::{Database, KnownAgent};
use super::limits::has_nul;
use super::parse::parse;
use super::request::{ReadBody, header_text};

/// `POST /api/agent/v1/auth/verify/`: the agent of a key. The body is ignored.
pub(super) fn verify_key(database: &Database, headers: &HeaderMap) -> Result<Response, Refusal> {
    let agent = agent(database, headers)?;
    let response = json!({
        "project_id": agent.project_id.to_string(),
        "agent": {"id": agent.agent_id.to_string(), "name": agent.name, "provider": "otas-proxy"},
    });
    Ok(yes(StatusCode::OK, "authenticated", response))
}

/// `POST /api/agent/v1/session/create/`: opens a session. Its `meta` is in `meta`, or in `Meta` for older versions.
pub(super) fn create_session(database: &Database, headers: &HeaderMap, body: ReadBody) -> Result<Response, Refusal> {
    let agent = agent(database, headers)?;
    let body = body?;
    let body = parse(&body).ok_or(Refusal::InvalidJson)?;
    let Value::Object(fields) = &body.value else {
        return Err(Refusal::ServerError("the body is not an object".to_owned()));
    };
    let meta = match fields.get("meta").or_else(|| fields.get("Meta")) {
        None | Some(Value::Null) => json!({}),
        Some(meta) => meta.clone(),
    };
    if body.lone_surrogate || has_nul(&meta) {
        return Err(Refusal::ServerError("unsupported Unicode escape sequence".to_owned()));
    }
    let token = database.open_session(agent.agent_id, &meta).map_err(|error| Refusal::server_error(&error))?;
    let response = json!({"Header_value": "X-OTAS-AGENT-SESSION-TOKEN", "jwt_token": token});
    Ok(yes(StatusCode::OK, "agent_session_created", response))
}

fn agent(database: &Database, headers: &HeaderMap) -> Result<KnownAgent, Refusal> {
    let key = header_text(headers, "x-otas-agent-key").ok_or(Refusal::InvalidAgentKey)?;
    database.agent(&key).map_err(|error| Refusal::server_error(&error))?.ok_or(Refusal::InvalidAgentKey)
}
