//! Which process listens on a port, by Linux's `/proc`. Only root sees the processes of other users.

use std::fs;

/// For people: its name and process id.
pub(super) fn of(port: u16) -> Option<String> {
    let inodes: Vec<String> = ["/proc/net/tcp", "/proc/net/tcp6"]
        .iter()
        .flat_map(|table| listening(&fs::read_to_string(table).unwrap_or_default(), port))
        .collect();
    let wanted: Vec<String> = inodes.iter().map(|inode| format!("socket:[{inode}]")).collect();
    let processes = fs::read_dir("/proc").ok()?.filter_map(Result::ok);
    processes.map(|entry| entry.path()).find_map(|process| {
        // `/proc/self` and the like are not further processes.
        let id: u32 = process.file_name()?.to_str()?.parse().ok()?;
        let held = fs::read_dir(process.join("fd")).ok()?.filter_map(Result::ok);
        let mut held = held.filter_map(|descriptor| fs::read_link(descriptor.path()).ok());
        held.find(|to| wanted.iter().any(|socket| to.as_os_str() == socket.as_str()))?;
        let name = fs::read_to_string(process.join("comm")).ok()?;
        Some(format!("`{}` (process {id})", name.trim()))
    })
}

/// The sockets that listen on `port`, by their inodes, in one of the kernel's tables.
fn listening(table: &str, port: u16) -> Vec<String> {
    const LISTEN: &str = "0A";
    let port = format!(":{port:04X}");
    let of_line = |line: &str| {
        let words: Vec<&str> = line.split_whitespace().collect();
        let (local, state, inode) = (words.get(1)?, words.get(3)?, words.get(9)?);
        (local.ends_with(&port) && *state == LISTEN).then(|| (*inode).to_owned())
    };
    table.lines().skip(1).filter_map(of_line).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_listener_is_told_from_a_connection_and_from_another_port() {
        let table = "  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode\n\
            0: 0100007F:1F90 00000000:0000 0A 00000000:00000000 00:00000000 00000000  1000        0 4711 1 0 100 0 0 10 0\n\
            1: 0100007F:1F90 0100007F:D431 01 00000000:00000000 00:00000000 00000000  1000        0 4712 1 0 100 0 0 10 0\n\
            2: 0100007F:1F91 00000000:0000 0A 00000000:00000000 00:00000000 00000000  1000        0 4713 1 0 100 0 0 10 0\n";
        assert_eq!(listening(table, 8080), ["4711"]);
        assert!(listening(table, 80).is_empty());
    }

    #[test]
    fn this_process_is_found_by_its_listener() {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let holder = of(listener.local_addr().unwrap().port()).unwrap();
        assert!(holder.contains(&format!("(process {})", std::process::id())), "{holder}");
    }
}
