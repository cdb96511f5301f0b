//! The two ends of an accepted connection, and the owner of the agent's end.

use std::net::{IpAddr, SocketAddr};

/// The two ends of an accepted connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Ends {
    /// The agent's address.
    pub peer: SocketAddr,
    /// The address that the agent called: ours, unless the system redirected the connection to us.
    pub local: SocketAddr,
    /// Where the agent's end is.
    pub place: Place,
}

/// Where the agent's end of a connection is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Place {
    /// The addresses say whether it is on this machine.
    ByAddress,
    /// On this machine, although the agent called another address.
    Redirected,
    /// In the network namespace of a run's command.
    Namespace,
}

impl Ends {
    /// Writes IPv4-mapped IPv6 addresses as IPv4 addresses, because the system treats both as one connection.
    pub fn new(peer: SocketAddr, local: SocketAddr) -> Self {
        Self::at(Place::ByAddress, peer, local)
    }

    /// The same, for an agent whose place is known.
    pub fn at(place: Place, peer: SocketAddr, local: SocketAddr) -> Self {
        let canonical = |address: SocketAddr| match address.ip().to_canonical() {
            ip @ IpAddr::V4(_) => SocketAddr::new(ip, address.port()),
            IpAddr::V6(_) => address,
        };
        Self { peer: canonical(peer), local: canonical(local), place }
    }

    /// Whether the agent is on this machine (or shares our network namespace).
    pub fn are_of_one_machine(&self) -> bool {
        match self.place {
            Place::ByAddress => self.peer.ip().is_loopback() || self.peer.ip() == self.local.ip(),
            Place::Redirected | Place::Namespace => true,
        }
    }
}

/// The owner of the agent's socket.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Owner {
    /// A process holds it.
    Held {
        /// The user that created it.
        uid: u32,
        /// Its inode, as the processes that hold it see it.
        inode: u64,
    },
    /// It is closed already, and its former owner is unknown.
    Left,
    /// The system does not report it.
    Unknown,
}

/// The user who calls, as far as the system knows.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum User {
    /// A user of this machine, by id.
    Local(u32),
    /// Somebody on another machine.
    Remote(IpAddr),
}

impl Owner {
    /// The user of a connection with this owner and these ends. `None`: unknown.
    pub(super) fn user(self, ends: Ends) -> Option<User> {
        match self {
            Self::Held { uid, .. } => Some(User::Local(uid)),
            Self::Left => None,
            Self::Unknown => (!ends.are_of_one_machine()).then(|| User::Remote(ends.peer.ip())),
        }
    }

    /// From what the system shows. Without an inode, no process holds the socket; Linux before 6.17 then shows root as
    /// the owner, whoever it was.
    #[cfg_attr(not(target_os = "linux"), allow(dead_code, reason = "nothing is shown there"))]
    pub(super) fn shown(uid: u32, inode: u64) -> Self {
        if inode == 0 && uid == 0 { Self::Left } else { Self::Held { uid, inode } }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ends(peer: &str, local: &str) -> Ends {
        Ends::new(peer.parse().unwrap(), local.parse().unwrap())
    }

    #[test]
    fn an_ipv4_address_is_one_however_it_is_written() {
        assert_eq!(ends("[::ffff:127.0.0.1]:5", "[::ffff:127.0.0.1]:8080"), ends("127.0.0.1:5", "127.0.0.1:8080"));
        assert_ne!(ends("[::1]:5", "[::1]:8080"), ends("127.0.0.1:5", "127.0.0.1:8080"));
    }

    #[test]
    fn agents_of_this_machine_are_those_on_loopback_or_on_our_own_address() {
        for (peer, local, here) in [
            ("127.0.0.1:5", "127.0.0.1:8080", true),
            ("127.9.9.9:5", "127.0.0.1:8080", true),
            ("[::1]:5", "[::1]:8080", true),
            ("[::ffff:127.0.0.1]:5", "[::ffff:127.0.0.1]:8080", true),
            ("10.0.0.7:5", "10.0.0.7:8080", true),
            ("10.0.0.8:5", "10.0.0.7:8080", false),
        ] {
            assert_eq!(ends(peer, local).are_of_one_machine(), here, "{peer}");
        }
    }

    #[test]
    fn the_user_is_the_owner_or_else_the_other_machine() {
        let (here, there) = (ends("127.0.0.1:5", "127.0.0.1:8080"), ends("10.0.0.8:5", "10.0.0.7:8080"));
        assert_eq!(Owner::Held { uid: 7, inode: 1 }.user(here), Some(User::Local(7)));
        assert_eq!((Owner::Left.user(here), Owner::Unknown.user(here)), (None, None));
        assert_eq!(Owner::Unknown.user(there), Some(User::Remote("10.0.0.8".parse().unwrap())));
    }

    #[test]
    fn a_socket_without_an_inode_is_roots_only_in_appearance() {
        assert_eq!(Owner::shown(0, 0), Owner::Left);
        assert_eq!(Owner::shown(1000, 0), Owner::Held { uid: 1000, inode: 0 });
        assert_eq!(Owner::shown(0, 7), Owner::Held { uid: 0, inode: 7 });
    }
}
