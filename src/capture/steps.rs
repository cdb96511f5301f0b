//! The steps of an exchange, as the data path reports them to its recorder: who calls, when the request was sent and on which
//! connection, the response head, trailers.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use http::{HeaderMap, HeaderName, StatusCode};

use super::recorder::Recorder;
use super::{
    Blind, Captured, Failure, Fields, HostNames, OriginFault, Outcome, ResponseFacts, Side, Timings, TlsFacts,
    Unlogged, WebSocket,
};
use crate::peer::ProcessLookup;

/// The upstream connection of an exchange.
pub struct Upstreamed {
    /// The address that we connected to.
    pub peer: Option<SocketAddr>,
    /// The TLS session, if any.
    pub tls: Option<TlsFacts>,
    /// Whether it was reused.
    pub reused: bool,
    /// The time it took to connect; empty if it was reused.
    pub dialled: Timings,
}

impl Recorder {
    /// The exchange gets no event, for this reason.
    pub fn unlogged(&self, why: Unlogged) {
        self.with(|s| s.exchange.unlogged = Some(why));
    }

    /// Sets the lookup of the process that calls, and begins it.
    pub fn called_by(&self, process: &ProcessLookup) {
        process.begin();
        self.with(|s| s.exchange.process = process.clone());
    }

    /// The host names of the call differ.
    pub fn goes_by(&self, names: HostNames) {
        self.with(|s| s.exchange.names = Some(Box::new(names)));
    }

    /// The tunnel is relayed unread.
    pub fn relayed_blind(&self, why: Blind) {
        self.with(|s| s.exchange.blind = Some(why));
    }

    /// The request head is sent now, on this connection.
    pub fn forwarded(&self, upstream: &Upstreamed) {
        let now = Instant::now();
        self.with(|s| {
            s.exchange.peer = upstream.peer;
            s.exchange.tls = upstream.tls;
            s.exchange.connection_reused = upstream.reused;
            let (dns, connect, tls) = (upstream.dialled.dns, upstream.dialled.connect, upstream.dialled.tls);
            s.exchange.timings = Timings { dns, connect, tls, ..s.exchange.timings };
            s.forwarded = Some(now);
            s.agent_took = Duration::ZERO;
            s.agent_awaited = s.agent_awaited.map(|_| now);
        });
    }

    /// The request got no response and is retried.
    pub fn sent_again(&self) {
        self.with(|s| {
            s.exchange.sent_again = s.exchange.sent_again.saturating_add(1);
            // It belonged to the previous attempt.
            s.exchange.timings.send = None;
        });
    }

    /// The proxy waits for the agent to send more of the request body.
    pub fn agent_awaited(&self) {
        let now = Instant::now();
        self.with(|s| {
            if s.answered.is_none() {
                s.agent_awaited.get_or_insert(now);
            }
        });
    }

    /// The agent has sent more of the request body.
    pub fn agent_went_on(&self) {
        let now = Instant::now();
        self.with(|s| s.agent_went_on(now));
    }

    /// The agent gets this response head. `made_here`: it is ours, because of this failure.
    pub fn answered(&self, status: StatusCode, headers: &HeaderMap, made_here: Option<Failure>) {
        let (now, headers) = (Instant::now(), Fields::from(headers));
        self.with(|s| {
            s.agent_went_on(now);
            s.answered = Some(now);
            s.last_byte = Some(now);
            let (body, arrivals) = (Captured::default(), Vec::new());
            let faults = Vec::new();
            s.exchange.response = Some(ResponseFacts { status, headers, body, trailers: None, arrivals, faults });
            if let Some(failure) = made_here {
                s.exchange.outcome = Outcome::Failed(failure);
            }
        });
    }

    /// Adds faults of the response that did not keep it from the agent.
    pub fn origin_faults(&self, faults: &[OriginFault]) {
        self.with(|s| {
            if let Some(response) = &mut s.exchange.response {
                response.faults.extend_from_slice(faults);
            }
        });
    }

    /// Adds field lines of the response that a header map cannot hold. Those with a valid name are recorded as fields.
    pub fn also_received(&self, lines: &[u8]) {
        let fields = lines.split(|byte| *byte == b'\n').filter_map(named);
        self.with(|s| {
            if let Some(response) = &mut s.exchange.response {
                fields.for_each(|(name, value)| response.headers.push(name.as_str(), value));
            }
        });
    }

    /// Replaces the status: the first one did not show the real result.
    pub(super) fn turned_out(&self, status: StatusCode) {
        self.with(|s| {
            if let Some(response) = &mut s.exchange.response {
                response.status = status;
            }
        });
    }

    /// Sets the facts of a WebSocket.
    pub(super) fn websocket(&self, facts: WebSocket) {
        self.with(|s| s.exchange.websocket = Some(facts));
    }

    /// Records trailer fields.
    pub fn trailers(&self, side: Side, trailers: &HeaderMap) {
        let trailers = Fields::from(trailers);
        self.with(|s| match side {
            Side::Request => s.exchange.request.trailers = Some(trailers),
            Side::Response => {
                if let Some(response) = &mut s.exchange.response {
                    response.trailers = Some(trailers);
                }
            }
        });
    }
}

/// The name and the value of a line. `None`: the name is not valid for a field.
fn named(line: &[u8]) -> Option<(HeaderName, &[u8])> {
    let colon = line.iter().position(|byte| *byte == b':')?;
    let name = HeaderName::from_bytes(&line[..colon]).ok()?;
    Some((name, line[colon + 1..].trim_ascii()))
}
