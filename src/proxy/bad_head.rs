//! A request whose head is refused before it becomes a request.

use std::sync::Arc;

use http::{Method, Version};

use super::agent::Agent;
use super::guard::Refuse;
use super::respond;
use super::shared::Shared;
use super::strict::{RequestLine, request_line};
use crate::capture::{Caller, Fields, Kind, Origin, Recorder, RequestFacts};

/// Answers a refused head, and records an event for it.
pub(super) fn refusing(
    shared: &Arc<Shared>,
    agent: &Arc<Agent>,
    caller: Option<Caller>,
    origin: Option<Origin>,
) -> Refuse {
    let (shared, agent) = (shared.clone(), agent.clone());
    Box::new(move |error, head| {
        let RequestLine { method, path, query, host } = request_line(head);
        let origin =
            origin.unwrap_or_else(|| Origin { scheme: "http", host: host.unwrap_or_default().into(), port: 0 });
        let method = method.unwrap_or_else(unknown_method);
        let facts = RequestFacts::without_body(method, path, query, Fields::default());
        let recorder = Recorder::begin(
            &shared.recording,
            Kind::Http,
            (agent.address, caller.unwrap_or_else(|| agent.caller.clone())),
            origin,
            Version::HTTP_11,
            facts,
        );
        recorder.called_by(&agent.process_lookup);
        respond::refusal(error, &recorder)
    })
}

/// Placeholder for an unparsable method.
fn unknown_method() -> Method {
    Method::from_bytes(b"UNKNOWN").unwrap_or_default()
}
