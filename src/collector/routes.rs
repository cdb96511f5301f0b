//! The routes: read a request completely, then decide on a database thread.
//!
//! The body is read to its end before any answer, even a refusal. A sender that is still writing when the connection closes may
//! never see the answer.
//!
//! Listing events: the collector has no users, so it needs no user token. Instead it answers only callers on this machine: a
//! loopback peer that uses a loopback name, so that no web page can read events through a name of its own.

use std::net::{IpAddr, SocketAddr};

use axum::Router;
use axum::body::Body;
use axum::extract::{ConnectInfo, Query, State};
use axum::http::{HeaderMap, header};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use http_body_util::BodyExt as _;

use super::answer::Refusal;
use super::database::Database;
use super::error::LedgerError;
use super::ledger::Ledger;
use super::request::{ReadBody, header_text};
use super::{brain, uasam};

/// The maximum body size of Django (measured).
const BODY_MAX_BYTES: usize = 2_621_440;
/// How much of a longer body is read and discarded, so that the sender sees the answer.
const DISCARD_MAX_BYTES: usize = 64 * 1024 * 1024;

/// All endpoints over a ledger. Listing events needs `ConnectInfo<SocketAddr>` from the server.
pub fn router(ledger: Ledger) -> Router {
    let endpoints = [
        ("/api/agent/v1/session/create/", post(create_session)),
        ("/api/agent/v1/auth/verify/", post(verify_key)),
        ("/api/v1/backend/log/agent/", post(log_event)),
    ];
    let mut router = Router::new()
        .route("/healthz", get(async || "ok\n"))
        .route("/api/v1/agent/session/events/", get(list_events));
    for (path, handler) in endpoints {
        router =
            router.route(path, handler).route(path.trim_end_matches('/'), post(async || Refusal::NoTrailingSlash));
    }
    router.with_state(ledger)
}

async fn create_session(State(ledger): State<Ledger>, headers: HeaderMap, body: Body) -> Response {
    decide(&ledger, headers, body, uasam::create_session).await
}

async fn verify_key(State(ledger): State<Ledger>, headers: HeaderMap, body: Body) -> Response {
    decide(&ledger, headers, body, |database, headers, _| uasam::verify_key(database, headers)).await
}

async fn log_event(State(ledger): State<Ledger>, headers: HeaderMap, body: Body) -> Response {
    decide(&ledger, headers, body, brain::log_event).await
}

async fn list_events(
    State(ledger): State<Ledger>,
    peer: Option<axum::Extension<ConnectInfo<SocketAddr>>>,
    headers: HeaderMap,
    Query(query): Query<Vec<(String, String)>>,
) -> Response {
    let local = peer.is_some_and(|peer| peer.0.0.ip().to_canonical().is_loopback()) && names_loopback(&headers);
    if !local {
        return Refusal::MissingUserToken.into_response();
    }
    respond(ledger.run(move |database| brain::list_events(database, &query)).await)
}

async fn decide(
    ledger: &Ledger,
    headers: HeaderMap,
    body: Body,
    rule: impl FnOnce(&Database, &HeaderMap, ReadBody) -> Result<Response, Refusal> + Send + 'static,
) -> Response {
    let body = read(body).await;
    respond(ledger.run(move |database| rule(database, &headers, body)).await)
}

fn respond(decision: Result<Result<Response, Refusal>, LedgerError>) -> Response {
    match decision {
        Ok(Ok(response)) => response,
        Ok(Err(refusal)) => refusal.into_response(),
        Err(error) => Refusal::server_error(&error).into_response(),
    }
}

async fn read(mut body: Body) -> ReadBody {
    let (mut kept, mut total_bytes) = (Vec::new(), 0);
    while let Some(frame) = body.frame().await {
        let frame = frame.map_err(|_| Refusal::InvalidJson)?;
        let Some(data) = frame.data_ref() else { continue };
        total_bytes += data.len();
        if total_bytes <= BODY_MAX_BYTES {
            kept.extend_from_slice(data);
        } else if total_bytes > DISCARD_MAX_BYTES {
            break;
        } else {
            kept = Vec::new();
        }
    }
    if total_bytes > BODY_MAX_BYTES { Err(Refusal::TooLarge) } else { Ok(kept.into()) }
}

/// Whether the `Host` is a loopback address or `localhost`.
fn names_loopback(headers: &HeaderMap) -> bool {
    let Some(host) = header_text(headers, header::HOST.as_str()) else { return false };
    let name = match host.rsplit_once(':') {
        Some((name, port)) if port.bytes().all(|byte| byte.is_ascii_digit()) => name,
        _ => &host,
    };
    let address = name.trim_start_matches('[').trim_end_matches(']').parse::<IpAddr>();
    name.eq_ignore_ascii_case("localhost") || address.is_ok_and(|address| address.is_loopback())
}

#[cfg(test)]
mod tests {
    use super::*;
    use axum::http::HeaderValue;

    #[test]
    fn only_loopback_names_count_as_this_machine() {
        let named = |host: &str| {
            names_loopback(&HeaderMap::from_iter([(header::HOST, HeaderValue::from_str(host).unwrap())]))
        };
        for host in ["localhost", "LOCALHOST:8002", "127.0.0.1", "127.0.0.1:8002", "[::1]:8002", "[::1]", "127.9.9.9"]
        {
            assert!(named(host), "{host}");
        }
        for host in ["evil.example", "evil.example:8002", "10.0.0.1:80", "localhost.evil.example", "[::2]:80", ""] {
            assert!(!named(host), "{host}");
        }
        assert!(!names_loopback(&HeaderMap::new()));
    }

    #[tokio::test]
    async fn a_body_is_read_up_to_djangos_limit() {
        assert_eq!(
            read(Body::from(vec![b'a'; BODY_MAX_BYTES])).await.ok().map(|body| body.len()),
            Some(BODY_MAX_BYTES)
        );
        assert_eq!(read(Body::from(vec![b'a'; BODY_MAX_BYTES + 1])).await, Err(Refusal::TooLarge));
    }
}
