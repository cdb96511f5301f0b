//! SSRF: the admin port and cloud metadata credentials, requested through the proxy in every notation, as a URL, through a
//! tunnel, by SOCKS and by a redirect.

use std::collections::BTreeSet;
use std::net::{IpAddr, SocketAddr};

use otas_proxy::hosts::HostRules;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use crate::support::agent;
use crate::support::origin::{Act, RawOrigin};
use crate::support::proxy::{PATIENCE, Running, TestProxy};

/// Notations of this machine.
const HERE: [&str; 36] = [
    "127.0.0.1",
    "127.1",
    "127.0.1",
    "127.00.00.01",
    "127.000.000.001",
    "2130706433",
    "0x7f000001",
    "0X7F000001",
    "0x7f.0x0.0x0.0x1",
    "0x7f.1",
    "0177.0.0.1",
    "0177.0.0.01",
    "017700000001",
    "00000000177.1",
    "127.0.0.1.",
    "localhost",
    "LOCALHOST",
    "LocalHost.",
    "a.localhost",
    "localhost.localdomain",
    "0.0.0.0",
    "0",
    "0x0",
    "00.0",
    "127.0.0.2",
    "127.255.255.254",
    "[::1]",
    "[0:0:0:0:0:0:0:1]",
    "[::]",
    "[::ffff:127.0.0.1]",
    "[::ffff:7f00:1]",
    "[0:0:0:0:0:ffff:127.0.0.1]",
    "[::ffff:0.0.0.0]",
    "[::127.0.0.1]",
    "user@127.0.0.1",
    "%31%32%37.0.0.1",
];

/// Notations of cloud metadata services.
const METADATA: [&str; 32] = [
    "169.254.169.254",
    "169.254.169.254.",
    "169.254.43518",
    "169.16689662",
    "2852039166",
    "0xa9fea9fe",
    "0xA9.0xFE.0xA9.0xFE",
    "0xa9.254.0251.0xfe",
    "0251.0376.0251.0376",
    "025177524776",
    "0000251.0376.43518",
    "[::ffff:169.254.169.254]",
    "[::ffff:a9fe:a9fe]",
    "[0:0:0:0:0:ffff:a9fe:a9fe]",
    "[::169.254.169.254]",
    "[64:ff9b::169.254.169.254]",
    "[64:ff9b:1::a9fe:a9fe]",
    "[2002:a9fe:a9fe::]",
    "[fd00:ec2::254]",
    "[fd00:0ec2:0:0::0254]",
    "[fd00:ec2::23]",
    "[fd20:ce::254]",
    "[fd00:42::42]",
    "169.254.170.2",
    "169.254.170.23",
    "169.254.0.23",
    "100.100.100.200",
    "0x646464c8",
    "192.0.0.192",
    "168.63.129.16",
    "metadata.google.internal",
    "METADATA.Google.Internal.",
];

/// The status of the proxy's own answer.
fn refused(what: &str, reply: &str) -> u16 {
    assert!(!reply.contains("default-src 'none'") && !reply.contains("\r\n\r\nok\n"), "{what} was answered: {reply}");
    let status = reply.split(' ').nth(1).and_then(|status| status.parse().ok());
    let status: u16 = status.unwrap_or_else(|| panic!("{what}: {reply:?}"));
    assert!((400..600).contains(&status), "{what}: {reply}");
    assert!(status == 400 || reply.contains("\"proxy\":\"otas-proxy\""), "{what} is not the proxy's answer: {reply}");
    status
}

/// Calls `/healthz` of this host and port in each way. Returns the statuses.
async fn call(proxy: &Running, host: &str, port: u16) -> BTreeSet<u16> {
    let mut statuses = BTreeSet::new();
    let url = format!("GET http://{host}:{port}/healthz HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n");
    statuses.insert(refused(host, &proxy.raw(url.as_bytes()).await));
    let mut tunnel = proxy.connect().await;
    let connect = format!("CONNECT {host}:{port} HTTP/1.1\r\nHost: {host}:{port}\r\n\r\n");
    tunnel.write_all(connect.as_bytes()).await.unwrap();
    // Should it open, this is what goes in.
    let _ = tunnel.write_all(b"GET /healthz HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n").await;
    let mut reply = String::new();
    let read = tokio::time::timeout(PATIENCE, tunnel.read_to_string(&mut reply)).await.expect("a tunnel that hangs");
    assert!(read.is_ok(), "{host}: {read:?}");
    statuses.insert(refused(host, &reply));
    let bare = host.trim_matches(['[', ']']);
    assert!(!opens_by_socks(proxy, bare, port).await, "{host} by SOCKS");
    statuses
}

/// Whether a SOCKS request for this name or address is granted.
async fn opens_by_socks(proxy: &Running, host: &str, port: u16) -> bool {
    let target = match host.parse::<IpAddr>() {
        Ok(IpAddr::V4(address)) => [vec![1], address.octets().to_vec()].concat(),
        Ok(IpAddr::V6(address)) => [vec![4], address.octets().to_vec()].concat(),
        Err(_) => [vec![3, host.len() as u8], host.as_bytes().to_vec()].concat(),
    };
    let mut stream = proxy.connect().await;
    let request = [b"\x05\x01\x00\x05\x01\x00".as_slice(), &target, &port.to_be_bytes()].concat();
    stream.write_all(&request).await.unwrap();
    let mut answer = Vec::new();
    let read = tokio::time::timeout(PATIENCE, stream.read_to_end(&mut answer)).await;
    match read {
        // Closed: refused or not understood.
        Ok(_) => answer.get(3).is_some_and(|status| *status == 0),
        Err(_) => true,
    }
}

/// The addresses of this machine's interfaces.
fn own_addresses() -> Vec<String> {
    let mut all = Vec::new();
    let v4 = std::fs::read_to_string("/proc/net/fib_trie").unwrap_or_default();
    let lines: Vec<&str> = v4.lines().collect();
    for pair in lines.windows(2).filter(|pair| pair[1].contains("/32 host LOCAL")) {
        all.extend(pair[0].split_whitespace().last().map(str::to_owned));
    }
    for line in std::fs::read_to_string("/proc/net/if_inet6").unwrap_or_default().lines() {
        let digits = line.split(' ').next().unwrap_or_default();
        let address = u128::from_str_radix(digits, 16).map(std::net::Ipv6Addr::from);
        // A link's own addresses are none without the link's name, which no URL has.
        all.extend(
            address.ok().filter(|address| !address.is_unicast_link_local()).map(|address| format!("[{address}]")),
        );
    }
    all.sort();
    all.dedup();
    all
}

/// The names that this machine's own list has for itself: what a resolver's answer may be, too.
fn own_names() -> Vec<String> {
    let hosts = std::fs::read_to_string("/etc/hosts").unwrap_or_default();
    let lines = hosts.lines().filter_map(|line| line.split('#').next()).map(str::split_whitespace);
    lines.flat_map(|words| words.skip(1).map(str::to_owned).collect::<Vec<_>>()).collect()
}

#[tokio::test]
async fn the_admin_port_is_unreachable_by_every_notation_of_this_machine() {
    for admin in ["127.0.0.1:0", "0.0.0.0:0", "[::]:0"] {
        let listen: SocketAddr = admin.parse().unwrap();
        let proxy = TestProxy::new().with(|c| c.listen.admin = listen).run().await;
        let port = proxy.app.admin_addr.port();
        let more: Vec<String> = own_addresses().into_iter().chain(own_names()).collect();
        assert!(!more.is_empty());
        let mut looped = 0;
        for host in HERE.into_iter().chain(more.iter().map(String::as_str)) {
            looped += usize::from(call(&proxy, host, port).await.contains(&508));
        }
        assert!(looped >= 20, "{admin}: most were seen to lead home, {looped}");
        // The proxy's own port is no way round.
        assert!(call(&proxy, "127.0.0.1", proxy.addr.port()).await.contains(&508));
    }
}

#[tokio::test]
async fn cloud_metadata_is_unreachable_by_every_notation() {
    let proxy = TestProxy::new().run().await;
    let mut denied = 0;
    for host in METADATA {
        let statuses = call(&proxy, host, 80).await;
        denied += usize::from(statuses == BTreeSet::from([403]));
        assert!(statuses.is_subset(&BTreeSet::from([403, 502])), "{host}: {statuses:?}");
    }
    assert!(denied >= 30, "{denied} of {}", METADATA.len());
    let events = proxy.events().await;
    let told = events
        .iter()
        .filter(|event| event["error"].as_str().unwrap_or_default().starts_with("egress_denied: "))
        .count();
    assert!(told >= 3 * 30, "each call is an event: {told}");
}

#[tokio::test]
async fn an_origin_cannot_redirect_an_agent_there() {
    let proxy = TestProxy::new().run().await;
    let admin = proxy.app.admin_addr;
    for (to, status) in [(format!("http://{admin}/healthz"), 508), ("http://169.254.169.254/latest".to_owned(), 403)]
    {
        let redirect = format!("HTTP/1.1 302 Found\r\nLocation: {to}\r\nContent-Length: 0\r\n\r\n");
        let origin = RawOrigin::start(vec![Act::Write(redirect.into_bytes())]).await;
        let answer = proxy.client().get(format!("http://{}/", origin.addr)).send().await.unwrap();
        assert_eq!((answer.url().as_str(), answer.status().as_u16()), (to.as_str(), status));
    }
}

#[tokio::test]
async fn a_tunnel_always_leads_to_its_destination() {
    let origin = RawOrigin::start(vec![Act::Write(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhi".to_vec())]).await;
    let proxy = TestProxy::new().run().await;
    let admin = proxy.app.admin_addr;
    let mut inside = agent::tunnel(&proxy, &origin.addr.to_string()).await;
    let request = format!("GET http://{admin}/healthz HTTP/1.1\r\nHost: {admin}\r\nConnection: close\r\n\r\n");
    inside.write_all(request.as_bytes()).await.unwrap();
    let mut reply = String::new();
    inside.read_to_string(&mut reply).await.unwrap();
    assert!(reply.ends_with("hi"), "{reply}");
    assert!(origin.received().contains("healthz"), "it went to the tunnel's own end");
}

#[tokio::test]
async fn names_resolved_by_the_next_proxy_do_not_lead_to_this_machine() {
    use otas_proxy::config::NextProxy;
    let next = RawOrigin::start(vec![Act::Close]).await;
    let proxy = TestProxy::new().with(|c| {
        c.upstream.proxy = NextProxy::parse(&format!("http://{}", next.addr)).ok();
        c.upstream.no_proxy = HostRules::default();
    });
    let proxy = proxy.run().await;
    for host in ["localhost", "127.1", "0x7f.1", "[::ffff:127.0.0.1]", "0.0.0.0", "a.localhost."] {
        let statuses = call(&proxy, host, proxy.app.admin_addr.port()).await;
        assert_eq!(statuses, BTreeSet::from([508]), "{host}");
    }
    assert_eq!(next.received(), "");
}
