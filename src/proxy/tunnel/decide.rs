//! What is done with an open tunnel, decided by its first bytes.

use bytes::BytesMut;
use http::Version;
use tokio::net::TcpStream;

use super::blind::blind_by_origin;
use super::decision::{Decision, Decrypted, Serving};
use super::first_bytes::first_bytes;
use super::intercept::intercept;
use super::open::Tunnel;
use crate::capture::{Blind, Origin};
use crate::proxy::context::Inside;
use crate::proxy::rewind::Rewind;
use crate::proxy::sniff::Protocol;
use crate::proxy::upstream::{Target, Way};

/// Decides what is done with a tunnel. `seen`: bytes of the agent that were read already.
pub(in crate::proxy) async fn decide(tunnel: &mut Tunnel, mut agent: TcpStream, mut seen: BytesMut) -> Decision {
    if let Some(why) = blind_by_origin(tunnel) {
        return Decision::Relay { agent: Rewind::new(seen, agent), why };
    }
    let origin = tunnel.dialled.as_mut().map(|dialled| &mut dialled.stream);
    let protocol = match first_bytes(&mut agent, origin, &mut seen).await {
        Ok(protocol) => protocol,
        Err(error) => {
            tracing::debug!(%error, "an agent closed its tunnel before it sent anything");
            return Decision::Over;
        }
    };
    match protocol {
        Protocol::Tls => intercept(tunnel, agent, seen).await,
        Protocol::Http1 => in_clear(tunnel, Version::HTTP_11, Rewind::new(seen, agent)).await,
        Protocol::Http2 => in_clear(tunnel, Version::HTTP_2, Rewind::new(seen, agent)).await,
        Protocol::Unknown => Decision::Relay { agent: Rewind::new(seen, agent), why: Blind::UnknownProtocol },
    }
}

/// Cleartext HTTP inside the tunnel.
async fn in_clear(tunnel: &mut Tunnel, version: Version, agent: Rewind<TcpStream>) -> Decision {
    let origin = Origin { scheme: "http", ..tunnel.origin.clone() };
    let target = Target { origin, at: tunnel.address, tls: None, way: Way::Tunnel, sharer: tunnel.sharer() };
    let (upstream, broken) = match tunnel.upstream(&target, Some(version)).await {
        Ok(upstream) => (Some(upstream), None),
        Err(error) => (None, Some(error)),
    };
    let inside = Inside { target, sni: None, version, broken };
    Decision::Serve(Box::new(Serving { inside, upstream, stream: Decrypted::Clear(agent) }))
}
