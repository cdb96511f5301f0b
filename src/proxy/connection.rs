//! Serves an agent's stream: its TCP connection, or the inside of a tunnel. Each HTTP request on it is routed.

use std::net::SocketAddr;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::time::Duration;

use bytes::BytesMut;
use futures_util::FutureExt as _;
use futures_util::future::OptionFuture;
use http::header::CONTENT_LENGTH;
use http::{Method, Request, Response, Version};
use hyper::body::Incoming;
use hyper::server::conn::{http1, http2};
use hyper::service::service_fn;
use hyper::upgrade::{Parts, Upgraded};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::sync::{Mutex, Notify, OwnedSemaphorePermit};
use tokio::time::sleep;
use tokio_util::task::TaskTracker;

use super::acknowledge::{Acknowledge, Prompt};
use super::activity::Activity;
use super::agent::Agent;
use super::bad_head::refusing;
use super::body::{AgentBody, ResponseBody, Sending};
use super::context::{AgentConnection, Call, Inside};
use super::door::Door;
use super::error::ProxyError;
use super::flushed::Flushed;
use super::guard::Guarded;
use super::h2::AgentH2;
use super::interim::AgentIo;
use super::joined::Joined;
use super::lenient::HTTP1_FIELDS;
use super::offer::OfferLater;
use super::pulse::{Stuck, UNTAKEN, WatchedIo};
use super::send::give_back;
use super::shared::Shared;
use super::trailers::TrailerBody;
use super::transparent::Redirected;
use super::tunnel::{Accepted, Decision, Decrypted, Opened, Serving, Tunnel};
use super::upstream::{H2_CONNECTION_WINDOW_BYTES, H2_STREAM_WINDOW_BYTES, Responses, Upstream};
use super::{departure, forward, socks, transparent, tunnel};
use crate::capture::{Caller, Failure, Flushes};
use crate::peer::{Ends, Place};

/// How long an HTTP/2 connection may be idle after a GOAWAY to its agent.
const FAREWELL: Duration = Duration::from_secs(5);

/// How long a connection that has carried no request yet may take to its first one when the proxy stops.
const LAST_FIRST_REQUEST: Duration = Duration::from_millis(250);

/// How long a connection over the limit stays open for a first request, which is then refused.
const OVER_LIMIT_IDLE: Duration = Duration::from_secs(2);

/// Serves an agent's TCP connection until it ends. Checks whether the agent may call before it reads anything.
pub(super) async fn serve_agent(
    shared: Arc<Shared>,
    address: SocketAddr,
    permit: OwnedSemaphorePermit,
    stream: TcpStream,
    door: Door,
) {
    let rules = shared.rules();
    let Ok(ends) = stream.local_addr().map(|local| ends(door, address, local)) else { return };
    let identified = Agent::identify(&shared.admission, &rules.callers, address, ends, permit).await;
    let Some(agent) = identified.map(Arc::new) else { return };
    // With credentials, the caller is not known yet. An agent over its limit keeps its slot only for a moment.
    let over_limit = rules.callers.credentials.is_none()
        && agent.claim_slot(&shared.admission.quotas, rules.callers.share, &agent.caller).is_err();
    let socks = tokio::select! {
        biased;
        socks = socks::speaks(&stream) => socks,
        // No request has come yet. One that is on its way is still served.
        () = async { shared.lifecycle.stop.cancelled().await; sleep(LAST_FIRST_REQUEST).await } => return,
        () = sleep(if over_limit { OVER_LIMIT_IDLE } else { rules.agent_limits.idle }) => return,
    };
    if !socks {
        return serve_http1(shared, agent, None, None, None, stream).await;
    }
    if let Some(Accepted { tunnel, stream, seen }) = socks::accept(shared, rules, agent, stream).await {
        serve_tunnel(tunnel, stream, seen).await;
    }
}

/// Serves a connection that the system redirected to us: see [`serve_agent`].
pub(super) async fn serve_redirected(
    shared: Arc<Shared>,
    address: SocketAddr,
    permit: OwnedSemaphorePermit,
    stream: TcpStream,
    door: Door,
) {
    let rules = shared.rules();
    let ends = match transparent::origin_of(&stream, address, door) {
        Ok(Redirected::From(ends)) => ends,
        Ok(Redirected::Nowhere) => return transparent::refuse(stream, address).await,
        Err(_) => return,
    };
    let identified = Agent::identify(&shared.admission, &rules.callers, address, ends, permit).await;
    let Some(agent) = identified.map(Arc::new) else { return };
    let stopping = async { shared.lifecycle.stop.cancelled().await };
    let accepted = tokio::select! {
        accepted = Box::pin(transparent::accept(shared.clone(), rules, agent, stream)) => accepted,
        () = async { stopping.await; sleep(LAST_FIRST_REQUEST).await } => return,
    };
    if let Some(Accepted { tunnel, stream, seen }) = accepted {
        serve_tunnel(tunnel, stream, seen).await;
    }
}

/// Both ends of a connection to the proxy itself.
fn ends(door: Door, peer: SocketAddr, local: SocketAddr) -> Ends {
    match door {
        Door::ProxyInside | Door::RedirectedInside => Ends::at(Place::Namespace, peer, local),
        Door::Proxy | Door::Redirected => Ends::new(peer, local),
    }
}

/// Serves a tunnel that a CONNECT has opened. Boxed, because the inside of a tunnel is served by the code that opens tunnels: a
/// future would contain itself.
fn serve_connect(Opened { tunnel, agent_side }: Opened) -> Pin<Box<dyn Future<Output = ()> + Send>> {
    Box::pin(async move {
        match agent_side.await.map(accepted) {
            Ok(Some((stream, seen))) => serve_tunnel(tunnel, stream, seen).await,
            Ok(None) => tunnel.recorder.failed(Failure {
                id: "proxy_internal",
                detail: "the tunnel's stream is not the one that was accepted".to_owned(),
            }),
            Err(error) => tracing::debug!(%error, "an agent left before its tunnel was open"),
        }
    })
}

/// The stream that was accepted, and the bytes of it that were read already.
fn accepted(upgraded: Upgraded) -> Option<(TcpStream, BytesMut)> {
    let Parts { io, read_buf, .. } = upgraded.downcast::<AgentIo<Joined<Guarded<TcpStream>>>>().ok()?;
    let (stream, held) = io.into_inner().into_inner().into_parts();
    let mut seen = BytesMut::from(&read_buf[..]);
    seen.unsplit(held);
    Some((stream, seen))
}

/// Serves an open tunnel until it ends. `seen`: bytes of the agent that were read already.
async fn serve_tunnel(mut tunnel: Box<Tunnel>, agent: TcpStream, seen: BytesMut) {
    let cut = tunnel.shared.lifecycle.cut.clone();
    // Boxed, so that the state of the set-up does not stay for as long as the tunnel.
    let decision = tokio::select! {
        decision = Box::pin(tunnel::decide(&mut tunnel, agent, seen)) => decision,
        () = cut.cancelled() => return tunnel.recorder.failed(Failure {
            id: "proxy_shutdown",
            detail: "the proxy was stopped while the tunnel was being set up".to_owned(),
        }),
    };
    match decision {
        Decision::Serve(serving) => {
            let Serving { inside, upstream, stream } = *serving;
            let Tunnel { shared, agent, caller, recorder, .. } = *tunnel;
            recorder.discard();
            drop(recorder);
            let served = match stream {
                Decrypted::Tls(stream) => serve_inside(shared, agent, caller, inside, upstream, stream),
                Decrypted::Clear(stream) => serve_inside(shared, agent, caller, inside, upstream, stream),
            };
            served.await;
        }
        Decision::Relay { agent, why } => {
            tunnel.recorder.relayed_blind(why);
            Box::pin(tunnel::relay_blind(*tunnel, agent)).await;
        }
        Decision::Over => {}
    }
}

/// Serves HTTP on the inside of a tunnel. `upstream`: the connection to the origin, if it is open. Boxed, so that a connection takes
/// no more memory than its version of HTTP needs.
fn serve_inside<S>(
    shared: Arc<Shared>,
    agent: Arc<Agent>,
    caller: Caller,
    inside: Inside,
    upstream: Option<Box<Upstream>>,
    stream: S,
) -> Pin<Box<dyn Future<Output = ()> + Send>>
where
    S: AsyncRead + AsyncWrite + Acknowledge + Unpin + Send + 'static,
{
    if inside.version == Version::HTTP_2 {
        Box::pin(serve_http2(shared, agent, caller, inside, upstream, stream))
    } else {
        Box::pin(serve_http1(shared, agent, Some(caller), Some(inside), upstream, stream))
    }
}

/// Not an `async fn`, which would keep what only the beginning needs for as long as the connection lasts.
fn serve_http1<S>(
    shared: Arc<Shared>,
    agent: Arc<Agent>,
    caller: Option<Caller>,
    inside: Option<Inside>,
    upstream: Option<Box<Upstream>>,
    stream: S,
) -> impl Future<Output = ()> + Send
where
    S: AsyncRead + AsyncWrite + Acknowledge + Unpin + Send + 'static,
{
    let (activity, limits) = (Activity::new(), shared.rules().agent_limits);
    let origin = inside.as_ref().map(|inside| inside.target.origin.clone());
    let refuse = refusing(&shared, &agent, caller.clone(), origin);
    let (flushes, departure) = (Flushes::default(), departure::of(&shared.admission.peers, agent.ends));
    let guarded = Guarded::new(stream, limits, activity.clone(), flushes.clone(), refuse, departure);
    let (io, interim, trailers) = AgentIo::new(Joined::new(guarded, activity.clone()));
    let connection = Arc::new(AgentConnection {
        shared: shared.clone(),
        agent: agent.clone(),
        limits,
        caller,
        inside,
        upstream: Mutex::new(upstream),
        interim: Some(interim),
        trailers: Some(trailers),
        activity,
        flushes,
        leaving: Notify::new(),
    });
    let requests = connection.clone();
    // The state of a request is boxed: hyper holds room for one for as long as the connection lasts.
    let service = service_fn(move |request| Box::pin(route(requests.clone(), request)));
    let mut serving = Box::pin(
        http1::Builder::new()
            .preserve_header_case(true)
            .max_headers(HTTP1_FIELDS)
            .auto_date_header(false)
            .serve_connection(io, service)
            .with_upgrades(),
    );
    async move {
        let stopping = async {
            shared.lifecycle.stop.cancelled().await;
            // The first request of a new connection may be on its way.
            if !connection.activity.has_begun() {
                sleep(LAST_FIRST_REQUEST).await;
            }
        };
        let served = tokio::select! {
            biased;
            served = serving.as_mut() => served,
            () = stopping => {
                serving.as_mut().graceful_shutdown();
                tokio::select! {
                    served = serving.as_mut() => served,
                    () = shared.lifecycle.cut.cancelled() => Ok(()),
                }
            }
        };
        if let Err(error) = served {
            tracing::debug!(%error, agent = %agent.address, "an agent's connection ended");
            if connection.activity.is_stuck() {
                // Recorded while the responses are still in flight.
                let (what, limit) = (UNTAKEN, limits.stall);
                shared.recording.all_failed(agent.address, &ProxyError::Stuck { what, limit }.failure());
            }
            if error.is_parse() {
                // hyper has refused and answered something that the strict reader let pass.
                let reason = format!("the request is malformed ({error})").into();
                let origin = connection.inside.as_ref().map(|inside| inside.target.origin.clone());
                refusing(&shared, &agent, connection.caller.clone(), origin)(&ProxyError::BadRequest { reason }, b"");
            }
        }
        // The agent's connection is closed before anything waits for the origin's.
        drop(serving);
        Box::pin(give_back(&connection)).await;
    }
}

async fn serve_http2<S>(
    shared: Arc<Shared>,
    agent: Arc<Agent>,
    caller: Caller,
    inside: Inside,
    upstream: Option<Box<Upstream>>,
    stream: S,
) where
    S: AsyncRead + AsyncWrite + Acknowledge + Unpin + Send + 'static,
{
    let origins = shared.rules().origins.clone();
    let offered = OptionFuture::from(upstream.as_ref().map(|upstream| upstream.offers_extended_connect(origins)));
    let offered = offered.map(Option::unwrap_or_default);
    let connection = Arc::new(AgentConnection {
        shared: shared.clone(),
        agent: agent.clone(),
        limits: shared.rules().agent_limits,
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
        let (stream, pulse) = WatchedIo::new(Flushed::new(Prompt::new(stream), &connection.flushes));
        let (stream, kept) = AgentH2::new(stream);
        let stream = OfferLater::of(stream, offered);
        let service = service_fn(move |mut request: Request<Incoming>| {
            if let Some(written) = kept.take(request.uri().path()) {
                request.extensions_mut().insert(written);
            }
            route(requests.clone(), request)
        });
        let limits = &connection.limits;
        let mut http2 = http2::Builder::new(Tracked(shared.lifecycle.tasks.clone()));
        http2
            .timer(TokioTimer::new())
            .auto_date_header(false)
            .max_concurrent_streams(limits.streams)
            .initial_stream_window_size(H2_STREAM_WINDOW_BYTES)
            .initial_connection_window_size(H2_CONNECTION_WINDOW_BYTES)
            .max_header_list_size(u32::try_from(limits.header_bytes).unwrap_or(u32::MAX))
            .enable_connect_protocol();
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
                // The agent may never acknowledge the GOAWAY.
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
                // Recorded while the responses are still in flight.
                shared.recording.all_failed(agent.address, &ProxyError::Stuck { what, limit }.failure());
            }
        }
    }
    give_back(&connection).await;
}

/// Runs the streams of an HTTP/2 connection as tasks that a shutdown waits for.
#[derive(Clone)]
struct Tracked(TaskTracker);

impl<F: Future<Output: Send> + Send + 'static> hyper::rt::Executor<F> for Tracked {
    fn execute(&self, stream: F) {
        self.0.spawn(stream);
    }
}

/// Routes a request: a CONNECT opens a tunnel, everything else is forwarded.
///
/// # Errors
/// The stream is reset with this error (HTTP/2).
async fn route(
    connection: Arc<AgentConnection>,
    mut request: Request<Incoming>,
) -> Result<Response<TrailerBody<ResponseBody>>, h2::Error> {
    let call = Call::begin(&connection);
    let answering = connection.activity.answering();
    let is_http_10 = request.version() == Version::HTTP_10;
    if let Some(written) = connection.activity.route() {
        request.extensions_mut().insert(written);
    }
    let mut response = if request.method() == Method::CONNECT && !forward::is_extended_connect(&request) {
        // Boxed, because few requests are CONNECTs and the state is large.
        match Box::pin(tunnel::connect(&call, request)).await {
            Ok(opened) => {
                connection.shared.lifecycle.tasks.spawn(serve_connect(opened));
                Response::new(AgentBody::Empty)
            }
            Err(response) => response,
        }
    } else {
        forward::forward(&call, request).await?
    };
    let sending = match connection.interim {
        Some(_) => Sending::Http1 {
            flushes: connection.flushes.clone(),
            until_close: is_http_10 && !response.headers().contains_key(CONTENT_LENGTH),
        },
        None => Sending::Http2(connection.flushes.clone()),
    };
    let from = response.extensions_mut().remove::<Responses>();
    let trailers = connection.trailers.clone();
    Ok(response.map(|body| TrailerBody::new(ResponseBody::new(body, sending, answering), from, trailers)))
}

#[cfg(test)]
mod tests {
    use tokio_rustls::server::TlsStream;

    use super::super::acknowledge::Prompt;
    use super::super::outgoing::OriginBody;
    use super::*;

    type OverTls = Box<TlsStream<Prompt<TcpStream>>>;
    type Arguments = (Arc<Shared>, Arc<Agent>, Option<Caller>, Option<Inside>, Option<Box<Upstream>>, OverTls);

    /// The size of what a function returns.
    fn returned_bytes<R>(_: impl FnOnce(Arguments) -> R) -> usize {
        size_of::<R>()
    }

    #[test]
    fn an_idle_connection_holds_no_state_of_requests_and_of_its_beginning() {
        let serving = returned_bytes(|(shared, agent, caller, inside, upstream, stream)| {
            serve_http1::<OverTls>(shared, agent, caller, inside, upstream, stream)
        });
        assert!(serving < 512, "{serving} bytes");
        let sent = size_of::<TrailerBody<OriginBody>>();
        assert!(sent <= 64, "hyper reserves room for 32 requests on each connection to an origin: {sent} bytes each");
    }
}
