//! Sends a request to its origin: chooses the connection, and decides what to do when no response comes.

use std::error::Error as _;
use std::io;
use std::time::Duration;

use http::header::{HeaderMap, WWW_AUTHENTICATE};
use http::{Method, Request, Response, Version};
use http_body::Body as _;
use hyper::body::Incoming;
use tokio::task::Id;
use tokio::time::{sleep, timeout};

use super::body::Gated;
use super::context::{AgentConnection, Call};
use super::error::ProxyError;
use super::outgoing::{Outgoing, REMEMBERED_MAX_BYTES, Upload};
use super::retry::{self, LostRequest, Retry};
use super::trailers::TrailerBody;
use super::upstream::{SHARED_CONTENT_MAX_BYTES, Target, Upstream, bad_head, caused_by, is_malformed, open, words};
use crate::capture::{CapturedBody, Recorder, Upstreamed};

/// How long the end of a response may take to arrive from the origin after the agent has left.
const SETTLE: Duration = Duration::from_millis(100);

/// An origin's response.
pub(super) struct OriginResponse {
    /// Its head and content.
    pub(super) response: Response<Incoming>,
    /// The connection of the response.
    pub(super) upstream: Box<Upstream>,
    /// The rest of the request's content, if the response came before all of it was sent.
    pub(super) upload: Option<Upload<CapturedBody<Gated>>>,
}

/// Sends the request on this stream's upstream connection, or on a new one, and waits for the head of the response. A request
/// without a response is sent again if that is safe (see [`retry`]).
pub(super) async fn send(
    call: &Call,
    target: &Target,
    version: Version,
    request: Request<CapturedBody<Gated>>,
    recorder: &Recorder,
) -> Result<OriginResponse, ProxyError> {
    let (mut head, body) = request.into_parts();
    let idempotent = retry::is_idempotent(&head.method);
    let content = body.size_hint().upper().unwrap_or(u64::MAX);
    let bounded = content <= REMEMBERED_MAX_BYTES;
    // A WebSocket's content has no known length.
    let large = content > SHARED_CONTENT_MAX_BYTES || head.method == Method::CONNECT;
    let (mut body, mut recall) = Outgoing::new(body, idempotent || version == Version::HTTP_2);
    let (mut sent, mut tries, mut avoid) = (0, 0, None);
    loop {
        let need = Need { repeatable: idempotent && bounded, large, avoid };
        let (mut upstream, reused) = upstream(call, target, version, need).await?;
        if head.method == Method::CONNECT && !upstream.takes_extended_connect().await {
            let (origin, protocol) = (target.origin.to_string(), "websocket".to_owned());
            return Err(ProxyError::NotOffered { origin, protocol });
        }
        recorder.forwarded(&Upstreamed {
            peer: Some(upstream.peer),
            tls: upstream.tls,
            reused,
            dialled: upstream.dialled.take().unwrap_or_default(),
        });
        let kept = reused || upstream.lent;
        let spare = (kept || version == Version::HTTP_2).then(|| head.clone());
        let heard = upstream.received_bytes();
        let answered = tokio::select! {
            biased;
            answered = async {
                upstream.admitted().await;
                upstream.sender.send(Request::from_parts(head, body)).await
            } => answered,
            () = overdue(recorder, call.rules.forwarding.response_timeout) => {
                let limit = call.rules.forwarding.response_timeout;
                return Err(ProxyError::NoResponse { origin: target.origin.to_string(), limit });
            }
        };
        let mut error = match answered {
            Ok(response) => {
                upstream.answered();
                return Ok(OriginResponse { response, upstream, upload: recall.forget() });
            }
            Err(error) => error,
        };
        let unsent = error.take_message();
        let error = error.into_error();
        if recorder.request_broken() {
            return Err(broken_request(call.connection.limits.stall, target, &error));
        }
        let lost = LostRequest {
            unsent: unsent.is_some(),
            refused: h2_error(&error).is_some_and(is_refusal),
            reset: h2_error(&error).is_some_and(|error| error.is_remote() && error.is_reset()),
            kept,
            response_begun: upstream.received_bytes() != heard,
            idempotent,
            withheld: recall.is_withheld(),
            whole: recall.is_whole(),
            sent,
            tries,
        };
        let next = retry::decide(lost);
        tracing::debug!(origin = %target.origin, %error, ?next, "a request got no response");
        let surely_unhandled = unsent.is_some();
        let again = match (next, unsent) {
            (Retry::Agent, _) => {
                return Err(ProxyError::Lost { origin: target.origin.to_string(), reason: words(&error) });
            }
            (Retry::Fail, _) => None,
            (_, Some(unsent)) => Some(unsent.map(TrailerBody::into_inner).into_parts()),
            (_, None) => spare.zip(recall.take_back()).inspect(|_| {
                sent += 1;
                recorder.sent_again();
            }),
        };
        (head, body) = again.ok_or_else(|| match surely_unhandled && version == Version::HTTP_2 {
            true => not_handled(target),
            false => response_error(target, &error),
        })?;
        tries += 1;
        avoid = (next == Retry::Elsewhere).then(|| upstream.id());
    }
}

/// What a request requires of its connection.
struct Need {
    /// It is safe to send it twice.
    repeatable: bool,
    /// It has more content than a shared connection may carry.
    large: bool,
    /// A connection that must not be used. Then no pooled connection is used either, only one that this stream opened meanwhile.
    avoid: Option<Id>,
}

/// The upstream connection for a request, and whether it has carried another request before.
async fn upstream(
    call: &Call,
    target: &Target,
    version: Version,
    need: Need,
) -> Result<(Box<Upstream>, bool), ProxyError> {
    let Call { connection, rules } = call;
    let mut slot = connection.upstream.lock().await;
    let pool = &connection.shared.pool;
    let generation = rules.origins.generation;
    if let Some(mut held) = slot.take() {
        if need.avoid == Some(held.id()) {
            pool.forget(&held);
        } else {
            let is_current = held.generation == generation;
            let serves = is_current && held.target == *target && (need.repeatable || !held.lent);
            if serves && held.sender.ready().await.is_ok() && held.begin(need.large) {
                let reused = held.dialled.is_none();
                *slot = held.shared();
                return Ok((held, reused));
            }
            pool.keep(held);
        }
    }
    if need.repeatable
        && need.avoid.is_none()
        && let Some(mut pooled) = pool.take(target, generation, Some(version))
        && pooled.sender.ready().await.is_ok()
        && pooled.begin(need.large)
    {
        *slot = pooled.shared();
        return Ok((pooled, true));
    }
    // Boxed, because the state of a handshake is large and most requests need none.
    let mut opened = Box::pin(open(&rules.origins, target, Some(version), None)).await?;
    opened.begin(need.large);
    *slot = opened.shared();
    if let Some(shared) = opened.shared() {
        pool.keep(shared);
    }
    Ok((opened, false))
}

/// Keeps an HTTP/1.1 connection for this agent's next request. HTTP/2 connections are shared and stay in place. After a response,
/// the connection belongs to this agent.
pub(super) async fn keep_for_next(connection: &AgentConnection, mut upstream: Box<Upstream>, headers: &HeaderMap) {
    if upstream.version() == Version::HTTP_2 {
        if authenticates_connection(headers) {
            connection.shared.pool.forget(&upstream);
        }
        if upstream.lent
            && let Some(held) = connection.upstream.lock().await.as_mut().filter(|held| held.id() == upstream.id())
        {
            held.lent = false;
        }
        return;
    }
    upstream.lent = false;
    upstream.bound_to_agent |= authenticates_connection(headers);
    *connection.upstream.lock().await = Some(upstream);
}

/// Puts the upstream connection of an agent that has left into the pool.
pub(super) async fn give_back(connection: &AgentConnection) {
    let Some(mut upstream) = connection.upstream.lock().await.take() else { return };
    if upstream.is_usable()
        && (upstream.is_idle() || matches!(timeout(SETTLE, upstream.sender.ready()).await, Ok(Ok(()))))
    {
        connection.shared.pool.keep(upstream);
    }
}

/// `NTLM` and `Negotiate` authenticate the connection, not the request.
fn authenticates_connection(headers: &HeaderMap) -> bool {
    headers.get_all(WWW_AUTHENTICATE).iter().filter_map(|v| v.to_str().ok()).any(|v| {
        let scheme = v.split([' ', ',']).next().unwrap_or_default();
        scheme.eq_ignore_ascii_case("ntlm") || scheme.eq_ignore_ascii_case("negotiate")
    })
}

/// Ends when the origin has had the whole request for `limit`.
async fn overdue(recorder: &Recorder, limit: Duration) {
    let mut wait = limit;
    loop {
        sleep(wait).await;
        wait = match recorder.request_sent() {
            Some(since) if since.elapsed() >= limit => return,
            Some(since) => limit - since.elapsed(),
            None => limit,
        };
    }
}

/// The error of a request whose body failed. hyper's error is only a consequence of that.
/// `stall`: how long the agent may send nothing.
fn broken_request(stall: Duration, target: &Target, error: &hyper::Error) -> ProxyError {
    let origin = target.origin.to_string();
    match is_malformed(error) {
        true => {
            ProxyError::BadRequest { reason: format!("the request's body is malformed ({})", words(error)).into() }
        }
        false if caused_by(error, |kind| kind == io::ErrorKind::TimedOut) => ProxyError::Stalled { limit: stall },
        false => ProxyError::AgentLeft { origin, reason: words(error) },
    }
}

/// The error of a request that no connection accepted (HTTP/2).
fn not_handled(target: &Target) -> ProxyError {
    let (origin, code) = (target.origin.to_string(), h2::Reason::REFUSED_STREAM);
    ProxyError::StreamReset { origin, code, refused: true }
}

/// The error of a request that the origin did not answer.
fn response_error(target: &Target, error: &hyper::Error) -> ProxyError {
    let origin = target.origin.to_string();
    if let Some((error, code)) = h2_error(error).and_then(|error| Some((error, code(error)?))) {
        return ProxyError::StreamReset { origin, code, refused: is_refusal(error) };
    }
    if let Some(reason) = bad_head(error) {
        return ProxyError::BadResponse { origin, reason };
    }
    if error.is_parse() {
        return ProxyError::BadResponse { origin, reason: words(error) };
    }
    if error.is_incomplete_message() || error.is_canceled() || error.is_closed() {
        return ProxyError::Closed { origin };
    }
    ProxyError::Reset { origin, reason: words(error) }
}

/// The error code with which the origin ended an HTTP/2 stream or connection.
fn code(error: &h2::Error) -> Option<h2::Reason> {
    match error.reason().filter(|_| error.is_remote())? {
        // The connection ended without a fault before the origin handled this request.
        h2::Reason::NO_ERROR if error.is_go_away() => Some(h2::Reason::REFUSED_STREAM),
        code => Some(code),
    }
}

/// Whether the origin says that it did not handle the request, and does not ask for another kind of request (RFC 9113 8.7). Only
/// streams that a GOAWAY excludes fail because of it.
fn is_refusal(error: &h2::Error) -> bool {
    let another = [h2::Reason::HTTP_1_1_REQUIRED, h2::Reason::ENHANCE_YOUR_CALM, h2::Reason::INADEQUATE_SECURITY];
    error.is_remote()
        && match error.reason() {
            Some(h2::Reason::REFUSED_STREAM) => true,
            Some(code) => error.is_go_away() && !another.contains(&code),
            None => false,
        }
}

fn h2_error(error: &hyper::Error) -> Option<&h2::Error> {
    causes(error).find_map(|cause| cause.downcast_ref())
}

fn causes(error: &hyper::Error) -> impl Iterator<Item = &(dyn std::error::Error + 'static)> {
    std::iter::successors(error.source(), |cause| (*cause).source())
}
