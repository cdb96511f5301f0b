//! SOCKS5 (RFC 1928, RFC 1929) on the same port as HTTP. The first byte distinguishes them. A SOCKS connection opens the same kind of
//! tunnel as a CONNECT.

use std::io;
use std::net::{Ipv4Addr, Ipv6Addr};
use std::sync::Arc;

use bytes::{Buf, BytesMut};
use http::{HeaderMap, StatusCode};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;

use super::agent::Agent;
use super::error::ProxyError;
use super::rules::Rules;
use super::shared::Shared;
use super::tunnel::{Accepted, Tunnel, admit_and_reach, begin_bare};
use crate::capture::{Caller, Origin};

/// The first byte of every SOCKS5 connection, and of no HTTP connection.
const VERSION: u8 = 5;
const NO_AUTHENTICATION: u8 = 0;
const PASSWORD: u8 = 2;
const NO_ACCEPTABLE_METHOD: u8 = 0xFF;
/// The version of the password authentication (RFC 1929).
const PASSWORD_VERSION: u8 = 1;
/// Any status but 0 is a failure (RFC 1929 2).
const WRONG_PASSWORD: u8 = 1;
const CONNECT: u8 = 1;

/// The reply to a request (RFC 1928 6).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Reply {
    Succeeded = 0,
    Failed = 1,
    NotAllowed = 2,
    HostUnreachable = 4,
    Refused = 5,
    CommandNotSupported = 7,
    AddressNotSupported = 8,
}

/// A complete message, and its length in bytes. `None`: more bytes are needed.
type Whole<T> = Option<(T, usize)>;

/// A user name and a password.
type Login = (Vec<u8>, Vec<u8>);

/// A message that no SOCKS5 client sends.
#[derive(Debug, PartialEq, Eq)]
struct Malformed;

/// Whether the agent speaks SOCKS5. Its bytes stay unread.
pub(super) async fn speaks(stream: &TcpStream) -> bool {
    let mut first = [0];
    matches!(stream.peek(&mut first).await, Ok(1)) && first == [VERSION]
}

/// Opens the tunnel that a SOCKS connection asks for. `None`: the agent was refused, or has left.
pub(super) async fn accept(
    shared: Arc<Shared>,
    rules: Arc<Rules>,
    agent: Arc<Agent>,
    mut stream: TcpStream,
) -> Option<Accepted> {
    let mut seen = BytesMut::new();
    let handshake = timeout(rules.agent_limits.handshake, handshake(&shared, &rules, &agent, &mut stream, &mut seen));
    let (caller, requested) = match handshake.await {
        Ok(Ok(requested)) => requested?,
        Ok(Err(error)) => {
            tracing::debug!(%error, "an agent left during its SOCKS handshake");
            return None;
        }
        Err(_) => {
            tracing::debug!("an agent did not finish its SOCKS handshake in time");
            return None;
        }
    };
    let recorder = begin_bare(&shared, &agent, caller.clone(), requested.origin.clone());
    let dialled = match requested.command {
        CONNECT => admit_and_reach(&shared, &rules, &agent, &caller, &requested.origin).await,
        _ => Err(ProxyError::BadRequest {
            reason: "this proxy serves only the SOCKS command CONNECT, not BIND or UDP".into(),
        }),
    };
    match dialled {
        Ok(dialled) => {
            recorder.answered(StatusCode::OK, &HeaderMap::new(), None);
            if let Err(error) = send_reply(&mut stream, Reply::Succeeded).await {
                tracing::debug!(%error, "an agent left before its tunnel was open");
                return None;
            }
            let origin = requested.origin;
            let tunnel = Box::new(Tunnel { shared, rules, agent, caller, origin, address: None, dialled, recorder });
            Some(Accepted { tunnel, stream, seen })
        }
        Err(error) => {
            recorder.answered(error.row().status, &HeaderMap::new(), Some(error.failure()));
            let answered = send_reply(&mut stream, reply_for(&error, requested.command)).await;
            tracing::debug!(%error, ?answered, "a SOCKS request was refused");
            None
        }
    }
}

/// The request of an agent.
#[derive(Debug, PartialEq, Eq)]
struct ConnectRequest {
    command: u8,
    origin: Origin,
}

/// Reads everything up to the request. `None`: the agent was refused, or did not send valid SOCKS.
async fn handshake(
    shared: &Shared,
    rules: &Rules,
    agent: &Agent,
    stream: &mut TcpStream,
    seen: &mut BytesMut,
) -> io::Result<Option<(Caller, ConnectRequest)>> {
    let Some(methods) = message(stream, seen, greeting).await? else { return Ok(None) };
    // Without configured credentials, any password is accepted.
    let served = if rules.callers.credentials.is_some() { &[PASSWORD][..] } else { &[NO_AUTHENTICATION, PASSWORD] };
    let chosen = served.iter().copied().find(|method| methods.contains(method));
    stream.write_all(&[VERSION, chosen.unwrap_or(NO_ACCEPTABLE_METHOD)]).await?;
    let mut caller = agent.caller.clone();
    match chosen {
        None => {
            if rules.callers.credentials.is_some() {
                shared.admission.count_unauthorized();
            }
            return Ok(None);
        }
        Some(PASSWORD) => {
            let Some((name, password)) = message(stream, seen, credentials).await? else { return Ok(None) };
            if let Some(known) = &rules.callers.credentials {
                let Some(known) = known.of(&name, &password) else {
                    shared.admission.count_unauthorized();
                    stream.write_all(&[PASSWORD_VERSION, WRONG_PASSWORD]).await?;
                    return Ok(None);
                };
                caller = known;
            }
            stream.write_all(&[PASSWORD_VERSION, 0]).await?;
        }
        Some(_) => {}
    }
    match message(stream, seen, request).await? {
        Some(Some(requested)) => Ok(Some((caller, requested))),
        Some(None) => send_reply(stream, Reply::AddressNotSupported).await.map(|()| None),
        None => Ok(None),
    }
}

/// Reads until a message is complete. `None`: it is malformed.
async fn message<T>(
    stream: &mut TcpStream,
    seen: &mut BytesMut,
    read: impl Fn(&[u8]) -> Result<Whole<T>, Malformed>,
) -> io::Result<Option<T>> {
    loop {
        match read(seen) {
            Ok(Some((message, bytes))) => {
                seen.advance(bytes);
                return Ok(Some(message));
            }
            Ok(None) if stream.read_buf(seen).await? > 0 => {}
            Ok(None) => return Err(io::ErrorKind::UnexpectedEof.into()),
            Err(Malformed) => return Ok(None),
        }
    }
}

/// Version, number of methods, methods.
fn greeting(bytes: &[u8]) -> Result<Whole<Vec<u8>>, Malformed> {
    let [version, count, rest @ ..] = bytes else { return Ok(None) };
    if *version != VERSION {
        return Err(Malformed);
    }
    let count = usize::from(*count);
    Ok(rest.get(..count).map(|methods| (methods.to_vec(), 2 + count)))
}

/// Version, name, password, each with its length.
fn credentials(bytes: &[u8]) -> Result<Whole<Login>, Malformed> {
    let [version, name, rest @ ..] = bytes else { return Ok(None) };
    if *version != PASSWORD_VERSION {
        return Err(Malformed);
    }
    let name = usize::from(*name);
    let Some(password) = rest.get(name).map(|length| usize::from(*length)) else { return Ok(None) };
    let bytes = 2 + name + 1 + password;
    let whole = rest.get(name + 1..name + 1 + password);
    Ok(whole.map(|secret| ((rest[..name].to_vec(), secret.to_vec()), bytes)))
}

/// Reads `bytes` as each kind of message: see [`super::fuzzing::socks_messages`].
#[cfg(any(test, fuzzing))]
pub(super) fn read_any(bytes: &[u8]) {
    fn check<T: PartialEq + std::fmt::Debug>(bytes: &[u8], read: impl Fn(&[u8]) -> Result<Whole<T>, Malformed>) {
        if let Ok(Some((whole, taken))) = read(bytes) {
            assert!(taken <= bytes.len());
            assert_eq!(read(&bytes[..taken]), Ok(Some((whole, taken))));
        }
    }
    check(bytes, greeting);
    check(bytes, credentials);
    check(bytes, request);
}

/// Version, command, reserved, address, port. An inner `None`: the address type does not exist.
fn request(bytes: &[u8]) -> Result<Whole<Option<ConnectRequest>>, Malformed> {
    let [version, command, _, kind, rest @ ..] = bytes else { return Ok(None) };
    if *version != VERSION {
        return Err(Malformed);
    }
    let (host, bytes) = match kind {
        1 => match rest.first_chunk::<4>() {
            Some(address) => (Ipv4Addr::from(*address).to_string(), 4),
            None => return Ok(None),
        },
        4 => match rest.first_chunk::<16>() {
            Some(address) => (Ipv6Addr::from(*address).to_string(), 16),
            None => return Ok(None),
        },
        3 => {
            let Some((length, rest)) = rest.split_first() else { return Ok(None) };
            let Some(name) = rest.get(..usize::from(*length)) else { return Ok(None) };
            let name = str::from_utf8(name).map_err(|_| Malformed)?;
            if name.is_empty()
                || name.contains(|c: char| c.is_whitespace() || c.is_control() || "/@#?\\[]".contains(c))
            {
                return Err(Malformed);
            }
            (name.to_ascii_lowercase(), 1 + usize::from(*length))
        }
        _ => return Ok(Some((None, bytes.len()))),
    };
    let Some(port) = rest.get(bytes..).and_then(|rest| rest.first_chunk::<2>()) else { return Ok(None) };
    let origin = Origin { scheme: "tcp", host: host.into(), port: u16::from_be_bytes(*port) };
    Ok(Some((Some(ConnectRequest { command: *command, origin }), 4 + bytes + 2)))
}

fn reply_for(error: &ProxyError, command: u8) -> Reply {
    match (error.row().id, command) {
        (_, other) if other != CONNECT => Reply::CommandNotSupported,
        ("connect_refused", _) => Reply::Refused,
        ("dns_not_found" | "connect_failed" | "connect_timeout", _) => Reply::HostUnreachable,
        ("not_recordable" | "proxy_loop" | "egress_denied" | "agent_limit", _) => Reply::NotAllowed,
        _ => Reply::Failed,
    }
}

/// Sends a reply. The bound address is all zeros, because we do not reveal it.
async fn send_reply(stream: &mut TcpStream, send_reply: Reply) -> io::Result<()> {
    stream.write_all(&[VERSION, send_reply as u8, 0, 1, 0, 0, 0, 0, 0, 0]).await
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn request_of(host: &str, port: u16) -> Option<ConnectRequest> {
        Some(ConnectRequest { command: 1, origin: Origin { scheme: "tcp", host: host.into(), port } })
    }

    #[test]
    fn requests_name_their_origin_in_three_ways() {
        assert_eq!(
            request(b"\x05\x01\x00\x01\x7f\x00\x00\x01\x01\xbb"),
            Ok(Some((request_of("127.0.0.1", 443), 10)))
        );
        assert_eq!(request(b"\x05\x01\x00\x03\x06A.test\x00\x50more"), Ok(Some((request_of("a.test", 80), 13))));
        let v6 = [&b"\x05\x01\x00\x04"[..], &[0; 15], &[1, 0, 80]].concat();
        assert_eq!(request(&v6), Ok(Some((request_of("::1", 80), 22))));
        assert_eq!(request(b"\x05\x01\x00\x09\x00"), Ok(Some((None, 5))));
        assert_eq!(request(b"\x04\x01\x00\x01"), Err(Malformed));
        assert_eq!(request(b"\x05\x01\x00\x03\x04a b/\x00\x50"), Err(Malformed));
    }

    #[test]
    fn greetings_and_passwords_are_read_whole_or_not_at_all() {
        assert_eq!(greeting(b"\x05\x02\x00\x02rest"), Ok(Some((vec![0, 2], 4))));
        assert_eq!(greeting(b"\x05\x02\x00"), Ok(None));
        assert_eq!(credentials(b"\x01\x01u\x02pw!"), Ok(Some(((b"u".to_vec(), b"pw".to_vec()), 6))));
        assert_eq!(credentials(b"\x01\x01u\x02p"), Ok(None));
        assert_eq!(credentials(b"\x01\x01u\x00"), Ok(Some(((b"u".to_vec(), Vec::new()), 4))));
        assert_eq!(credentials(b"\x05"), Ok(None));
    }

    proptest! {
        #[test]
        fn no_input_is_read_past_its_end(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
            let taken = [
                greeting(&bytes).ok().flatten().map(|(_, n)| n),
                credentials(&bytes).ok().flatten().map(|(_, n)| n),
                request(&bytes).ok().flatten().map(|(_, n)| n),
            ];
            prop_assert!(taken.into_iter().flatten().all(|n| n <= bytes.len()));
        }
    }
}
