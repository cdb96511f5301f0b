//! UASAM's part: agent keys are checked and sessions opened.

use axum::http::{HeaderMap, StatusCode};
use axum::response::Response;
use serde_json::{Value, json};

use super::answer::{Refusal, yes};
use super::book::{Book, KnownAgent};
use super::limits::has_nul;
use super::parse::parse;
use super::routes::{ReadBody, header_text};

/// `POST /api/agent/v1/auth/verify/`: whose key it is. The body is not looked at.
pub(super) fn verify_key(book: &Book, headers: &HeaderMap) -> Result<Response, Refusal> {
    let agent = agent(book, headers)?;
    let response = json!({
        "project_id": agent.project_id.to_string(),
        "agent": {"id": agent.agent_id.to_string(), "name": agent.name, "provider": "otas-proxy"},
    });
    Ok(yes(StatusCode::OK, "authenticated", response))
}

/// `POST /api/agent/v1/session/create/`: opens a session. Its `meta` is in `meta`, or in `Meta` as older versions read it.
pub(super) fn create_session(book: &Book, headers: &HeaderMap, body: ReadBody) -> Result<Response, Refusal> {
    let agent = agent(book, headers)?;
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
    let token = book.open_session(agent.agent_id, &meta).map_err(|error| Refusal::server_error(&error))?;
    let response = json!({"Header_value": "X-OTAS-AGENT-SESSION-TOKEN", "jwt_token": token});
    Ok(yes(StatusCode::OK, "agent_session_created", response))
}

fn agent(book: &Book, headers: &HeaderMap) -> Result<KnownAgent, Refusal> {
    let key = header_text(headers, "x-otas-agent-key").ok_or(Refusal::InvalidAgentKey)?;
    book.agent(&key).map_err(|error| Refusal::server_error(&error))?.ok_or(Refusal::InvalidAgentKey)
}
