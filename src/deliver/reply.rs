//! OTAS's reply, or why there is none. Only this file reads the bodies.

use std::error::Error;
use std::time::{Duration, SystemTime};

use serde_json::Value;
use thiserror::Error;

use crate::cause::without_links;

/// The reply to one call.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reply {
    /// The HTTP status code.
    pub status: u16,
    /// The body, cut at a limit far above OTAS's replies.
    pub body: Vec<u8>,
    /// How long OTAS asks clients to wait (RFC 9110, section 10.2.3).
    pub retry_after: Option<Duration>,
}

impl Reply {
    /// OTAS's envelope, if the whole body is one.
    pub(super) fn envelope(&self) -> Option<Envelope> {
        let body: Value = serde_json::from_slice(&self.body).ok()?;
        let succeeded = body.get("status")?.as_i64()? == 1;
        let description = body.get("status_description").and_then(Value::as_str).unwrap_or_default();
        let description = description.chars().take(DESCRIPTION_CHARS).collect();
        Some(Envelope { succeeded, description, response: body.get("response").cloned().unwrap_or_default() })
    }

    /// The reply in one line, for people.
    pub(super) fn summary(&self) -> String {
        let kind = match self.envelope() {
            Some(envelope) => envelope.description,
            None if self.body.is_empty() => "no body".to_owned(),
            None if self.body.trim_ascii_start().starts_with(b"<") => "an HTML page".to_owned(),
            None if (300..400).contains(&self.status) => "a redirect, which is not followed".to_owned(),
            None => "a body that is not OTAS's JSON".to_owned(),
        };
        format!("answered {}: {kind}", self.status)
    }
}

/// `Retry-After`: seconds, or a date. A date in the past is no wait, a number that is too large is a long wait, and anything
/// else is ignored.
pub(crate) fn retry_after(value: &[u8], now: SystemTime) -> Option<Duration> {
    let text = std::str::from_utf8(value).ok()?.trim();
    if !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit()) {
        return Some(Duration::from_secs(text.parse().unwrap_or(u64::from(u32::MAX))));
    }
    let date = httpdate::parse_http_date(text).ok()?;
    Some(date.duration_since(now).unwrap_or_default())
}

/// Descriptions are cut for log lines: a server may send a stack trace.
const DESCRIPTION_CHARS: usize = 200;

/// `{"status": 0|1, "status_description": "...", "response": {...}}`, which all of OTAS's answers are (contract).
pub(super) struct Envelope {
    /// `status` is 1.
    pub(super) succeeded: bool,
    /// `status_description`, or empty.
    pub(super) description: String,
    response: Value,
}

impl Envelope {
    /// A non-empty string in `response`.
    pub(super) fn text(&self, field: &str) -> Option<&str> {
        self.response.get(field)?.as_str().filter(|text| !text.is_empty())
    }

    /// A non-empty string in an object in `response`.
    pub(super) fn text_in(&self, object: &str, field: &str) -> Option<&str> {
        self.response.get(object)?.get(field)?.as_str().filter(|text| !text.is_empty())
    }
}

/// Why a call got no reply.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("{class}: {detail}")]
pub struct TransportError {
    /// The kind of failure.
    pub class: TransportClass,
    /// The innermost cause, for people.
    pub detail: String,
}

impl TransportError {
    /// The relay's lease had ended before the call began.
    pub(super) fn not_begun() -> Self {
        Self { class: TransportClass::Unreachable, detail: "the relay has lost its lease".to_owned() }
    }
}

/// Kinds of failure with different consequences.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum TransportClass {
    /// No connection: nothing was sent.
    #[error("unreachable")]
    Unreachable,
    /// The certificate was rejected: nothing was sent.
    #[error("its certificate was rejected")]
    Certificate,
    /// No reply in time: the event may have been saved.
    #[error("no answer in time")]
    TimedOut,
    /// The connection broke: the event may have been saved.
    #[error("the connection broke")]
    Interrupted,
}

impl TransportError {
    /// Whether OTAS may have saved the event.
    pub fn answer_lost(&self) -> bool {
        matches!(self.class, TransportClass::TimedOut | TransportClass::Interrupted)
    }
}

impl From<reqwest::Error> for TransportError {
    fn from(error: reqwest::Error) -> Self {
        let class = if causes(&error).any(is_certificate) {
            TransportClass::Certificate
        } else if error.is_connect() || error.is_builder() {
            TransportClass::Unreachable
        } else if error.is_timeout() {
            TransportClass::TimedOut
        } else {
            TransportClass::Interrupted
        };
        let innermost = causes(&error).last().map(ToString::to_string).unwrap_or_default();
        Self { class, detail: without_links(&innermost).into_owned() }
    }
}

/// An error and its causes, outermost first.
fn causes<'a>(error: &'a (dyn Error + 'static)) -> impl Iterator<Item = &'a (dyn Error + 'static)> {
    std::iter::successors(Some(error), |&error| {
        // An I/O error has the causes of its inner error, but not the inner error itself.
        let inner = error.downcast_ref::<std::io::Error>().and_then(std::io::Error::get_ref);
        inner.map(|inner| inner as &(dyn Error + 'static)).or_else(|| error.source())
    })
}

fn is_certificate(error: &(dyn Error + 'static)) -> bool {
    matches!(error.downcast_ref(), Some(rustls::Error::InvalidCertificate(_)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn reply(status: u16, body: &str) -> Reply {
        Reply { status, body: body.into(), retry_after: None }
    }

    #[test]
    fn a_reply_is_summarised_in_one_line() {
        let told = [
            reply(401, r#"{"status":0,"status_description":"invalid_agent_key"}"#).summary(),
            reply(200, "\n <!doctype html><title>Sign in</title>").summary(),
            reply(302, "moved").summary(),
            reply(204, "").summary(),
            reply(201, r#"{"status":1,"respo"#).summary(),
        ];
        assert_eq!(
            told,
            [
                "answered 401: invalid_agent_key",
                "answered 200: an HTML page",
                "answered 302: a redirect, which is not followed",
                "answered 204: no body",
                "answered 201: a body that is not OTAS's JSON",
            ]
        );
    }

    #[test]
    fn fault_04_retry_after_is_read_as_seconds_or_a_date_and_anything_else_is_ignored() {
        let now = SystemTime::UNIX_EPOCH + Duration::from_secs(784_111_777);
        let read = |value: &str| retry_after(value.as_bytes(), now).map(|wait| wait.as_secs());
        assert_eq!(read("120"), Some(120));
        assert_eq!(read(" 0 "), Some(0));
        assert_eq!(read("Sun, 06 Nov 1994 08:50:37 GMT"), Some(60));
        assert_eq!(read("Tue, 06 Nov 1984 08:50:37 GMT"), Some(0));
        assert_eq!(read("99999999999999999999999999"), Some(u64::from(u32::MAX)));
        for nonsense in ["", "soon", "-5", "1.5", "Sun, 99 Nov 1994 08:50:37 GMT"] {
            assert_eq!(read(nonsense), None, "{nonsense}");
        }
    }

    #[test]
    fn a_long_description_is_cut() {
        let body = format!(r#"{{"status":0,"status_description":"{}"}}"#, "é".repeat(5_000));
        assert_eq!(reply(500, &body).envelope().unwrap().description.chars().count(), DESCRIPTION_CHARS);
    }
}
