//! One stream from an agent (its TCP connection, or the decrypted inside of a tunnel): HTTP is served on it, each
//! request routed.

use std::net::SocketAddr;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use http::header::{CONTENT_LENGTH, PROXY_AUTHORIZATION};
use http::{HeaderMap, Method, Request, Response, Version};
use hyper::body::Incoming;
use hyper::server::conn::{http1, http2};
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::sync::{Mutex, Notify, OwnedSemaphorePermit};
use tokio::time::{sleep, timeout};
use tokio_util::task::TaskTracker;

use super::acknowledge::{Acknowledge, Prompt};
use super::activity::Activity;
use super::agent::Agent;
use super::body::{Answer, Sending};
use super::error::ProxyError;
use super::flushed::Flushed;
use super::guard::{Guarded, Refuse};
use super::h2::AgentH2;
use super::interim::{AgentIo, Interim};
use super::lenient::HTTP1_FIELDS;
use super::pulse::{Stuck, UNTAKEN, Watched};
use super::strict::{self, Asked};
use super::trailing::{Trailed, Trailers};
use super::upstream::{Answers, H2_CONNECTION_WINDOW_BYTES, H2_STREAM_WINDOW_BYTES, Target, Upstream};
use super::{Shared, departure, forward, names, respond, socks, tunnel};
use crate::capture::{Caller, Fields, Flushes, Kind, Origin, Recorder, RequestFacts};

/// How long the end of a response's body may lag behind on the upstream side when the agent has gone already.
const SETTLE: Duration = Duration::from_millis(100);

/// How long an HTTP/2 agent that was told to use another connection may do nothing on this one.
const FAREWELL: Duration = Duration::from_secs(5);

/// How long an agent that has all its connections already may take to ask for something on one more, and be told so.
const ONE_TOO_MANY: Duration = Duration::from_secs(2);

/// What the requests of one stream share.
pub(super) struct AgentConnection {
    pub(super) shared: Arc<Shared>,
    pub(super) agent: Arc<Agent>,
    /// Whose tunnel it is the inside of; otherwise each request tells.
    pub(super) caller: Option<Caller>,
    /// Where the requests go if the stream is the inside of a tunnel; otherwise each names its target.
    pub(super) inside: Option<Inside>,
    /// The upstream connection that this stream uses.
    pub(super) upstream: Mutex<Option<Upstream>>,
    /// The way to send interim responses (HTTP/1.1 only).
    pub(super) interim: Option<Interim>,
    /// The way to send trailers (HTTP/1.1 only).
    pub(super) trailers: Option<Trailers>,
    /// What it is doing.
    pub(super) activity: Activity,
    /// Counts what was written to it.
    pub(super) flushes: Flushes,
    /// Notified when the agent is to use another connection (HTTP/2).
    pub(super) leaving: Notify,
}

impl AgentConnection {
    /// Whose request with these header fields is.
    ///
    /// # Errors
    /// When only agents that are known may call, and this is none.
    pub(super) fn caller(&self, headers: &HeaderMap) -> Result<Caller, ProxyError> {
        match (&self.caller, &self.shared.admission.credentials) {
            (Some(caller), _) => Ok(caller.clone()),
            (None, None) => Ok(self.agent.caller.clone()),
            (None, Some(known)) => known.of_header(headers.get(PROXY_AUTHORIZATION)).ok_or(ProxyError::Unauthorized),
        }
    }
}

impl AgentConnection {
    /// Gives `target` back if the request may go there, as far as that can be told before it is dialled.
    ///
    /// # Errors
    /// Why it may not.
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
        self.agent.may_ask(&self.shared.admission.quotas, caller)?;
        let host = &target.origin.host;
        if let Some(names) = names::of_request(self.inside.as_ref(), host, request.uri(), request.headers()) {
            let strict = if self.shared.forwarding.strict_host { names::strict(&names) } else { Ok(()) };
            recorder.goes_by(names);
            strict?;
        }
        Ok(target)
    }
}

/// The inside of a tunnel.
pub(super) struct Inside {
    pub(super) target: Target,
    /// The name that the agent's TLS asked for, if any.
    pub(super) sni: Option<Arc<str>>,
    /// What both sides speak.
    pub(super) version: Version,
    /// The origin could not be reached as it should: every request is answered with this.
    pub(super) broken: Option<ProxyError>,
}

/// Serves an agent's TCP connection until it ends; before anything of it is read, whether it may call is seen.
pub(super) async fn serve_agent(
    shared: Arc<Shared>,
    address: SocketAddr,
    permit: OwnedSemaphorePermit,
    stream: TcpStream,
) {
    let Some(agent) =
        Agent::meet(&shared.admission.peers, shared.admission.agent_processes.as_ref(), &stream, address, permit)
            .await
            .map(Arc::new)
    else {
        return;
    };
    // Where credentials tell whose it is, that comes later. One that is too many keeps its place for a moment only.
    let one_too_many =
        shared.admission.credentials.is_none() && agent.has_place(&shared.admission.quotas, &agent.caller).is_err();
    let socks = tokio::select! {
        socks = socks::speaks(&stream) => socks,
        // It has not asked for anything yet.
        () = shared.lifecycle.stop.cancelled() => return,
        () = sleep(if one_too_many { ONE_TOO_MANY } else { shared.agent_limits.idle }) => return,
    };
    match socks {
        true => socks::serve(shared, agent, stream).await,
        false => serve_http1(shared, (agent, None), None, None, stream).await,
    }
}

/// Serves HTTP on the inside of a tunnel. `upstream`: the connection that is open already.
pub(super) async fn serve_inside<S>(
    shared: Arc<Shared>,
    (agent, caller): (Arc<Agent>, Caller),
    inside: Inside,
    upstream: Option<Upstream>,
    stream: S,
) where
    S: AsyncRead + AsyncWrite + Acknowledge + Unpin + Send + 'static,
{
    if inside.version == Version::HTTP_2 {
        serve_http2(shared, (agent, caller), inside, upstream, stream).await;
    } else {
        serve_http1(shared, (agent, Some(caller)), Some(inside), upstream, stream).await;
    }
}

async fn serve_http1<S>(
    shared: Arc<Shared>,
    (agent, caller): (Arc<Agent>, Option<Caller>),
    inside: Option<Inside>,
    upstream: Option<Upstream>,
    stream: S,
) where
    S: AsyncRead + AsyncWrite + Acknowledge + Unpin + Send + 'static,
{
    let activity = Activity::new();
    let refuse =
        refusing(&shared, (&agent, caller.clone()), inside.as_ref().map(|inside| inside.target.origin.clone()));
    let (flushes, departure) = (Flushes::default(), departure::of(&shared.admission.peers, agent.ends));
    let guarded = Guarded::new(stream, shared.agent_limits, (activity.clone(), flushes.clone()), refuse, departure);
    let (io, interim, trailers) = AgentIo::new(guarded);
    let connection = Arc::new(AgentConnection {
        shared: shared.clone(),
        agent: agent.clone(),
        caller,
        inside,
        upstream: Mutex::new(upstream),
        interim: Some(interim),
        trailers: Some(trailers),
        activity,
        flushes,
        leaving: Notify::new(),
    });
    {
        let service = service_fn(|request| route(connection.clone(), request));
        let mut serving = pin!(
            http1::Builder::new()
                .preserve_header_case(true)
                .max_headers(HTTP1_FIELDS)
                .auto_date_header(false)
                .serve_connection(io, service)
                .with_upgrades()
        );
        let served = tokio::select! {
            biased;
            served = serving.as_mut() => served,
            () = shared.lifecycle.stop.cancelled() => {
                serving.as_mut().graceful_shutdown();
                tokio::select! {
                    served = serving => served,
                    () = shared.lifecycle.cut.cancelled() => Ok(()),
                }
            }
        };
        if let Err(error) = served {
            tracing::debug!(%error, agent = %agent.address, "an agent's connection ended");
            if connection.activity.is_stuck() {
                // Told while what it was sent is still there.
                let (what, limit) = (UNTAKEN, shared.agent_limits.stall);
                shared.recording.all_failed(agent.address, &ProxyError::Stuck { what, limit }.failure());
            }
            if error.is_parse() {
                // hyper has answered it: what it refuses beyond what was read strictly before.
                let reason = format!("the request is malformed ({error})").into();
                let origin = connection.inside.as_ref().map(|inside| inside.target.origin.clone());
                refusing(&shared, (&agent, connection.caller.clone()), origin)(
                    &ProxyError::BadRequest { reason },
                    b"",
                );
            }
        }
    }
    give_back(&connection).await;
}

async fn serve_http2<S>(
    shared: Arc<Shared>,
    (agent, caller): (Arc<Agent>, Caller),
    inside: Inside,
    upstream: Option<Upstream>,
    stream: S,
) where
    S: AsyncRead + AsyncWrite + Acknowledge + Unpin + Send + 'static,
{
    // WebSockets are offered only where the origin offers them (RFC 8441 section 3); a later offer would be too late for most.
    let takes_websockets = match &upstream {
        Some(upstream) => upstream.takes_extended_connect().await,
        None => false,
    };
    let connection = Arc::new(AgentConnection {
        shared: shared.clone(),
        agent: agent.clone(),
        caller: Some(caller),
        inside: Some(inside),
        upstream: Mutex::new(upstream),
        interim: None,
        trailers: None,
        activity: Activity::new(),
        flushes: Flushes::default(),
        leaving: Notify::new(),
    });
    {
        let requests = connection.clone();
        let (stream, pulse) = Watched::new(Flushed::new(Prompt::new(stream), &connection.flushes));
        let (stream, kept) = AgentH2::new(stream);
        let service = service_fn(move |mut request: Request<Incoming>| {
            if let Some(written) = kept.take(request.uri().path()) {
                request.extensions_mut().insert(written);
            }
            route(requests.clone(), request)
        });
        let limits = &shared.agent_limits;
        let mut http2 = http2::Builder::new(Tracked(shared.lifecycle.tasks.clone()));
        http2
            .timer(TokioTimer::new())
            .auto_date_header(false)
            .max_concurrent_streams(limits.streams)
            .initial_stream_window_size(H2_STREAM_WINDOW_BYTES)
            .initial_connection_window_size(H2_CONNECTION_WINDOW_BYTES)
            .max_header_list_size(u32::try_from(limits.header_bytes).unwrap_or(u32::MAX));
        if takes_websockets {
            http2.enable_connect_protocol();
        }
        let mut serving = pin!(http2.serve_connection(TokioIo::new(stream), service));
        let over = async {
            tokio::select! {
                () = shared.lifecycle.stop.cancelled() => {}
                () = connection.activity.idle_for(limits.idle) => {}
                () = connection.leaving.notified() => {}
            }
        };
        let serve = async {
            tokio::select! {
                biased;
                served = serving.as_mut() => return served,
                () = over => {}
            }
            serving.as_mut().graceful_shutdown();
            tokio::select! {
                served = serving.as_mut() => served,
                // The agent may never acknowledge that.
                () = pulse.rests_for(&connection.activity, FAREWELL) => Ok(()),
                () = shared.lifecycle.cut.cancelled() => Ok(()),
            }
        };
        tokio::select! {
            biased;
            served = serve => if let Err(error) = served {
                tracing::debug!(%error, agent = %agent.address, "an agent's HTTP/2 connection ended");
            },
            Stuck { what, limit } = pulse.stuck(&connection.activity, limits) => {
                tracing::debug!(what, agent = %agent.address, "an agent's HTTP/2 connection is closed");
                // Told while what it was sent is still there.
                shared.recording.all_failed(agent.address, &ProxyError::Stuck { what, limit }.failure());
            }
        }
    }
    give_back(&connection).await;
}

/// Runs the streams of an HTTP/2 connection among the tasks that a shutdown waits for.
#[derive(Clone)]
struct Tracked(TaskTracker);

impl<F: Future<Output: Send> + Send + 'static> hyper::rt::Executor<F> for Tracked {
    fn execute(&self, stream: F) {
        self.0.spawn(stream);
    }
}

/// Each request: a CONNECT opens a tunnel, everything else is forwarded. An error resets its stream (HTTP/2).
async fn route(
    connection: Arc<AgentConnection>,
    mut request: Request<Incoming>,
) -> Result<Response<Trailed<Answer>>, h2::Error> {
    let answering = connection.activity.answering();
    let is_http_10 = request.version() == Version::HTTP_10;
    if let Some(written) = connection.activity.route() {
        request.extensions_mut().insert(written);
    }
    let mut response = if request.method() == Method::CONNECT && !forward::is_extended_connect(&request) {
        // Boxed: one in many requests, and its state is large.
        Box::pin(tunnel::connect(&connection, request)).await
    } else {
        forward::forward(&connection, request).await?
    };
    let sending = match connection.interim {
        Some(_) => Sending::Http1 {
            flushes: connection.flushes.clone(),
            until_close: is_http_10 && !response.headers().contains_key(CONTENT_LENGTH),
        },
        None => Sending::Http2(connection.flushes.clone()),
    };
    let from = response.extensions_mut().remove::<Answers>();
    let trailers = connection.trailers.clone();
    Ok(response.map(|body| Trailed::new(Answer::new(body, sending, answering), from, trailers)))
}

/// What is done with a head that is refused before it is a request: there is an event of it, and the agent is told why.
fn refusing(shared: &Arc<Shared>, (agent, caller): (&Arc<Agent>, Option<Caller>), origin: Option<Origin>) -> Refuse {
    let (shared, agent) = (shared.clone(), agent.clone());
    Box::new(move |error, head| {
        let Asked { method, path, query, host } = strict::asked(head);
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
        recorder.called_by(&agent.sought);
        respond::refusal(error, &recorder)
    })
}

/// How a method is shown that is none.
fn unknown_method() -> Method {
    Method::from_bytes(b"UNKNOWN").unwrap_or_default()
}

/// The agent has gone: its upstream connection may serve another one.
async fn give_back(connection: &AgentConnection) {
    let Some(mut upstream) = connection.upstream.lock().await.take() else { return };
    if upstream.is_usable()
        && (upstream.is_idle() || matches!(timeout(SETTLE, upstream.sender.ready()).await, Ok(Ok(()))))
    {
        connection.shared.pool.keep(upstream);
    }
}
