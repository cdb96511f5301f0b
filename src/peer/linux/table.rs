//! The list of all TCP sockets in `/proc/net/tcp` and `tcp6`, for systems where netlink is not permitted.

use std::fs::File;
use std::io::{self, BufRead, BufReader};

use procfs_core::net::{TcpNetEntries, TcpState};
use procfs_core::{ExplicitSystemInfo, FromBufReadSI};

use crate::peer::{Ends, Owner};

/// The owner of the agent's end of a connection.
///
/// # Errors
/// When the tables cannot be read.
pub(super) fn owner(ends: Ends) -> io::Result<Owner> {
    // IPv4 connections of dual-stack sockets are in the IPv6 table.
    let tables = if ends.peer.is_ipv4() { &["/proc/net/tcp", "/proc/net/tcp6"][..] } else { &["/proc/net/tcp6"] };
    for table in tables {
        let owner = match File::open(table) {
            Ok(file) => listed(BufReader::new(file), ends)?,
            // A system without IPv6 does not have the second table.
            Err(error) if error.kind() == io::ErrorKind::NotFound => None,
            Err(error) => return Err(error),
        };
        if let Some(owner) = owner {
            return Ok(owner);
        }
    }
    Ok(Owner::Left)
}

fn listed(table: impl BufRead, ends: Ends) -> io::Result<Option<Owner>> {
    // Only the byte order matters here.
    let system = ExplicitSystemInfo {
        boot_time_secs: 0,
        ticks_per_second: 0,
        page_size: 0,
        is_little_endian: cfg!(target_endian = "little"),
    };
    let TcpNetEntries(sockets) = TcpNetEntries::from_buf_read(table, &system).map_err(io::Error::other)?;
    let found = sockets.into_iter().find(|socket| {
        socket.state != TcpState::Listen && Ends::at(ends.place, socket.local_address, socket.remote_address) == ends
    });
    Ok(found.map(|socket| Owner::shown(socket.uid, socket.inode)))
}

#[cfg(test)]
#[cfg(target_endian = "little")]
mod tests {
    use super::*;

    const TABLE: &str = "  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode
   0: 0100007F:1F90 00000000:0000 0A 00000000:00000000 00:00000000 00000000  1000        0 11 1 0000000000000000 100 0 0 10 0
   1: 0100007F:8C9E 0100007F:1F90 01 00000000:00000000 00:00000000 00000000  1001        0 12 2 0000000000000000 20 0 0 10 -1
   2: 0100007F:1F90 0100007F:8C9E 01 00000000:00000000 00:00000000 00000000  1000        0 13 1 0000000000000000 20 0 0 10 -1
";
    const TABLE6: &str = "  sl  local_address                         remote_address                        st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode
   0: 0000000000000000FFFF00000100007F:8C9F 0000000000000000FFFF00000100007F:1F90 01 00000000:00000000 00:00000000 00000000  1002        0 14 1 0000000000000000 20 0 0 10 -1
   1: 00000000000000000000000001000000:8C9E 00000000000000000000000001000000:1F90 01 00000000:00000000 00:00000000 00000000  1003        0 15 1 0000000000000000 20 0 0 10 -1
";

    fn found(table: &str, peer: &str, local: &str) -> Option<Owner> {
        listed(table.as_bytes(), Ends::new(peer.parse().unwrap(), local.parse().unwrap())).unwrap()
    }

    #[test]
    fn a_connection_is_found_by_both_its_ends() {
        let held = |uid, inode| Some(Owner::Held { uid, inode });
        assert_eq!(found(TABLE, "127.0.0.1:35998", "127.0.0.1:8080"), held(1001, 12));
        assert_eq!(found(TABLE, "127.0.0.1:8080", "127.0.0.1:35998"), held(1000, 13));
        assert_eq!(found(TABLE, "127.0.0.1:8080", "0.0.0.0:0"), None);
        assert_eq!(found(TABLE6, "127.0.0.1:35999", "127.0.0.1:8080"), held(1002, 14));
        assert_eq!(found(TABLE6, "[::1]:35998", "[::1]:8080"), held(1003, 15));
        assert_eq!(found(TABLE6, "127.0.0.1:35998", "127.0.0.1:8080"), None);
    }
}
