//! On Linux: sock_diag (or `/proc/net/tcp`) for sockets, `/proc/PID` for processes.

mod diag;
mod entry;
mod environment;
mod holders;
mod lineage;
mod table;

use std::io;
use std::net::{IpAddr, Ipv4Addr, TcpListener, TcpStream};
use std::os::fd::OwnedFd;

use super::{Ends, Owner};
use diag::Diag;

pub(super) use environment::{has, having};
pub(super) use lineage::Processes;

/// Finds the owners of sockets, in the way that worked at the start.
pub(super) enum Sockets {
    /// Asks the kernel. Takes some microseconds and does not block.
    Diag(Diag),
    /// Reads the list of all sockets. Blocks, and takes longer the more there are.
    Table,
    /// Neither works.
    Unknown,
}

impl Sockets {
    /// Tries the ways on a connection of our own. `listening`: the address that agents will connect to.
    pub(super) fn open(listening: IpAddr) -> Self {
        let Ok((_stream, _listener, ends)) = connection_of_our_own(listening) else { return Self::Unknown };
        let is_ours = |owner: io::Result<Owner>| matches!(owner, Ok(Owner::Held { uid, .. }) if uid == own_user());
        match Diag::open() {
            Ok(diag) if is_ours(diag.owner(ends)) => Self::Diag(diag),
            _ if is_ours(table::owner(ends)) => Self::Table,
            _ => Self::Unknown,
        }
    }

    /// Asks this socket of sock_diag(7), which was opened in another network namespace.
    pub(super) fn of_namespace(diag: DiagSocket) -> Self {
        Self::Diag(Diag::of(diag))
    }

    /// Whether owners can be found at all.
    pub(super) fn know_owners(&self) -> bool {
        !matches!(self, Self::Unknown)
    }

    /// The owner of the agent's socket.
    pub(super) async fn owner(&self, ends: Ends) -> Owner {
        let owner = match self {
            Self::Diag(diag) => diag.owner(ends),
            Self::Table => {
                tokio::task::spawn_blocking(move || table::owner(ends)).await.unwrap_or_else(|e| Err(e.into()))
            }
            Self::Unknown => return Owner::Unknown,
        };
        owner.unwrap_or_else(|error| {
            tracing::debug!(%error, "cannot find the owner of a connection");
            Owner::Unknown
        })
    }
}

/// The user that we run as.
/// A socket of sock_diag(7) that was opened in another network namespace.
pub type DiagSocket = OwnedFd;

pub(super) fn own_user() -> u32 {
    rustix::process::geteuid().as_raw()
}

/// Clock ticks in a second, the unit of a process's start time.
pub(super) fn ticks_per_second() -> u64 {
    rustix::param::clock_ticks_per_second()
}

/// When the system booted, in Unix seconds (`/proc/stat`, `btime`).
pub(super) fn booted_at_s() -> Option<u64> {
    let stat = std::fs::read_to_string("/proc/stat").ok()?;
    stat.lines().find_map(|line| line.strip_prefix("btime "))?.trim().parse().ok()
}

fn connection_of_our_own(listening: IpAddr) -> io::Result<(TcpStream, TcpListener, Ends)> {
    let loopback = if listening.is_loopback() { listening } else { Ipv4Addr::LOCALHOST.into() };
    let listener = TcpListener::bind((loopback, 0))?;
    // The kernel completes the connection without our accept.
    let stream = TcpStream::connect(listener.local_addr()?)?;
    let ends = Ends::new(stream.local_addr()?, stream.peer_addr()?);
    Ok((stream, listener, ends))
}

#[cfg(test)]
mod tests {
    use std::net::{Ipv6Addr, SocketAddr};
    use std::os::unix::fs::MetadataExt;

    use super::*;

    fn inode(socket: &impl std::os::fd::AsFd) -> u64 {
        let file = std::fs::File::from(socket.as_fd().try_clone_to_owned().unwrap());
        file.metadata().unwrap().ino()
    }

    /// Both ways must give the same.
    fn owner(ends: Ends) -> Owner {
        let owner = Diag::open().unwrap().owner(ends).unwrap();
        assert_eq!(table::owner(ends).unwrap(), owner);
        owner
    }

    #[test]
    fn the_owner_and_the_inode_of_the_agents_end_are_found() {
        // A dual-stack listener may have IPv4 and IPv6 clients.
        for (listening, called) in
            [("127.0.0.1", "127.0.0.1"), ("::1", "::1"), ("::", "127.0.0.1"), ("::", "::ffff:127.0.0.1")]
        {
            let listener = TcpListener::bind((listening.parse::<IpAddr>().unwrap(), 0)).unwrap();
            let called = SocketAddr::new(called.parse().unwrap(), listener.local_addr().unwrap().port());
            let agent = TcpStream::connect(called).unwrap();
            let (ours, peer) = listener.accept().unwrap();
            let ends = Ends::new(peer, ours.local_addr().unwrap());
            assert_eq!(owner(ends), Owner::Held { uid: own_user(), inode: inode(&agent) }, "{listening} {called}");
        }
    }

    #[test]
    fn a_closed_socket_has_been_left() {
        let (stream, listener, ends) = connection_of_our_own(Ipv6Addr::LOCALHOST.into()).unwrap();
        let elsewhere = Ends::new(SocketAddr::new(ends.peer.ip(), 1), ends.local);
        assert_eq!(owner(elsewhere), Owner::Left);
        // A listening socket is not a connection.
        assert_eq!(owner(Ends::new(ends.local, SocketAddr::new(ends.local.ip(), 0))), Owner::Left);
        rustix::net::sockopt::set_socket_linger(&stream, Some(std::time::Duration::ZERO)).unwrap();
        drop((stream, listener));
        assert_eq!(owner(ends), Owner::Left);
    }

    #[tokio::test]
    async fn the_kernel_is_asked_if_it_answers() {
        let sockets = Sockets::open(Ipv4Addr::LOCALHOST.into());
        assert!(matches!(sockets, Sockets::Diag(_)));
        let (stream, _listener, ends) = connection_of_our_own(Ipv4Addr::LOCALHOST.into()).unwrap();
        let held = Owner::Held { uid: own_user(), inode: inode(&stream) };
        for sockets in [sockets, Sockets::Table] {
            assert_eq!(sockets.owner(ends).await, held);
        }
        assert_eq!(Sockets::Unknown.owner(ends).await, Owner::Unknown);
    }
}
