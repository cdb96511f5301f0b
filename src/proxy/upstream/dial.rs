//! From a host and a port to a TCP connection: resolve, then try the addresses, each step timed.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::time::{Duration, Instant};

use tokio::net::{TcpStream, lookup_host};
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout_at};

use crate::capture::{Origin, Timings};
use crate::proxy::error::ProxyError;

/// After this long without an answer the next address is tried beside the first (RFC 8305 section 5).
const NEXT_ADDRESS_AFTER: Duration = Duration::from_millis(250);

/// A TCP connection and what making it took.
pub(in crate::proxy) struct Dialled {
    pub(in crate::proxy) stream: TcpStream,
    pub(in crate::proxy) peer: SocketAddr,
    pub(in crate::proxy) timings: Timings,
}

/// Connects to `origin`, but never to one of `own` (the proxy's own listeners).
pub(in crate::proxy) async fn dial(
    origin: &Origin,
    own: &[SocketAddr],
    deadline: tokio::time::Instant,
    limit: Duration,
) -> Result<Dialled, ProxyError> {
    let began = Instant::now();
    let too_late = |step| ProxyError::Timeout { origin: origin.to_string(), step, limit };
    let addresses = timeout_at(deadline, resolve(origin)).await.map_err(|_| too_late("name resolution"))??;
    let resolved = Instant::now();
    let connected = timeout_at(deadline, connect(&addresses)).await.map_err(|_| too_late("connect"))?;
    let stream = connected.map_err(|e| connect_error(origin, &e))?;
    let failed = |e: io::Error| connect_error(origin, &e);
    let (peer, local) = (stream.peer_addr().map_err(failed)?, stream.local_addr().map_err(failed)?);
    if leads_home(peer, local, own) {
        return Err(ProxyError::Loop { origin: origin.to_string() });
    }
    // Whole exchanges are handed over, not pieces: waiting for more to send only costs the 40 ms of a delayed ACK.
    stream.set_nodelay(true).map_err(failed)?;
    let dns = origin.host.parse::<IpAddr>().is_err().then_some(resolved - began);
    Ok(Dialled { stream, peer, timings: Timings { dns, connect: Some(resolved.elapsed()), ..Timings::default() } })
}

/// The system's resolver, so that `/etc/hosts` and search domains work as they do for the agent.
async fn resolve(origin: &Origin) -> Result<Vec<SocketAddr>, ProxyError> {
    if let Ok(ip) = origin.host.parse::<IpAddr>() {
        return Ok(vec![SocketAddr::new(ip, origin.port)]);
    }
    let failed = |reason: String| ProxyError::Dns { host: origin.host.to_string(), reason };
    let found = lookup_host((&*origin.host, origin.port)).await.map_err(|e| failed(resolver_words(&e)))?;
    let addresses: Vec<_> = found.collect();
    if addresses.is_empty() { Err(failed("it has no address".to_owned())) } else { Ok(addresses) }
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
        let this_machine = peer_ip == local_ip || peer_ip.is_loopback();
        peer.port() == listener.port() && (peer_ip == listening || (listening.is_unspecified() && this_machine))
    })
}

fn connect_error(origin: &Origin, error: &io::Error) -> ProxyError {
    let origin = origin.to_string();
    match error.kind() {
        io::ErrorKind::ConnectionRefused => ProxyError::Refused { origin },
        _ => ProxyError::Unreachable { origin, reason: error.to_string() },
    }
}

/// "failed to lookup address information: Name or service not known" -> its last part.
fn resolver_words(error: &io::Error) -> String {
    let text = error.to_string();
    text.rsplit_once(": ").map_or(text.clone(), |(_, reason)| reason.to_owned())
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
    fn own_listeners_are_recognised_by_every_address_that_leads_to_them() {
        let own = [at("127.0.0.1:8080")];
        assert!(leads_home(at("127.0.0.1:8080"), at("127.0.0.1:5000"), &own));
        assert!(leads_home(at("[::ffff:127.0.0.1]:8080"), at("[::ffff:127.0.0.1]:5000"), &own));
        assert!(!leads_home(at("127.0.0.2:8080"), at("127.0.0.1:5000"), &own));
        assert!(!leads_home(at("127.0.0.1:8081"), at("127.0.0.1:5000"), &own));
        let open = [at("0.0.0.0:8080")];
        assert!(leads_home(at("127.0.0.2:8080"), at("127.0.0.1:5000"), &open));
        assert!(leads_home(at("10.0.0.7:8080"), at("10.0.0.7:5000"), &open));
        assert!(!leads_home(at("10.0.0.8:8080"), at("10.0.0.7:5000"), &open));
    }
}
