//! One TCP connection to a host: resolve, check each address, connect. Each step is timed.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use tokio::net::TcpStream;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep, timeout_at};
use tokio_rustls::client::TlsStream;
use tokio_util::either::Either;

use super::origins::Origins;
use crate::capture::Timings;
use crate::proxy::egress::Egress;
use crate::proxy::error::ProxyError;
use crate::proxy::rewind::Rewind;

/// After this long without an answer the next address is tried beside the first (RFC 8305 section 5).
const NEXT_ADDRESS_AFTER: Duration = Duration::from_millis(250);

/// How often an idle connection sends an empty segment. The systems' count of unanswered ones (8 or 9) ends a dead one in two minutes.
const STAY_KNOWN: Duration = Duration::from_secs(15);

/// The stream that carries the bytes to an origin: a TCP connection, or TLS to the next proxy. Some of the origin's bytes may have
/// been read ahead.
pub(in crate::proxy) type OriginStream = Rewind<Either<TcpStream, Box<TlsStream<TcpStream>>>>;

/// A new connection to an origin, directly or through the next proxy.
pub(in crate::proxy) struct Dialled {
    pub(in crate::proxy) stream: OriginStream,
    /// The address that was dialled: the origin's, or the next proxy's.
    pub(in crate::proxy) peer: SocketAddr,
    pub(in crate::proxy) timings: Timings,
}

pub(super) fn too_late(origins: &Origins, shown: &str, step: &'static str) -> ProxyError {
    ProxyError::Timeout { origin: shown.to_owned(), step, limit: origins.connect_timeout }
}

/// A TCP connection to a host. Never to one of our own listeners, nor to an address that `egress` denies. `at`: the address that the
/// agent called for it. Anybody can claim a name for an address, so where only the name is in the list of allowed hosts, the name is
/// resolved instead. `shown`: the host's name in messages.
///
/// # Errors
/// The step that failed, and why.
pub(super) async fn dial_host(
    origins: &Origins,
    egress: Option<&Egress>,
    (host, at): (&str, Option<IpAddr>),
    port: u16,
    shown: &str,
    deadline: Instant,
) -> Result<(TcpStream, SocketAddr, Timings), ProxyError> {
    let began = Instant::now();
    let late = |step| too_late(origins, shown, step);
    let denied = |denied, address| ProxyError::EgressDenied { origin: shown.to_owned(), denied, address };
    if let Some(egress) = egress {
        egress.admits_name(host, port).map_err(|why| denied(why, None))?;
    }
    let at = at.filter(|ip| egress.is_none_or(|egress| egress.allows_address(*ip, port)));
    let resolved = match at {
        Some(ip) => vec![SocketAddr::new(ip, port)],
        None => timeout_at(deadline, origins.resolver.resolve(host, port))
            .await
            .map_err(|_| late("name resolution"))??,
    };
    let judge = |address: SocketAddr| {
        let ip = address.ip();
        egress.map_or(Ok(()), |egress| egress.admits(host, ip, port)).map_err(|why| denied(why, Some(ip)))
    };
    let addresses = admitted(resolved, judge)?;
    let resolved = Instant::now();
    let failed = |e: io::Error| connect_error(shown, &e);
    let mut connected = timeout_at(deadline, connect(&addresses)).await.map_err(|_| late("connect"))?;
    // The agent's connection to us is open, so it does not try the next address itself.
    if connected.is_err() && at.is_some() && host.parse::<IpAddr>().is_err() {
        let others = timeout_at(deadline, origins.resolver.resolve(host, port)).await;
        let mut others = others.ok().and_then(Result::ok).unwrap_or_default();
        others.retain(|other| !addresses.contains(other) && judge(*other).is_ok());
        if !others.is_empty() {
            connected = timeout_at(deadline, connect(&others)).await.map_err(|_| late("connect"))?;
        }
    }
    let stream = connected.map_err(failed)?;
    let (peer, local) = (stream.peer_addr().map_err(failed)?, stream.local_addr().map_err(failed)?);
    if is_own_listener(peer, local, &origins.own_listeners) {
        return Err(ProxyError::Loop { origin: shown.to_owned() });
    }
    // The address that the system has connected to counts, whatever was asked for.
    judge(peer)?;
    // We write whole messages: waiting for more data only costs the 40 ms of a delayed ACK.
    stream.set_nodelay(true).map_err(failed)?;
    stay_known(&stream);
    let dns = (at.is_none() && host.parse::<IpAddr>().is_err()).then_some(resolved - began);
    Ok((stream, peer, Timings { dns, connect: Some(resolved.elapsed()), ..Timings::default() }))
}

/// Keeps an idle connection known to what translates addresses on its way. Otherwise a request on a kept connection could get lost
/// without a word.
fn stay_known(stream: &TcpStream) {
    use rustix::net::sockopt::{set_socket_keepalive, set_tcp_keepidle, set_tcp_keepintvl};
    // If a system refuses, connections are as they would be anyway.
    let _ = set_tcp_keepidle(stream, STAY_KNOWN).and_then(|()| set_tcp_keepintvl(stream, STAY_KNOWN));
    let _ = set_socket_keepalive(stream, true);
}

/// The addresses that may be dialled. An error if there are none.
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

/// Tries the addresses in the resolver's order. The next one is tried as soon as one fails or is slow. The first to answer wins.
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

/// Alternates the address families. So a broken family costs one step, not one step for each address (RFC 8305 section 4).
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

/// Whether a connection from `local` to `peer` has reached one of our own listeners.
pub(super) fn is_own_listener(peer: SocketAddr, local: SocketAddr, own: &[SocketAddr]) -> bool {
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
    fn only_allowed_addresses_of_a_name_are_dialled() {
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
        assert!(is_own_listener(at("127.0.0.1:8080"), at("127.0.0.1:5000"), &own));
        assert!(is_own_listener(at("[::ffff:127.0.0.1]:8080"), at("[::ffff:127.0.0.1]:5000"), &own));
        assert!(!is_own_listener(at("127.0.0.2:8080"), at("127.0.0.1:5000"), &own));
        assert!(!is_own_listener(at("127.0.0.1:8081"), at("127.0.0.1:5000"), &own));
        assert!(is_own_listener(at("0.0.0.0:8080"), at("0.0.0.0:8080"), &own), "no address is this machine");
        let open = [at("0.0.0.0:8080")];
        assert!(is_own_listener(at("127.0.0.2:8080"), at("127.0.0.1:5000"), &open));
        assert!(is_own_listener(at("10.0.0.7:8080"), at("10.0.0.7:5000"), &open));
        assert!(!is_own_listener(at("10.0.0.8:8080"), at("10.0.0.7:5000"), &open));
    }
}
