//! How the namespace is set up: its addresses, routes and packet rules. Pure.

use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV4, SocketAddrV6};
use std::path::PathBuf;

/// Above the ports that programs are given when they ask for none, and not in use by known services.
const PROXY_PORT: u16 = 61_080;
const REDIRECTED_PORT: u16 = 61_089;
const DNS_PORT: u16 = 61_053;

/// Where the command reaches the proxy itself (`HTTP_PROXY`).
pub const PROXY: SocketAddr = v4(PROXY_PORT);
/// Where its connections to others are redirected to.
pub(super) const REDIRECTED: [SocketAddr; 2] = [v4(REDIRECTED_PORT), v6(REDIRECTED_PORT)];
/// Where its questions for names are redirected to.
pub(super) const DNS: [SocketAddr; 2] = [v4(DNS_PORT), v6(DNS_PORT)];

/// The table of packet rules.
pub(super) const TABLE: &str = "otas_proxy";
/// Counts refused packets to UDP port 443, where HTTP/3 is spoken.
pub(super) const REFUSED_QUIC: &str = "refused_quic";
/// Counts refused packets to other UDP ports.
pub(super) const REFUSED_UDP: &str = "refused_udp";

const fn v4(port: u16) -> SocketAddr {
    SocketAddr::V4(SocketAddrV4::new(Ipv4Addr::LOCALHOST, port))
}

const fn v6(port: u16) -> SocketAddr {
    SocketAddr::V6(SocketAddrV6::new(Ipv6Addr::LOCALHOST, port, 0, 0))
}

/// Commands for `ip -batch -`. Every address is one of this namespace, so packets to any address reach the rules.
pub(super) const LINKS: &str = "link set dev lo up\nroute add local default dev lo src 127.0.0.1\n";
/// The same for IPv6, where the system has it.
pub(super) const LINKS_V6: &str = "route add local ::/0 dev lo\n";

/// Commands for `nft -f -`. Connections and questions are redirected as they leave. What is left over arrives at the namespace itself
/// and is refused there: a packet that is refused as it leaves would look to the program as if it may not send.
pub(super) fn packet_rules() -> String {
    format!(
        "table inet {TABLE} {{
  counter {REFUSED_QUIC} {{ }}
  counter {REFUSED_UDP} {{ }}
  chain outgoing {{
    type nat hook output priority -100; policy accept;
    meta l4proto {{ tcp, udp }} th dport 53 redirect to :{DNS_PORT}
    ip daddr 127.0.0.0/8 accept
    ip6 daddr ::1 accept
    meta l4proto tcp redirect to :{REDIRECTED_PORT}
  }}
  chain incoming {{
    type filter hook input priority 0; policy drop;
    ct state established,related accept
    ip daddr 127.0.0.0/8 accept
    ip6 daddr ::1 accept
    udp dport 443 counter name {REFUSED_QUIC} reject with icmpx type port-unreachable
    meta l4proto udp counter name {REFUSED_UDP} reject with icmpx type port-unreachable
    reject with icmpx type admin-prohibited
  }}
}}
"
    )
}

/// Where a program for the system's administrator is. Its folder is often not in `PATH` of other users.
pub fn tool(name: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let usual = ["/usr/sbin", "/sbin", "/usr/local/sbin"].map(PathBuf::from);
    std::env::split_paths(&path).chain(usual).map(|folder| folder.join(name)).find(|file| file.is_file())
}
