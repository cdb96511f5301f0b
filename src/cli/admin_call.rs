//! One question to the admin port of a proxy on this machine, without a runtime.

use std::io::{self, Read as _, Write as _};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpStream};
use std::time::Duration;

/// A proxy on this machine answers at once, unless the machine is very busy.
const PATIENCE: Duration = Duration::from_secs(5);
/// The most that is read of its answer.
const ANSWER_BYTES: u64 = 256 << 10;

/// What the port answers.
pub(super) struct Answer {
    /// `None`: it is not HTTP.
    pub(super) status: Option<u16>,
    pub(super) body: String,
}

/// Gets `path` from the admin port.
///
/// # Errors
/// When nothing answers there.
pub(super) fn get(admin: SocketAddr, path: &str) -> io::Result<Answer> {
    let host = reachable(admin);
    let mut stream = TcpStream::connect_timeout(&host, PATIENCE)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.set_write_timeout(Some(PATIENCE))?;
    stream.write_all(format!("GET {path} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n").as_bytes())?;
    let mut answer = Vec::new();
    stream.take(ANSWER_BYTES).read_to_end(&mut answer)?;
    Ok(parsed(&String::from_utf8_lossy(&answer)))
}

/// An address that leads to a listener on every address, too.
pub(super) fn reachable(address: SocketAddr) -> SocketAddr {
    let ip = match address.ip().to_canonical() {
        IpAddr::V4(ip) if ip.is_unspecified() => IpAddr::V4(Ipv4Addr::LOCALHOST),
        IpAddr::V6(ip) if ip.is_unspecified() => IpAddr::V6(Ipv6Addr::LOCALHOST),
        ip => ip,
    };
    SocketAddr::new(ip, address.port())
}

fn parsed(answer: &str) -> Answer {
    let (head, body) = answer.split_once("\r\n\r\n").unwrap_or((answer, ""));
    let status = head.strip_prefix("HTTP/1.1 ").and_then(|rest| rest.get(..3)).and_then(|code| code.parse().ok());
    Answer { status, body: body.to_owned() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_has_a_status_only_if_it_is_http() {
        let answer = parsed("HTTP/1.1 503 Service Unavailable\r\ncontent-length: 2\r\n\r\n{}");
        assert_eq!((answer.status, &*answer.body), (Some(503), "{}"));
        assert_eq!(parsed("SSH-2.0-x\r\n").status, None);
    }
}
