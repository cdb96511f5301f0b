//! Asks the kernel for one socket: sock_diag(7). The kernel answers during the request, so nothing waits.

use std::io;
use std::os::fd::OwnedFd;

use netlink_packet_core::{
    ErrorBuffer, NLM_F_REQUEST, NLMSG_ERROR, NetlinkBuffer, NetlinkHeader, NetlinkMessage, Parseable,
};
use netlink_packet_sock_diag::SockDiagMessage;
use netlink_packet_sock_diag::constants::{AF_INET, AF_INET6, IPPROTO_TCP, SOCK_DIAG_BY_FAMILY};
use netlink_packet_sock_diag::inet::{ExtensionFlags, InetRequest, InetResponseHeader, SocketId, StateFlags};
use parking_lot::Mutex;
use rustix::io::Errno;
use rustix::net::{AddressFamily, RecvFlags, SendFlags, SocketFlags, SocketType, netlink};

use crate::peer::{Ends, Owner};

/// An answer has a few hundred bytes.
const ANSWER_MAX_BYTES: usize = 4096;
/// Answers to earlier questions that may be queued before ours: none, unless a question was interrupted.
const STALE_ANSWERS: usize = 16;
/// INET_DIAG_NOCOOKIE: the addresses alone identify the socket.
const NO_COOKIE: [u8; 8] = [0xFF; 8];

/// A netlink socket that stays open, so that owners can be found even when file descriptors run out.
pub(in crate::peer) struct Diag(Mutex<Netlink>);

struct Netlink {
    socket: OwnedFd,
    /// The sequence number of the last request.
    sequence: u32,
}

impl Diag {
    /// Opens the socket.
    ///
    /// # Errors
    /// When netlink is not permitted.
    pub(super) fn open() -> io::Result<Self> {
        let socket = rustix::net::socket_with(
            AddressFamily::NETLINK,
            SocketType::DGRAM,
            SocketFlags::CLOEXEC,
            Some(netlink::SOCK_DIAG),
        )?;
        Ok(Self::of(socket))
    }

    /// With a socket that is open already. It knows the connections of the network namespace that it was opened in.
    pub(super) fn of(socket: OwnedFd) -> Self {
        Self(Mutex::new(Netlink { socket, sequence: 0 }))
    }

    /// The owner of the agent's end of a connection.
    ///
    /// # Errors
    /// When the kernel does not answer.
    pub(super) fn owner(&self, ends: Ends) -> io::Result<Owner> {
        let mut buffer = [0; ANSWER_MAX_BYTES];
        let mut netlink = self.0.lock();
        netlink.sequence = netlink.sequence.wrapping_add(1);
        rustix::net::send(&netlink.socket, &question(ends, netlink.sequence), SendFlags::empty())?;
        for _ in 0..=STALE_ANSWERS {
            let (bytes, _) = rustix::net::recv(&netlink.socket, &mut buffer, RecvFlags::DONTWAIT)?;
            if let Some(owner) = answer(&buffer[..bytes.min(ANSWER_MAX_BYTES)], netlink.sequence, ends)? {
                return Ok(owner);
            }
        }
        Err(io::Error::other("the kernel answered other requests only"))
    }
}

/// A request for the socket whose local address is the agent's.
fn question(ends: Ends, sequence: u32) -> Vec<u8> {
    let mut header = NetlinkHeader::default();
    header.flags = NLM_F_REQUEST;
    header.sequence_number = sequence;
    let request = InetRequest {
        family: if ends.peer.is_ipv4() { AF_INET } else { AF_INET6 },
        protocol: IPPROTO_TCP,
        extensions: ExtensionFlags::empty(),
        states: StateFlags::all(),
        socket_id: SocketId {
            source_port: ends.peer.port(),
            destination_port: ends.local.port(),
            source_address: ends.peer.ip(),
            destination_address: ends.local.ip(),
            interface_id: 0,
            cookie: NO_COOKIE,
        },
    };
    let mut message = NetlinkMessage::new(header, SockDiagMessage::InetRequest(request).into());
    message.finalize();
    let mut bytes = vec![0; message.buffer_len()];
    message.serialize(&mut bytes);
    bytes
}

/// Reads an answer. `None`: it answers another question.
fn answer(bytes: &[u8], sequence: u32, ends: Ends) -> io::Result<Option<Owner>> {
    let message = NetlinkBuffer::new_checked(bytes).map_err(io::Error::other)?;
    if message.sequence_number() != sequence {
        return Ok(None);
    }
    match message.message_type() {
        SOCK_DIAG_BY_FAMILY => {
            let socket = InetResponseHeader::parse(message.payload()).map_err(io::Error::other)?;
            Ok(Some(owner(&socket, ends)))
        }
        NLMSG_ERROR => {
            let error = ErrorBuffer::new_checked(message.payload()).map_err(io::Error::other)?;
            let code = error.code().map_or(0, |code| code.get().saturating_neg());
            match code == Errno::NOENT.raw_os_error() {
                true => Ok(Some(Owner::Left)),
                false => Err(io::Error::from_raw_os_error(code)),
            }
        }
        other => Err(io::Error::other(format!("unexpected netlink message type {other}"))),
    }
}

/// If there is no such connection, the kernel shows the listener on the agent's port. That is not the agent.
fn owner(socket: &InetResponseHeader, ends: Ends) -> Owner {
    let SocketId { source_address, source_port, destination_address, destination_port, .. } = socket.socket_id;
    let (peer, local) = ((source_address, source_port).into(), (destination_address, destination_port).into());
    let shown = Ends::at(ends.place, peer, local);
    if shown == without_scope(ends) { Owner::shown(socket.uid, socket.inode.into()) } else { Owner::Left }
}

/// The kernel shows addresses without their interface (scope).
fn without_scope(ends: Ends) -> Ends {
    let bare = |address: std::net::SocketAddr| (address.ip(), address.port()).into();
    Ends { peer: bare(ends.peer), local: bare(ends.local), place: ends.place }
}

#[cfg(test)]
mod tests {
    use netlink_packet_core::Emitable;

    use super::*;

    const OURS: &str = "127.0.0.1:8080";

    fn ends(peer: &str) -> Ends {
        Ends::new(peer.parse().unwrap(), OURS.parse().unwrap())
    }

    /// The kernel's answer about a socket.
    fn answer_of(peer: &str, local: &str, (uid, inode): (u32, u32), sequence: u32) -> Vec<u8> {
        let (peer, local): (std::net::SocketAddr, std::net::SocketAddr) =
            (peer.parse().unwrap(), local.parse().unwrap());
        let socket_id = SocketId {
            source_port: peer.port(),
            destination_port: local.port(),
            source_address: peer.ip(),
            destination_address: local.ip(),
            interface_id: 0,
            cookie: [1; 8],
        };
        let family = if peer.is_ipv4() { AF_INET } else { AF_INET6 };
        let (state, timer, recv_queue, send_queue) = (1, None, 0, 0);
        let header = InetResponseHeader { family, state, timer, socket_id, recv_queue, send_queue, uid, inode };
        let mut bytes = vec![0; 16 + header.buffer_len()];
        header.emit(&mut bytes[16..]);
        with_header(bytes, SOCK_DIAG_BY_FAMILY, sequence)
    }

    fn with_header(mut bytes: Vec<u8>, kind: u16, sequence: u32) -> Vec<u8> {
        let length = bytes.len() as u32;
        let mut buffer = NetlinkBuffer::new(&mut bytes);
        buffer.set_length(length);
        buffer.set_message_type(kind);
        buffer.set_sequence_number(sequence);
        bytes
    }

    fn error(code: i32, sequence: u32) -> Vec<u8> {
        let mut bytes = vec![0; 16 + 4 + 16];
        bytes[16..20].copy_from_slice(&(-code).to_ne_bytes());
        with_header(bytes, NLMSG_ERROR, sequence)
    }

    #[test]
    fn a_request_names_one_socket_and_is_not_a_dump() {
        let bytes = question(ends("127.0.0.1:4660"), 7);
        assert_eq!(bytes.len(), 72);
        assert_eq!(&bytes[6..8], &NLM_F_REQUEST.to_ne_bytes());
        assert_eq!(&bytes[16..18], &[AF_INET, IPPROTO_TCP]);
        // Ports and addresses in network order (`struct inet_diag_sockid`).
        assert_eq!(&bytes[24..28], &[0x12, 0x34, 0x1F, 0x90]);
        assert_eq!((&bytes[28..32], &bytes[44..48]), (&[127, 0, 0, 1][..], &[127, 0, 0, 1][..]));
        assert_eq!(&bytes[64..72], &NO_COOKIE);
    }

    #[test]
    fn each_answer_is_understood() {
        let (peer, asked) = ("127.0.0.1:5", ends("127.0.0.1:5"));
        let held = Owner::Held { uid: 1000, inode: 9 };
        assert_eq!(answer(&answer_of(peer, OURS, (1000, 9), 7), 7, asked).unwrap(), Some(held));
        let mapped = answer_of("[::ffff:127.0.0.1]:5", "[::ffff:127.0.0.1]:8080", (1000, 9), 7);
        assert_eq!(answer(&mapped, 7, asked).unwrap(), Some(held));
        assert_eq!(answer(&answer_of(peer, OURS, (0, 0), 7), 7, asked).unwrap(), Some(Owner::Left));
        assert_eq!(answer(&error(2, 7), 7, asked).unwrap(), Some(Owner::Left));
        assert_eq!(answer(&error(1, 7), 7, asked).unwrap_err().kind(), io::ErrorKind::PermissionDenied);
        assert_eq!(answer(&answer_of(peer, OURS, (1000, 9), 6), 7, asked).unwrap(), None);
        // Who listens on the agent's port is not the agent.
        assert_eq!(answer(&answer_of(peer, "0.0.0.0:0", (1000, 9), 7), 7, asked).unwrap(), Some(Owner::Left));
        let whole = answer_of(peer, OURS, (1000, 9), 7);
        for end in 0..whole.len() {
            assert!(answer(&whole[..end], 7, asked).is_err());
        }
    }
}
