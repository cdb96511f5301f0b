//! The packet rules that redirect agents' connections, as `nft` reads them. Pure.

use std::net::SocketAddr;

use super::cgroup::Cgroup;

/// Our own table: nothing else is in it.
pub(super) const TABLE: &str = "otas_proxy_redirect";

/// Whose connections are redirected, and where to.
#[derive(Debug)]
pub(super) struct Plan {
    /// The ids of users.
    pub(super) users: Vec<u32>,
    pub(super) cgroups: Vec<Cgroup>,
    /// The id of the user that the proxy runs as.
    pub(super) proxy_user: u32,
    pub(super) ports: Ports,
}

/// Where redirected connections arrive: on a loopback address.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Ports {
    pub(super) v4: Option<u16>,
    pub(super) v6: Option<u16>,
}

impl Ports {
    /// The ports of these addresses (`listen.transparent`).
    ///
    /// # Errors
    /// When a rule of this machine leads to none of them.
    pub(super) fn of(listening: &[SocketAddr]) -> Result<Self, String> {
        if listening.is_empty() {
            return Err(
                "`listen.transparent` is not set: set it, for example to [\"127.0.0.1:8089\", \"[::1]:8089\"], \
                        and restart `serve`"
                    .to_owned(),
            );
        }
        let reached = listening.iter().filter(|at| {
            let ip = at.ip().to_canonical();
            ip.is_loopback() || ip.is_unspecified()
        });
        let port = |is_reached: fn(&SocketAddr) -> bool| {
            reached.clone().find(|at| is_reached(at)).map(|at| at.port()).filter(|port| *port != 0)
        };
        // A listener on every address of IPv6 has the connections of IPv4, too.
        let v4 = port(SocketAddr::is_ipv4).or_else(|| port(|at| at.ip().is_unspecified()));
        let v6 = port(SocketAddr::is_ipv6);
        match (v4, v6) {
            (None, None) => Err(
                "connections of this machine are redirected to loopback, where `listen.transparent` has no fixed \
                                 port: use an address such as 127.0.0.1:8089 or 0.0.0.0:8089"
                    .to_owned(),
            ),
            _ => Ok(Self { v4, v6 }),
        }
    }
}

/// The rules.
pub(super) fn rules(plan: &Plan) -> String {
    let Plan { proxy_user, ports, .. } = plan;
    let (mut redirect, mut refuse) = (String::new(), String::new());
    for whose in whose(plan) {
        for (family, port) in [("ipv4", ports.v4), ("ipv6", ports.v6)] {
            match port {
                Some(port) => {
                    redirect += &format!("    {whose} meta nfproto {family} meta l4proto tcp redirect to :{port}\n");
                }
                // They would go round the proxy.
                None => {
                    refuse += &format!("    {whose} meta nfproto {family} meta l4proto tcp reject with tcp reset\n");
                }
            }
        }
        refuse += &format!("    {whose} udp dport 443 reject\n");
    }
    let exempt = format!(
        "    meta skuid {proxy_user} accept comment \"the proxy's own connections\"\n    ip daddr 127.0.0.0/8 accept\n    ip6 daddr ::1 accept\n"
    );
    format!(
        "table inet {TABLE} {{
  chain redirected {{
    type nat hook output priority -100; policy accept;
{exempt}{redirect}  }}
  chain refused {{
    type filter hook output priority 0; policy accept;
{exempt}{refuse}  }}
}}
"
    )
}

/// Replaces what is installed by these rules, in one step.
pub(super) fn replacing(rules: &str) -> String {
    format!("table inet {TABLE}\ndelete table inet {TABLE}\n{rules}")
}

/// The conditions of rules.
fn whose(plan: &Plan) -> Vec<String> {
    let ids: Vec<String> = plan.users.iter().map(u32::to_string).collect();
    let users = (!ids.is_empty()).then(|| format!("meta skuid {{ {} }}", ids.join(", ")));
    let cgroups =
        plan.cgroups.iter().map(|Cgroup { path, level }| format!("socket cgroupv2 level {level} \"{path}\""));
    users.into_iter().chain(cgroups).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ports(listening: &[&str]) -> Result<Ports, String> {
        Ports::of(&listening.iter().map(|at| at.parse().unwrap()).collect::<Vec<_>>())
    }

    #[test]
    fn redirected_connections_arrive_on_loopback() {
        for (listening, v4, v6) in [
            (&["127.0.0.1:8089", "[::1]:8090"][..], Some(8089), Some(8090)),
            (&["0.0.0.0:8089"], Some(8089), None),
            (&["[::]:8089"], Some(8089), Some(8089)),
            (&["[::1]:8089"], None, Some(8089)),
            (&["10.0.0.1:1", "127.0.0.1:8089"], Some(8089), None),
        ] {
            assert_eq!(ports(listening), Ok(Ports { v4, v6 }), "{listening:?}");
        }
        for listening in [&[][..], &["10.0.0.1:8089"], &["127.0.0.1:0"]] {
            assert!(ports(listening).is_err(), "{listening:?}");
        }
    }

    #[test]
    fn each_family_is_redirected_or_refused_and_the_proxy_is_exempt() {
        let plan = Plan {
            users: vec![1001, 1002],
            cgroups: vec![Cgroup { path: "a/b".to_owned(), level: 2 }],
            proxy_user: 1000,
            ports: Ports { v4: Some(8089), v6: None },
        };
        let wanted = "table inet otas_proxy_redirect {
  chain redirected {
    type nat hook output priority -100; policy accept;
    meta skuid 1000 accept comment \"the proxy's own connections\"
    ip daddr 127.0.0.0/8 accept
    ip6 daddr ::1 accept
    meta skuid { 1001, 1002 } meta nfproto ipv4 meta l4proto tcp redirect to :8089
    socket cgroupv2 level 2 \"a/b\" meta nfproto ipv4 meta l4proto tcp redirect to :8089
  }
  chain refused {
    type filter hook output priority 0; policy accept;
    meta skuid 1000 accept comment \"the proxy's own connections\"
    ip daddr 127.0.0.0/8 accept
    ip6 daddr ::1 accept
    meta skuid { 1001, 1002 } meta nfproto ipv6 meta l4proto tcp reject with tcp reset
    meta skuid { 1001, 1002 } udp dport 443 reject
    socket cgroupv2 level 2 \"a/b\" meta nfproto ipv6 meta l4proto tcp reject with tcp reset
    socket cgroupv2 level 2 \"a/b\" udp dport 443 reject
  }
}
";
        assert_eq!(rules(&plan), wanted);
    }
}
