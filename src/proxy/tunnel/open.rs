//! How a tunnel is opened: by CONNECT, or by SOCKS.

use std::net::IpAddr;
use std::sync::Arc;

use bytes::BytesMut;
use http::header::CONNECTION;
use http::{HeaderMap, HeaderValue, Method, Request, Response, StatusCode, Version};
use hyper::body::Incoming;
use hyper::upgrade::OnUpgrade;
use tokio::net::TcpStream;
use tokio::time::Instant;

use crate::capture::{Caller, Fields, Kind, Origin, Recorder, RequestFacts};
use crate::proxy::agent::Agent;
use crate::proxy::body::AgentBody;
use crate::proxy::context::{AgentConnection, Call};
use crate::proxy::error::ProxyError;
use crate::proxy::rules::Rules;
use crate::proxy::shared::Shared;
use crate::proxy::upstream::{Dialled, Origins, Sharer, Target, Upstream, Way, dial, open};
use crate::proxy::{request_target, respond};

/// An open tunnel: who called, where it leads, and its record.
pub(in crate::proxy) struct Tunnel {
    pub(in crate::proxy) shared: Arc<Shared>,
    /// Those in force when it was asked for.
    pub(in crate::proxy) rules: Arc<Rules>,
    pub(in crate::proxy) agent: Arc<Agent>,
    pub(in crate::proxy) caller: Caller,
    /// Scheme `tcp`, with the host and port of the CONNECT.
    pub(in crate::proxy) origin: Origin,
    /// The address that the agent called, if the system redirected it to us. `None`: the origin's name is resolved.
    pub(in crate::proxy) address: Option<IpAddr>,
    /// The TCP connection to the origin. `None`: the pool has an idle connection to it.
    pub(in crate::proxy) dialled: Option<Dialled>,
    pub(in crate::proxy) recorder: Recorder,
}

impl Tunnel {
    /// Who may use its upstream connection again.
    pub(super) fn sharer(&self) -> Option<Sharer> {
        self.rules.sharer(&self.agent, &self.caller)
    }

    /// Notes the name by which the agent calls the origin. A CONNECT has named it already.
    pub(in crate::proxy) fn is_called(&mut self, name: Option<&Arc<str>>) {
        if let Some(name) = name.filter(|_| self.address.is_some()) {
            self.origin.host = name.clone();
        }
    }

    /// The connection to its origin: a kept one, or a new one. `version`: the HTTP version of the agent's side, if it is fixed already.
    ///
    /// # Errors
    /// The step that failed, and why.
    pub(super) async fn upstream(
        &mut self,
        target: &Target,
        version: Option<Version>,
    ) -> Result<Box<Upstream>, ProxyError> {
        let origins = &self.rules.origins;
        if let Some(kept) = self.shared.pool.take(target, origins.generation, version) {
            return Ok(kept);
        }
        let opened = open(origins, target, version, self.dialled.take()).await?;
        if let Some(shared) = opened.shared() {
            self.shared.pool.keep(shared);
        }
        Ok(opened)
    }
}

/// An open tunnel, with the agent's stream.
pub(in crate::proxy) struct Accepted {
    pub(in crate::proxy) tunnel: Box<Tunnel>,
    pub(in crate::proxy) stream: TcpStream,
    /// What was read of the tunnel's content.
    pub(in crate::proxy) seen: BytesMut,
}

/// A tunnel opened by CONNECT.
pub(in crate::proxy) struct Opened {
    pub(in crate::proxy) tunnel: Box<Tunnel>,
    /// The agent's stream, once the CONNECT is answered.
    pub(in crate::proxy) agent_side: OnUpgrade,
}

/// Opens the tunnel that a CONNECT asks for.
///
/// # Errors
/// The response that says why there is no tunnel.
pub(in crate::proxy) async fn connect(
    call: &Call,
    mut request: Request<Incoming>,
) -> Result<Opened, Response<AgentBody>> {
    let Call { connection, rules } = call;
    let shared = &connection.shared;
    let target = match &connection.inside {
        None => request_target::connect_target(request.uri()),
        Some(_) => Err(ProxyError::BadRequest { reason: "CONNECT inside a tunnel is not served".into() }),
    };
    let (host, port) = target.as_ref().map_or_else(|_| (String::new(), 0), Clone::clone);
    let origin = Origin { scheme: "tcp", host: host.into(), port };
    let caller = match call.caller(request.headers()) {
        Ok(caller) => caller,
        Err(_) => {
            let recorder = begin(connection, Caller::Proxy, &request, origin);
            return Err(closing(respond::unauthorized(&shared.admission, request.method(), &recorder)));
        }
    };
    let recorder = begin(connection, caller.clone(), &request, origin.clone());
    let dialled = match target {
        Ok(_) => admit_and_reach(shared, rules, &connection.agent, &caller, &origin).await,
        Err(error) => Err(error),
    };
    match dialled {
        Err(error) => Err(closing(respond::failure(&error, request.method(), &recorder))),
        Ok(dialled) => {
            recorder.answered(StatusCode::OK, &HeaderMap::new(), None);
            let agent_side = hyper::upgrade::on(&mut request);
            let (shared, rules, agent) = (shared.clone(), rules.clone(), connection.agent.clone());
            let tunnel = Tunnel { shared, rules, agent, caller, origin, address: None, dialled, recorder };
            let tunnel = Box::new(tunnel);
            Ok(Opened { tunnel, agent_side })
        }
    }
}

/// After a CONNECT that failed, the bytes of the stream may not be HTTP.
fn closing(mut response: Response<AgentBody>) -> Response<AgentBody> {
    response.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
    response
}

fn begin(connection: &AgentConnection, caller: Caller, request: &Request<Incoming>, origin: Origin) -> Recorder {
    let headers = Fields::from(request.headers());
    let facts = RequestFacts::without_body(request.method().clone(), origin.authority(), None, headers);
    begin_tunnel(&connection.shared, &connection.agent, caller, origin, request.version(), facts)
}

/// The record of a tunnel that no HTTP request asked for. It is shown as a CONNECT without header fields.
pub(in crate::proxy) fn begin_bare(shared: &Shared, agent: &Agent, caller: Caller, origin: Origin) -> Recorder {
    let facts = RequestFacts::without_body(Method::CONNECT, origin.authority(), None, Fields::default());
    begin_tunnel(shared, agent, caller, origin, Version::HTTP_11, facts)
}

fn begin_tunnel(
    shared: &Shared,
    agent: &Agent,
    caller: Caller,
    origin: Origin,
    version: Version,
    facts: RequestFacts,
) -> Recorder {
    let from = (agent.address, caller);
    let recorder = Recorder::begin(&shared.recording, Kind::Tunnel, from, origin, version, facts);
    recorder.called_by(&agent.process_lookup);
    recorder
}

/// Connects to the origin of a tunnel before the agent is answered, so that the answer can report a failure. `None`: the pool
/// has an idle connection, so the origin can be reached.
pub(in crate::proxy) async fn admit_and_reach(
    shared: &Shared,
    rules: &Rules,
    agent: &Agent,
    caller: &Caller,
    origin: &Origin,
) -> Result<Option<Dialled>, ProxyError> {
    if !shared.recording.admits() {
        return Err(ProxyError::NotRecordable);
    }
    agent.admit_request(&shared.admission.quotas, rules.callers.share, caller)?;
    let refusals = &shared.interception.refusals;
    let blind = rules.passthrough.relays_blind(refusals, &origin.host, origin.port).is_some();
    let known = |sharer| shared.pool.knows(&sharer, rules.origins.generation, &origin.host, origin.port);
    if !blind && rules.sharer(agent, caller).is_some_and(known) {
        return Ok(None);
    }
    dial_now(&rules.origins, origin, None).await.map(Some)
}

pub(in crate::proxy) async fn dial_now(
    origins: &Origins,
    origin: &Origin,
    at: Option<IpAddr>,
) -> Result<Dialled, ProxyError> {
    dial(origins, origin, at, Way::Tunnel, Instant::now() + origins.connect_timeout).await
}
