//! What lists of calls show beside an event's own columns: its phases, how it passed, what it says of a model. It is kept
//! with the event in two columns of the store, so that no list has to read whole events.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::clock::hundredths;
use crate::capture::{Exchange, Kind};

/// How a call passed. Of an event that no call stands behind (a gap, say) all is empty.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Outline {
    /// `http`, `https`, or `tcp` for a tunnel whose content is unknown.
    pub scheme: String,
    /// Whether it is a request that was read, not a tunnel.
    #[serde(skip_serializing_if = "is_false")]
    pub read: bool,
    /// Why it was relayed unread, as in `metadata.blind`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub blind: Option<String>,
    /// Something of it is not in the event: bytes of a body that were not kept, or what did not fit.
    #[serde(skip_serializing_if = "is_false")]
    pub cut: bool,
    /// How long each phase took.
    pub ms: Phases,
}

/// A call's phases in milliseconds, as `metadata.timings` has them. One that did not happen is `None`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Phases {
    /// Name resolution.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub dns: Option<f64>,
    /// TCP connect.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub connect: Option<f64>,
    /// TLS handshake with the origin.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tls: Option<f64>,
    /// From the request's head being forwarded to the last byte of its body.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub send: Option<f64>,
    /// From the request's head being forwarded to the response's head.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub wait: Option<f64>,
    /// From the response's head to the last byte of its body.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub receive: Option<f64>,
}

impl Outline {
    /// As the column holds it; an empty one has nothing to say.
    pub fn parse(column: &str) -> Self {
        serde_json::from_str(column).unwrap_or_default()
    }

    /// The column of an exchange's event. `cut`: the event lacks something that was captured.
    pub(super) fn column(exchange: &Exchange, cut: bool) -> String {
        let timings = &exchange.timings;
        let ms = |step: Option<Duration>| step.map(|step| hundredths(step) as f64 / 100.0);
        let bodies = [Some(&exchange.request.body), exchange.response.as_ref().map(|response| &response.body)];
        let outline = Self {
            scheme: exchange.origin.scheme.to_owned(),
            read: exchange.kind == Kind::Http,
            blind: exchange.blind.map(|blind| blind.name().to_owned()),
            cut: cut
                || (exchange.blind.is_none() && bodies.into_iter().flatten().any(|body| body.omitted_bytes() > 0)),
            ms: Phases {
                dns: ms(timings.dns),
                connect: ms(timings.connect),
                tls: ms(timings.tls),
                send: ms(timings.send),
                wait: ms(timings.wait),
                receive: ms(timings.receive),
            },
        };
        serde_json::to_string(&outline).unwrap_or_default()
    }
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde asks for it so")]
fn is_false(flag: &bool) -> bool {
    !flag
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_outline_is_read_as_it_was_written() {
        let outline = Outline {
            scheme: "https".into(),
            read: true,
            blind: None,
            cut: true,
            ms: Phases { wait: Some(1.25), ..Phases::default() },
        };
        let column = serde_json::to_string(&outline).unwrap();
        assert_eq!(column, r#"{"scheme":"https","read":true,"cut":true,"ms":{"wait":1.25}}"#);
        assert_eq!(Outline::parse(&column), outline);
        assert_eq!(Outline::parse(""), Outline::default());
    }
}
