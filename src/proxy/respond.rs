//! Our own responses to agents: status, `Proxy-Status` (RFC 9209) and a problem document (RFC 9457) that names the host, the failed
//! step and what to do.

use bytes::{Bytes, BytesMut};
use http::header::{CONNECTION, CONTENT_LENGTH, CONTENT_TYPE, HeaderName, PROXY_AUTHENTICATE, RETRY_AFTER};
use http::{HeaderMap, HeaderValue, Method, Request, Response, StatusCode};
use http_body_util::Full;
use hyper::body::Incoming;
use serde_json::{Value, json};

use super::admission::Admission;
use super::body::AgentBody;
use super::error::ProxyError;
use super::error_table::Row;
use super::hops;
use super::strict::Verbatim;
use crate::capture::{BodyEnd, CapturedBody, Recorder, Side};

const PROXY_STATUS: HeaderName = HeaderName::from_static("proxy-status");

/// The only response that is given after the proxy has ended.
const RUN_ENDED: Row = Row {
    id: "run_ended",
    status: StatusCode::SERVICE_UNAVAILABLE,
    proxy_status: "proxy_internal_error",
    step: "connect",
    hint: "nothing was sent; start this process with its own `otas-proxy run`, or let the command of its run wait for it, or unset the \
           proxy variables in its environment",
};

/// The response for `error`. The record says that the response is ours.
pub(super) fn failure(error: &ProxyError, method: &Method, recorder: &Recorder) -> Response<AgentBody> {
    let (headers, body) = answer(error, recorder);
    let body = if *method == Method::HEAD { Bytes::new() } else { body };
    let mut response =
        Response::new(AgentBody::Made(CapturedBody::new(Full::new(body), recorder.clone(), Side::Response)));
    *response.status_mut() = error.row().status;
    *response.headers_mut() = headers;
    response
}

/// Asks an agent for credentials. There is no event, because the caller is unknown. The request is only counted.
pub(super) fn unauthorized(admission: &Admission, method: &Method, recorder: &Recorder) -> Response<AgentBody> {
    admission.count_unauthorized();
    let mut response = failure(&ProxyError::Unauthorized, method, recorder);
    recorder.discard();
    response
        .headers_mut()
        .insert(PROXY_AUTHENTICATE, HeaderValue::from_static("Basic realm=\"otas-proxy\", charset=\"UTF-8\""));
    response
}

/// Answers a TRACE or OPTIONS whose `Max-Forwards` ends here (RFC 9110 7.6.2).
pub(super) fn last_hop(request: &Request<Incoming>, recorder: &Recorder) -> Response<AgentBody> {
    let mut headers = HeaderMap::with_capacity(2);
    let mut body = Bytes::new();
    if request.method() == Method::TRACE {
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("message/http"));
        body = hops::trace(&asked_for(request), request.headers()).into();
    }
    headers.insert(CONTENT_LENGTH, HeaderValue::from(body.len()));
    recorder.answered(StatusCode::OK, &headers, None);
    let mut response =
        Response::new(AgentBody::Made(CapturedBody::new(Full::new(body), recorder.clone(), Side::Response)));
    *response.headers_mut() = headers;
    response
}

/// The target of a request, as the agent wrote it.
fn asked_for(request: &Request<Incoming>) -> Vec<u8> {
    let uri = request.uri().to_string().into_bytes();
    match request.extensions().get::<Verbatim>() {
        // The library has `/` in its place.
        Some(written) => [uri.strip_suffix(b"/").unwrap_or(&uri), &written.after_authority()].concat(),
        None => uri,
    }
}

/// The response of [`failure`] as HTTP/1.1 bytes, for a head that was refused. The connection ends after it.
pub(super) fn refusal(error: &ProxyError, recorder: &Recorder) -> BytesMut {
    let (headers, body) = answer(error, recorder);
    let mut keeper = recorder.plain_keeper();
    keeper.see(&body);
    recorder.body_ended(Side::Response, keeper.finish(), BodyEnd::Complete);
    let status = error.row().status;
    let reason = status.canonical_reason().unwrap_or_default();
    let mut bytes =
        BytesMut::from(format!("HTTP/1.1 {} {reason}\r\nConnection: close\r\n", status.as_str()).as_bytes());
    for (name, value) in &headers {
        bytes.extend_from_slice(name.as_str().as_bytes());
        bytes.extend_from_slice(b": ");
        bytes.extend_from_slice(value.as_bytes());
        bytes.extend_from_slice(b"\r\n");
    }
    bytes.extend_from_slice(b"\r\n");
    bytes.extend_from_slice(&body);
    bytes
}

/// Header fields and body of the response. The record says that the response is ours.
fn answer(error: &ProxyError, recorder: &Recorder) -> (HeaderMap, Bytes) {
    let row = error.row();
    let detail = error.to_string();
    let document = document(&row, &detail, &recorder.host());
    let body = Bytes::from(document.to_string());
    let mut headers = fields_of(&row, &detail, &body);
    if let Some(seconds) = error.retry_after_seconds() {
        headers.insert(RETRY_AFTER, HeaderValue::from(seconds));
    }
    recorder.answered(row.status, &headers, Some(error.failure()));
    (headers, body)
}

/// The problem document (RFC 9457).
fn document(row: &Row, detail: &str, host: &str) -> Value {
    // SDKs show this to their users: OpenAI's and Google's print `error.message`; Anthropic's, AWS's and most others print `message`.
    let message = format!("otas-proxy: {detail}; {}", row.hint);
    json!({
        "type": "about:blank",
        "title": row.status.canonical_reason(),
        "status": row.status.as_u16(),
        "detail": detail,
        "message": message,
        "error": { "type": "proxy_error", "code": row.id, "message": message },
        "host": host,
        "step": row.step,
        "hint": row.hint,
        "proxy": "otas-proxy",
    })
}

/// The header fields of our response.
fn fields_of(row: &Row, detail: &str, body: &Bytes) -> HeaderMap {
    let mut headers = HeaderMap::with_capacity(4);
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/problem+json"));
    headers.insert(CONTENT_LENGTH, HeaderValue::from(body.len()));
    if let Ok(value) = HeaderValue::from_str(&proxy_status(row.proxy_status, detail)) {
        headers.insert(PROXY_STATUS, value);
    }
    headers
}

/// Answers a call to `host` that comes after its run has ended. `detail`: what happened. The connection ends after it.
pub(crate) fn run_ended(detail: &str, host: &str) -> Response<Bytes> {
    let body = Bytes::from(document(&RUN_ENDED, detail, host).to_string());
    let mut headers = fields_of(&RUN_ENDED, detail, &body);
    headers.insert(CONNECTION, HeaderValue::from_static("close"));
    let mut response = Response::new(body);
    *response.status_mut() = RUN_ENDED.status;
    *response.headers_mut() = headers;
    response
}

/// A response for hyper, if the agent gets none.
pub(super) fn placeholder(error: &ProxyError) -> Response<AgentBody> {
    let mut response = Response::new(AgentBody::Empty);
    *response.status_mut() = error.row().status;
    response
}

/// `otas-proxy; error=dns_error; details="…"` (a structured field string: printable ASCII, quotes escaped).
fn proxy_status(error: &str, details: &str) -> String {
    let quoted: String = details
        .chars()
        .map(|c| if c.is_ascii() && !c.is_ascii_control() { c } else { '?' })
        .flat_map(|c| (c == '"' || c == '\\').then_some('\\').into_iter().chain([c]))
        .collect();
    format!("otas-proxy; error={error}; details=\"{quoted}\"")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn proxy_status_is_a_structured_field_whatever_the_details() {
        assert_eq!(
            proxy_status("dns_error", "no \"such\" höst\\\n"),
            r#"otas-proxy; error=dns_error; details="no \"such\" h?st\\?""#
        );
    }
}
