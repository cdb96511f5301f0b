//! An agent's own calls to OTAS that show which session its calls belong to.

use http::{Method, StatusCode};
use serde_json::Value;

use crate::capture::{Exchange, Fields};
use crate::secret::Secret;

/// UASAM's call that opens a session (contract: Create a session).
const CREATE_SESSION: &str = "/session/create/";

/// Brain's call that takes an event (contract: Log an event).
const LOG_EVENT: &str = "/log/agent/";

/// Whether the call was an event that OTAS accepted. Only then is its session token known to be valid.
pub fn posted_event(exchange: &Exchange) -> bool {
    let taken = exchange.response.as_ref().is_some_and(|response| response.status == StatusCode::CREATED);
    taken && exchange.request.method == Method::POST && exchange.request.path.ends_with(LOG_EVENT)
}

/// The token of the session that the agent opened with this call, if it did.
pub fn opened_session(exchange: &Exchange) -> Option<Secret> {
    let response = exchange.response.as_ref()?;
    let opens = exchange.request.method == Method::POST
        && exchange.request.path.trim_end_matches('/').ends_with(CREATE_SESSION.trim_end_matches('/'));
    if !opens || !response.status.is_success() || response.body.omitted_bytes() > 0 || is_coded(&response.headers) {
        return None;
    }
    let body = response.body.kept();
    let answer: Value = serde_json::from_slice(&body).ok()?;
    answer.pointer("/response/jwt_token")?.as_str().map(Secret::new)
}

fn is_coded(headers: &Fields) -> bool {
    headers.get("content-encoding").is_some_and(|coding| !coding.eq_ignore_ascii_case(b"identity"))
}
