//! Names that agents ask for where the proxy is their only resolver (`run --netns`).

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, UdpSocket};

use super::error::ProxyError;
use super::shared::Shared;

/// What is known of a name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Lookup {
    /// Its addresses.
    Found(Vec<IpAddr>),
    /// There is no such name, or it has no address.
    Missing,
    /// The resolver failed.
    Failed,
    /// Agents may not call it (`[egress]`).
    Denied,
}

impl Shared {
    /// The addresses of a name, if agents may call it. Where they may call only what is listed, names that no entry can mean are not
    /// asked for: a question for a name can carry data.
    pub async fn look_up(&self, name: &str) -> Lookup {
        let rules = self.rules();
        let origins = &rules.origins;
        if !origins.egress.may_be_asked_for(name) {
            return Lookup::Denied;
        }
        // The agent has added the search domains already.
        match tokio::time::timeout(origins.connect_timeout, origins.resolver.resolve(&format!("{name}."), 0)).await {
            Ok(Ok(addresses)) => {
                Lookup::Found(reachable(addresses.into_iter().map(|address| address.ip()).collect()))
            }
            Ok(Err(ProxyError::Dns { reason, .. })) if !is_temporary(&reason) => Lookup::Missing,
            Ok(Err(_)) | Err(_) => Lookup::Failed,
        }
    }
}

/// Those that this machine has a way to, if there are any: the agent sees a network that leads everywhere, so it cannot choose.
fn reachable(all: Vec<IpAddr>) -> Vec<IpAddr> {
    let has_way = |address: &IpAddr| {
        let any: IpAddr = if address.is_ipv4() { Ipv4Addr::UNSPECIFIED.into() } else { Ipv6Addr::UNSPECIFIED.into() };
        // Sends nothing: the system only looks for a route.
        UdpSocket::bind((any, 0)).and_then(|socket| socket.connect((*address, 9))).is_ok()
    };
    let some: Vec<IpAddr> = all.iter().copied().filter(has_way).collect();
    if some.is_empty() { all } else { some }
}

/// Whether the system's resolver may know more later: `EAI_AGAIN` in the words of glibc and musl.
fn is_temporary(reason: &str) -> bool {
    reason.contains("emporary") || reason.contains("ry again")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_with_a_way_stays() {
        let loopback: IpAddr = Ipv4Addr::LOCALHOST.into();
        assert_eq!(reachable(vec![loopback]), [loopback]);
        assert_eq!(reachable(vec![]), Vec::<IpAddr>::new());
    }

    #[test]
    fn temporary_failures_are_told_apart() {
        assert!(is_temporary("Temporary failure in name resolution") && is_temporary("Try again"));
        assert!(!is_temporary("Name or service not known"));
    }
}
