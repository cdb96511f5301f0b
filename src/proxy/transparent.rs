//! Connections that the system redirected to us (`listen.transparent`, `run --netns`). The agent knows of no proxy: it called an
//! address, and its first bytes name the host. The connection becomes a tunnel to that address.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use bytes::BytesMut;
use http::{HeaderMap, StatusCode};
use rustix::net::sockopt::set_socket_linger;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;

use super::agent::Agent;
use super::door::Door;
use super::egress::Denied;
use super::error::ProxyError;
use super::redirected_host;
use super::rules::Rules;
use super::shared::Shared;
use super::sniff::Protocol;
use super::tunnel::{Accepted, Tunnel, begin_bare, dial_now, first_bytes};
use super::upstream::Dialled;
use crate::capture::Origin;
use crate::peer::{Ends, Place, User};
use crate::system::users;

/// An agent that has sent nothing for this long may wait for its server to speak first, so the server is dialled.
const SPEAKS_FIRST: Duration = Duration::from_millis(250);

/// How long somebody who called us directly may take to send something before the refusal.
const CALLED_DIRECTLY: Duration = Duration::from_secs(1);

/// The answer to a connection that nobody redirected.
const NOT_REDIRECTED: &str = "otas-proxy: this port serves only connections that the system redirects to it. It is no proxy for \
    HTTP_PROXY (use `listen.proxy`), and a call to the port itself leads nowhere.\n";

/// Where a connection was redirected from.
pub(super) enum Redirected {
    /// The agent called the local address of these ends.
    From(Ends),
    /// It called us.
    Nowhere,
}

/// Asks the system where a connection was redirected from.
///
/// # Errors
/// When the agent has left.
pub(super) fn origin_of(stream: &TcpStream, peer: SocketAddr, door: Door) -> io::Result<Redirected> {
    let local = stream.local_addr()?;
    let plain = Ends::new(peer, local);
    let Some(called) = destination(stream, plain.peer.is_ipv4()) else { return Ok(Redirected::Nowhere) };
    // Only this machine's own connections are redirected to a loopback address.
    let place = match door {
        Door::ProxyInside | Door::RedirectedInside => Place::Namespace,
        _ if local.ip().to_canonical().is_loopback() => Place::Redirected,
        _ => Place::ByAddress,
    };
    let ends = Ends::at(place, peer, called);
    Ok(if ends.local == plain.local { Redirected::Nowhere } else { Redirected::From(ends) })
}

/// The address that the agent called (`SO_ORIGINAL_DST`, `IP6T_SO_ORIGINAL_DST`). `None`: the system has not redirected anything.
#[cfg(target_os = "linux")]
fn destination(stream: &TcpStream, is_ipv4: bool) -> Option<SocketAddr> {
    let socket = socket2::SockRef::from(stream);
    let called = if is_ipv4 { socket.original_dst_v4() } else { socket.original_dst_v6() };
    called.ok()?.as_socket()
}

#[cfg(not(target_os = "linux"))]
fn destination(_: &TcpStream, _: bool) -> Option<SocketAddr> {
    None
}

/// Says why a connection that nobody redirected is not served.
pub(super) async fn refuse(mut stream: TcpStream, peer: SocketAddr) {
    tracing::warn!(%peer, "closed a connection to a transparent port that nobody redirected");
    // Unread bytes would make the system discard the answer.
    let mut unread = [0; 4096];
    let _ = timeout(CALLED_DIRECTLY, stream.read(&mut unread)).await;
    let answer = format!(
        "HTTP/1.1 421 Misdirected Request\r\nContent-Type: text/plain\r\nContent-Length: {}\r\nConnection: close\r\n\r\n{NOT_REDIRECTED}",
        NOT_REDIRECTED.len()
    );
    let _ = timeout(CALLED_DIRECTLY, stream.write_all(answer.as_bytes())).await;
    let _ = stream.shutdown().await;
}

/// Opens the tunnel of a redirected connection. `None`: the agent was refused, or has left.
pub(super) async fn accept(
    shared: Arc<Shared>,
    rules: Arc<Rules>,
    agent: Arc<Agent>,
    mut stream: TcpStream,
) -> Option<Accepted> {
    let called = agent.ends.local;
    let origin = Origin { scheme: "tcp", host: called.ip().to_string().into(), port: called.port() };
    let caller = agent.caller.clone();
    let recorder = begin_bare(&shared, &agent, caller.clone(), origin.clone());
    let (dialled, address) = (None, Some(called.ip()));
    let mut tunnel = Box::new(Tunnel { shared, rules, agent, caller, origin, address, dialled, recorder });
    let mut seen = BytesMut::new();
    match prepare(&mut tunnel, &mut stream, &mut seen).await {
        Ok(Ok(())) => {
            tunnel.recorder.answered(StatusCode::OK, &HeaderMap::new(), None);
            Some(Accepted { tunnel, stream, seen })
        }
        Ok(Err(error)) => {
            tunnel.recorder.answered(error.row().status, &HeaderMap::new(), Some(error.failure()));
            tracing::debug!(%error, "a redirected connection was refused");
            // Like a server that refuses: the agent sees a reset, not an orderly end.
            let _ = set_socket_linger(&stream, Some(Duration::ZERO));
            None
        }
        Err(error) => {
            tracing::debug!(%error, "an agent left before its tunnel was open");
            None
        }
    }
}

/// Admits the agent, reads what it sends first, and dials where that does not name a host.
async fn prepare(
    tunnel: &mut Tunnel,
    stream: &mut TcpStream,
    seen: &mut BytesMut,
) -> io::Result<Result<(), ProxyError>> {
    if let Err(error) = admit(tunnel).await {
        return Ok(Err(error));
    }
    let protocol = match timeout(SPEAKS_FIRST, first_bytes(stream, None, seen)).await {
        Ok(protocol) => Some(protocol?),
        Err(_) => None,
    };
    match protocol {
        Some(Protocol::Tls | Protocol::Http2) => Ok(Ok(())),
        Some(Protocol::Http1) => {
            let limits = tunnel.rules.agent_limits;
            let host = redirected_host::read(stream, seen, limits.header_bytes);
            if let Ok(host) = timeout(limits.header, host).await {
                tunnel.is_called(host?.as_ref());
            }
            Ok(Ok(()))
        }
        Some(Protocol::Unknown) => Ok(dial(tunnel).await.map(|dialled| tunnel.dialled = Some(dialled))),
        None => match dial(tunnel).await {
            Ok(dialled) => {
                tunnel.dialled = Some(dialled);
                Ok(Ok(()))
            }
            // The name that is still to come may be in the list.
            Err(ProxyError::EgressDenied { denied: Denied::NotListed, .. }) => named_late(tunnel, stream, seen).await,
            Err(error) => Ok(Err(error)),
        },
    }
}

/// Waits for the first bytes of an agent whose address alone may not be called.
async fn named_late(
    tunnel: &mut Tunnel,
    stream: &mut TcpStream,
    seen: &mut BytesMut,
) -> io::Result<Result<(), ProxyError>> {
    match timeout(tunnel.rules.agent_limits.handshake, first_bytes(stream, None, seen)).await {
        Ok(Ok(Protocol::Tls | Protocol::Http1 | Protocol::Http2)) => Ok(Ok(())),
        Ok(Ok(Protocol::Unknown)) | Err(_) => Ok(dial(tunnel).await.map(|dialled| tunnel.dialled = Some(dialled))),
        Ok(Err(error)) => Err(error),
    }
}

async fn dial(tunnel: &Tunnel) -> Result<Dialled, ProxyError> {
    dial_now(&tunnel.rules.origins, &tunnel.origin, tunnel.address).await
}

/// Whether the agent may call at all.
async fn admit(tunnel: &Tunnel) -> Result<(), ProxyError> {
    let Tunnel { shared, rules, agent, caller, origin, .. } = tunnel;
    if !shared.recording.admits() {
        return Err(ProxyError::NotRecordable);
    }
    // A rule that redirects our own connections, too, would lead each of them back to us.
    let own = users::effective().is_some_and(|uid| agent.user == Some(User::Local(uid)));
    if own
        && agent.ends.place == Place::Redirected
        && agent.process().await.is_some_and(|process| process.facts.pid == std::process::id())
    {
        tracing::warn!(%origin, "a rule redirects the proxy's own connections to itself; exempt the proxy's user in it");
        return Err(ProxyError::Loop { origin: origin.to_string() });
    }
    agent.admit_request(&shared.admission.quotas, rules.callers.share, caller)
}
