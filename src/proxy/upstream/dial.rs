//! From an origin to a connection: directly (resolve, then try the addresses) or through the next proxy, each step timed.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use bytes::BytesMut;
use tokio::net::TcpStream;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep, timeout_at};
use tokio_rustls::client::TlsStream;
use tokio_util::either::Either;

use super::next_proxy;
use super::origins::Origins;
use crate::capture::{Origin, Timings};
use crate::proxy::egress::{Egress, written_out};
use crate::proxy::error::ProxyError;
use crate::proxy::rewound::Rewound;

/// After this long without an answer the next address is tried beside the first (RFC 8305 section 5).
const NEXT_ADDRESS_AFTER: Duration = Duration::from_millis(250);

/// What bytes to an origin go over: a TCP connection, or a TLS session with the next proxy. Some of what the origin said
/// may have been read ahead.
pub(in crate::proxy) type OriginStream = Rewound<Either<TcpStream, Box<TlsStream<TcpStream>>>>;

/// A connection to an origin, directly or through the next proxy, and what making it took.
pub(in crate::proxy) struct Dialled {
    pub(in crate::proxy) stream: OriginStream,
    /// The address that was dialled: the origin's, or the next proxy's.
    pub(in crate::proxy) peer: SocketAddr,
    pub(in crate::proxy) timings: Timings,
}

/// How an origin is reached.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(in crate::proxy) enum Way {
    /// By a connection that carries its bytes alone: to it, or through the next proxy.
    Tunnel,
    /// By asking the next proxy for it, request by request, as is done for `http` URLs (RFC 9112 3.2.2).
    NextProxy,
}

/// Connects to `origin` by `deadline`.
pub(in crate::proxy) async fn dial(
    origins: &Origins,
    origin: &Origin,
    way: Way,
    deadline: Instant,
) -> Result<Dialled, ProxyError> {
    let Some(proxy) = origins.next_proxy_for(origin) else {
        let (target, shown) = ((&*origin.host, origin.port), origin.to_string());
        let (tcp, peer, timings) = dial_host(origins, Some(&origins.egress), target, &shown, deadline).await?;
        return Ok(Dialled { stream: Rewound::new(BytesMut::new(), Either::Left(tcp)), peer, timings });
    };
    let shown = || origin.to_string();
    let asked = written_out(&origin.host).map(|ip| SocketAddr::new(ip, origin.port));
    if asked.is_some_and(|asked| leads_home(asked, asked, &origins.own_listeners)) {
        return Err(ProxyError::Loop { origin: shown() });
    }
    let admitted = origins.egress.admits_unresolved(&origin.host, origin.port);
    admitted.map_err(|denied| ProxyError::EgressDenied { origin: shown(), denied, address: None })?;
    let mut dialled = next_proxy::connect(origins, proxy, deadline).await?;
    if way == Way::Tunnel {
        let asked = Instant::now();
        let tunnelled = timeout_at(deadline, next_proxy::tunnel(dialled.stream, proxy, origin)).await;
        dialled.stream = tunnelled.map_err(|_| too_late(origins, &proxy.to_string(), "CONNECT"))??;
        // What asking for the tunnel takes is part of connecting.
        dialled.timings.connect = dialled.timings.connect.map(|took| took + asked.elapsed());
    }
    Ok(dialled)
}

pub(super) fn too_late(origins: &Origins, shown: &str, step: &'static str) -> ProxyError {
    ProxyError::Timeout { origin: shown.to_owned(), step, limit: origins.connect_timeout }
}

/// A TCP connection to a host, but never to one of our own listeners, nor to where `egress` forbids to go. `shown`: what messages
/// call it.
pub(super) async fn dial_host(
    origins: &Origins,
    egress: Option<&Egress>,
    (host, port): (&str, u16),
    shown: &str,
    deadline: Instant,
) -> Result<(TcpStream, SocketAddr, Timings), ProxyError> {
    let began = Instant::now();
    let late = |step| too_late(origins, shown, step);
    let denied = |denied, address| ProxyError::EgressDenied { origin: shown.to_owned(), denied, address };
    if let Some(egress) = egress {
        egress.admits_name(host, port).map_err(|why| denied(why, None))?;
    }
    let resolved =
        timeout_at(deadline, origins.resolver.resolve(host, port)).await.map_err(|_| late("name resolution"))??;
    let judge = |address: SocketAddr| {
        let ip = address.ip();
        egress.map_or(Ok(()), |egress| egress.admits(host, ip, port)).map_err(|why| denied(why, Some(ip)))
    };
    let addresses = admitted(resolved, judge)?;
    let resolved = Instant::now();
    let failed = |e: io::Error| connect_error(shown, &e);
    let connected = timeout_at(deadline, connect(&addresses)).await.map_err(|_| late("connect"))?;
    let stream = connected.map_err(failed)?;
    let (peer, local) = (stream.peer_addr().map_err(failed)?, stream.local_addr().map_err(failed)?);
    if leads_home(peer, local, &origins.own_listeners) {
        return Err(ProxyError::Loop { origin: shown.to_owned() });
    }
    // Where the system has connected us to counts, whatever it was asked for.
    judge(peer)?;
    // Whole exchanges are handed over, not pieces: waiting for more to send only costs the 40 ms of a delayed ACK.
    stream.set_nodelay(true).map_err(failed)?;
    let dns = host.parse::<IpAddr>().is_err().then_some(resolved - began);
    Ok((stream, peer, Timings { dns, connect: Some(resolved.elapsed()), ..Timings::default() }))
}

/// The addresses that may be dialled; an error if there are none.
fn admitted(
    addresses: Vec<SocketAddr>,
    judge: impl Fn(SocketAddr) -> Result<(), ProxyError>,
) -> Result<Vec<SocketAddr>, ProxyError> {
    let (mut may, mut why_not) = (Vec::with_capacity(addresses.len()), None);
    for address in addresses {
        match judge(address) {
            Ok(()) => may.push(address),
            Err(error) => why_not = Some(error),
        }
    }
    match why_not {
        Some(error) if may.is_empty() => Err(error),
        _ => Ok(may),
    }
}

/// Tries the addresses in the resolver's order, the next one as soon as one fails or is slow; the first to answer wins.
async fn connect(addresses: &[SocketAddr]) -> io::Result<TcpStream> {
    if let [only] = addresses {
        return TcpStream::connect(only).await;
    }
    let mut left = alternating(addresses).into_iter();
    let mut trying = JoinSet::new();
    let mut last_error = None;
    loop {
        if let Some(address) = left.next() {
            trying.spawn(TcpStream::connect(address));
        }
        tokio::select! {
            Some(done) = trying.join_next() => match done {
                Ok(Ok(stream)) => return Ok(stream),
                Ok(Err(e)) => last_error = Some(e),
                Err(e) => last_error = Some(io::Error::other(e)),
            },
            () = sleep(NEXT_ADDRESS_AFTER), if left.len() > 0 => {}
            else => return Err(last_error.unwrap_or_else(|| io::ErrorKind::NotFound.into())),
        }
    }
}

/// The families in turns, so that a broken one costs one step and not all of its addresses (RFC 8305 section 4).
fn alternating(addresses: &[SocketAddr]) -> Vec<SocketAddr> {
    let first_is_v6 = addresses.first().is_some_and(SocketAddr::is_ipv6);
    let (mut same, mut other) = (
        addresses.iter().filter(|a| a.is_ipv6() == first_is_v6),
        addresses.iter().filter(|a| a.is_ipv6() != first_is_v6),
    );
    let mut all = Vec::with_capacity(addresses.len());
    loop {
        let (a, b) = (same.next(), other.next());
        if a.is_none() && b.is_none() {
            return all;
        }
        all.extend(a.into_iter().chain(b));
    }
}

/// Whether a connection to `peer`, from `local`, has reached one of our own listeners.
fn leads_home(peer: SocketAddr, local: SocketAddr, own: &[SocketAddr]) -> bool {
    let (peer_ip, local_ip) = (peer.ip().to_canonical(), local.ip().to_canonical());
    own.iter().any(|listener| {
        let listening = listener.ip().to_canonical();
        let this_machine = peer_ip == local_ip || peer_ip.is_loopback() || peer_ip.is_unspecified();
        let of_any =
            (listening.is_unspecified() && this_machine) || (peer_ip.is_unspecified() && listening.is_loopback());
        peer.port() == listener.port() && (peer_ip == listening || of_any)
    })
}

fn connect_error(shown: &str, error: &io::Error) -> ProxyError {
    let origin = shown.to_owned();
    match error.kind() {
        io::ErrorKind::ConnectionRefused => ProxyError::Refused { origin },
        _ => ProxyError::Unreachable { origin, reason: error.to_string() },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(s: &str) -> SocketAddr {
        s.parse().unwrap()
    }

    #[test]
    fn families_take_turns_starting_with_the_resolvers_first() {
        let given = ["[::1]:1", "[::2]:1", "1.1.1.1:1", "[::3]:1", "2.2.2.2:1"].map(at);
        let wanted = ["[::1]:1", "1.1.1.1:1", "[::2]:1", "2.2.2.2:1", "[::3]:1"].map(at);
        assert_eq!(alternating(&given), wanted);
    }

    #[test]
    fn of_what_a_name_resolves_to_only_that_is_dialled_which_may_be() {
        let all = ["10.0.0.1:1", "127.0.0.1:1", "[::1]:1"].map(at).to_vec();
        let may = |address: SocketAddr| match address.ip().is_loopback() {
            true => Err(ProxyError::NotRecordable),
            false => Ok(()),
        };
        assert_eq!(admitted(all.clone(), may), Ok(vec![all[0]]));
        assert_eq!(admitted(all[1..].to_vec(), may), Err(ProxyError::NotRecordable));
        assert_eq!(admitted(all.clone(), |_| Ok(())), Ok(all));
    }

    #[test]
    fn own_listeners_are_recognised_by_every_address_that_leads_to_them() {
        let own = [at("127.0.0.1:8080")];
        assert!(leads_home(at("127.0.0.1:8080"), at("127.0.0.1:5000"), &own));
        assert!(leads_home(at("[::ffff:127.0.0.1]:8080"), at("[::ffff:127.0.0.1]:5000"), &own));
        assert!(!leads_home(at("127.0.0.2:8080"), at("127.0.0.1:5000"), &own));
        assert!(!leads_home(at("127.0.0.1:8081"), at("127.0.0.1:5000"), &own));
        assert!(leads_home(at("0.0.0.0:8080"), at("0.0.0.0:8080"), &own), "no address is this machine");
        let open = [at("0.0.0.0:8080")];
        assert!(leads_home(at("127.0.0.2:8080"), at("127.0.0.1:5000"), &open));
        assert!(leads_home(at("10.0.0.7:8080"), at("10.0.0.7:5000"), &open));
        assert!(!leads_home(at("10.0.0.8:8080"), at("10.0.0.7:5000"), &open));
    }
}
