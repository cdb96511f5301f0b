//! The answers, word for word as OTAS gives them.

use axum::Json;
use axum::http::StatusCode;
use axum::response::{Html, IntoResponse, Response};
use serde_json::{Value, json};

use super::error::LedgerError;

/// Success, with the result in `response`.
pub(super) fn yes(status: StatusCode, description: &str, response: Value) -> Response {
    (status, Json(json!({"status": 1, "status_description": description, "response": response}))).into_response()
}

/// The refusals of OTAS.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Refusal {
    /// Brain: no key was sent.
    MissingAgentKey,
    /// Brain: UASAM refused the key.
    InvalidOrExpiredAgentKey,
    /// UASAM: no key was sent, or it belongs to no agent.
    InvalidAgentKey,
    /// Brain: no session token was sent.
    MissingToken,
    /// Brain: the token is malformed, expired or signed by someone else.
    InvalidOrExpiredToken,
    /// Brain: the token belongs to another agent than the key.
    SessionAgentMismatch,
    /// The body is longer than Django reads.
    TooLarge,
    /// The body is not JSON.
    InvalidJson,
    /// Required fields are missing.
    MissingFields(Vec<&'static str>),
    /// The database refused the event, or is down.
    EventCaptureFailed,
    /// UASAM could not open a session, and why.
    ServerError(String),
    /// Listing events: a parameter is invalid; a sentence says why.
    BadQuery(&'static str),
    /// Listing events from another machine. There are no user tokens here.
    MissingUserToken,
    /// A POST to an endpoint without its trailing slash.
    NoTrailingSlash,
}

impl Refusal {
    /// The answer when our own database failed. The reason is logged as well.
    pub(super) fn server_error(error: &LedgerError) -> Self {
        tracing::error!(error = error as &dyn std::error::Error, "the collector could not answer");
        Self::ServerError(error.to_string())
    }
}

impl IntoResponse for Refusal {
    fn into_response(self) -> Response {
        let (status, description) = match &self {
            Self::TooLarge => return page(StatusCode::BAD_REQUEST, "Bad Request (400)"),
            Self::NoTrailingSlash => return page(StatusCode::INTERNAL_SERVER_ERROR, "Server Error (500)"),
            Self::MissingAgentKey => (StatusCode::UNAUTHORIZED, "missing_agent_key".into()),
            Self::InvalidOrExpiredAgentKey => (StatusCode::UNAUTHORIZED, "invalid_or_expired_agent_key".into()),
            Self::InvalidAgentKey => (StatusCode::UNAUTHORIZED, "invalid_agent_key".into()),
            Self::MissingToken => (StatusCode::UNAUTHORIZED, "missing_agent_session_token".into()),
            Self::InvalidOrExpiredToken => (StatusCode::UNAUTHORIZED, "invalid_or_expired_token".into()),
            Self::MissingUserToken => (StatusCode::UNAUTHORIZED, "missing_user_token".into()),
            Self::SessionAgentMismatch => (StatusCode::FORBIDDEN, "session_agent_mismatch".into()),
            Self::InvalidJson => (StatusCode::BAD_REQUEST, "invalid_json".into()),
            Self::MissingFields(_) => (StatusCode::BAD_REQUEST, "missing_required_fields".into()),
            Self::BadQuery(sentence) => (StatusCode::BAD_REQUEST, (*sentence).to_owned()),
            Self::EventCaptureFailed => (StatusCode::INTERNAL_SERVER_ERROR, "event_capture_failed".into()),
            Self::ServerError(why) => (StatusCode::INTERNAL_SERVER_ERROR, format!("server_error: {why}")),
        };
        let mut body = json!({"status": 0, "status_description": description});
        if let Self::MissingFields(fields) = self {
            body["missing_fields"] = json!(fields);
        }
        (status, Json(body)).into_response()
    }
}

/// Django's own answer, before OTAS's code runs: an HTML page.
fn page(status: StatusCode, title: &str) -> Response {
    let head = format!("<!doctype html>\n<html lang=\"en\">\n<head>\n  <title>{title}</title>\n</head>\n");
    (status, Html(format!("{head}<body>\n  <h1>{title}</h1><p></p>\n</body>\n</html>\n"))).into_response()
}
