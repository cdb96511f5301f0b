//! What the requests of one stream share, and whether a request may be forwarded.

use std::sync::Arc;

use http::header::PROXY_AUTHORIZATION;
use http::{HeaderMap, Request, Version};
use hyper::body::Incoming;
use tokio::sync::{Mutex, Notify};

use super::activity::Activity;
use super::agent::Agent;
use super::agent_limits::AgentLimits;
use super::error::ProxyError;
use super::interim::Interim;
use super::names;
use super::rules::Rules;
use super::shared::Shared;
use super::trailers::Trailers;
use super::upstream::{Target, Upstream};
use crate::capture::{Caller, Flushes, Recorder};

/// A request, with what it shares with others on its stream, and the rules that it began with.
pub(super) struct Call {
    pub(super) connection: Arc<AgentConnection>,
    pub(super) rules: Arc<Rules>,
}

/// What the requests of one stream share. A stream is an agent's connection, or the inside of a tunnel.
pub(super) struct AgentConnection {
    pub(super) shared: Arc<Shared>,
    pub(super) agent: Arc<Agent>,
    /// The limits of this stream.
    pub(super) limits: AgentLimits,
    /// The caller who opened the tunnel. `None`: each request has its own caller.
    pub(super) caller: Option<Caller>,
    /// The tunnel. `None`: each request names its target.
    pub(super) inside: Option<Inside>,
    /// The upstream connection that this stream uses.
    pub(super) upstream: Mutex<Option<Box<Upstream>>>,
    /// Sends interim responses (HTTP/1.1 only).
    pub(super) interim: Option<Interim>,
    /// Sends trailers (HTTP/1.1 only).
    pub(super) trailers: Option<Trailers>,
    /// Which requests are in flight.
    pub(super) activity: Activity,
    /// Counts the flushes of the stream.
    pub(super) flushes: Flushes,
    /// Notified when the agent must use another connection (HTTP/2).
    pub(super) leaving: Notify,
}

/// The inside of a tunnel.
pub(super) struct Inside {
    pub(super) target: Target,
    /// The server name in the agent's ClientHello, if any.
    pub(super) sni: Option<Arc<str>>,
    /// The HTTP version of both sides.
    pub(super) version: Version,
    /// Why the origin cannot be reached: the answer to every request.
    pub(super) broken: Option<ProxyError>,
}

impl Call {
    /// A call that begins now.
    pub(super) fn begin(connection: &Arc<AgentConnection>) -> Self {
        Self { connection: connection.clone(), rules: connection.shared.rules() }
    }

    /// The caller of a request with these header fields.
    ///
    /// # Errors
    /// When callers need credentials, and these are missing or wrong.
    pub(super) fn caller(&self, headers: &HeaderMap) -> Result<Caller, ProxyError> {
        match (&self.connection.caller, &self.rules.callers.credentials) {
            (Some(caller), _) => Ok(caller.clone()),
            (None, None) => Ok(self.connection.agent.caller.clone()),
            (None, Some(known)) => known.of_header(headers.get(PROXY_AUTHORIZATION)).ok_or(ProxyError::Unauthorized),
        }
    }

    /// Returns `target` if the request may go there. Checks all that can be checked before dialling.
    ///
    /// # Errors
    /// Why the request is refused.
    pub(super) fn admit(
        &self,
        caller: &Caller,
        request: &Request<Incoming>,
        recorder: &Recorder,
        target: Target,
    ) -> Result<Target, ProxyError> {
        if !recorder.recording().admits() {
            return Err(ProxyError::NotRecordable);
        }
        let AgentConnection { shared, agent, inside, .. } = &*self.connection;
        agent.admit_request(&shared.admission.quotas, self.rules.callers.share, caller)?;
        let sni = inside.as_ref().and_then(|inside| inside.sni.as_deref());
        // Outside of a tunnel, the authority is the target itself.
        let authority = inside.as_ref().and(request.uri().authority()).map(|authority| authority.host());
        if let Some(names) = names::of_request(&target.origin.host, sni, authority, request.headers()) {
            let checked = if self.rules.forwarding.strict_host { names::check(&names) } else { Ok(()) };
            recorder.goes_by(names);
            checked?;
        }
        Ok(target)
    }
}
