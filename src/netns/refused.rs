//! How many packets the namespace has refused: its rules count them (NFT_MSG_GETOBJ of nf_tables).

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use netlink_packet_core::{DefaultNla, Emitable as _, NLM_F_REQUEST, NlasIterator};
use rustix::net::{AddressFamily, RecvFlags, SendFlags, SocketFlags, SocketType, netlink};

use super::rules::{REFUSED_QUIC, REFUSED_UDP, TABLE};

/// `nlmsghdr` and `nfgenmsg`.
const HEADER_BYTES: usize = 16 + 4;
/// An answer has about 100 bytes.
const ANSWER_MAX_BYTES: usize = 4096;
const GET_OBJECT: u16 = (10 << 8) | 19;
const NEW_OBJECT: u16 = (10 << 8) | 18;
const PROTOCOL_INET: u8 = 1;
/// `NFTA_OBJ_TABLE`, `NFTA_OBJ_NAME`, `NFTA_OBJ_TYPE`, `NFTA_OBJ_DATA`.
const OBJECT: [u16; 4] = [1, 2, 3, 4];
const COUNTER: u32 = 1;
/// `NFTA_COUNTER_PACKETS`.
const PACKETS: u16 = 2;
/// `NLA_TYPE_MASK`.
const KIND: u16 = 0x3FFF;

/// Packets that the namespace has refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Refused {
    /// To UDP port 443, where HTTP/3 is spoken.
    pub quic: u64,
    /// To other UDP ports.
    pub udp: u64,
}

/// Asks for what was refused. The socket was opened inside the namespace, by a process that may administer it.
pub struct RefusedCounter(OwnedFd);

impl RefusedCounter {
    /// Opens it for the namespace that this process is in.
    pub(super) fn open() -> io::Result<Self> {
        let flags = SocketFlags::CLOEXEC;
        let family = AddressFamily::NETLINK;
        Ok(Self(rustix::net::socket_with(family, SocketType::RAW, flags, Some(netlink::NETFILTER))?))
    }

    pub(super) fn of(socket: OwnedFd) -> Self {
        Self(socket)
    }

    /// What was refused so far.
    ///
    /// # Errors
    /// When the system does not say it.
    pub fn read(&self) -> io::Result<Refused> {
        Ok(Refused { quic: self.packets(REFUSED_QUIC)?, udp: self.packets(REFUSED_UDP)? })
    }

    fn packets(&self, counter: &str) -> io::Result<u64> {
        rustix::net::send(&self.0, &question(counter), SendFlags::empty())?;
        let mut buffer = [0; ANSWER_MAX_BYTES];
        // The kernel answers during the question.
        let (bytes, _) = rustix::net::recv(&self.0, &mut buffer, RecvFlags::DONTWAIT)?;
        answer(&buffer[..bytes.min(ANSWER_MAX_BYTES)])
            .ok_or_else(|| io::Error::other("the system does not tell what a counter has counted"))
    }
}

impl AsFd for RefusedCounter {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

fn question(counter: &str) -> Vec<u8> {
    let text = |text: &str| [text.as_bytes(), &[0]].concat();
    let [table, name, kind, _] = OBJECT;
    let attributes = [
        DefaultNla::new(table, text(TABLE)),
        DefaultNla::new(name, text(counter)),
        DefaultNla::new(kind, COUNTER.to_be_bytes().to_vec()),
    ];
    let length = HEADER_BYTES + attributes.as_slice().buffer_len();
    let mut bytes = vec![0; length];
    bytes[..4].copy_from_slice(&u32::try_from(length).unwrap_or(u32::MAX).to_ne_bytes());
    bytes[4..6].copy_from_slice(&GET_OBJECT.to_ne_bytes());
    bytes[6..8].copy_from_slice(&NLM_F_REQUEST.to_ne_bytes());
    bytes[16] = PROTOCOL_INET;
    attributes.as_slice().emit(&mut bytes[HEADER_BYTES..]);
    bytes
}

/// The packets that a counter has counted. `None`: the answer is an error, or malformed.
fn answer(bytes: &[u8]) -> Option<u64> {
    let kind = u16::from_ne_bytes(*bytes.get(4..6)?.first_chunk()?);
    if kind != NEW_OBJECT {
        return None;
    }
    let length = usize::try_from(u32::from_ne_bytes(*bytes.first_chunk()?)).ok()?;
    let data = attribute(bytes.get(HEADER_BYTES..length)?, OBJECT[3])?;
    attribute(&data, PACKETS)?.first_chunk().map(|packets| u64::from_be_bytes(*packets))
}

fn attribute(bytes: &[u8], wanted: u16) -> Option<Vec<u8>> {
    let found =
        NlasIterator::new(bytes).filter_map(Result::ok).find(|attribute| attribute.kind() & KIND == wanted)?;
    Some(found.value().to_vec())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_question_names_the_table_the_counter_and_its_kind() {
        let bytes = question(REFUSED_UDP);
        assert_eq!(bytes.len(), 20 + 16 + 16 + 8);
        assert_eq!(&bytes[..8], &[&60_u32.to_ne_bytes()[..], &[19, 10], &[1, 0]].concat());
        assert_eq!(&bytes[16..24], [1, 0, 0, 0, 15, 0, 1, 0], "the family, and an attribute of 4 + 11 bytes");
        assert_eq!(&bytes[24..35], b"otas_proxy\0");
        assert_eq!(&bytes[52..60], [8, 0, 3, 0, 0, 0, 0, 1]);
    }

    #[test]
    fn an_answer_has_the_packets_and_anything_else_is_no_answer() {
        let counted = [
            DefaultNla::new(1, 500_u64.to_be_bytes().to_vec()),
            DefaultNla::new(PACKETS, 7_u64.to_be_bytes().to_vec()),
        ];
        let mut data = vec![0; counted.as_slice().buffer_len()];
        counted.as_slice().emit(&mut data);
        let object = [DefaultNla::new(1, b"otas_proxy\0".to_vec()), DefaultNla::new(4 | (1 << 15), data)];
        let mut bytes = vec![0; HEADER_BYTES + object.as_slice().buffer_len()];
        object.as_slice().emit(&mut bytes[HEADER_BYTES..]);
        let length = u32::try_from(bytes.len()).unwrap();
        bytes[..4].copy_from_slice(&length.to_ne_bytes());
        bytes[4..6].copy_from_slice(&NEW_OBJECT.to_ne_bytes());
        assert_eq!(answer(&bytes), Some(7));
        for end in 0..bytes.len() {
            assert_eq!(answer(&bytes[..end]), None);
        }
        bytes[4..6].copy_from_slice(&2_u16.to_ne_bytes());
        assert_eq!(answer(&bytes), None, "an error");
    }
}
