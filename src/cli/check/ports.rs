//! The ports of `serve`: free, its own, or somebody else's.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener};
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;

use super::holder;
use super::line::Line;

/// A proxy on this machine answers at once, unless the machine is very busy.
const PATIENCE: Duration = Duration::from_secs(5);
/// More of an answer is not read.
const LIMIT_BYTES: u64 = 256 << 10;

/// `listen.proxy`. Nothing is sent there: it would be a call, with an event. The admin port, or the system, tells who listens.
pub(super) async fn proxy(address: SocketAddr, admin: SocketAddr) -> Line {
    match bound("listen.proxy", address) {
        Err(Taken) if is_ours(address, admin).await => {
            Line::ok("listen.proxy", format!("an otas-proxy listens on {address}"))
        }
        bound => bound.unwrap_or_else(|Taken| taken("listen.proxy", "--listen-proxy", address)),
    }
}

/// `listen.admin`
pub(super) async fn admin(address: SocketAddr) -> Line {
    match bound("listen.admin", address) {
        Err(Taken) if answers(address, "/readyz", is_readiness).await => {
            Line::ok("listen.admin", format!("an otas-proxy listens on {address}"))
        }
        bound => bound.unwrap_or_else(|Taken| taken("listen.admin", "--listen-admin", address)),
    }
}

/// Somebody listens there.
struct Taken;

fn bound(what: &str, address: SocketAddr) -> Result<Line, Taken> {
    match TcpListener::bind(address) {
        Ok(_) if address.port() == 0 => Ok(Line::ok(what, format!("{address}: any free port"))),
        Ok(_) => Ok(Line::ok(what, format!("{address} is free"))),
        Err(error) if error.kind() == io::ErrorKind::AddrInUse => Err(Taken),
        Err(error) => {
            let cure = match error.kind() {
                io::ErrorKind::PermissionDenied => format!("Choose a port above 1023 for `{what}`"),
                io::ErrorKind::AddrNotAvailable => format!("Give `{what}` an address of this machine"),
                _ => format!("Choose another address for `{what}`"),
            };
            Ok(Line::fail(what, format!("cannot listen on {address}: {error}"), cure))
        }
    }
}

fn taken(what: &str, flag: &str, address: SocketAddr) -> Line {
    let by = holder::of(address.port()).map(|holder| format!(" by {holder}")).unwrap_or_default();
    let cure =
        format!("Stop what listens there, or choose another port (`{what}`, {flag}); `run` picks free ones itself");
    Line::fail(what, format!("{address} is taken{by}"), cure)
}

async fn is_ours(address: SocketAddr, admin: SocketAddr) -> bool {
    let named = holder::of(address.port()).is_some_and(|holder| holder.starts_with("`otas-proxy`"));
    named || answers(admin, "/status", |answer| listens(answer, address.port())).await
}

/// Whether a proxy's `/status` says that it listens on this port.
fn listens(answer: &str, port: u16) -> bool {
    let status =
        answer.split_once("\r\n\r\n").and_then(|(_, body)| serde_json::from_str::<serde_json::Value>(body).ok());
    let at = status.as_ref().and_then(|status| status["listens"].as_array()).into_iter().flatten();
    at.filter_map(|at| at.as_str()?.parse::<SocketAddr>().ok()).any(|at| at.port() == port)
}

fn is_readiness(head: &str) -> bool {
    let says_so = head.starts_with("http/1.1 200 ") || head.starts_with("http/1.1 503 ");
    says_so && head.contains("\r\ncontent-type: application/json\r\n")
}

/// Whether what listens on `address` answers like one of ours. `as_ours` gets the answer in lower case.
async fn answers(address: SocketAddr, path: &str, as_ours: impl Fn(&str) -> bool) -> bool {
    let host = match address.ip() {
        IpAddr::V4(ip) if ip.is_unspecified() => IpAddr::V4(Ipv4Addr::LOCALHOST),
        IpAddr::V6(ip) if ip.is_unspecified() => IpAddr::V6(Ipv6Addr::LOCALHOST),
        ip => ip,
    };
    let answer = timeout(PATIENCE, answer_of(SocketAddr::new(host, address.port()), path)).await;
    answer.is_ok_and(|answer| answer.is_ok_and(|answer| as_ours(&answer)))
}

async fn answer_of(address: SocketAddr, path: &str) -> io::Result<String> {
    let mut stream = TcpStream::connect(address).await?;
    let request = format!("GET {path} HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).await?;
    let mut answer = Vec::new();
    stream.take(LIMIT_BYTES).read_to_end(&mut answer).await?;
    Ok(String::from_utf8_lossy(&answer).to_ascii_lowercase())
}
