//! TLS inside a tunnel: decrypted with a certificate of ours, or relayed without decryption.

use std::io;
use std::sync::Arc;
use std::time::Instant;

use bytes::BytesMut;
use http::Version;
use rustls::pki_types::ServerName;
use rustls::server::{Accepted, Acceptor};
use tokio::io::AsyncReadExt;
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_rustls::StartHandshake;

use super::decision::{Decision, Decrypted, Serving};
use super::open::Tunnel;
use crate::capture::{Blind, Failure, Origin};
use crate::cause;
use crate::proxy::acknowledge::{Acknowledge, Prompt};
use crate::proxy::context::Inside;
use crate::proxy::error::ProxyError;
use crate::proxy::hello::{self, Hello};
use crate::proxy::names;
use crate::proxy::refusals::Refusal;
use crate::proxy::rewind::Rewind;
use crate::proxy::upstream::{Target, TlsTarget, Upstream, Way};
use crate::tls::{H2, HTTP11, Offer, SuiteOrder};

/// The largest ClientHello that is read.
const CLIENT_HELLO_LIMIT_BYTES: usize = 64 << 10;

/// Connects to the origin first. So the agent gets the protocol that the origin chose, or a 502 that says what failed.
pub(super) async fn intercept(tunnel: &mut Tunnel, mut agent: TcpStream, mut seen: BytesMut) -> Decision {
    let limit = tunnel.rules.agent_limits.handshake;
    let accepted = match timeout(limit, client_hello(&mut agent, &mut seen)).await {
        Ok(Ok(Some(accepted))) => accepted,
        Ok(Ok(None)) => return unreadable(tunnel, Rewind::new(seen, agent)),
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
    let order = SuiteOrder::of(hello.cipher_suites());
    let (passthrough, refusals) = (&tunnel.rules.passthrough, &tunnel.shared.interception.refusals);
    let blind = passthrough.relays_blind(refusals, &name, tunnel.origin.port).or(match offer {
        None => Some(Blind::UnknownAlpn),
        Some(_) if !crate::tls::speaks_any(hello.cipher_suites()) => Some(Blind::UnknownTls),
        Some(_) if ServerName::try_from(&*name).is_err() => Some(Blind::UnreadableName),
        Some(_) => None,
    });
    let forbidden = forbidden_names(tunnel, sni.as_deref());
    tunnel.is_called(sni.as_ref());
    let offer = match (blind, offer) {
        (None, Some(offer)) => offer,
        (why, _) => {
            let why = why.unwrap_or(Blind::UnknownAlpn);
            return relay_or_end(tunnel, forbidden, Rewind::new(seen, agent), why);
        }
    };
    let origin = Origin { scheme: "https", ..tunnel.origin.clone() };
    let tls = Some(TlsTarget { name: name.clone(), offer });
    let target = Target { origin, at: tunnel.address, tls, way: Way::Tunnel, sharer: tunnel.sharer() };
    let (upstream, broken) = match connect(tunnel, &target, forbidden).await {
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
    let config = match tunnel.shared.interception.leaves.server_config(&name, alpn, order) {
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
            // From here on we know when the agent waits for an acknowledgement.
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

/// The connection to the origin. `forbidden`: what is wrong with the tunnel's names. Names that merely differ are refused later,
/// in the answer to each request.
async fn connect(
    tunnel: &mut Tunnel,
    target: &Target,
    forbidden: Option<ProxyError>,
) -> Result<Box<Upstream>, ProxyError> {
    if let Some(denied) = forbidden.filter(|error| matches!(error, ProxyError::EgressDenied { .. })) {
        return Err(denied);
    }
    tunnel.upstream(target, None).await
}

/// A tunnel that is not decrypted cannot carry an error response. If it is forbidden, it just ends.
fn relay_or_end(tunnel: &Tunnel, forbidden: Option<ProxyError>, agent: Rewind<TcpStream>, why: Blind) -> Decision {
    match forbidden {
        Some(error) => {
            tunnel.recorder.failed(error.failure());
            Decision::Over
        }
        None => Decision::Relay { agent, why },
    }
}

/// A tunnel whose first message the TLS library cannot read.
fn unreadable(tunnel: &Tunnel, agent: Rewind<TcpStream>) -> Decision {
    let Some(Hello { server_name }) = hello::read(agent.seen()) else {
        return relay_or_end(tunnel, None, agent, Blind::UnknownProtocol);
    };
    let name = server_name.map(|name| String::from_utf8_lossy(&name).to_lowercase());
    let forbidden = forbidden_names(tunnel, name.as_deref());
    let is_name = name.is_none_or(|name| ServerName::try_from(name).is_ok());
    relay_or_end(tunnel, forbidden, agent, if is_name { Blind::UnknownTls } else { Blind::UnreadableName })
}

/// Records the tunnel's names if they differ. Returns an error if agents may not call the host in the ClientHello, or if it must
/// be the host of the CONNECT (`proxy.strict_host`).
fn forbidden_names(tunnel: &Tunnel, sni: Option<&str>) -> Option<ProxyError> {
    let Origin { host, port, .. } = &tunnel.origin;
    let names = names::of_tunnel(host, sni)?;
    let differ = names::check(&names).err().filter(|_| tunnel.rules.forwarding.strict_host);
    tunnel.recorder.goes_by(names);
    let denied = sni.and_then(|sni| {
        let denied = tunnel.rules.origins.egress.admits_name(sni, *port).err()?;
        Some(ProxyError::EgressDenied { origin: format!("{sni}:{port}"), denied, address: None })
    });
    denied.or(differ)
}

fn too_slow(tunnel: &Tunnel) -> Decision {
    let limit_ms = tunnel.rules.agent_limits.handshake.as_millis();
    let detail =
        format!("the agent did not end its TLS handshake within {limit_ms} ms (`proxy.handshake_timeout_ms`)");
    tunnel.recorder.failed(Failure { id: "client_tls_timeout", detail });
    Decision::Over
}

/// The agent broke off the handshake. An alert means that it did not accept something, most likely our certificate. Most agents
/// that leave without an alert have another reason, but some clients reject a certificate silently.
async fn refused(tunnel: &Tunnel, name: &str, error: &io::Error) {
    let alerted = error.get_ref().and_then(|inner| inner.downcast_ref::<rustls::Error>());
    let (id, how) = match alerted {
        Some(rustls::Error::AlertReceived(_)) => ("client_refused_certificate", "refused the certificate"),
        Some(_) => ("client_tls_failed", "sent something else than TLS in the middle of the handshake"),
        None => ("agent_left", "closed its connection during the TLS handshake"),
    };
    let interception = &tunnel.shared.interception;
    let advice = &interception.trust_hint;
    let noted = match id {
        "client_refused_certificate" => {
            let learn_for = tunnel.rules.passthrough.learn_for;
            interception.refusals.note(name, tunnel.origin.port, learn_for, Instant::now())
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
            tracing::warn!(%name, %error, "an agent{agent} {how}; {advice} (logged once for each host)")
        }
        Refusal::Another => tracing::debug!(%name, %error, "an agent{agent} {how}"),
        Refusal::Learned(learn_for) => {
            tracing::warn!(%name, %error, ?learn_for, "an agent{agent} {how} again; the host is relayed without decryption for a while");
        }
    }
    tunnel
        .recorder
        .failed(Failure { id, detail: format!("the agent{agent} {how} for `{name}` ({error}); {advice}") });
}

/// Reads the ClientHello. `None`: the library cannot read it.
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
