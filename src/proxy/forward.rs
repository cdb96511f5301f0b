//! Forwards one request to its origin, and the response back. The bytes stay as they are.

use std::pin::{Pin, pin};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use http::header::{CONNECTION, EXPECT, HOST};
use http::{HeaderMap, HeaderValue, Method, Request, Response, StatusCode, Uri, Version, uri};
use http_body::Body as _;
use hyper::body::Incoming;
use hyper::ext::Protocol;
use hyper::upgrade::OnUpgrade;
use parking_lot::Mutex;
use tokio::sync::{Notify, oneshot};

use super::body::{AbortOnDrop, AgentBody, Content, DropWithBody, Gated, Gatekeeper};
use super::context::{AgentConnection, Call};
use super::error::{Ending, ProxyError};
use super::interim::Interim;
use super::interim_heads::InterimHeads;
use super::message::{self, Direction};
use super::outgoing::Upload;
use super::request_head::outbound;
use super::send::{OriginResponse, keep_for_next, send};
use super::strict::Verbatim;
use super::upgrade::{NewProtocol, relay_upgraded};
use super::upstream::{ResponseNotes, Responses, StreamPlace, Target, TlsTarget, Upstream, Way, unauthorized};
use super::{direction, hops, request_target, respond};
use crate::capture::{Caller, CapturedBody, Fields, Kind, Origin, Recorder, RequestFacts, Side};

/// How long an origin that has answered may stop reading the rest of the request.
const UPLOAD_STALLS: Duration = Duration::from_secs(1);

/// Forwards `request` and returns the response for the agent.
///
/// # Errors
/// The request's stream is reset with this error (HTTP/2).
pub(super) async fn forward(call: &Call, mut request: Request<Incoming>) -> Result<Response<AgentBody>, h2::Error> {
    let connection = &*call.connection;
    let caller = call.caller(request.headers());
    let target = target(call, caller.as_ref().unwrap_or(&Caller::Proxy), request.uri());
    let (method, version) = (request.method().clone(), request.version());
    let caller = match caller {
        Ok(caller) => caller,
        Err(_) => {
            let recorder = begin(connection, Caller::Proxy, &request, target.as_ref().ok());
            return Ok(respond::unauthorized(&connection.shared.admission, &method, &recorder));
        }
    };
    let recorder = begin(connection, caller.clone(), &request, target.as_ref().ok());
    if hops::ends_here(&method, request.headers_mut()) {
        return Ok(respond::last_hop(&request, &recorder));
    }
    let answer = match target.and_then(|target| call.admit(&caller, &request, &recorder, target)) {
        Ok(target) => exchange(call, &caller, request, target, &recorder).await,
        Err(error) => Err(error),
    };
    if let Some(interim) = &connection.interim {
        interim.end();
    }
    let response = match answer {
        Ok(response) => response,
        Err(error) => answer_error(connection, &error, &method, version, &recorder).await?,
    };
    // A response without content ends with its head, so the head waits for the event. After a switch of protocols, nothing ends yet.
    if response.body().is_end_stream()
        && !switches(&method, response.status())
        && recorder.recording().holds_ends()
        && let Some(stored) = recorder.hand_off()
    {
        // An error means that the event will never be stored: then the response does not wait.
        let _ = stored.await;
    }
    Ok(response)
}

/// What the agent gets when the origin gave no response.
///
/// # Errors
/// The request's stream is reset with this error (HTTP/2).
async fn answer_error(
    connection: &AgentConnection,
    error: &ProxyError,
    method: &Method,
    version: Version,
    recorder: &Recorder,
) -> Result<Response<AgentBody>, h2::Error> {
    tracing::debug!(%error, "answered by the proxy");
    let mut response = match error.ending(version) {
        Ending::Answer => respond::failure(error, method, recorder),
        // No response is recorded, because none arrives.
        Ending::AgentGone => respond::placeholder(error),
        Ending::Close => {
            recorder.failed(error.failure());
            if let Some(interim) = &connection.interim {
                interim.silence(&connection.flushes).await;
            }
            respond::placeholder(error)
        }
        Ending::Reset { code, all } => {
            recorder.failed(error.failure());
            if all {
                connection.leaving.notify_one();
            }
            if recorder.recording().holds_ends()
                && let Some(stored) = recorder.hand_off()
            {
                // An error means that the event will never be stored.
                let _ = stored.await;
            }
            return Err(code.into());
        }
    };
    // A new connection may work. This one cannot recover, so it is closed.
    if version != Version::HTTP_2 {
        response.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
    } else if is_broken(connection) || matches!(error, ProxyError::Protocol { .. }) {
        connection.leaving.notify_one();
    }
    Ok(response)
}

/// Whether no request inside this tunnel can reach the origin.
fn is_broken(connection: &AgentConnection) -> bool {
    connection.inside.as_ref().is_some_and(|inside| inside.broken.is_some())
}

/// Whether a request is an extended CONNECT: a stream of another protocol over HTTP/2 (RFC 8441 section 4).
pub(super) fn is_extended_connect<B>(request: &Request<B>) -> bool {
    request.method() == Method::CONNECT && request.extensions().get::<Protocol>().is_some()
}

/// Whether another protocol follows this response.
fn switches(method: &Method, status: StatusCode) -> bool {
    status == StatusCode::SWITCHING_PROTOCOLS || (*method == Method::CONNECT && status == StatusCode::OK)
}

/// The target of a request: the tunnel's origin, or the origin in the request's absolute URL.
fn target(call: &Call, caller: &Caller, uri: &Uri) -> Result<Target, ProxyError> {
    match &call.connection.inside {
        Some(inside) => Ok(inside.target.clone()),
        None => {
            let origin = request_target::absolute_target(uri)?;
            let tls = (origin.scheme == "https")
                .then(|| TlsTarget { name: origin.host.clone(), offer: crate::tls::Offer::Http11 });
            let asked = tls.is_none() && call.rules.origins.asks_next_proxy(&origin);
            let sharer = call.rules.sharer(&call.connection.agent, caller);
            Ok(Target { origin, at: None, tls, way: if asked { Way::NextProxy } else { Way::Tunnel }, sharer })
        }
    }
}

fn begin(
    connection: &AgentConnection,
    caller: Caller,
    request: &Request<Incoming>,
    target: Option<&Target>,
) -> Recorder {
    let mut headers = Fields::from(request.headers());
    // Over HTTP/2 the host is in `:authority`, but events show only header fields.
    if let Some(authority) = request.uri().authority().filter(|_| !request.headers().contains_key(HOST)) {
        headers.push(HOST.as_str(), authority.as_str().as_bytes());
    }
    let (path, query) = match request.extensions().get::<Verbatim>() {
        Some(written) => {
            written.fields().for_each(|(name, value)| headers.push(&lower_case(name), value));
            written.shown()
        }
        None => (request.uri().path().to_owned(), request.uri().query().map(str::to_owned)),
    };
    let facts = RequestFacts::without_body(request.method().clone(), path, query, headers);
    let origin = target.map_or_else(
        || Origin { scheme: "http", host: host_of(request.uri(), request.headers()).into(), port: 0 },
        |target| target.origin.clone(),
    );
    let recorder = Recorder::begin(
        &connection.shared.recording,
        Kind::Http,
        (connection.agent.address, caller),
        origin,
        request.version(),
        facts,
    );
    recorder.called_by(&connection.agent.process_lookup);
    recorder.answered_through(&connection.flushes);
    recorder
}

fn lower_case(name: &[u8]) -> String {
    String::from_utf8_lossy(name).to_ascii_lowercase()
}

/// The host and port that the request names.
fn host_of<'a>(uri: &'a Uri, headers: &'a HeaderMap) -> &'a str {
    let named = uri.authority().map(uri::Authority::as_str);
    let named = named.or_else(|| headers.get(HOST).and_then(|v| v.to_str().ok())).unwrap_or_default();
    // The part before the `@` may be a password.
    named.rsplit_once('@').map_or(named, |(_, host)| host)
}

async fn exchange(
    call: &Call,
    caller: &Caller,
    mut request: Request<Incoming>,
    target: Target,
    recorder: &Recorder,
) -> Result<Response<AgentBody>, ProxyError> {
    let Call { connection, rules } = call;
    if let Some(broken) = connection.inside.as_ref().and_then(|inside| inside.broken.clone()) {
        return Err(broken);
    }
    let received = request.version();
    let upgrade = received == Version::HTTP_11 && message::asks_for_upgrade(request.headers());
    let extended = is_extended_connect(&request);
    if let Some(other) = request.extensions().get::<Protocol>().filter(|protocol| protocol.as_str() != "websocket") {
        let (origin, protocol) = (target.origin.to_string(), other.as_str().to_owned());
        return Err(ProxyError::NotOffered { origin, protocol });
    }
    // If this is the last request on the agent's connection, it is the last one on the upstream connection, too.
    let last = message::says_close(request.headers());
    let agent_side = (upgrade || extended).then(|| hyper::upgrade::on(&mut request));
    let version = connection.inside.as_ref().map_or(Version::HTTP_11, |inside| inside.version);
    let (mut parts, body) = request.into_parts();
    let waits = received == Version::HTTP_11
        && parts.headers.get(EXPECT).is_some_and(|v| v.as_bytes().eq_ignore_ascii_case(b"100-continue"));
    let destinations = &rules.forwarding.destinations;
    let direction = direction::of(destinations, caller, &mut parts, &target, recorder).await;
    let head = outbound(parts, call, &target, version, direction, upgrade)?;
    let (body, gatekeeper) = match waits {
        true => {
            let (body, gatekeeper) = Gated::closed(body, received, recorder.clone());
            (body, Some(gatekeeper))
        }
        false => (Gated::open(body, received, recorder.clone()), None),
    };
    let released = gatekeeper.as_ref().map(Gatekeeper::watch);
    let body = CapturedBody::new(body, recorder.clone(), Side::Request);
    let mut outbound = Request::from_parts(head, body);
    let interim = connection.interim.clone().filter(|_| received == Version::HTTP_11);
    let arrived = interim.map(|interim| pass_interim(&mut outbound, interim, gatekeeper));

    // In a block, so that the state of the sending does not stay for as long as the call.
    let answered = {
        let sent = pin!(send(call, &target, version, outbound, recorder));
        while_waking(sent, arrived).await
    };
    let OriginResponse { mut response, mut upstream, upload } = answered?;
    let stream = upstream.stream_place.take();

    if response.status() == StatusCode::SWITCHING_PROTOCOLS || (extended && response.status().is_success()) {
        return Box::pin(switch(connection, response, agent_side, &target, recorder, stream)).await;
    }
    if let Some(next) = rules.origins.next_proxy_for(&target.origin).filter(|_| target.way == Way::NextProxy)
        && response.status() == StatusCode::PROXY_AUTHENTICATION_REQUIRED
    {
        return Err(unauthorized(next));
    }
    // The origin answered without waiting for the body, so the body is never sent, and the connection cannot be reused.
    let unwanted = released.is_some_and(|released| !released.load(Ordering::Acquire));
    let ends_with_it = match (unwanted, upload) {
        (true, _) => Some(DropWithBody::Connection(AbortOnDrop(upstream.task.clone()))),
        (false, Some(upload)) if version != Version::HTTP_2 => Some(outlives(connection, upload, &upstream)),
        (false, Some(upload)) => stream.map(|stream| holds(connection, upload, stream)),
        (false, None) => stream.map(DropWithBody::Stream),
    };
    if !unwanted && !last {
        keep_for_next(connection, upstream, response.headers()).await;
    }
    let unframed = message::reframe(response.headers_mut())
        .map_err(|reason| ProxyError::BadResponse { origin: target.origin.to_string(), reason })?;
    recorder.answered(response.status(), response.headers(), None);
    let framed_by_close = unframed.filter(|_| connection.interim.is_some());
    let until_close = unusual(connection, &mut response, framed_by_close.as_deref(), recorder).await;
    let headers = std::mem::take(response.headers_mut());
    *response.headers_mut() = message::onward(headers, Direction::Back, false);
    if rules.forwarding.via {
        message::add_via(response.headers_mut(), version);
    }
    if unwanted {
        // hyper closes the agent's connection, because it cannot know whether the body comes. The agent knows that it must not wait.
        response.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
    }
    // We send our own HTTP version (RFC 9112 2.3). hyper lowers it for an HTTP/1.0 agent, and does not chunk HTTP/1.0 content.
    *response.version_mut() = match framed_by_close.is_some() && until_close.is_some() {
        true => Version::HTTP_10,
        false => version,
    };
    let content = |body| Content::new((body, version), recorder.clone(), target.origin.clone(), until_close);
    Ok(response.map(|body| {
        AgentBody::Origin(CapturedBody::new(content(body), recorder.clone(), Side::Response), ends_with_it)
    }))
}

/// Forwards and records what hyper cannot hold of a response. `codings`: transfer codings of content that ends with the connection.
/// Returns the connection's [`Responses`] if the content ends with the connection.
async fn unusual(
    connection: &AgentConnection,
    response: &mut Response<Incoming>,
    codings: Option<&[u8]>,
    recorder: &Recorder,
) -> Option<Responses> {
    let ResponseNotes { facts, responses } = response.extensions_mut().remove::<ResponseNotes>()?;
    recorder.origin_faults(&facts.faults);
    let lines = match codings.filter(|_| facts.is_until_close) {
        Some(codings) => [b"Transfer-Encoding: ", codings, b"\r\n", &*facts.lines].concat().into(),
        None => facts.lines,
    };
    if let Some(interim) = connection.interim.as_ref().filter(|_| !lines.is_empty()) {
        recorder.also_received(&lines);
        interim.inset(lines, &connection.flushes).await;
    }
    response.extensions_mut().insert(responses.clone());
    facts.is_until_close.then_some(responses)
}

/// The response came before the whole request was sent. When the response has ended and the origin then reads nothing for
/// [`UPLOAD_STALLS`], its connection is closed. Otherwise it would block the agent's connection, even after the agent has left.
fn outlives(connection: &AgentConnection, upload: Upload<CapturedBody<Gated>>, upstream: &Upstream) -> DropWithBody {
    let (lasts, answered) = until_the_response_ends();
    let task = upstream.task.clone();
    connection.shared.lifecycle.tasks.spawn(async move {
        answered.await;
        if upload.stalls(UPLOAD_STALLS).await.is_some() {
            task.abort();
        }
    });
    lasts
}

/// The response came before the whole request was sent (HTTP/2). Its place is taken until both have ended.
fn holds(connection: &AgentConnection, upload: Upload<CapturedBody<Gated>>, stream: StreamPlace) -> DropWithBody {
    let (lasts, answered) = until_the_response_ends();
    let cut = connection.shared.lifecycle.cut.clone();
    connection.shared.lifecycle.tasks.spawn(async move {
        let ended = async {
            answered.await;
            while upload.stalls(UPLOAD_STALLS).await.is_some() {}
        };
        // An origin may never read the rest. A stopping proxy does not wait for that.
        tokio::select! {
            () = ended => {}
            () = cut.cancelled() => {}
        }
        drop(stream);
    });
    lasts
}

/// What is dropped with a response, and what ends then.
fn until_the_response_ends() -> (DropWithBody, impl Future<Output = ()>) {
    let (lasts, ended) = oneshot::channel();
    let answered = async move {
        // The sender sends nothing: it is dropped with the response.
        let _ = ended.await;
    };
    (DropWithBody::Response(lasts), answered)
}

/// Forwards interim responses to the agent as they come, and releases the body at the first `100 Continue`.
fn pass_interim(
    request: &mut Request<CapturedBody<Gated>>,
    interim: Interim,
    gatekeeper: Option<Gatekeeper>,
) -> Arc<Notify> {
    interim.begin();
    let arrived = Arc::new(Notify::new());
    let (wake, gate) = (arrived.clone(), Mutex::new(gatekeeper));
    let heads = InterimHeads::default();
    request.extensions_mut().insert(heads.clone());
    hyper::ext::on_informational(request, move |response| {
        let came = heads.pop();
        if response.status() == StatusCode::CONTINUE {
            let gate = gate.lock().take();
            if let Some(gatekeeper) = gate {
                // hyper's server sends `100 Continue` itself as soon as the body is read.
                return gatekeeper.open();
            }
        }
        let headers = message::onward(response.headers().clone(), Direction::Back, false);
        interim.send(response.status(), &headers, came.as_ref());
        wake.notify_one();
    });
    arrived
}

/// Awaits `sent`. Each interim response wakes this task, which polls the agent's connection: then the connection writes it.
async fn while_waking<T>(mut sent: Pin<&mut impl Future<Output = T>>, arrived: Option<Arc<Notify>>) -> T {
    loop {
        let Some(arrived) = &arrived else { return sent.await };
        tokio::select! {
            biased;
            done = sent.as_mut() => return done,
            () = arrived.notified() => {}
        }
    }
}

/// The origin has switched protocols. The agent gets this response, and from then on both connections are relayed.
async fn switch(
    connection: &AgentConnection,
    mut response: Response<Incoming>,
    agent_side: Option<OnUpgrade>,
    target: &Target,
    recorder: &Recorder,
    stream: Option<StreamPlace>,
) -> Result<Response<AgentBody>, ProxyError> {
    let Some(agent_side) = agent_side else {
        let reason = "101 Switching Protocols without a request for it".to_owned();
        return Err(ProxyError::BadResponse { origin: target.origin.to_string(), reason });
    };
    let over_http1 = response.version() != Version::HTTP_2;
    let protocol = match (over_http1, response.status()) {
        (true, _) => NewProtocol::after_101(response.headers()),
        (false, StatusCode::OK) => NewProtocol::websocket(response.headers()),
        (false, other) => {
            let reason = format!("{other} in answer to an extended CONNECT");
            return Err(ProxyError::BadResponse { origin: target.origin.to_string(), reason });
        }
    };
    let origin_side = hyper::upgrade::on(&mut response);
    recorder.answered(response.status(), response.headers(), None);
    unusual(connection, &mut response, None, recorder).await;
    let headers = std::mem::take(response.headers_mut());
    *response.headers_mut() = message::onward(headers, Direction::Back, over_http1);
    if over_http1 {
        connection.activity.switch();
    }
    relay_upgraded(connection, protocol, (agent_side, origin_side), recorder.clone(), stream);
    Ok(response.map(|_| AgentBody::Empty))
}
