//! One HTTP connection to an origin: cleartext or TLS, HTTP/1.1 or HTTP/2.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Instant;

use futures_util::FutureExt as _;
use http::{Request, Response, Version};
use hyper::body::Incoming;
use hyper::client::conn::{TrySendError, http1, http2};
use hyper_util::rt::{TokioIo, TokioTimer};
use rustls::AlertDescription;
use rustls::pki_types::ServerName;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::task::{AbortHandle, Id};
use tokio::time::timeout_at;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use super::dial::dial;
use super::errors::words;
use super::load::{AgentPlace, Load, StreamPlace};
use super::origins::Origins;
use super::receiving::{ReceivedBytes, ReceivingIo};
use super::responses::{OriginIo, Responses};
use super::restore::{NextStandIn, RestoringIo, StandIn};
use super::settings::{OriginSettings, SettingsIo};
use super::target::{Target, TlsTarget};
use super::tcp::{Dialled, OriginStream};
use crate::capture::{Timings, TlsFacts};
use crate::cause;
use crate::proxy::error::ProxyError;
use crate::proxy::h2::{OriginH2, PendingStandIns};
use crate::proxy::interim_heads::InterimHeads;
use crate::proxy::lenient::HTTP1_FIELDS;
use crate::proxy::outgoing::OriginBody;
use crate::proxy::trailers::{TrailerBody, TrailerIo, Trailers};
use crate::tls::{H2, HTTP11, Offer, certificate_failure};

/// HTTP/2 windows towards origins and agents: large enough for a fast stream, small enough for many streams.
pub(in crate::proxy) const H2_STREAM_WINDOW_BYTES: u32 = 1 << 20;
/// Towards agents: see [`H2_STREAM_WINDOW_BYTES`].
pub(in crate::proxy) const H2_CONNECTION_WINDOW_BYTES: u32 = 2 << 20;
/// Towards origins, whose connections several agents may share.
const ORIGIN_WINDOW_BYTES: u32 = 4 << 20;
/// The most requests of agents that share a connection: their stream windows fit into the connection's window (see [`Load`]).
const SHARED_STREAMS: usize = (ORIGIN_WINDOW_BYTES / H2_STREAM_WINDOW_BYTES) as usize;
/// The largest header list over HTTP/2. hyper's default of 16 KiB is less than origins accept.
const H2_HEADER_LIST_BYTES: u32 = 256 << 10;

/// An open connection. Always in a `Box`: it is passed on with each request, and is large.
pub(in crate::proxy) struct Upstream {
    /// Where it leads.
    pub(in crate::proxy) target: Target,
    /// Sends requests on it.
    pub(in crate::proxy) sender: Sender,
    /// The address that answered.
    pub(in crate::proxy) peer: SocketAddr,
    /// The facts of its TLS, if it has TLS.
    pub(in crate::proxy) tls: Option<TlsFacts>,
    /// How long each step of opening it took. The first exchange on it takes these.
    pub(in crate::proxy) dialled: Option<Timings>,
    /// The origin has authenticated the connection itself. It must not serve another agent connection.
    pub(in crate::proxy) bound_to_agent: bool,
    /// The [`Origins::generation`] that it was opened under.
    pub(in crate::proxy) generation: u32,
    /// It was opened for another agent connection, and has not answered a request of this one yet.
    pub(in crate::proxy) lent: bool,
    /// The task that reads and writes it.
    pub(in crate::proxy) task: AbortHandle,
    /// Counts the agent connection that uses it (HTTP/2). `None`: it is the pool's.
    agent_place: Option<Arc<AgentPlace>>,
    /// Counts the request that it was taken for (HTTP/2).
    pub(in crate::proxy) stream_place: Option<StreamPlace>,
}

/// Sends requests on a connection.
pub(in crate::proxy) enum Sender {
    Http1(http1::SendRequest<TrailerBody<OriginBody>>, NextStandIn, Responses, ReceivedBytes, Trailers),
    Http2(http2::SendRequest<TrailerBody<OriginBody>>, OriginSettings, PendingStandIns, Load),
}

impl Upstream {
    /// A connection that was opened just now, for one agent connection.
    fn new(
        target: &Target,
        generation: u32,
        (sender, task): (Sender, AbortHandle),
        peer: SocketAddr,
        tls: Option<TlsFacts>,
        timings: Timings,
    ) -> Box<Self> {
        let agent_place = match &sender {
            Sender::Http1(..) => None,
            Sender::Http2(.., load) => load.enter(SHARED_STREAMS).map(Arc::new),
        };
        Box::new(Self {
            target: target.clone(),
            sender,
            peer,
            tls,
            dialled: Some(timings),
            bound_to_agent: false,
            generation,
            lent: false,
            task,
            agent_place,
            stream_place: None,
        })
    }

    /// Its HTTP version.
    pub(in crate::proxy) fn version(&self) -> Version {
        match self.sender {
            Sender::Http1(..) => Version::HTTP_11,
            Sender::Http2(..) => Version::HTTP_2,
        }
    }

    /// Another handle on the same connection for the same agent connection, because HTTP/2 carries many requests at once. `None` for
    /// HTTP/1.1.
    pub(in crate::proxy) fn shared(&self) -> Option<Box<Self>> {
        self.handle(self.agent_place.clone())
    }

    /// A handle for another agent connection. `None`: it is HTTP/1.1, or has no room.
    pub(super) fn for_another_agent(&self) -> Option<Box<Self>> {
        let place = self.load()?.enter(self.shared_streams())?;
        self.handle(Some(Arc::new(place)))
    }

    /// A handle that no agent connection uses. `None` for HTTP/1.1.
    pub(super) fn for_the_pool(&self) -> Option<Box<Self>> {
        self.handle(None)
    }

    fn handle(&self, agent_place: Option<Arc<AgentPlace>>) -> Option<Box<Self>> {
        let Sender::Http2(sender, settings, waiting, load) = &self.sender else { return None };
        Some(Box::new(Self {
            target: self.target.clone(),
            sender: Sender::Http2(sender.clone(), settings.clone(), waiting.clone(), load.clone()),
            peer: self.peer,
            tls: self.tls,
            dialled: None,
            bound_to_agent: self.bound_to_agent,
            generation: self.generation,
            lent: self.lent,
            task: self.task.clone(),
            agent_place,
            stream_place: None,
        }))
    }

    /// What it carries. `None` for HTTP/1.1.
    pub(super) fn load(&self) -> Option<&Load> {
        match &self.sender {
            Sender::Http1(..) => None,
            Sender::Http2(.., load) => Some(load),
        }
    }

    /// Whether another agent connection can use it.
    pub(super) fn has_room(&self) -> bool {
        self.load().is_none_or(|load| load.admits(self.shared_streams()))
    }

    /// The most requests at once while several agent connections use it.
    fn shared_streams(&self) -> usize {
        match &self.sender {
            Sender::Http1(..) => 1,
            Sender::Http2(_, settings, ..) => SHARED_STREAMS.min(settings.streams()),
        }
    }

    /// Counts a request on it from now on. `false`: it is shared and has no room for this request. `large`: the request has more
    /// content than [`SHARED_CONTENT_MAX_BYTES`](super::load::SHARED_CONTENT_MAX_BYTES).
    pub(in crate::proxy) fn begin(&mut self, large: bool) -> bool {
        let (Some(load), Some(agent)) = (self.load(), &self.agent_place) else { return true };
        self.stream_place = load.begin(agent, self.shared_streams(), large);
        self.stream_place.is_some()
    }

    /// Waits until the origin admits the request that it was taken for (HTTP/2).
    pub(in crate::proxy) async fn admitted(&mut self) {
        if let Some(place) = &mut self.stream_place {
            place.admitted().await;
        }
    }

    /// The request that it was taken for is answered.
    pub(in crate::proxy) fn answered(&mut self) {
        if let Some(place) = &mut self.stream_place {
            place.answered();
        }
    }

    /// Identifies it among all connections.
    pub(in crate::proxy) fn id(&self) -> Id {
        self.task.id()
    }

    /// How many bytes were received on it. Always 0 for HTTP/2, where the count says nothing about a single request.
    pub(in crate::proxy) fn received_bytes(&self) -> u64 {
        match &self.sender {
            Sender::Http1(.., heard, _) => heard.bytes(),
            Sender::Http2(..) => 0,
        }
    }

    /// Whether it can carry a request, now or after the current one.
    pub(in crate::proxy) fn is_usable(&self) -> bool {
        match &self.sender {
            Sender::Http1(sender, ..) => !sender.is_closed(),
            Sender::Http2(sender, ..) => !sender.is_closed(),
        }
    }

    /// Whether it can carry a request right now.
    pub(in crate::proxy) fn is_idle(&self) -> bool {
        match &self.sender {
            Sender::Http1(sender, ..) => sender.is_ready(),
            Sender::Http2(sender, ..) => sender.is_ready(),
        }
    }

    /// Whether the origin accepts extended CONNECT, or did so the last time. Does not keep the connection.
    pub(in crate::proxy) fn offers_extended_connect(
        &self,
        origins: Arc<Origins>,
    ) -> impl Future<Output = bool> + Send + use<> {
        let settings = match &self.sender {
            Sender::Http1(..) => None,
            Sender::Http2(_, settings, ..) => Some(settings.clone()),
        };
        let target = self.target.clone();
        async move {
            let (Some(settings), remembered) = (settings, &origins.websockets) else { return false };
            if settings.extended_connect().is_none()
                && let Some(taken) = remembered.get(&target)
            {
                // What it says this time is for its next connection.
                let origins = origins.clone();
                origins.tasks.clone().spawn(async move {
                    if let Some(known) = settings.wait().await {
                        origins.websockets.note(&target, known);
                    }
                });
                return taken;
            }
            let taken = settings.takes_extended_connect().await;
            if let Some(known) = settings.extended_connect() {
                remembered.note(&target, known);
            }
            taken
        }
    }

    /// Whether the origin accepts extended CONNECT (RFC 8441). Waits a moment for the origin's settings.
    pub(in crate::proxy) async fn takes_extended_connect(&self) -> bool {
        match &self.sender {
            Sender::Http1(..) => false,
            Sender::Http2(_, settings, ..) => settings.takes_extended_connect().await,
        }
    }
}

impl Sender {
    /// Waits until a request can be sent.
    pub(in crate::proxy) async fn ready(&mut self) -> hyper::Result<()> {
        match self {
            Self::Http1(sender, ..) => sender.ready().await,
            Self::Http2(sender, ..) => sender.ready().await,
        }
    }

    /// Sends a request. The error returns the request if the connection accepted no byte of it.
    pub(in crate::proxy) async fn send(
        &mut self,
        request: Request<OriginBody>,
    ) -> Result<Response<Incoming>, TrySendError<Request<TrailerBody<OriginBody>>>> {
        match self {
            Self::Http1(sender, next, responses, _, trailers) => {
                responses.collect_interim(request.extensions().get::<InterimHeads>().cloned());
                next.set(request.extensions().get::<StandIn>().cloned());
                responses.expect(request.method());
                let mut response = sender
                    .try_send_request(request.map(|body| TrailerBody::new(body, None, Some(trailers.clone()))))
                    .await?;
                responses.annotate(&mut response);
                Ok(response)
            }
            Self::Http2(sender, _, waiting, _) => {
                waiting.add(request.extensions().get::<StandIn>());
                sender.try_send_request(request.map(|body| TrailerBody::new(body, None, None))).await
            }
        }
    }
}

/// Opens a connection to `target`. `expected`: the HTTP version of the agent's side, if it is fixed already. `dialled`: the TCP
/// connection, if it is open already.
///
/// # Errors
/// The step that failed, and why.
pub(in crate::proxy) async fn open(
    origins: &Origins,
    target: &Target,
    expected: Option<Version>,
    dialled: Option<Dialled>,
) -> Result<Box<Upstream>, ProxyError> {
    let limit = origins.connect_timeout;
    let deadline = tokio::time::Instant::now() + limit;
    let Dialled { stream, peer, mut timings } = match dialled {
        Some(dialled) => dialled,
        None => dial(origins, &target.origin, target.at, target.way, deadline).await?,
    };
    let origin = target.origin.to_string();
    let generation = origins.generation;
    let Some(tls) = &target.tls else {
        let driven = handshake(origins, stream, expected.unwrap_or(Version::HTTP_11), &origin).await?;
        return Ok(Upstream::new(target, generation, driven, peer, None, timings));
    };
    let began = Instant::now();
    let offer = narrowed(tls.offer, expected);
    let stream = timeout_at(deadline, tls_connect(origins, target, tls, offer, stream))
        .await
        .map_err(|_| ProxyError::Timeout { origin: origin.clone(), step: "TLS handshake", limit })??;
    timings.tls = Some(began.elapsed());
    let (_, session) = stream.get_ref();
    let facts = TlsFacts {
        version: match session.protocol_version() {
            Some(rustls::ProtocolVersion::TLSv1_2) => "TLSv1.2",
            _ => "TLSv1.3",
        },
        alpn: match session.alpn_protocol() {
            Some(H2) => Some("h2"),
            Some(HTTP11) => Some("http/1.1"),
            _ => None,
        },
        pinned: origins.tls.pins(&tls.name, target.origin.port),
    };
    let version = if facts.alpn == Some("h2") { Version::HTTP_2 } else { Version::HTTP_11 };
    if let Some(expected) = expected.filter(|e| *e != version) {
        let protocol = if expected == Version::HTTP_2 { "h2" } else { "http/1.1" };
        return Err(ProxyError::Protocol { origin, protocol });
    }
    let driven = handshake(origins, stream, version, &origin).await?;
    Ok(Upstream::new(target, generation, driven, peer, Some(facts), timings))
}

/// The ALPN offer. Once the version of the agent's side is fixed, only that version is offered.
fn narrowed(offer: Offer, expected: Option<Version>) -> Offer {
    match (offer, expected) {
        (Offer::None, _) | (_, None) => offer,
        (_, Some(Version::HTTP_2)) => Offer::H2,
        (_, Some(_)) => Offer::Http11,
    }
}

async fn tls_connect(
    origins: &Origins,
    target: &Target,
    tls: &TlsTarget,
    offer: Offer,
    stream: OriginStream,
) -> Result<TlsStream<OriginStream>, ProxyError> {
    let origin = target.origin.to_string();
    let name = ServerName::try_from(tls.name.to_string()).map_err(|_| ProxyError::Tls {
        origin: origin.clone(),
        reason: format!("`{}` is not a valid server name", tls.name),
    })?;
    let config = origins.tls_sessions.resuming(origins.tls.offering(&tls.name, target.origin.port, offer), target);
    TlsConnector::from(config).connect(name, stream).await.map_err(|e| tls_error(&e, &origin))
}

fn tls_error(error: &io::Error, origin: &str) -> ProxyError {
    let origin = origin.to_owned();
    match error.get_ref().and_then(|e| e.downcast_ref::<rustls::Error>()) {
        Some(rustls::Error::InvalidCertificate(why)) => {
            let (check, reason) = certificate_failure(why);
            ProxyError::Certificate { origin, check, reason }
        }
        Some(rustls::Error::AlertReceived(AlertDescription::HandshakeFailure)) => {
            ProxyError::NoCommonCipher { origin, alert: "handshake_failure" }
        }
        Some(rustls::Error::AlertReceived(AlertDescription::InsufficientSecurity)) => {
            ProxyError::NoCommonCipher { origin, alert: "insufficient_security" }
        }
        Some(other) => ProxyError::Tls { origin, reason: cause::chain(other) },
        None => ProxyError::Tls { origin, reason: cause::chain(error) },
    }
}

async fn handshake<S>(
    origins: &Origins,
    stream: S,
    version: Version,
    origin: &str,
) -> Result<(Sender, AbortHandle), ProxyError>
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let failed = |e: hyper::Error| ProxyError::BadResponse { origin: origin.to_owned(), reason: words(&e) };
    if version == Version::HTTP_2 {
        let (stream, waiting) = OriginH2::new(stream);
        let (stream, settings) = SettingsIo::of(stream);
        let (sender, connection) = http2::Builder::new(origins.tasks.clone())
            .timer(TokioTimer::new())
            .initial_stream_window_size(H2_STREAM_WINDOW_BYTES)
            .initial_connection_window_size(ORIGIN_WINDOW_BYTES)
            .max_header_list_size(H2_HEADER_LIST_BYTES)
            .handshake(TokioIo::new(stream))
            .await
            .map_err(failed)?;
        let load = Load::new(settings.clone());
        return Ok((Sender::Http2(sender, settings, waiting, load), drive(origins, connection)));
    }
    let (stream, heard) = ReceivingIo::of(stream);
    let (stream, next) = RestoringIo::new(stream);
    let (stream, responses) = OriginIo::new(stream);
    let (stream, trailers) = TrailerIo::new(stream);
    let (sender, connection) = http1::Builder::new()
        .preserve_header_case(true)
        .max_headers(HTTP1_FIELDS)
        .handshake(TokioIo::new(stream))
        .await
        .map_err(failed)?;
    Ok((Sender::Http1(sender, next, responses, heard, trailers), drive(origins, connection.with_upgrades())))
}

/// Reads and writes a connection in the background.
fn drive(origins: &Origins, connection: impl Future<Output = hyper::Result<()>> + Send + 'static) -> AbortHandle {
    // Not an `async` block, which would hold the connection's state twice.
    origins.tasks.spawn(connection.map(|ended| {
        if let Err(error) = ended {
            tracing::debug!(%error, "a connection to an origin ended");
        }
    }))
}
