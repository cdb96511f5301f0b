//! The way to an origin: directly, or through the next proxy.

use std::net::{IpAddr, SocketAddr};

use bytes::BytesMut;
use tokio::time::{Instant, timeout_at};
use tokio_util::either::Either;

use super::next_proxy;
use super::origins::Origins;
use super::target::Way;
use super::tcp::{Dialled, dial_host, is_own_listener, too_late};
use crate::capture::Origin;
use crate::proxy::egress::literal_address;
use crate::proxy::error::ProxyError;
use crate::proxy::rewind::Rewind;

/// Connects to `origin` by `deadline`. `at`: its address, if the agent called that.
///
/// # Errors
/// The step that failed, and why.
pub(in crate::proxy) async fn dial(
    origins: &Origins,
    origin: &Origin,
    at: Option<IpAddr>,
    way: Way,
    deadline: Instant,
) -> Result<Dialled, ProxyError> {
    let Some(proxy) = origins.next_proxy_for(origin) else {
        let (host, shown) = (&*origin.host, origin.to_string());
        let (tcp, peer, timings) =
            dial_host(origins, Some(&origins.egress), (host, at), origin.port, &shown, deadline).await?;
        return Ok(Dialled { stream: Rewind::new(BytesMut::new(), Either::Left(tcp)), peer, timings });
    };
    let shown = || origin.to_string();
    let address = literal_address(&origin.host).map(|ip| SocketAddr::new(ip, origin.port));
    if address.is_some_and(|address| is_own_listener(address, address, &origins.own_listeners)) {
        return Err(ProxyError::Loop { origin: shown() });
    }
    let admitted = origins.egress.admits_unresolved(&origin.host, origin.port);
    admitted.map_err(|denied| ProxyError::EgressDenied { origin: shown(), denied, address: None })?;
    let mut dialled = next_proxy::connect(origins, proxy, deadline).await?;
    if way == Way::Tunnel {
        let asked = Instant::now();
        let tunnelled = timeout_at(deadline, next_proxy::tunnel(dialled.stream, proxy, origin)).await;
        dialled.stream = tunnelled.map_err(|_| too_late(origins, &proxy.to_string(), "CONNECT"))??;
        // The time for opening the tunnel is part of the connect time.
        dialled.timings.connect = dialled.timings.connect.map(|took| took + asked.elapsed());
    }
    Ok(dialled)
}
