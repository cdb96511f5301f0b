//! CONNECT: dial, then decide by the first bytes whether the inside is intercepted, served or relayed.

use std::io;
use std::pin::Pin;
use std::sync::Arc;

use bytes::BytesMut;
use http::header::CONNECTION;
use http::{HeaderMap, HeaderValue, Method, Request, Response, StatusCode, Version};
use hyper::body::Incoming;
use hyper::upgrade::{OnUpgrade, Parts};
use rustls::pki_types::ServerName;
use rustls::server::{Accepted, Acceptor};
use tokio::io::AsyncReadExt;
use tokio::net::TcpStream;
use tokio::time::{Instant, timeout};
use tokio_rustls::StartHandshake;
use tokio_rustls::server::TlsStream;

use super::acknowledge::{Acknowledge, Prompt};
use super::agent::Agent;
use super::body::AgentBody;
use super::connection::{AgentConnection, Inside, serve_inside};
use super::error::ProxyError;
use super::guard::Guarded;
use super::hello::{self, Hello};
use super::interim::AgentIo;
use super::refusals::Refusal;
use super::relay::relay;
use super::rewound::Rewound;
use super::sniff::{Protocol, sniff};
use super::upstream::{Dialled, OriginStream, Target, TlsTarget, Upstream, Way, dial, open};
use super::{Shared, message, names, respond};
use crate::capture::{Blind, Caller, Failure, Fields, Kind, Origin, Recorder, RequestFacts, Upstreamed};
use crate::cause;
use crate::tls::{H2, HTTP11, Offer};

/// The largest ClientHello that is waited for.
const CLIENT_HELLO_LIMIT_BYTES: usize = 64 << 10;

/// A tunnel on its way: who wants to go where, and what is known of it.
pub(super) struct Tunnel {
    pub(super) shared: Arc<Shared>,
    pub(super) agent: Arc<Agent>,
    pub(super) caller: Caller,
    /// `tcp`, host and port as CONNECT named them.
    pub(super) origin: Origin,
    /// The TCP connection to the origin; none if an idle connection to it is there already.
    pub(super) dialled: Option<Dialled>,
    pub(super) recorder: Recorder,
}

/// Answers a CONNECT: 200 once the origin can be reached, else the reason why not.
pub(super) async fn connect(
    connection: &Arc<AgentConnection>,
    mut request: Request<Incoming>,
) -> Response<AgentBody> {
    let shared = &connection.shared;
    let target = match &connection.inside {
        None => message::connect_target(request.uri()),
        Some(_) => Err(ProxyError::BadRequest { reason: "CONNECT inside a tunnel is not served".into() }),
    };
    let (host, port) = target.as_ref().map_or_else(|_| (String::new(), 0), Clone::clone);
    let origin = Origin { scheme: "tcp", host: host.into(), port };
    let caller = match connection.caller(request.headers()) {
        Ok(caller) => caller,
        Err(_) => {
            let recorder = begin(connection, Caller::Proxy, &request, origin);
            return closing(respond::unauthorized(&shared.admission, request.method(), &recorder));
        }
    };
    let recorder = begin(connection, caller.clone(), &request, origin.clone());
    let dialled = match target {
        Ok(_) if !shared.recording.admits() => Err(ProxyError::NotRecordable),
        Ok(_) => match connection.agent.may_ask(&shared.admission.quotas, &caller) {
            Ok(()) => reach(shared, &origin).await,
            Err(error) => Err(error),
        },
        Err(error) => Err(error),
    };
    match dialled {
        Err(error) => closing(respond::failure(&error, request.method(), &recorder)),
        Ok(dialled) => {
            recorder.answered(StatusCode::OK, &HeaderMap::new(), None);
            let agent_side = hyper::upgrade::on(&mut request);
            let (shared, agent) = (shared.clone(), connection.agent.clone());
            let tunnel = Tunnel { shared: shared.clone(), agent, caller, origin, dialled, recorder };
            shared.lifecycle.tasks.spawn(boxed(tunnel, agent_side));
            Response::new(AgentBody::Empty)
        }
    }
}

/// What follows a CONNECT is not read as HTTP, whatever became of it.
fn closing(mut response: Response<AgentBody>) -> Response<AgentBody> {
    response.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
    response
}

/// The record of a tunnel that was asked for by SOCKS, which has no header fields; it is shown as a CONNECT.
pub(super) fn begin_socks(shared: &Shared, agent: &Agent, caller: Caller, origin: Origin) -> Recorder {
    let facts = RequestFacts::without_body(Method::CONNECT, origin.authority(), None, Fields::default());
    let recorder =
        Recorder::begin(&shared.recording, Kind::Tunnel, (agent.address, caller), origin, Version::HTTP_11, facts);
    recorder.called_by(&agent.sought);
    recorder
}

/// Serves a tunnel whose agent has been told that it is open. `seen`: what was read of it already.
pub(super) fn serve(tunnel: Tunnel, stream: TcpStream, seen: BytesMut) -> Pin<Box<dyn Future<Output = ()> + Send>> {
    Box::pin(run(tunnel, stream, seen))
}

impl Tunnel {
    /// Why it is relayed blind, if it is: by the name of its host, or by the address that answered.
    fn relays_blind(&self) -> Option<Blind> {
        let Origin { host, port, .. } = &self.origin;
        // Through the next proxy, the address is that proxy's.
        let direct = self.dialled.as_ref().filter(|_| self.shared.origins.next_proxy_for(&self.origin).is_none());
        let interception = &self.shared.interception;
        let by_address = || interception.relays_address_blind(direct?.peer.ip(), *port);
        interception.relays_blind(host, *port).or_else(by_address)
    }
}

fn begin(connection: &AgentConnection, caller: Caller, request: &Request<Incoming>, origin: Origin) -> Recorder {
    let headers = Fields::from(request.headers());
    let facts = RequestFacts::without_body(request.method().clone(), origin.authority(), None, headers);
    let recorder = Recorder::begin(
        &connection.shared.recording,
        Kind::Tunnel,
        (connection.agent.address, caller),
        origin,
        request.version(),
        facts,
    );
    recorder.called_by(&connection.agent.sought);
    recorder
}

/// A connection to the origin, so that a failure is told now; none if an idle one shows that it can be reached.
pub(super) async fn reach(shared: &Shared, origin: &Origin) -> Result<Option<Dialled>, ProxyError> {
    let blind = shared.interception.relays_blind(&origin.host, origin.port).is_some();
    if !blind && shared.pool.knows(&origin.host, origin.port) {
        return Ok(None);
    }
    dial_now(shared, origin).await.map(Some)
}

async fn dial_now(shared: &Shared, origin: &Origin) -> Result<Dialled, ProxyError> {
    dial(&shared.origins, origin, Way::Tunnel, Instant::now() + shared.origins.connect_timeout).await
}

/// What is done with a tunnel, once its first bytes have told what it is.
enum Decision {
    /// HTTP is served on the inside.
    Serve(Box<Serving>),
    /// The bytes are relayed unread, for this reason.
    Relay { agent: Rewound<TcpStream>, why: Blind },
    /// The agent has gone, or refused us.
    Over,
}

/// A tunnel whose inside is HTTP.
struct Serving {
    inside: Inside,
    upstream: Option<Upstream>,
    stream: Decrypted,
}

/// The inside of a tunnel.
enum Decrypted {
    Tls(Box<TlsStream<Prompt<TcpStream>>>),
    Clear(Rewound<TcpStream>),
}

/// A tunnel's inside is served by the same code that opened it: the type of that circle is cut here.
fn boxed(tunnel: Tunnel, agent_side: OnUpgrade) -> Pin<Box<dyn Future<Output = ()> + Send>> {
    Box::pin(async move {
        let opened = match agent_side.await {
            Ok(upgraded) => upgraded.downcast::<AgentIo<Guarded<TcpStream>>>(),
            Err(error) => return tracing::debug!(%error, "an agent left before its tunnel was open"),
        };
        match opened {
            Ok(Parts { io, read_buf, .. }) => {
                let (stream, held) = io.into_inner().into_parts();
                let mut seen = BytesMut::from(&read_buf[..]);
                seen.unsplit(held);
                run(tunnel, stream, seen).await;
            }
            Err(_) => tunnel.recorder.failed(Failure {
                id: "proxy_internal",
                detail: "the tunnel's stream is not the one that was accepted".to_owned(),
            }),
        }
    })
}

async fn run(mut tunnel: Tunnel, agent: TcpStream, seen: BytesMut) {
    let cut = tunnel.shared.lifecycle.cut.clone();
    // Boxed: what setting up needs is not to be carried along for as long as the tunnel is served.
    let decision = tokio::select! {
        decision = Box::pin(decide(&mut tunnel, agent, seen)) => decision,
        () = cut.cancelled() => return tunnel.recorder.failed(Failure {
            id: "proxy_shutdown",
            detail: "the proxy was stopped while the tunnel was being set up".to_owned(),
        }),
    };
    match decision {
        Decision::Serve(serving) => {
            let Serving { inside, upstream, stream } = *serving;
            let Tunnel { shared, agent, caller, recorder, .. } = tunnel;
            recorder.discard();
            drop(recorder);
            match stream {
                Decrypted::Tls(stream) => serve_inside(shared, (agent, caller), inside, upstream, stream).await,
                Decrypted::Clear(stream) => serve_inside(shared, (agent, caller), inside, upstream, stream).await,
            }
        }
        Decision::Relay { agent, why } => {
            tunnel.recorder.relayed_blind(why);
            relay_blind(tunnel, agent).await;
        }
        Decision::Over => {}
    }
}

async fn decide(tunnel: &mut Tunnel, mut agent: TcpStream, mut seen: BytesMut) -> Decision {
    if let Some(why) = tunnel.relays_blind() {
        return Decision::Relay { agent: Rewound::new(seen, agent), why };
    }
    let protocol = match first_bytes(tunnel, &mut agent, &mut seen).await {
        Ok(protocol) => protocol,
        Err(error) => {
            tracing::debug!(%error, "an agent left its tunnel at once");
            return Decision::Over;
        }
    };
    match protocol {
        Protocol::Tls => intercept(tunnel, agent, seen).await,
        Protocol::Http1 => in_clear(tunnel, Version::HTTP_11, Rewound::new(seen, agent)).await,
        Protocol::Http2 => in_clear(tunnel, Version::HTTP_2, Rewound::new(seen, agent)).await,
        Protocol::Unknown => Decision::Relay { agent: Rewound::new(seen, agent), why: Blind::UnknownProtocol },
    }
}

/// Reads until the protocol is known. An origin that speaks first is none that we serve, unless it speaks HTTP/2:
/// there, both sides begin at once.
async fn first_bytes(tunnel: &mut Tunnel, agent: &mut TcpStream, seen: &mut BytesMut) -> io::Result<Protocol> {
    let mut origin = tunnel.dialled.as_mut().map(|dialled| &mut dialled.stream);
    loop {
        if let Some(protocol) = sniff(seen) {
            return Ok(protocol);
        }
        if !seen.is_empty() {
            agent.acknowledge();
        }
        let read = match &mut origin {
            Some(stream) => tokio::select! {
                biased;
                read = agent.read_buf(seen) => read?,
                http2 = begins_http2(stream) => match http2 {
                    true => {
                        origin = None;
                        continue;
                    }
                    false => return Ok(Protocol::Unknown),
                },
            },
            None => agent.read_buf(seen).await?,
        };
        if read == 0 {
            return Ok(Protocol::Unknown);
        }
    }
}

/// Waits until the origin speaks, and tells whether that is the SETTINGS frame that an HTTP/2 server may send before
/// it has heard anything (RFC 9113 3.4). What it said stays unread.
async fn begins_http2(origin: &mut OriginStream) -> bool {
    // Three bytes of length (no frame may be longer than 16 KiB yet: the first is 0), the type, no flags, stream 0.
    const SETTINGS: [u8; 6] = [4, 0, 0, 0, 0, 0];
    loop {
        match &origin.seen()[..] {
            [0, _, _, header @ ..] if header.starts_with(&SETTINGS) => return true,
            [0, _, _, header @ ..] if !SETTINGS.starts_with(header) => return false,
            [] | [0, ..] => {}
            _ => return false,
        }
        if !matches!(origin.read_ahead().await, Ok(1..)) {
            return false;
        }
    }
}

/// TLS: the origin first, so that the agent gets the protocol that the origin chose, or a 502 that says why not.
async fn intercept(tunnel: &mut Tunnel, mut agent: TcpStream, mut seen: BytesMut) -> Decision {
    let limit = tunnel.shared.agent_limits.handshake;
    let accepted = match timeout(limit, client_hello(&mut agent, &mut seen)).await {
        Ok(Ok(Some(accepted))) => accepted,
        Ok(Ok(None)) => return unreadable(tunnel, Rewound::new(seen, agent)),
        Ok(Err(error)) => {
            tracing::debug!(%error, "an agent left during its handshake");
            return Decision::Over;
        }
        Err(_) => return too_slow(tunnel),
    };
    let hello = accepted.client_hello();
    let sni: Option<Arc<str>> = hello.server_name().map(|n| n.trim_end_matches('.').to_ascii_lowercase().into());
    let name = sni.clone().unwrap_or_else(|| tunnel.origin.host.clone());
    let offer = Offer::of(hello.alpn().into_iter().flatten());
    let blind = tunnel.shared.interception.relays_blind(&name, tunnel.origin.port).or(match offer {
        None => Some(Blind::UnknownAlpn),
        Some(_) if !crate::tls::speaks_any(hello.cipher_suites()) => Some(Blind::UnknownTls),
        Some(_) if ServerName::try_from(&*name).is_err() => Some(Blind::UnreadableName),
        Some(_) => None,
    });
    let forbidden = by_its_names(tunnel, sni.as_deref());
    let offer = match (blind, offer) {
        (None, Some(offer)) => offer,
        (why, _) => return unread(tunnel, forbidden, Rewound::new(seen, agent), why.unwrap_or(Blind::UnknownAlpn)),
    };
    let shared = &tunnel.shared;
    let origin = Origin { scheme: "https", ..tunnel.origin.clone() };
    let target = Target { origin, tls: Some(TlsTarget { name: name.clone(), offer }), way: Way::Tunnel };
    // Names that differ are told in answer to each request.
    let denied = forbidden.filter(|error| matches!(error, ProxyError::EgressDenied { .. }));
    let opened = match denied {
        Some(denied) => Err(denied),
        None => match shared.pool.take(&target) {
            Some(pooled) => Ok(pooled),
            None => open(&shared.origins, &target, None, tunnel.dialled.take()).await,
        },
    };
    let (upstream, broken) = match opened {
        Ok(upstream) => (Some(upstream), None),
        Err(error) => (None, Some(error)),
    };
    let alpn = match (&upstream, offer) {
        (Some(upstream), _) => upstream.tls.and_then(|facts| facts.alpn).map(str::as_bytes),
        (None, Offer::H2) => Some(H2),
        (None, Offer::None) => None,
        (None, _) => Some(HTTP11),
    };
    let version = if alpn == Some(H2) { Version::HTTP_2 } else { Version::HTTP_11 };
    let config = match shared.interception.leaves.server_config(&name, alpn) {
        Ok(config) => config,
        Err(error) => {
            tracing::warn!(%error, "cannot intercept");
            tunnel.recorder.failed(Failure { id: "leaf_not_minted", detail: error.to_string() });
            return Decision::Over;
        }
    };
    let handshake = StartHandshake::from_parts(accepted, Prompt::new(agent));
    match timeout(limit, handshake.into_stream(config)).await {
        Err(_) => too_slow(tunnel),
        Ok(Ok(mut stream)) => {
            // From here on it is known what the agent is sending.
            stream.get_mut().0.rest();
            let inside = Inside { target, sni, version, broken };
            Decision::Serve(Box::new(Serving { inside, upstream, stream: Decrypted::Tls(Box::new(stream)) }))
        }
        Ok(Err(error)) => {
            refused(tunnel, &name, &error).await;
            Decision::Over
        }
    }
}

/// What is relayed unread cannot be answered: where it is refused, it can only be ended.
fn unread(tunnel: &Tunnel, refused: Option<ProxyError>, agent: Rewound<TcpStream>, why: Blind) -> Decision {
    match refused {
        Some(error) => {
            tunnel.recorder.failed(error.failure());
            Decision::Over
        }
        None => Decision::Relay { agent, why },
    }
}

/// A tunnel whose first message the TLS library does not take.
fn unreadable(tunnel: &Tunnel, agent: Rewound<TcpStream>) -> Decision {
    let Some(Hello { server_name }) = hello::read(agent.seen()) else {
        return unread(tunnel, None, agent, Blind::UnknownProtocol);
    };
    let name = server_name.map(|name| String::from_utf8_lossy(&name).to_lowercase());
    let refused = by_its_names(tunnel, name.as_deref());
    let is_name = name.is_none_or(|name| ServerName::try_from(name).is_ok());
    unread(tunnel, refused, agent, if is_name { Blind::UnknownTls } else { Blind::UnreadableName })
}

/// Notes the names that the tunnel goes by, and says why they forbid it, if they do: no agent may call the host that the TLS
/// asks for, or it is another one than CONNECT named (`proxy.strict_host`).
fn by_its_names(tunnel: &Tunnel, sni: Option<&str>) -> Option<ProxyError> {
    let Origin { host, port, .. } = &tunnel.origin;
    let names = names::of_tunnel(host, sni)?;
    let differ = names::strict(&names).err().filter(|_| tunnel.shared.forwarding.strict_host);
    tunnel.recorder.goes_by(names);
    let denied = sni.and_then(|sni| {
        let denied = tunnel.shared.origins.egress.admits_name(sni, *port).err()?;
        Some(ProxyError::EgressDenied { origin: format!("{sni}:{port}"), denied, address: None })
    });
    denied.or(differ)
}

/// The agent did not end its handshake in time.
fn too_slow(tunnel: &Tunnel) -> Decision {
    let limit_ms = tunnel.shared.agent_limits.handshake.as_millis();
    let detail =
        format!("the agent did not end its TLS handshake within {limit_ms} ms (`proxy.handshake_timeout_ms`)");
    tunnel.recorder.failed(Failure { id: "client_tls_timeout", detail });
    Decision::Over
}

/// The agent broke the handshake with us off. An alert says that it did not like something; most that leave without one
/// do so for another reason, but some clients distrust silently.
async fn refused(tunnel: &Tunnel, name: &str, error: &io::Error) {
    let alerted = error.get_ref().and_then(|inner| inner.downcast_ref::<rustls::Error>());
    let (id, how) = match alerted {
        Some(rustls::Error::AlertReceived(_)) => ("client_refused_certificate", "refused the certificate"),
        Some(_) => ("client_tls_failed", "sent something else than TLS in the middle of the handshake"),
        None => ("agent_left", "closed its connection during the TLS handshake"),
    };
    let advice = &tunnel.shared.interception.trust_hint;
    let noted = match id {
        "client_refused_certificate" => {
            tunnel.shared.interception.refusals.note(name, tunnel.origin.port, std::time::Instant::now())
        }
        _ => Refusal::Another,
    };
    let process = tunnel.agent.process().await;
    let agent = process.map_or_else(String::new, |process| {
        let facts = &process.facts;
        format!(" ({}, process {})", facts.name, facts.pid)
    });
    let error = cause::chain(error);
    match noted {
        Refusal::First => {
            tracing::warn!(%name, %error, "an agent{agent} {how}; {advice} (this is told once for each host)")
        }
        Refusal::Another => tracing::debug!(%name, %error, "an agent{agent} {how}"),
        Refusal::Learned(learn_for) => {
            tracing::warn!(%name, %error, ?learn_for, "an agent{agent} {how} again; the host is relayed unread for a while");
        }
    }
    tunnel
        .recorder
        .failed(Failure { id, detail: format!("the agent{agent} {how} for `{name}` ({error}); {advice}") });
}

/// Reads the ClientHello. `None`: what came is not one after all.
async fn client_hello(agent: &mut TcpStream, seen: &mut BytesMut) -> io::Result<Option<Accepted>> {
    let mut acceptor = Acceptor::default();
    let mut fed = 0;
    loop {
        while fed < seen.len() {
            let read = acceptor.read_tls(&mut &seen[fed..])?;
            fed += read;
            match acceptor.accept() {
                Ok(Some(accepted)) => return Ok(Some(accepted)),
                Ok(None) if read > 0 => {}
                _ => return Ok(None),
            }
        }
        agent.acknowledge();
        if seen.len() > CLIENT_HELLO_LIMIT_BYTES || agent.read_buf(seen).await? == 0 {
            return Ok(None);
        }
    }
}

/// HTTP in clear inside the tunnel.
async fn in_clear(tunnel: &mut Tunnel, version: Version, agent: Rewound<TcpStream>) -> Decision {
    let origin = Origin { scheme: "http", ..tunnel.origin.clone() };
    let target = Target { origin, tls: None, way: Way::Tunnel };
    let opened = open(&tunnel.shared.origins, &target, Some(version), tunnel.dialled.take()).await;
    let (upstream, broken) = match opened {
        Ok(upstream) => (Some(upstream), None),
        Err(error) => (None, Some(error)),
    };
    let inside = Inside { target, sni: None, version, broken };
    Decision::Serve(Box::new(Serving { inside, upstream, stream: Decrypted::Clear(agent) }))
}

async fn relay_blind(mut tunnel: Tunnel, agent: Rewound<TcpStream>) {
    let dialled = match tunnel.dialled.take() {
        Some(dialled) => Ok(dialled),
        None => dial_now(&tunnel.shared, &tunnel.origin).await,
    };
    match dialled {
        Ok(Dialled { stream, peer, timings }) => {
            tunnel.recorder.forwarded(&Upstreamed { peer: Some(peer), tls: None, reused: false, dialled: timings });
            relay(Prompt::new(agent), stream, &tunnel.recorder, &tunnel.shared.lifecycle.cut).await;
        }
        Err(error) => tunnel.recorder.failed(error.failure()),
    }
}
