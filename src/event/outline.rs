//! What lists of calls show besides an event's own columns: its phases and its capture. It is stored with the event in
//! a column of its own, so that no list has to read whole events.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::clock::hundredths;
use super::said::Said;
use super::ties::Ties;
use crate::capture::{Exchange, Kind};

/// A summary of a call. Empty for an event without a call, such as a gap.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Outline {
    /// `http`, `https`, or `tcp` for a tunnel whose content is unknown.
    pub scheme: String,
    /// Whether the request was read; false for a tunnel.
    #[serde(skip_serializing_if = "is_false")]
    pub read: bool,
    /// Why it was relayed unread, as in `metadata.blind`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub blind: Option<String>,
    /// Whether something is missing in the event: bytes of a body that were not kept, or what did not fit.
    #[serde(skip_serializing_if = "is_false")]
    pub cut: bool,
    /// What a call to a model was about. Events of older versions do not have it.
    #[serde(skip_serializing_if = "Said::is_empty")]
    pub said: Said,
    /// What ties it to the run of an agent. Events of older versions do not have it.
    #[serde(skip_serializing_if = "Ties::is_empty")]
    pub ties: Ties,
    /// The duration of each phase.
    pub ms: Phases,
}

/// The phases of a call in milliseconds, as in `metadata.timings`. `None`: the phase did not happen.
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
    /// From forwarding the request head to the last byte of its body.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub send: Option<f64>,
    /// From forwarding the request head to the response head.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub wait: Option<f64>,
    /// From the response head to the last byte of its body.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub receive: Option<f64>,
}

impl Outline {
    /// Parses the store's column, which may be empty.
    pub fn parse(column: &str) -> Self {
        serde_json::from_str(column).unwrap_or_default()
    }

    /// The store's column for the event of an exchange. `cut`: the event lacks something that was captured.
    pub(super) fn column(exchange: &Exchange, cut: bool, said: Said, ties: Ties) -> String {
        let timings = &exchange.timings;
        let ms = |step: Option<Duration>| step.map(|step| hundredths(step) as f64 / 100.0);
        let bodies = [Some(&exchange.request.body), exchange.response.as_ref().map(|response| &response.body)];
        let outline = Self {
            scheme: exchange.origin.scheme.to_owned(),
            read: exchange.kind == Kind::Http,
            blind: exchange.blind.map(|blind| blind.name().to_owned()),
            cut: cut
                || (exchange.blind.is_none() && bodies.into_iter().flatten().any(|body| body.omitted_bytes() > 0)),
            said,
            ties,
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
            said: Said { user: Some("Fix it".into()), ..Said::default() },
            ties: Ties { processes: vec!["7.70".into()], ..Ties::default() },
            ms: Phases { wait: Some(1.25), ..Phases::default() },
        };
        let column = serde_json::to_string(&outline).unwrap();
        assert_eq!(
            column,
            r#"{"scheme":"https","read":true,"cut":true,"said":{"user":"Fix it"},"ties":{"processes":["7.70"]},"ms":{"wait":1.25}}"#
        );
        assert_eq!(Outline::parse(&column), outline);
        assert_eq!(Outline::parse(""), Outline::default());
    }
}
