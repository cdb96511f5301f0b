//! Answers questions for names inside the namespace (RFC 1035), by the resolver that the proxy itself uses outside.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use simple_dns::rdata::{A, AAAA, RData};
use simple_dns::{CLASS, OPCODE, Packet, PacketFlag, QCLASS, QTYPE, RCODE, ResourceRecord, TYPE};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream, UdpSocket};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::{sleep, timeout};

use super::handover::Names;
use crate::proxy::{Lookup, Shared};

/// The longest answer over UDP (RFC 1035 4.2.1). Longer ones are asked for again over TCP.
const UDP_BYTES: usize = 512;
/// The longest question that is read.
const QUESTION_BYTES: usize = 4096;
/// How long an answer may be remembered. The system's resolver does not tell how long its own may be.
const TTL_SECONDS: u32 = 5;
/// The most questions and connections at once. Beyond that they wait in the system.
const AT_ONCE: usize = 128;
/// How long a TCP connection may be idle.
const IDLE: Duration = Duration::from_secs(10);
/// The pause after a failure of the system.
const PAUSE: Duration = Duration::from_millis(50);

/// Answers until the proxy takes no new calls.
///
/// # Errors
/// When the sockets cannot be used.
pub fn serve(shared: &Arc<Shared>, names: Names) -> io::Result<()> {
    names.udp.set_nonblocking(true)?;
    names.tcp.set_nonblocking(true)?;
    let (udp, tcp) = (UdpSocket::from_std(names.udp)?, TcpListener::from_std(names.tcp)?);
    let at_once = Arc::new(Semaphore::new(AT_ONCE));
    let (short, long) = (shared.clone(), shared.clone());
    let places = at_once.clone();
    shared.lifecycle.tasks.spawn(async move {
        tokio::select! {
            () = datagrams(&short, Arc::new(udp), &places) => {}
            () = short.lifecycle.stop.cancelled() => {}
        }
    });
    shared.lifecycle.tasks.spawn(async move {
        tokio::select! {
            () = connections(&long, &tcp, &at_once) => {}
            () = long.lifecycle.stop.cancelled() => {}
        }
    });
    Ok(())
}

async fn place(places: &Arc<Semaphore>) -> Option<OwnedSemaphorePermit> {
    places.clone().acquire_owned().await.ok()
}

async fn datagrams(shared: &Arc<Shared>, socket: Arc<UdpSocket>, places: &Arc<Semaphore>) {
    let mut buffer = [0; QUESTION_BYTES];
    while let Some(place) = place(places).await {
        let (bytes, from) = match socket.recv_from(&mut buffer).await {
            Ok(received) => received,
            Err(error) => {
                tracing::debug!(%error, "a question for a name was lost");
                sleep(PAUSE).await;
                continue;
            }
        };
        let (shared, socket, question) = (shared.clone(), socket.clone(), buffer[..bytes].to_vec());
        tokio::spawn(async move {
            if let Some(answer) = answer(&shared, &question).await {
                let fits = answer.len() <= UDP_BYTES;
                let answer = if fits { Some(answer) } else { too_long(&question) };
                send(&socket, answer.as_deref().unwrap_or_default(), from).await;
            }
            drop(place);
        });
    }
}

async fn send(socket: &UdpSocket, answer: &[u8], to: SocketAddr) {
    if let Err(error) = socket.send_to(answer, to).await {
        tracing::debug!(%error, "an answer for a name was lost");
    }
}

async fn connections(shared: &Arc<Shared>, listener: &TcpListener, places: &Arc<Semaphore>) {
    while let Some(place) = place(places).await {
        match listener.accept().await {
            Ok((stream, _)) => {
                let shared = shared.clone();
                tokio::spawn(async move {
                    let _ = connection(&shared, stream).await;
                    drop(place);
                });
            }
            Err(error) => {
                tracing::debug!(%error, "cannot accept a connection for names");
                sleep(PAUSE).await;
            }
        }
    }
}

/// Each message has its length before it (RFC 1035 4.2.2).
async fn connection(shared: &Shared, mut stream: TcpStream) -> io::Result<()> {
    loop {
        let length = usize::from(timeout(IDLE, stream.read_u16()).await??);
        let mut question = vec![0; length];
        timeout(IDLE, stream.read_exact(&mut question)).await??;
        let Some(answer) = answer(shared, &question).await else { return Ok(()) };
        let length = u16::try_from(answer.len()).map_err(io::Error::other)?;
        stream.write_all(&[&length.to_be_bytes()[..], &answer].concat()).await?;
    }
}

/// The answer to a message. `None`: it deserves none.
async fn answer(shared: &Shared, message: &[u8]) -> Option<Vec<u8>> {
    let lookup = match read(message)? {
        Question::Address(name) => look_up(shared, &name).await,
        Question::Other(code) => return reply(message, code, &[], false),
    };
    let (code, addresses) = match lookup {
        Lookup::Found(addresses) => (RCODE::NoError, addresses),
        Lookup::Missing => (RCODE::NameError, Vec::new()),
        Lookup::Failed => (RCODE::ServerFailure, Vec::new()),
        Lookup::Denied => (RCODE::Refused, Vec::new()),
    };
    reply(message, code, &addresses, false)
}

/// Names of this machine (RFC 6761 6.3) are the namespace's own.
async fn look_up(shared: &Shared, name: &str) -> Lookup {
    if name == "localhost" || name.ends_with(".localhost") {
        return Lookup::Found(vec![Ipv4Addr::LOCALHOST.into(), Ipv6Addr::LOCALHOST.into()]);
    }
    shared.look_up(name).await
}

/// What is asked.
#[derive(Debug, PartialEq, Eq)]
enum Question {
    /// The addresses of a name, in lower case.
    Address(String),
    /// Something else, with the code of its answer.
    Other(RCODE),
}

/// Reads a message. `None`: it is not a question.
fn read(message: &[u8]) -> Option<Question> {
    let packet = match Packet::parse(message) {
        Ok(packet) => packet,
        Err(_) => return (message.len() >= 12 && message[2] < 0x80).then_some(Question::Other(RCODE::FormatError)),
    };
    if packet.has_flags(PacketFlag::RESPONSE) {
        return None;
    }
    if packet.opcode() != OPCODE::StandardQuery {
        return Some(Question::Other(RCODE::NotImplemented));
    }
    let [question] = &packet.questions[..] else { return Some(Question::Other(RCODE::FormatError)) };
    let is_internet = matches!(question.qclass, QCLASS::CLASS(CLASS::IN) | QCLASS::ANY);
    Some(match question.qtype {
        _ if !is_internet => Question::Other(RCODE::Refused),
        QTYPE::TYPE(TYPE::A | TYPE::AAAA) => Question::Address(question.qname.to_string().to_ascii_lowercase()),
        QTYPE::AXFR | QTYPE::IXFR => Question::Other(RCODE::Refused),
        // No record of any other kind is known: the answer is empty.
        _ => Question::Other(RCODE::NoError),
    })
}

/// The answer over UDP that is too long for it: the client asks again over TCP.
fn too_long(message: &[u8]) -> Option<Vec<u8>> {
    reply(message, RCODE::NoError, &[], true)
}

fn reply(message: &[u8], code: RCODE, addresses: &[IpAddr], is_cut: bool) -> Option<Vec<u8>> {
    let id = u16::from_be_bytes(*message.first_chunk()?);
    let mut reply = Packet::new_reply(id);
    reply.set_flags(PacketFlag::RECURSION_AVAILABLE);
    if is_cut {
        reply.set_flags(PacketFlag::TRUNCATION);
    }
    *reply.rcode_mut() = code;
    if let Ok(asked) = Packet::parse(message) {
        if asked.has_flags(PacketFlag::RECURSION_DESIRED) {
            reply.set_flags(PacketFlag::RECURSION_DESIRED);
        }
        *reply.opcode_mut() = asked.opcode();
        for question in &asked.questions {
            let records = addresses.iter().filter_map(|address| record(*address, question.qtype));
            reply.answers.extend(
                records.map(|data| ResourceRecord::new(question.qname.clone(), CLASS::IN, TTL_SECONDS, data)),
            );
        }
        reply.questions = asked.questions;
        return reply.build_bytes_vec_compressed().ok();
    }
    reply.build_bytes_vec_compressed().ok()
}

fn record(address: IpAddr, wanted: QTYPE) -> Option<RData<'static>> {
    match (address, wanted) {
        (IpAddr::V4(address), QTYPE::TYPE(TYPE::A)) => Some(RData::A(A::from(address))),
        (IpAddr::V6(address), QTYPE::TYPE(TYPE::AAAA)) => Some(RData::AAAA(AAAA::from(address))),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// A question: id 7, recursion desired, `A.Example`, of this type and class.
    fn question(kind: u16, class: u16) -> Vec<u8> {
        let mut bytes = b"\0\x07\x01\0\0\x01\0\0\0\0\0\0\x01A\x07Example\0".to_vec();
        bytes.extend(kind.to_be_bytes());
        bytes.extend(class.to_be_bytes());
        bytes
    }

    #[test]
    fn addresses_are_asked_for_and_everything_else_gets_a_clean_answer() {
        for kind in [1, 28] {
            assert_eq!(read(&question(kind, 1)), Some(Question::Address("a.example".to_owned())));
        }
        // MX, TXT, SRV, HTTPS, ANY.
        for kind in [15, 16, 33, 65, 255] {
            assert_eq!(read(&question(kind, 1)), Some(Question::Other(RCODE::NoError)), "{kind}");
        }
        assert_eq!(read(&question(65_280, 1)), Some(Question::Other(RCODE::FormatError)), "nobody knows that type");
        // EDNS with a cookie, and with an option that nobody knows.
        for option in [&b"\0\x0a\0\x08abcdefgh"[..], b"\xff\xf0\0\x02ab"] {
            let mut extended = question(1, 1);
            extended[11] = 1;
            extended.extend(b"\0\0\x29\x04\xd0\0\0\0\0\0");
            extended.push(option.len() as u8);
            extended.extend(option);
            assert_eq!(read(&extended), Some(Question::Address("a.example".to_owned())));
            assert!(reply(&extended, RCODE::NoError, &[], false).is_some());
        }
        assert_eq!(read(&question(1, 3)), Some(Question::Other(RCODE::Refused)), "another class");
        assert_eq!(read(&question(252, 1)), Some(Question::Other(RCODE::Refused)), "a whole zone");
        let mut response = question(1, 1);
        response[2] |= 0x80;
        assert_eq!(read(&response), None);
        let mut update = question(1, 1);
        update[2] |= 5 << 3;
        assert_eq!(read(&update), Some(Question::Other(RCODE::NotImplemented)));
        assert_eq!(read(&question(1, 1)[..14]), Some(Question::Other(RCODE::FormatError)));
        assert_eq!(read(b"short"), None);
    }

    #[test]
    fn an_answer_has_the_addresses_of_the_version_that_was_asked_for() {
        let all = ["192.0.2.1", "2001:db8::1"].map(|address| address.parse::<IpAddr>().unwrap());
        let bytes = reply(&question(1, 1), RCODE::NoError, &all, false).unwrap();
        let mut wanted = b"\0\x07\x81\x80\0\x01\0\x01\0\0\0\0\x01A\x07Example\0\0\x01\0\x01".to_vec();
        wanted.extend(b"\xc0\x0c\0\x01\0\x01\0\0\0\x05\0\x04\xc0\0\x02\x01");
        assert_eq!(bytes, wanted);
        let cut = too_long(&question(1, 1)).unwrap();
        assert_eq!(cut[2] & 2, 2);
    }

    proptest! {
        #[test]
        fn any_message_is_answered_or_ignored(bytes in prop::collection::vec(any::<u8>(), 0..100)) {
            if read(&bytes).is_some() {
                let _ = reply(&bytes, RCODE::NoError, &[IpAddr::V4(Ipv4Addr::LOCALHOST)], false);
            }
        }
    }
}
