//! Tunnels that are relayed without decryption.

use tokio::net::TcpStream;

use super::open::{Tunnel, dial_now};
use crate::capture::{Blind, Origin, Upstreamed};
use crate::proxy::acknowledge::Prompt;
use crate::proxy::relay::relay;
use crate::proxy::rewind::Rewind;
use crate::proxy::upstream::Dialled;

/// Why a tunnel is relayed without decryption: because of its host's name, or because of the address that answered. `None`: its
/// first bytes decide.
pub(super) fn blind_by_origin(tunnel: &Tunnel) -> Option<Blind> {
    let Origin { host, port, .. } = &tunnel.origin;
    let (rules, refusals) = (&tunnel.rules, &tunnel.shared.interception.refusals);
    // Through the next proxy, the address is that proxy's.
    let is_direct = || rules.origins.next_proxy_for(&tunnel.origin).is_none();
    let dialled = || tunnel.dialled.as_ref().filter(|_| is_direct()).map(|dialled| dialled.peer.ip());
    let by_address = || rules.passthrough.relays_address_blind(tunnel.address.or_else(dialled)?, *port);
    rules.passthrough.relays_blind(refusals, host, *port).or_else(by_address)
}

/// Relays a tunnel's bytes until it ends.
pub(in crate::proxy) async fn relay_blind(mut tunnel: Tunnel, agent: Rewind<TcpStream>) {
    let dialled = match tunnel.dialled.take() {
        Some(dialled) => Ok(dialled),
        None => dial_now(&tunnel.rules.origins, &tunnel.origin, tunnel.address).await,
    };
    match dialled {
        Ok(Dialled { stream, peer, timings }) => {
            tunnel.recorder.forwarded(&Upstreamed { peer: Some(peer), tls: None, reused: false, dialled: timings });
            relay(Prompt::new(agent), stream, &tunnel.recorder, &tunnel.shared.lifecycle.cut).await;
        }
        Err(error) => tunnel.recorder.failed(error.failure()),
    }
}
